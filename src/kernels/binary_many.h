/*
 * Binary weights times many tokens: a piece of two groups is rewritten as t2r16 (kernels.h), in which one nibble of a
 * byte becomes a byte of four codes, 2 for 1 and 0 for -1, and then the rung's own product of t2r16 runs from the L1
 * cache: its tiles and panels, which took measuring, serve here, too.
 */
#ifndef TERN_KERNELS_BINARY_MANY_H
#define TERN_KERNELS_BINARY_MANY_H

#include <string.h>

#include "kernels/binary.h"

typedef void tern_matmul_fn(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc);

enum {
    TERN_MANY_COLS = 2048,                                   /* of a piece: 2 x 8 KB of t2r16 */
    TERN_MANY_GROUPS = 2,                                    /* as the widest tiles of t2r16 have */
    TERN_MANY_TOKENS = 64,                                   /* whose sums of a piece are added at a time */
    TERN_MANY_BYTES = TERN_MANY_COLS / TERN_GROUP_COLS * 64, /* of a group's piece */
};

/* 64 bytes of 8 signs -> 2 x 64 bytes of 4 codes, those of the low nibbles first. Words apart, so that compilers make
 * vectors of it. */
static inline void tern_spread_nibbles(const uint8_t *restrict from, uint8_t *restrict to) {
    const uint64_t nibbles = 0x0f0f0f0f0f0f0f0fu, pairs = 0x3333333333333333u, bits = 0x5555555555555555u;
    uint64_t in[8], low[8], high[8];
    memcpy(in, from, sizeof in);
    for (int i = 0; i < 8; i++) {
        uint64_t a = in[i] & nibbles, b = in[i] >> 4 & nibbles;
        a = (a | a << 2) & pairs;
        b = (b | b << 2) & pairs;
        low[i] = ((a | a << 1) & bits) << 1;
        high[i] = ((b | b << 1) & bits) << 1;
    }
    memcpy(to, low, sizeof low);
    memcpy(to + 64, high, sizeof high);
}

/* tern_binary.int8.matmul by `product`, the rung's matmul of t2r16. */
static inline void tern_binary_many(tern_matmul_fn *product, const uint8_t *w, size_t k_pad, size_t n_groups,
                                    const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens, int32_t *acc,
                                    size_t ld_acc) {
    static const int32_t no_sums[TERN_MANY_TOKENS]; /* the sum of all activations is subtracted with the first piece */
    _Alignas(64) uint8_t codes[TERN_MANY_GROUPS * TERN_MANY_BYTES];
    int32_t sums[TERN_MANY_TOKENS * TERN_MANY_GROUPS * TERN_GROUP_ROWS];
    size_t group_bytes = k_pad / TERN_SIGNS * 64;
    for (size_t g = 0; g < n_groups; g += TERN_MANY_GROUPS) {
        size_t n = n_groups - g < TERN_MANY_GROUPS ? n_groups - g : TERN_MANY_GROUPS, rows = n * TERN_GROUP_ROWS;
        for (size_t k = 0; k < k_pad; k += TERN_MANY_COLS) {
            size_t cols = k_pad - k < TERN_MANY_COLS ? k_pad - k : TERN_MANY_COLS, blocks = cols / TERN_SIGNS;
            for (size_t i = 0; i < n * blocks; i++) {
                const uint8_t *block = w + (g + i / blocks) * group_bytes + (k / TERN_SIGNS + i % blocks) * 64;
                __builtin_prefetch(block + 2048);
                tern_spread_nibbles(block, codes + 128 * i);
            }
            int32_t *out = acc + g * TERN_GROUP_ROWS;
            if (k == 0)
                product(codes, cols, n, q, ld_q, q_sum, n_tokens, out, ld_acc);
            for (size_t t = 0; k > 0 && t < n_tokens; t += TERN_MANY_TOKENS) {
                size_t tokens = n_tokens - t < TERN_MANY_TOKENS ? n_tokens - t : TERN_MANY_TOKENS;
                product(codes, cols, n, q + t * ld_q + k, ld_q, no_sums, tokens, sums, rows);
                for (size_t i = 0; i < tokens; i++)
                    for (size_t r = 0; r < rows; r++)
                        out[(t + i) * ld_acc + r] += sums[i * rows + r];
            }
        }
    }
}

#endif
