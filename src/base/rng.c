#include "base/rng.h"

#include <math.h>

static uint64_t rotate_left(uint64_t x, int k) { return x << k | x >> (64 - k); }

void tern_rng_seed(tern_rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        rng->state[i] = z ^ z >> 31;
    }
}

uint64_t tern_rng_u64(tern_rng *rng) {
    uint64_t *s = rng->state, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double tern_rng_uniform(tern_rng *rng) { return (double)(tern_rng_u64(rng) >> 11) * 0x1p-53; }

double tern_rng_normal(tern_rng *rng) { /* Box and Muller 1958, one of the pair */
    double radius = sqrt(-2 * log(1 - tern_rng_uniform(rng)));
    return radius * cos(2 * 3.14159265358979323846 * tern_rng_uniform(rng));
}
