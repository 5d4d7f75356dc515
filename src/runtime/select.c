#include "runtime/select.h"

#include <math.h>
#include <string.h>

enum { LANES = 8, BLOCK = 32 };

/* In lanes, so that it vectorises. */
float tern_maximum(const float *x, size_t n) {
    float lanes[LANES], max = x[0];
    for (size_t j = 0; j < LANES; j++)
        lanes[j] = max;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t j = 0; j < LANES; j++)
        max = lanes[j] > max ? lanes[j] : max;
    return max;
}

uint64_t tern_rank_key(float x, uint32_t place) {
    float zero_merged = x + 0.0f;
    uint32_t bits;
    memcpy(&bits, &zero_merged, sizeof bits);
    bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~place;
}

static uint64_t median_of_3(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* Move the keys >= pivot to the front; how many. Without a branch that depends on
 * the keys: mispredictions would cost more than the moves. */
static size_t partition(uint64_t *keys, size_t n, uint64_t pivot) {
    size_t n_front = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = keys[i], other = keys[n_front];
        keys[i] = other;
        keys[n_front] = key;
        n_front += key >= pivot;
    }
    return n_front;
}

static double total_weight(const uint64_t *keys, size_t n, const double *weights) {
    double total = weights ? 0 : (double)n;
    for (size_t i = 0; weights && i < n; i++)
        total += weights[tern_rank_place(keys[i])];
    return total;
}

/* Selection after Hoare 1961: expected linear time; pivots come from fixed pseudo-random places, so that no usual order
 * of logits is a bad one. */
uint64_t tern_select_threshold(uint64_t *keys, size_t n, const double *weights, double target) {
    uint64_t mixer = n;
    while (n > 1) {
        size_t places[3];
        for (int i = 0; i < 3; i++) {
            mixer = mixer * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
            places[i] = (size_t)((mixer >> 32) % n);
        }
        uint64_t pivot = median_of_3(keys[places[0]], keys[places[1]], keys[places[2]]);
        size_t n_front = partition(keys, n, pivot);
        double front = total_weight(keys, n_front, weights);
        if (front < target && n_front < n) { /* the threshold lies among the lower ones */
            target -= front;
            keys += n_front;
            n -= n_front;
        } else if (n_front < n) {
            n = n_front;
        } else { /* the pivot is the lowest: split it off, or nothing would shrink */
            size_t at = 0;
            while (keys[at] != pivot)
                at++;
            keys[at] = keys[n - 1];
            keys[n - 1] = pivot;
            if (total_weight(keys, n - 1, weights) < target)
                return pivot;
            n--;
        }
    }
    return keys[0];
}

static float block_maximum(const float *x, size_t n, size_t block) {
    size_t begin = block * BLOCK;
    return tern_maximum(x + begin, n - begin < BLOCK ? n - begin : BLOCK);
}

/* The k-th largest of the maxima of all blocks is no larger than the k-th largest x: what reaches it is little more
 * than k, and most blocks need no second look. */
static float lower_bound(const float *x, size_t n, size_t n_blocks, size_t k, uint64_t *keys) {
    if (k > n_blocks)
        return -INFINITY;
    for (size_t b = 0; b < n_blocks; b++)
        keys[b] = tern_rank_key(block_maximum(x, n, b), (uint32_t)b);
    return block_maximum(x, n, tern_rank_place(tern_select_threshold(keys, n_blocks, NULL, (double)k)));
}

void tern_select_top(const float *x, size_t n, size_t k, uint64_t *places) {
    size_t n_blocks = (n + BLOCK - 1) / BLOCK, n_kept = 0;
    float least = lower_bound(x, n, n_blocks, k, places);
    for (size_t b = 0; b < n_blocks; b++)
        if (block_maximum(x, n, b) >= least)
            for (size_t i = b * BLOCK; i < n && i < (b + 1) * BLOCK; i++)
                if (x[i] >= least)
                    places[n_kept++] = tern_rank_key(x[i], (uint32_t)i);
    size_t last = tern_rank_place(tern_select_threshold(places, n_kept, NULL, (double)k));
    least = x[last];
    n_kept = 0;
    for (size_t b = 0; b < n_blocks; b++)
        if (block_maximum(x, n, b) >= least)
            for (size_t i = b * BLOCK; i < n && i < (b + 1) * BLOCK; i++)
                if (x[i] > least || (x[i] == least && i <= last))
                    places[n_kept++] = i;
}
