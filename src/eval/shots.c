#include "eval/shots.h"

#include <math.h>
#include <stdlib.h>

enum { N = 624, M = 397 };

/* init_by_array() of the authors' mt19937ar with the one number as its key, as CPython does with any whole number. */
void tern_twister_seed(tern_twister *twister, uint32_t seed) {
    uint32_t *state = twister->state;
    state[0] = 19650218;
    for (uint32_t i = 1; i < N; i++)
        state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
    size_t i = 1;
    for (size_t k = 0; k < N; k++) {
        state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1664525u)) + seed;
        if (++i == N) {
            state[0] = state[N - 1];
            i = 1;
        }
    }
    for (size_t k = 0; k < N - 1; k++) {
        state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
        if (++i == N) {
            state[0] = state[N - 1];
            i = 1;
        }
    }
    state[0] = 0x80000000u;
    twister->at = N;
}

static void refill(tern_twister *twister) {
    uint32_t *state = twister->state;
    for (size_t i = 0; i < N; i++) {
        uint32_t y = (state[i] & 0x80000000u) | (state[(i + 1) % N] & 0x7fffffffu);
        state[i] = state[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    twister->at = 0;
}

uint32_t tern_twister_u32(tern_twister *twister) {
    if (twister->at == N)
        refill(twister);
    uint32_t y = twister->state[twister->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* Below n, 0 < n < 2^32: as many of the highest bits as n has, drawn again until they are below it. */
static size_t below(tern_twister *twister, size_t n) {
    unsigned bits = 0;
    while (bits < 32 && n >> bits)
        bits++;
    size_t drawn;
    do {
        drawn = tern_twister_u32(twister) >> (32 - bits);
    } while (drawn >= n);
    return drawn;
}

bool tern_twister_sample(tern_twister *twister, size_t n, size_t k, size_t *places) {
    /* CPython takes from a shrinking list where that is smaller than a set of what was drawn, and draws otherwise until
     * it is a new one: the numbers differ */
    double set_size = 21 + (k > 5 ? pow(4, ceil(log(3.0 * (double)k) / log(4))) : 0);
    if ((double)n > set_size) {
        for (size_t i = 0; i < k; i++) {
            bool again;
            do {
                places[i] = below(twister, n);
                again = false;
                for (size_t j = 0; j < i; j++)
                    again |= places[j] == places[i];
            } while (again);
        }
        return true;
    }
    size_t *pool = malloc((n ? n : 1) * sizeof *pool);
    if (!pool)
        return false;
    for (size_t i = 0; i < n; i++)
        pool[i] = i;
    for (size_t i = 0; i < k && i < n; i++) {
        size_t at = below(twister, n - i);
        places[i] = pool[at];
        pool[at] = pool[n - i - 1];
    }
    free(pool);
    return true;
}
