/* The reference of the float kernels. Written to be read; its order of operations defines the result. */
#include "base/half.h"
#include "kernels/ref/lanes.h"
#include "kernels/rungs.h"

void tern_rms_norm_ref(const float *x, const float *gain, size_t n, float eps, float *out) {
    float r = 1.0f / sqrtf(tern_ref_dot(x, x, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * r * gain[i];
}

void tern_add_ref(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

void tern_relu2_mul_ref(const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = gate[i] > 0.0f ? gate[i] * gate[i] * up[i] : 0.0f;
}

void tern_rope_ref(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin) {
    size_t h = head_dim / 2;
    for (size_t head = 0; head < n_heads; head++) {
        float *a = x + head * head_dim, *b = a + h;
        for (size_t i = 0; i < h; i++) {
            float a_cos = a[i] * cos[i], b_sin = b[i] * sin[i];
            float b_cos = b[i] * cos[i], a_sin = a[i] * sin[i];
            a[i] = a_cos - b_sin;
            b[i] = b_cos + a_sin;
        }
    }
}

/*
 * exp(x) for x <= 0, less than 1 ulp off (tests/kernels measures it). Cody and Waite's reduction
 * x = n ln2 + r, |r| <= ln2 / 2 (a little more by rounding), then the Taylor polynomial of degree 7, whose
 * truncation error, r^8 / 8! < 6e-9, is a tenth of an ulp, and 2^n by its bits. ln2 is split so that
 * n * LN2_HI is exact (LN2_HI has 15 significant bits, n 7).
 * Below -87, e^-87 = 1.6e-38 being the edge of the normal numbers, the result is 0; NaN gives NaN.
 * Every rung does these operations in this order.
 */
static float exp_ref(float x) {
    if (x < TERN_EXP_MIN)
        return 0.0f;
    if (!(x == x))
        return x;
    float n = rintf(x * TERN_EXP_LOG2E);
    float r = fmaf(n, -TERN_EXP_LN2_HI, x);
    r = fmaf(n, -TERN_EXP_LN2_LO, r);
    float p = 1.0f / 5040.0f;
    p = fmaf(p, r, 1.0f / 720.0f);
    p = fmaf(p, r, 1.0f / 120.0f);
    p = fmaf(p, r, 1.0f / 24.0f);
    p = fmaf(p, r, 1.0f / 6.0f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * tern_f32_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

float tern_softmax_exp_ref(float *scores, size_t n) {
    float largest = -INFINITY;
    for (size_t i = 0; i < n; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    float sum[TERN_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        scores[i] = exp_ref(scores[i] - largest);
        sum[i % TERN_LANES] += scores[i];
    }
    return tern_ref_fold(sum);
}

void tern_divide_ref(float *x, size_t n, float d) {
    for (size_t i = 0; i < n; i++)
        x[i] /= d;
}

void tern_f32_to_f16_ref(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = tern_f32_to_f16(x[i]);
}
