/* Rows of the LM head's stored types with random contents. */
#ifndef TERN_TESTS_KERNELS_HEAD_ROWS_H
#define TERN_TESTS_KERNELS_HEAD_ROWS_H

#include "kernels/check.h"

static const char *const head_names[TERN_N_HEAD_TYPES] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q6_k"};

/* Values and bytes of a block, and where its f16 scale stands (-1: none). */
static const struct {
    size_t values, bytes;
    int scale_at;
} head_blocks[TERN_N_HEAD_TYPES] = {{1, 4, -1}, {1, 2, -1}, {1, 2, -1}, {32, 34, 0}, {32, 18, 0}, {256, 210, 208}};

static inline size_t head_row_bytes(tern_head_type type, size_t k) {
    return k / head_blocks[type].values * head_blocks[type].bytes;
}

/* k random values. Quantised blocks get random codes and a sane scale, subnormal ones included. */
static inline void random_head_row(tern_head_type type, uint8_t *row, size_t k, kind values) {
    size_t bytes = head_blocks[type].bytes;
    for (size_t b = 0; b < k / head_blocks[type].values; b++, row += bytes) {
        float x = random_float(values);
        uint16_t half = type == TERN_HEAD_BF16 ? tern_f32_to_bf16(x) : tern_f32_to_f16(x);
        if (type == TERN_HEAD_F32)
            memcpy(row, &x, 4);
        else if (head_blocks[type].scale_at < 0)
            memcpy(row, &half, 2);
        else {
            for (size_t i = 0; i < bytes; i++)
                row[i] = (uint8_t)random_below(256);
            half = (uint16_t)(random_below(0x3800) | random_below(2) << 15);
            memcpy(row + head_blocks[type].scale_at, &half, 2);
        }
    }
}

#endif
