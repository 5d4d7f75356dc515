/* The reference of the attention kernels. Written to be read; its order of operations defines the result. */
#include "kernels/attention.h"

#include "base/half.h"
#include "kernels/ref/exp.h"
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

static float softmax_exp(float *scores, size_t n, float *max) {
    float largest = -INFINITY;
    for (size_t i = 0; i < n; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    float sum[TERN_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        scores[i] = tern_ref_exp(scores[i] - largest);
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
        float a = tern_ref_exp(max[h] - m), b = tern_ref_exp(max_i[h] - m);
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
