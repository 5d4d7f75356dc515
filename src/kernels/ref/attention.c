/* The reference of the attention kernels: one block of keys or values of one KV head, shared by n_q query heads. */
#include "base/half.h"
#include "kernels/ref/lanes.h"
#include "kernels/rungs.h"

void tern_scores_f32_ref(const float *q, size_t n_q, const float *k, size_t n_keys, size_t head_dim, float scale,
                         float *scores, size_t ld) {
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++)
            scores[h * ld + j] = tern_ref_dot(q + h * head_dim, k + j * head_dim, head_dim) * scale;
}

void tern_scores_f16_ref(const float *q, size_t n_q, const uint16_t *k, size_t n_keys, size_t head_dim, float scale,
                         float *scores, size_t ld) {
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++) {
            float r[TERN_LANES] = {0};
            for (size_t d = 0; d < head_dim; d++)
                r[d % TERN_LANES] = fmaf(q[h * head_dim + d], tern_f16_to_f32(k[j * head_dim + d]), r[d % TERN_LANES]);
            scores[h * ld + j] = tern_ref_fold(r) * scale;
        }
}

void tern_scores_q8_ref(const int8_t *q, const float *q_scale, size_t n_q, const int8_t *k, const float *k_scale,
                        size_t n_keys, size_t head_dim, float scale, float *scores, size_t ld) {
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++) {
            int32_t dot = 0;
            for (size_t d = 0; d < head_dim; d++)
                dot += q[h * head_dim + d] * k[j * head_dim + d];
            scores[h * ld + j] = (float)dot * (q_scale[h] * k_scale[j]) * scale;
        }
}

void tern_values_f32_ref(const float *p, size_t ld, size_t n_q, const float *v, size_t n_keys, size_t head_dim,
                         float *out) {
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++)
            for (size_t d = 0; d < head_dim; d++)
                out[h * head_dim + d] = fmaf(p[h * ld + j], v[j * head_dim + d], out[h * head_dim + d]);
}

void tern_values_f16_ref(const float *p, size_t ld, size_t n_q, const uint16_t *v, size_t n_keys, size_t head_dim,
                         float *out) {
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++)
            for (size_t d = 0; d < head_dim; d++)
                out[h * head_dim + d] =
                    fmaf(p[h * ld + j], tern_f16_to_f32(v[j * head_dim + d]), out[h * head_dim + d]);
}

void tern_values_q8_ref(const float *p, size_t ld, size_t n_q, const int8_t *v, const float *v_scale, size_t n_keys,
                        size_t head_dim, float *out) {
    for (size_t h = 0; h < n_q; h++)
        for (size_t j = 0; j < n_keys; j++) {
            float weight = p[h * ld + j] * v_scale[j];
            for (size_t d = 0; d < head_dim; d++)
                out[h * head_dim + d] = fmaf(weight, (float)v[j * head_dim + d], out[h * head_dim + d]);
        }
}
