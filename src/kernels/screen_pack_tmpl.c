/*
 * Packing of the head screen, plain C that compilers turn into vectors of the including file's ISA. The file defines
 * SCREEN_PACK, the name of the function.
 */
#include <math.h>
#include <string.h>

#include "kernels/screen.h"

enum { PACK_LANES = 8 };

/* Norms are kept as upper bounds: the sums below are doubles, off by parts in 10^12, and rounding to float by parts in
 * 10^7. */
static float pack_norm(const double *lanes) {
    double sum = 0;
    for (size_t i = 0; i < PACK_LANES; i++)
        sum += lanes[i];
    return sum <= 1e30 ? (float)(sqrt(sum) * (1 + 0x1p-20) + 1e-36) : INFINITY;
}

/* largest[b] = max |row - centre| of block b, the sum of squares in lanes. */
static void pack_measure(const float *row, const float *centre, size_t k_pad, float *residual, float *largest,
                         double *lanes) {
    for (size_t first = 0; first < k_pad; first += TERN_SCREEN_BLOCK) {
        float block[TERN_SCREEN_BLOCK], most[16] = {0};
        for (size_t i = 0; i < TERN_SCREEN_BLOCK; i++)
            residual[first + i] = block[i] = row[first + i] - centre[first + i];
        for (size_t i = 0; i < TERN_SCREEN_BLOCK; i += 16)
            for (size_t j = 0; j < 16; j++) {
                float magnitude = fabsf(block[i + j]);
                most[j] = magnitude > most[j] ? magnitude : most[j];
            }
        for (size_t half = 8; half > 0; half /= 2)
            for (size_t j = 0; j < half; j++)
                most[j] = most[j + half] > most[j] ? most[j + half] : most[j];
        largest[first / TERN_SCREEN_BLOCK] = most[0];
        for (size_t i = 0; i < TERN_SCREEN_BLOCK; i += PACK_LANES)
            for (size_t j = 0; j < PACK_LANES; j++) {
                double d = (double)row[first + i + j] - (double)centre[first + i + j];
                lanes[j] += d * d;
            }
    }
}

/* Codes of one block and the squares of their errors. inverse = 0 makes all codes 16, for u = 0. */
static void pack_block(const float *row, const float *centre, const float *residual, double step, float inverse,
                       uint8_t *codes, double *coarse, double *fine) {
    int32_t q[TERN_SCREEN_BLOCK];
    for (size_t i = 0; i < TERN_SCREEN_BLOCK; i++) {
        float scaled = residual[i] * inverse;
        scaled = scaled + 16;
        scaled = scaled > 0 ? scaled : 0;
        scaled = scaled < 31 ? scaled : 31;
        q[i] = (int32_t)scaled;
        codes[i] = (uint8_t)q[i];
    }
    for (size_t i = 0; i < TERN_SCREEN_BLOCK; i += PACK_LANES)
        for (size_t j = 0; j < PACK_LANES; j++) {
            double d = (double)row[i + j] - (double)centre[i + j];
            double e4 = d - step * (double)((q[i + j] | 1) - 16); /* 2 h - 15 = (q | 1) - 16 */
            double e5 = d - step * ((double)q[i + j] - 15.5);
            coarse[j] += e4 * e4;
            fine[j] += e5 * e5;
        }
}

/* Row r's codes [k_pad] into the planes. */
static void pack_planes(const uint8_t *codes, size_t r, size_t k_pad, uint8_t *coarse, uint8_t *fine) {
    for (size_t chunk = 0; chunk < k_pad / 8; chunk++, codes += 8) {
        uint32_t low, high;
        uint64_t all;
        memcpy(&low, codes, 4);
        memcpy(&high, codes + 4, 4);
        memcpy(&all, codes, 8);
        low = (low >> 1 & 0x0f0f0f0f) | (high >> 1 & 0x0f0f0f0f) << 4;
        memcpy(coarse + chunk * 64 + 4 * r, &low, 4);
        /* the lowest bit of byte i becomes bit i: the product's terms 2^(8 i + 7 j) never meet */
        fine[chunk] = (uint8_t)((all & 0x0101010101010101) * 0x0102040810204080 >> 56);
    }
}

/* One row; residual, codes [k_pad] and largest [k_pad / 32] are scratch. */
static void pack_row(const float *row, size_t r, size_t k_pad, const float *centre, float *residual, float *largest,
                     uint8_t *codes, tern_screen_group group) {
    double norm[PACK_LANES] = {0}, coarse[PACK_LANES] = {0}, fine[PACK_LANES] = {0};
    pack_measure(row, centre, k_pad, residual, largest, norm);
    float most = 0;
    size_t n_blocks = k_pad / TERN_SCREEN_BLOCK;
    for (size_t b = 0; b < n_blocks; b++)
        most = largest[b] > most ? largest[b] : most;
    group.norms[r] = pack_norm(norm);
    bool empty = !(most > 1e-30f) || !(group.norms[r] < INFINITY); /* also keeps steps from becoming denormal */
    float row_step = empty ? 0 : most * (1 / (15.5f * 127));
    group.row_steps[r] = row_step;
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * TERN_SCREEN_BLOCK;
        float u = empty ? 0 : ceilf(largest[b] / (15.5f * row_step));
        u = u < 127 ? u : 127;
        group.steps[b / 4 * 64 + 4 * r + b % 4] = (uint8_t)u;
        pack_block(row + at, centre + at, residual + at, (double)row_step * (double)u, u > 0 ? 1 / (row_step * u) : 0,
                   codes + at, coarse, fine);
    }
    group.coarse_errors[r] = pack_norm(coarse);
    group.fine_errors[r] = pack_norm(fine);
    if (!(group.norms[r] < INFINITY))
        group.coarse_errors[r] = group.fine_errors[r] = INFINITY;
    pack_planes(codes, r, k_pad, group.coarse, group.fine + r * tern_screen_fine_bytes(k_pad));
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
        for (size_t r = n_rows; r < TERN_SCREEN_ROWS; r++)
            group.row_steps[r] = group.coarse_errors[r] = group.fine_errors[r] = group.norms[r] = 0;
    }
    for (size_t r = 0; r < n_rows; r++)
        pack_row(rows + r * k_pad, r, k_pad, centre, residual, largest, codes, group);
}
