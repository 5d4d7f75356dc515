/* The reference of the float kernels. Written to be read; its order of operations defines the result. */
#include "base/half.h"
#include "kernels/ref/exp.h"
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

void tern_silu_mul_ref(const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        float e = tern_ref_exp(0.0f - fabsf(gate[i]));
        float above = gate[i] < 0.0f ? gate[i] * e : gate[i];
        out[i] = above / (1.0f + e) * up[i];
    }
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

void tern_divide_ref(float *x, size_t n, float d) {
    for (size_t i = 0; i < n; i++)
        x[i] /= d;
}

void tern_f32_to_f16_ref(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = tern_f32_to_f16(x[i]);
}
