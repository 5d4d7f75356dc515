/* ops_rows.h over the 16-lane vectors of kernels/float_tmpl.c; included after the header that defines them and
 * ROWS_FEATURES. */
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/rungs.h"
#include "kernels/tmpl.h"
#include "kernels/exp_tmpl.c"
#include "train/ops_rows.h"

INLINE v16 load_up_to(const float *p, size_t left) { return left >= 16 ? v16_load(p) : v16_load_n(p, left); }
INLINE void store_up_to(float *p, v16 a, size_t left) {
    if (left >= 16)
        v16_store(p, a);
    else
        v16_store_n(p, a, left);
}

static float dot(const float *a, const float *b, size_t n) {
    v16 sum = v16_zero();
    for (size_t i = 0; i < n; i += 16)
        sum = v16_fma(load_up_to(a + i, n - i), load_up_to(b + i, n - i), sum);
    return v16_fold(sum);
}

static void norm_backward(const float *x, const float *gain, const float *dy, size_t k, float eps, float *dx,
                          float *dgain) {
    v16 squares = v16_zero(), products = v16_zero();
    for (size_t i = 0; i < k; i += 16) {
        v16 value = load_up_to(x + i, k - i);
        v16 slope = v16_mul(load_up_to(dy + i, k - i), load_up_to(gain + i, k - i));
        squares = v16_fma(value, value, squares);
        products = v16_fma(slope, value, products);
    }
    float r = 1.0f / sqrtf(v16_fold(squares) / (float)k + eps);
    float along = -r * r * r / (float)k * v16_fold(products);
    v16 factor = v16_set1(r), back = v16_set1(along);
    for (size_t i = 0; i < k; i += 16) {
        size_t left = k - i;
        v16 value = load_up_to(x + i, left), slope = load_up_to(dy + i, left);
        v16 normed = v16_mul(value, factor);
        store_up_to(dgain + i, v16_fma(slope, normed, load_up_to(dgain + i, left)), left);
        v16 sum = v16_fma(value, back, load_up_to(dx + i, left));
        slope = v16_mul(slope, load_up_to(gain + i, left));
        store_up_to(dx + i, v16_fma(slope, factor, sum), left);
    }
}

static void relu2_backward(const float *gate, const float *up, const float *dh, size_t n, float *dgate, float *dup) {
    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i;
        v16 open = v16_max(load_up_to(gate + i, left), v16_zero()), slope = load_up_to(dh + i, left);
        v16 by_open = v16_mul(slope, open), factor = load_up_to(up + i, left);
        store_up_to(dup + i, v16_mul(by_open, open), left);
        store_up_to(dgate + i, v16_mul(v16_add(by_open, by_open), factor), left);
    }
}

static void scale_row(float *x, size_t n, float factor) {
    v16 by = v16_set1(factor);
    for (size_t i = 0; i < n; i += 16)
        store_up_to(x + i, v16_mul(load_up_to(x + i, n - i), by), n - i);
}

static void attention_gradient(float *p, float *dp, size_t n, float lse, float delta, float scale) {
    v16 shift = v16_set1(lse), mean = v16_set1(delta), factor = v16_set1(scale);
    for (size_t i = 0; i < n; i += 16) {
        v16 weight = v16_exp(v16_sub(v16_load(p + i), shift));
        v16 slope = v16_mul(v16_mul(weight, v16_sub(v16_load(dp + i), mean)), factor);
        v16_store(p + i, weight);
        v16_store(dp + i, slope);
    }
    for (size_t i = n; i < TERN_TILE; i++)
        p[i] = dp[i] = 0.0f;
}

static void turn(const float *from, size_t ld_from, size_t n_rows, size_t n_cols, float *to, size_t ld_to) {
    enum { SIDE = 16 };
    for (size_t i = 0; i < n_rows; i += SIDE)
        for (size_t j = 0; j < n_cols; j += SIDE) {
            size_t rows = n_rows - i < SIDE ? n_rows - i : SIDE, cols = n_cols - j < SIDE ? n_cols - j : SIDE;
            for (size_t c = 0; c < cols; c++)
                for (size_t r = 0; r < rows; r++)
                    to[(j + c) * ld_to + i + r] = from[(i + r) * ld_from + j + c];
        }
}

extern const tern_row_math JOIN(row_math, V16_ISA);
const tern_row_math JOIN(row_math, V16_ISA) = {
    .features = ROWS_FEATURES,
    .dot = dot,
    .norm_backward = norm_backward,
    .relu2_backward = relu2_backward,
    .scale = scale_row,
    .attention_gradient = attention_gradient,
    .turn = turn,
};
