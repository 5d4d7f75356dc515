/*
 * How a ternary matrix lies in the memory of a GPU.
 *
 * Rows are taken in groups of 16, columns in groups of 128; both are padded with zeros. A group of rows is k_pad / 128
 * tiles of 512 bytes, one after the other, k_pad the columns rounded up. A tile is 32 lanes of 16 bytes: a warp reads
 * it with one 16-byte load a lane. The bytes of lane l are four words, little-endian; with g = l / 4, t = l % 4, the
 * code T + 1 (0, 1, 2) of
 *
 *     row g + 8 (f % 2),   column 32 w + 16 (f / 2) + 4 t + j        w, f, j: 0 .. 3
 *
 * stands in word w, byte j, bits 2 f + 1 .. 2 f. So (word w >> 2 f) & 0x03030303 is register f of the A operand of
 * mma.m16n8k32 (s8 or u8, row-major) for columns 32 w .. 32 w + 31 (PTX ISA, "Matrix fragments for mma.m16n8k32"), and
 * at the same time four consecutive columns of one row, the operand of dp4a. One layout serves both, and nothing is
 * moved between lanes.
 *
 * As codes are T + 1, sum q T = sum q code - sum q. Padding is code 1 (T = 0); activations are padded with q = 0.
 */
#ifndef TERN_CUDA_LAYOUT_H
#define TERN_CUDA_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

enum {
    TERN_CUDA_ROWS = 16,        /* of a tile */
    TERN_CUDA_COLS = 128,       /* of a tile; rows of activations are padded to a multiple */
    TERN_CUDA_TILE_BYTES = 512, /* of a tile */
    TERN_CUDA_LANE_BYTES = 16,  /* of a lane */
};

static inline size_t tern_cuda_k_pad(size_t cols) {
    return (cols + TERN_CUDA_COLS - 1) / TERN_CUDA_COLS * TERN_CUDA_COLS;
}
/* Of one group of 16 rows. */
static inline size_t tern_cuda_group_bytes(size_t cols) {
    return tern_cuda_k_pad(cols) / TERN_CUDA_COLS * TERN_CUDA_TILE_BYTES;
}
static inline size_t tern_cuda_n_groups(size_t rows) { return (rows + TERN_CUDA_ROWS - 1) / TERN_CUDA_ROWS; }
/* Of a whole matrix. */
static inline size_t tern_cuda_matrix_bytes(size_t rows, size_t cols) {
    return tern_cuda_n_groups(rows) * tern_cuda_group_bytes(cols);
}

/* trits [n_rows <= 16][cols], values -1, 0, 1 -> one group of tern_cuda_group_bytes(cols). */
void tern_cuda_pack_group(const int8_t *trits, size_t n_rows, size_t cols, uint8_t *group);

#endif
