/*
 * Packing of the head screen, plain C that compilers turn into vectors of the including file's ISA. The file defines
 * SCREEN_PACK, the name of the function.
 */
#include <math.h>
#include <string.h>

#include "kernels/screen.h"

/* 16 lanes in the compiler's own vectors: it splits them for narrower registers. Masks instead of ?:, which C has not
 * for them. */
typedef float pack_f16 __attribute__((vector_size(64)));
typedef int32_t pack_i16 __attribute__((vector_size(64)));
typedef uint8_t pack_b16 __attribute__((vector_size(16)));

#define PACK_LOAD(vector, from) memcpy(&(vector), (from), sizeof(vector))

/* An upper bound of a norm from its sum of squares, which was made of floats in 16 lanes: n additions lose n 2^-24 of
 * it, terms below the smallest float less than 1e-19 of the norm. `blur` comes from the terms' own rounding. */
static float pack_norm(const pack_f16 *squares, size_t n, double blur) {
    float lanes[16];
    double sum = 0;
    memcpy(lanes, squares, sizeof lanes);
    for (size_t i = 0; i < 16; i++)
        sum += (double)lanes[i];
    if (!(sum <= 1e30))
        return INFINITY;
    return (float)((sqrt(sum) * (1 + (double)(n / 16 + 8) * 0x1p-24) + blur + 1e-19) * (1 + 0x1p-20));
}

/* residual = row - centre, largest[b] = its largest magnitude in block b (an infinity or NaN is larger than all), and
 * its sum of squares. */
static void pack_measure(const float *row, const float *centre, size_t k_pad, float *residual, float *largest,
                         pack_f16 *sum) {
    pack_f16 squares = {0};
    for (size_t b = 0; b < k_pad / TERN_SCREEN_BLOCK; b++) {
        pack_i16 most = {0};
        for (size_t i = b * TERN_SCREEN_BLOCK; i < (b + 1) * TERN_SCREEN_BLOCK; i += 16) {
            pack_f16 values, middle;
            PACK_LOAD(values, row + i);
            PACK_LOAD(middle, centre + i);
            values = values - middle;
            memcpy(residual + i, &values, sizeof values);
            squares = squares + values * values;
            pack_i16 magnitude = (pack_i16)values & 0x7fffffff, more = magnitude > most; /* ordered as the floats are */
            most = (magnitude & more) | (most & ~more);
        }
        int32_t lanes[16];
        memcpy(lanes, &most, sizeof lanes);
        for (size_t half = 8; half > 0; half /= 2)
            for (size_t j = 0; j < half; j++)
                lanes[j] = lanes[j + half] > lanes[j] ? lanes[j + half] : lanes[j];
        memcpy(&largest[b], lanes, sizeof largest[b]);
    }
    *sum = squares;
}

/* Codes of one block, and the squares of their errors added. inverse = 0 makes all codes 16, for u = 0. */
static void pack_block(const float *residual, float step, float inverse, uint8_t *codes, pack_f16 *coarse,
                       pack_f16 *fine) {
    for (size_t i = 0; i < TERN_SCREEN_BLOCK; i += 16) {
        pack_f16 value, scaled;
        PACK_LOAD(value, residual + i);
        scaled = value * inverse;
        scaled = scaled + 16;
        scaled = (pack_f16)((pack_i16)scaled & (scaled > 0)); /* NaN: 0 */
        pack_i16 q = __builtin_convertvector(scaled, pack_i16), fits = q < 31;
        q = (q & fits) | (31 & ~fits);
        pack_b16 bytes = __builtin_convertvector(q, pack_b16);
        memcpy(codes + i, &bytes, sizeof bytes);
        pack_f16 e4 = value - __builtin_convertvector((q | 1) - 16, pack_f16) * step; /* 2 h - 15 = (q | 1) - 16 */
        pack_f16 e5 = value - (__builtin_convertvector(q, pack_f16) - 15.5f) * step;
        *coarse = *coarse + e4 * e4;
        *fine = *fine + e5 * e5;
    }
}

/* Row r's codes [k_pad] into the planes. */
static void pack_planes(const uint8_t *codes, size_t r, size_t k_pad, uint8_t *coarse, uint8_t *fine) {
    for (size_t block = 0; block < k_pad / TERN_SCREEN_BLOCK; block++) {
        uint32_t words[8], bits = 0; /* four columns each */
        memcpy(words, codes + block * TERN_SCREEN_BLOCK, sizeof words);
        for (size_t i = 0; i < 8; i++)
            bits |= (words[i] & 0x01010101) << i;
        memcpy(fine + block * 64 + 4 * r, &bits, 4);
        for (size_t i = 0; i < 8; i += 2) {
            uint32_t both = (words[i] >> 1 & 0x0f0f0f0f) | (words[i + 1] >> 1 & 0x0f0f0f0f) << 4;
            memcpy(coarse + (4 * block + i / 2) * 64 + 4 * r, &both, 4);
        }
    }
}

/* One row; residual, codes [k_pad] and largest [k_pad / 32] are scratch. */
static void pack_row(const float *row, size_t r, size_t k_pad, const float *centre, float *residual, float *largest,
                     uint8_t *codes, tern_screen_group group) {
    pack_f16 squares, coarse = {0}, fine = {0};
    pack_measure(row, centre, k_pad, residual, largest, &squares);
    float most = 0;
    size_t n_blocks = k_pad / TERN_SCREEN_BLOCK;
    for (size_t b = 0; b < n_blocks; b++)
        most = largest[b] > most ? largest[b] : most;
    float norm = pack_norm(&squares, k_pad, 0);
    norm = norm <= 1e15f ? norm : INFINITY;
    bool empty = !(most > 1e-30f) || !(norm < INFINITY); /* also keeps steps from becoming denormal */
    float row_step = empty ? 0 : most * (1 / (15.5f * 127));
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * TERN_SCREEN_BLOCK;
        float u = empty ? 0 : ceilf(largest[b] / (15.5f * row_step));
        u = u < 127 ? u : 127;
        group.steps[b / 4 * 64 + 4 * r + b % 4] = (uint8_t)u;
        pack_block(residual + at, row_step * u, u > 0 ? 1 / (row_step * u) : 0, codes + at, &coarse, &fine);
    }
    /* An error e = d - v is made of d, rounded once, and v, rounded twice, and rounded itself: off by at most
     * 4 * 2^-24 (|d| + |e|). */
    group.row_steps[r] = row_step;
    group.norms[r] = norm;
    group.coarse_errors[r] = norm < INFINITY ? pack_norm(&coarse, k_pad, (double)norm * 0x1p-22) : INFINITY;
    group.fine_errors[r] = norm < INFINITY ? pack_norm(&fine, k_pad, (double)norm * 0x1p-22) : INFINITY;
    pack_planes(codes, r, k_pad, group.coarse, group.fine);
}

void SCREEN_PACK(const float *rows, size_t n_rows, size_t k_pad, const float *centre, tern_screen_group group,
                 void *scratch);
void SCREEN_PACK(const float *rows, size_t n_rows, size_t k_pad, const float *centre, tern_screen_group group,
                 void *scratch) {
    float *residual = scratch, *largest = residual + k_pad;
    uint8_t *codes = (uint8_t *)(largest + k_pad / TERN_SCREEN_BLOCK);
    if (n_rows < TERN_SCREEN_ROWS) {
        memset(group.coarse, 0, tern_screen_coarse_bytes(k_pad));
        memset(group.steps, 0, tern_screen_step_bytes(k_pad));
        memset(group.fine, 0, tern_screen_fine_bytes(k_pad));
        for (size_t r = n_rows; r < TERN_SCREEN_ROWS; r++)
            group.row_steps[r] = group.coarse_errors[r] = group.fine_errors[r] = group.norms[r] = 0;
    }
    for (size_t r = 0; r < n_rows; r++)
        pack_row(rows + r * k_pad, r, k_pad, centre, residual, largest, codes, group);
}
