/*
 * Attention over a KV cache of blocks of TERN_KEY_BLOCK keys and as many values, one KV head, n_q queries.
 *
 * THE ORDER OF OPERATIONS, which is the same for every rung, thread count and batch (kernels.h), is a function of the
 * position only. The keys 0 .. position are cut into splits of TERN_KEY_SPLIT. In each split the softmax is
 * taken with the split's own maximum, and the values are summed block by block (the functions below say how). Split 0
 * is the first state (maximum, sum, out) of a query; the others are merged into it in order; at the end out is divided
 * by the sum. Splits are work for different threads, however few KV heads there are (flash decoding, Dao et al. 2023).
 *
 * KEYS lie transposed, so that a vector holds one channel (float32, float16) or four (int8) of 16 keys, and no sum is
 * taken across lanes:
 *   float32, float16   [head_dim][TERN_KEY_BLOCK]
 *   int8               [tern_kv_pad(head_dim) / 4][TERN_KEY_BLOCK][4], channel d of key j at d / 4, j, d % 4
 * VALUES:
 *   float32, float16   [TERN_KEY_BLOCK][head_dim]
 *   int8               [TERN_KEY_BLOCK / 4][head_dim][4], channel d of value j at j / 4, d, j % 4
 * An int8 key or value is quantised as quantize_i8 does, scale = 1 / s, all channels of a head together, never -128.
 *
 * n_keys is 1 .. TERN_KEY_BLOCK; the rest of a block may be read, and has no influence. `ahead`, if not NULL, is memory
 * of the size of the block's keys (values) that is wanted next: it is prefetched along the way.
 */
#ifndef TERN_KERNELS_ATTENTION_H
#define TERN_KERNELS_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

enum { TERN_KEY_BLOCK = 64, TERN_KEY_SPLIT = 4 * TERN_KEY_BLOCK };

/* int8 queries and keys are padded with zeros to this. */
static inline size_t tern_kv_pad(size_t head_dim) { return (head_dim + 3) / 4 * 4; }

/* Weights of int8 values have 14 bits, two digits of 7: a digit times an int8 twice fits 16 bits (vpmaddubsw), and is
 * signed and unsigned alike (sdot, vpdpbusd). */
enum { TERN_WEIGHT_BITS = 14, TERN_WEIGHT_MAX = (1 << TERN_WEIGHT_BITS) - 1 };
/* The largest weight of a block counts as at least this. */
#define TERN_WEIGHT_TINY 1e-30f

typedef struct tern_attention_kernels {
    /* scores[h * ld + j] = dot(q[h], key j) * scale, q [n_q][head_dim], r = fma(q[d], k[d], r) for d = 0, 1, ... in
     * order from r = 0. ld is at least TERN_KEY_BLOCK; scores of j >= n_keys are written, too, and mean nothing. */
    void (*scores_f32)(const float *q, size_t n_q, const float *k, size_t n_keys, size_t head_dim, float scale,
                       float *scores, size_t ld, const void *ahead);
    void (*scores_f16)(const float *q, size_t n_q, const uint16_t *k, size_t n_keys, size_t head_dim, float scale,
                       float *scores, size_t ld, const void *ahead);
    /* scores[h * ld + j] = (float)idot * (q_scale[h] * k_scale[j]), the integer dot exact. q [n_q][tern_kv_pad],
     * never -128, q_sum its sums; q_scale has the softmax's scale in it. */
    void (*scores_q8)(const int8_t *q, const float *q_scale, const int32_t *q_sum, size_t n_q, const int8_t *k,
                      const float *k_scale, size_t n_keys, size_t head_dim, float *scores, size_t ld,
                      const void *ahead);

    /* In place over scores [n]: e[j] = exp(scores[j] - max), *max the largest (NaN aside; -infinity if none); returns
     * the sum in the 16 lanes of kernels.h (plain adds). exp is the library's own (ref/exp.h says how), the same
     * bits everywhere, within 1 ulp or so of the true value. */
    float (*softmax_exp)(float *scores, size_t n, float *max);

    /* out[h * head_dim + d] = fma(p[h * ld + j], v[j][d], out[..]) for j = 0, 1, ... in order. Adds to out. */
    void (*values_f32)(const float *p, size_t ld, size_t n_q, const float *v, size_t n_keys, size_t head_dim,
                       float *out, const void *ahead);
    void (*values_f16)(const float *p, size_t ld, size_t n_q, const uint16_t *v, size_t n_keys, size_t head_dim,
                       float *out, const void *ahead);
    /* The weights w[j] = p[j] > 0 ? p[j] * v_scale[j] : 0 of a query are rounded to steps of the block:
     * step = max(w[0], ..., TERN_WEIGHT_TINY) / TERN_WEIGHT_MAX, n[j] = max(round_half_even(w[j] * (1 / step)), 0), 0
     * for NaN. Then out[d] = fma((float)sum_j(n[j] * v[j][d]), step, out[d]), the sum an exact integer. The rounding is
     * 2^-15 of the block's largest weight, against 2^-8 of the largest channel in the values themselves. */
    void (*values_q8)(const float *p, size_t ld, size_t n_q, const int8_t *v, const float *v_scale, size_t n_keys,
                      size_t head_dim, float *out, const void *ahead);

    /* Merge the next split's state (max_i, sum_i, out_i) into (max, sum, out), for n_q queries:
     * m = max(max, max_i), a = exp(max - m), b = exp(max_i - m);
     * sum = fma(sum, a, sum_i * b), out[d] = fma(out[d], a, out_i[d] * b), max = m. */
    void (*merge)(float *max, float *sum, float *out, const float *max_i, const float *sum_i, const float *out_i,
                  size_t n_q, size_t head_dim);
} tern_attention_kernels;

#endif
