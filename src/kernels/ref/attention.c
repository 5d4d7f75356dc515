/* The reference of the attention kernels. Written to be read; its order of operations defines the result. */
#include "kernels/attention.h"

#include "base/half.h"
#include "kernels/ref/lanes.h"
#include "kernels/rungs.h"

enum { BLOCK = TERN_KEY_BLOCK };

static void scores_f32(const float *q, size_t n_q, const float *k, size_t n_keys, size_t head_dim, float scale,
                       float *scores, size_t ld, const void *ahead) {
    (void)ahead;
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++) {
            float r = 0.0f;
            for (size_t d = 0; d < head_dim; d++)
                r = fmaf(q[h * head_dim + d], k[d * BLOCK + j], r);
            scores[h * ld + j] = r * scale;
        }
}

static void scores_f16(const float *q, size_t n_q, const uint16_t *k, size_t n_keys, size_t head_dim, float scale,
                       float *scores, size_t ld, const void *ahead) {
    (void)ahead;
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++) {
            float r = 0.0f;
            for (size_t d = 0; d < head_dim; d++)
                r = fmaf(q[h * head_dim + d], tern_f16_to_f32(k[d * BLOCK + j]), r);
            scores[h * ld + j] = r * scale;
        }
}

static void scores_q8(const int8_t *q, const float *q_scale, const int32_t *q_sum, size_t n_q, const int8_t *k,
                      const float *k_scale, size_t n_keys, size_t head_dim, float *scores, size_t ld,
                      const void *ahead) {
    (void)q_sum; /* for kernels that multiply keys + 128 and subtract */
    (void)ahead;
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++) {
            int32_t dot = 0;
            for (size_t d = 0; d < head_dim; d++)
                dot += q[h * tern_kv_pad(head_dim) + d] * k[(d / 4 * BLOCK + j) * 4 + d % 4];
            scores[h * ld + j] = (float)dot * (q_scale[h] * k_scale[j]);
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

static float softmax_exp(float *scores, size_t n, float *max) {
    float largest = -INFINITY;
    for (size_t i = 0; i < n; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    float sum[TERN_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        scores[i] = exp_ref(scores[i] - largest);
        sum[i % TERN_LANES] += scores[i];
    }
    *max = largest;
    return tern_ref_fold(sum);
}

static void values_f32(const float *p, size_t ld, size_t n_q, const float *v, size_t n_keys, size_t head_dim,
                       float *out, const void *ahead) {
    (void)ahead;
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++)
            for (size_t d = 0; d < head_dim; d++)
                out[h * head_dim + d] = fmaf(p[h * ld + j], v[j * head_dim + d], out[h * head_dim + d]);
}

static void values_f16(const float *p, size_t ld, size_t n_q, const uint16_t *v, size_t n_keys, size_t head_dim,
                       float *out, const void *ahead) {
    (void)ahead;
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++)
            for (size_t d = 0; d < head_dim; d++)
                out[h * head_dim + d] =
                    fmaf(p[h * ld + j], tern_f16_to_f32(v[j * head_dim + d]), out[h * head_dim + d]);
}

static void values_q8(const float *p, size_t ld, size_t n_q, const int8_t *v, const float *v_scale, size_t n_keys,
                      size_t head_dim, float *out, const void *ahead) {
    (void)ahead;
    for (size_t h = 0; h < n_q; h++) {
        float w[BLOCK], largest = TERN_WEIGHT_TINY;
        for (size_t j = 0; j < n_keys; j++) {
            w[j] = p[h * ld + j] > 0.0f ? p[h * ld + j] * v_scale[j] : 0.0f;
            largest = w[j] > largest ? w[j] : largest;
        }
        float step = largest / (float)TERN_WEIGHT_MAX, per_step = 1.0f / step;
        int32_t n[BLOCK];
        for (size_t j = 0; j < n_keys; j++) {
            float rounded = rintf(w[j] * per_step);
            n[j] = rounded > 0.0f ? (int32_t)rounded : 0; /* not for NaN; at most TERN_WEIGHT_MAX: w <= largest */
        }
        for (size_t d = 0; d < head_dim; d++) {
            int32_t sum = 0;
            for (size_t j = 0; j < n_keys; j++)
                sum += n[j] * v[(j / 4 * head_dim + d) * 4 + j % 4];
            out[h * head_dim + d] = fmaf((float)sum, step, out[h * head_dim + d]);
        }
    }
}

static void merge(float *max, float *sum, float *out, const float *max_i, const float *sum_i, const float *out_i,
                  size_t n_q, size_t head_dim) {
    for (size_t h = 0; h < n_q; h++) {
        float m = max_i[h] > max[h] ? max_i[h] : max[h];
        float a = exp_ref(max[h] - m), b = exp_ref(max_i[h] - m);
        for (size_t d = h * head_dim; d < (h + 1) * head_dim; d++)
            out[d] = fmaf(out[d], a, out_i[d] * b);
        sum[h] = fmaf(sum[h], a, sum_i[h] * b);
        max[h] = m;
    }
}

const tern_attention_kernels tern_attention_ref = {
    .scores_f32 = scores_f32,
    .scores_f16 = scores_f16,
    .scores_q8 = scores_q8,
    .softmax_exp = softmax_exp,
    .values_f32 = values_f32,
    .values_f16 = values_f16,
    .values_q8 = values_q8,
    .merge = merge,
};
