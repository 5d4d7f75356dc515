/* The reference of the head screen (kernels/screen.h). */
#include <math.h>

#define SCREEN_PACK tern_screen_pack_group_ref
#include "kernels/screen_pack_tmpl.c"

/* h of a row of the group and a column */
static int coarse_code(const uint8_t *coarse, size_t row, size_t column) {
    uint8_t byte = coarse[column / 8 * 64 + 4 * row + column % 4];
    return column % 8 < 4 ? byte & 15 : byte >> 4;
}

static int step_of(const uint8_t *steps, size_t row, size_t block) {
    return steps[block / 4 * 64 + 4 * row + block % 4];
}

/* 2 Y of a column */
static int twice_y(const tern_screen_x *x, size_t column) {
    const int8_t *chunk = x->digits + column / 8 * 16 + column % 8 / 4 * 8;
    return 256 * chunk[column % 4] + chunk[4 + column % 4];
}

static float coarse_row(const uint8_t *coarse, const uint8_t *steps, float row_step, size_t k_pad, size_t row,
                        const tern_screen_x *x) {
    float sum = 0;
    for (size_t block = 0; block < k_pad / TERN_SCREEN_BLOCK; block++) {
        int32_t dot = x->sums[block];
        for (size_t i = 0; i < TERN_SCREEN_BLOCK; i++) {
            size_t column = block * TERN_SCREEN_BLOCK + i;
            dot += coarse_code(coarse, row, column) * twice_y(x, column);
        }
        sum = fmaf((float)step_of(steps, row, block), (float)dot, sum);
    }
    return fmaf(sum * row_step, x->step, x->offset);
}

static void screen_coarse(const uint8_t *coarse, const uint8_t *steps, const float *row_steps, size_t k_pad,
                          size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t g = 0; g < n_groups; g++)
        for (size_t r = 0; r < TERN_SCREEN_ROWS; r++)
            for (size_t t = 0; t < n_tokens; t++)
                y[t * ld_y + g * TERN_SCREEN_ROWS + r] =
                    coarse_row(coarse + g * tern_screen_coarse_bytes(k_pad), steps + g * tern_screen_step_bytes(k_pad),
                               row_steps[g * TERN_SCREEN_ROWS + r], k_pad, r, &x[t]);
}

static int fine_code(const uint8_t *fine, size_t row, size_t column) {
    return fine[column / TERN_SCREEN_BLOCK * 64 + 4 * row + column % 4] >> column % TERN_SCREEN_BLOCK / 4 & 1;
}

static float both_row(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, float row_step, size_t k_pad,
                      size_t row, const tern_screen_x *x) {
    float sum = 0;
    for (size_t block = 0; block < k_pad / TERN_SCREEN_BLOCK; block++) {
        int32_t dot = x->both_sums[block]; /* what does not depend on q */
        for (size_t i = 0; i < TERN_SCREEN_BLOCK; i++) {
            size_t column = block * TERN_SCREEN_BLOCK + i;
            int q = 2 * coarse_code(coarse, row, column) + fine_code(fine, row, column);
            dot += 2 * q * twice_y(x, column);
        }
        sum = fmaf((float)step_of(steps, row, block), (float)dot, sum);
    }
    return fmaf(sum * row_step, x->step * 0.25f, x->offset);
}

static void screen_both(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, const float *row_steps,
                        size_t k_pad, size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t g = 0; g < n_groups; g++)
        for (size_t r = 0; r < TERN_SCREEN_ROWS; r++)
            for (size_t t = 0; t < n_tokens; t++)
                y[t * ld_y + g * TERN_SCREEN_ROWS + r] = both_row(
                    coarse + g * tern_screen_coarse_bytes(k_pad), fine + g * tern_screen_fine_bytes(k_pad),
                    steps + g * tern_screen_step_bytes(k_pad), row_steps[g * TERN_SCREEN_ROWS + r], k_pad, r, &x[t]);
}

static int32_t fine_sum(const uint8_t *fine, const uint8_t *steps, size_t k_pad, size_t row, const tern_screen_x *x) {
    int32_t sum = 0;
    for (size_t i = 0; i < k_pad; i++) {
        size_t block = i / TERN_SCREEN_BLOCK;
        sum += step_of(steps, row, block) * (fine_code(fine, row, i) ? x->fine[i] : -x->fine[i]);
    }
    return sum;
}

static void screen_fine(const uint8_t *fine, const uint8_t *steps, const float *row_steps, size_t k_pad,
                        const tern_screen_x *x, size_t n_tokens, float *const *y) {
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < TERN_SCREEN_ROWS; r++) {
            float scaled = (float)fine_sum(fine, steps, k_pad, r, &x[t]) * row_steps[r];
            y[t][r] = fmaf(scaled, x[t].half_fine_step, y[t][r]);
        }
}

static void screen_peaks(const float *y, const float *bonus, size_t n_groups, float *peaks) {
    for (size_t g = 0; g < n_groups; g++) {
        peaks[g] = -INFINITY;
        for (size_t i = g * TERN_SCREEN_ROWS; i < (g + 1) * TERN_SCREEN_ROWS; i++) {
            float value = bonus ? y[i] + bonus[i] : y[i];
            peaks[g] = value > peaks[g] ? value : peaks[g];
        }
    }
}

static void screen_keep(const float *y, const float *bonus, const float *coarse_errors, const float *fine_errors,
                        const float *norms, const float c[4], float least, size_t n_groups, uint16_t *masks) {
    for (size_t g = 0; g < n_groups; g++) {
        unsigned mask = 0;
        for (size_t r = 0; r < TERN_SCREEN_ROWS; r++) {
            size_t i = g * TERN_SCREEN_ROWS + r;
            float bound = fmaf(coarse_errors[i], c[0], fmaf(fine_errors[i], c[1], fmaf(norms[i], c[2], c[3])));
            float top = y[i] + bound;
            if (bonus)
                top += bonus[i];
            mask |= (unsigned)!(top < least) << r;
        }
        masks[g] = (uint16_t)mask;
    }
}

const tern_screen_kernels tern_screen_kernels_ref = {
    .pack_group = tern_screen_pack_group_ref,
    .coarse = screen_coarse,
    .both = screen_both,
    .fine = screen_fine,
    .peaks = screen_peaks,
    .keep = screen_keep,
};
