/* What attention's forward and backward pass share. */
#ifndef TERN_TRAIN_OPS_ATTENTION_H
#define TERN_TRAIN_OPS_ATTENTION_H

#include <string.h>

#include "train/ops_rows.h"

/* Rows [n][d], ld floats apart -> to [n][d] */
static inline void tern_attention_gather(const float *from, size_t ld, size_t n, size_t d, float *to) {
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * d, from + i * ld, d * sizeof *to);
}

/* Rows [n][d], ld floats apart -> to [blocks of TERN_TILE rows][d][TERN_TILE], zeros behind n */
static inline void tern_attention_turn(const tern_ops *ops, const float *from, size_t ld, size_t n, size_t d,
                                       float *to) {
    for (size_t i = 0; i < n; i += TERN_TILE, to += TERN_TILE * d) {
        size_t rows = n - i < TERN_TILE ? n - i : TERN_TILE;
        if (rows < TERN_TILE)
            memset(to, 0, TERN_TILE * d * sizeof *to);
        ops->rows->turn(from + i * ld, ld, rows, d, to, TERN_TILE);
    }
}

#endif
