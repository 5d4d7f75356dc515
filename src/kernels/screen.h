/*
 * Kernels of the head screen (model/screen.h says what it is for and why its answers are exact): a small copy of the
 * LM head in two planes, of which the coarse one gives every row's logit within a bound and the fine one, read for the
 * rows that are left, a bound half as wide.
 *
 * A row is what it differs from a `centre` row that all rows share. It is cut into blocks of 32 columns; a value is
 *
 *     row_step * u[block] * (q - 15.5)        u: 0..127, q: 5 bits
 *
 * The coarse plane holds h = q >> 1 and stands for row_step * u * (2 h - 15), the middle of the two values it leaves
 * open; the fine plane holds l = q & 1 and adds row_step * u * (l - 1/2).
 *
 * Layout. Columns are padded with zeros to k_pad, a multiple of 128; rows to groups of 16. All planes are plain arrays:
 *   coarse  [n_groups][k_pad / 8][64]    byte 4 r + j of a chunk of 8 columns: row r's h of column j in the low nibble,
 *                                        of column 4 + j in the high one (16 rows x 4 columns a vector, as t2r16)
 *   steps   [n_groups][k_pad / 128][64]  byte 4 r + i: row r's u of block i of the four
 *   fine    [n_groups][k_pad / 32][64]   bit i of byte 4 r + j of a block: row r's l of column 4 i + j
 *   row_steps, coarse_errors, fine_errors, norms  [n_groups][16] floats
 *
 * As in kernels.h, every rung gives the bits of ref/; only the three norms are defined as bounds (pack_group).
 */
#ifndef TERN_KERNELS_SCREEN_H
#define TERN_KERNELS_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TERN_SCREEN_ROWS = 16,
    TERN_SCREEN_BLOCK = 32,
    TERN_SCREEN_COLS = 128, /* k_pad is a multiple */
    TERN_SCREEN_X_MAX = 127 * 128
};

static inline size_t tern_screen_k_pad(size_t k) {
    return (k + TERN_SCREEN_COLS - 1) / TERN_SCREEN_COLS * TERN_SCREEN_COLS;
}
static inline size_t tern_screen_coarse_bytes(size_t k_pad) { return k_pad * 8; } /* of a group */
static inline size_t tern_screen_step_bytes(size_t k_pad) { return k_pad / 2; }   /* of a group */
static inline size_t tern_screen_fine_bytes(size_t k_pad) { return k_pad * 2; }   /* of a group */
static inline size_t tern_screen_scratch_bytes(size_t k_pad) { return k_pad * 5 + k_pad / TERN_SCREEN_BLOCK * 4; }

/* A hidden state as the kernels read it. With Y = the nearest integers to x / step, |Y| <= TERN_SCREEN_X_MAX, and Z =
 * the nearest to x / fine_step, |Z| <= 127: */
typedef struct tern_screen_x {
    const int8_t *digits;     /* [k_pad / 8][16]: 2 Y = 256 hi + lo, as hi[0..3], lo[0..3], hi[4..7], lo[4..7] */
    const int32_t *sums;      /* [k_pad / 32]: -15 sum(Y) of a block */
    const int32_t *both_sums; /* [k_pad / 32]: -62 sum(Y) of a block */
    const int8_t *fine;       /* [k_pad]: Z */
    const int32_t *fine_sums; /* [k_pad / 32]: -sum(Z) of a block */
    float step, half_fine_step;
    float offset; /* centre . x */
} tern_screen_x;

/* Where a packed group goes. */
typedef struct tern_screen_group {
    uint8_t *coarse, *steps, *fine;
    float *row_steps, *coarse_errors, *fine_errors, *norms; /* [16] */
} tern_screen_group;

typedef struct tern_screen_kernels {
    /* rows [n_rows <= 16][k_pad] and centre [k_pad], zeros behind k, -> one group. Missing rows become zeros. The norms
     * are not less than the Euclidean norms of (row - centre - what the coarse plane stands for), of the same with the
     * fine plane, and of (row - centre), and at most a part in 10^5 above them (or 1e-30). A row that holds anything
     * not finite, or whose norm is above 1e15, gets infinite ones. scratch: tern_screen_scratch_bytes(k_pad), aligned
     * to 64. */
    void (*pack_group)(const float *rows, size_t n_rows, size_t k_pad, const float *centre, tern_screen_group group,
                       void *scratch);

    /* y[t * ld_y + r], r < 16 * n_groups: with D[b] = the sum over block b of (2 h - 15) Y, exact in an integer and in
     * a float, F = fma((float)u[b], (float)D[b], F) for b = 0, 1, ... from 0; y = fma(F * row_step, step, offset). */
    void (*coarse)(const uint8_t *coarse, const uint8_t *steps, const float *row_steps, size_t k_pad, size_t n_groups,
                   const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y);

    /* The two planes together, for no more products than the coarse one takes: with E[b] = the sum over block b of
     * (2 q - 31) (2 Y), an exact integer, F = fma((float)u[b], (float)E[b], F) for b = 0, 1, ... from 0;
     * y = fma(F * row_step, step / 4, offset). */
    void (*both)(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, const float *row_steps, size_t k_pad,
                 size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y);

    /* One group, values [n_tokens][16] in place: y[t][r] = fma((float)G * row_step, half_fine_step, y[t][r]), with G
     * the sum over all columns of u (2 l - 1) Z, an exact integer while 127 * 127 * k_pad < 2^31. */
    void (*fine)(const uint8_t *fine, const uint8_t *steps, const float *row_steps, size_t k_pad,
                 const tern_screen_x *x, size_t n_tokens, float *const *y);

    /* peaks[g] = the largest of y[r] + bonus[r] of group g's 16 rows (bonus NULL: of y[r]); no NaN. */
    void (*peaks)(const float *y, const float *bonus, size_t n_groups, float *peaks);

    /* Bit r of masks[g]: not ((y[r] + bound[r]) + bonus[r] < least), bound = fma(coarse_error, c[0], fma(fine_error,
     * c[1], fma(norm, c[2], c[3]))); without bonus (NULL) that sum is not made. A NaN keeps the row. */
    void (*keep)(const float *y, const float *bonus, const float *coarse_errors, const float *fine_errors,
                 const float *norms, const float c[4], float least, size_t n_groups, uint16_t *masks);
} tern_screen_kernels;

extern const tern_screen_kernels tern_screen_kernels_ref, tern_screen_kernels_avx2, tern_screen_kernels_avx512vnni;

#endif
