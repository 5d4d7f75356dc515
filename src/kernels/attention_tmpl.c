/*
 * The attention kernels, written once and included by x86/attention_avx2.c, x86/attention_avx512vnni.c,
 * arm/attention_neon.c and arm/attention_dotprod.c, each after the header that defines the float vectors as
 * float_tmpl.c says, and for the integers:
 *
 *   w16                 16 int32
 *   b64                 16 x 4 int8
 *   w16_zero()
 *   b64_load(const void *), b64_load_n(const void *, n)    n of 1..15 times 4 bytes, nothing behind them is touched
 *   w16_dot_weights(w16 acc, b64 v, const uint8_t *p)      acc[i] + the sum of 4 v[i][..] * p[..], p of 0..127
 *   k64                 a b64 in the form that w16_dot_keys wants: k64_load(const void *)
 *   w16_key_start(q_sum)                                   what the sum of a query of that sum starts at
 *   w16_dot_keys(w16 acc, k64 k, const int8_t *q)          acc[i] + the sum of 4 k[i][..] * q[..]; no -128
 *   v16_from_w16(w16)
 *   w16_join(high, low)                                    high * 128 + low
 *   v16_store_digits(uint8_t *high, uint8_t *low, v16)     integers of 0..TERN_WEIGHT_MAX as two digits
 *   v16_largest(v16)                                       of lanes that are no NaN
 */
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/rungs.h"
#include "kernels/tmpl.h"

#include "kernels/exp_tmpl.c"

enum { BLOCK = TERN_KEY_BLOCK, TILE_QUERIES = 4, LINE = 64 };

/* Ask for the `n` bytes at p, to L2: in order, as the kernel goes along the block before. */
INLINE void prefetch(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i += LINE)
        __builtin_prefetch(p + i, 0, 3);
}

/* Call f with a constant number of queries, so that its tiles unroll: TILE_QUERIES as often as possible, then what is
 * left. `first`: the first call, the one that prefetches. */
#define FOR_TILES(h, n_q, f)                                                                                           \
    do {                                                                                                               \
        size_t h = 0;                                                                                                  \
        for (; h + TILE_QUERIES <= n_q; h += TILE_QUERIES)                                                             \
            f(TILE_QUERIES);                                                                                           \
        switch (n_q - h) {                                                                                             \
        case 3:                                                                                                        \
            f(3);                                                                                                      \
            break;                                                                                                     \
        case 2:                                                                                                        \
            f(2);                                                                                                      \
            break;                                                                                                     \
        case 1:                                                                                                        \
            f(1);                                                                                                      \
            break;                                                                                                     \
        default:                                                                                                       \
            break;                                                                                                     \
        }                                                                                                              \
    } while (0)

/* Stored element types of the float caches; always a constant where these are called, so the choice costs nothing. */
enum element { F32, F16 };

INLINE size_t element_size(enum element type) { return type == F32 ? 4 : 2; }

INLINE v16 load_as(enum element type, const void *p, size_t i) {
    const uint8_t *at = (const uint8_t *)p + i * element_size(type);
    return type == F32 ? v16_load(at) : v16_load_f16(at);
}

INLINE v16 load_as_n(enum element type, const void *p, size_t i, size_t n) {
    const uint8_t *at = (const uint8_t *)p + i * element_size(type);
    return type == F32 ? v16_load_n(at, n) : v16_load_f16_n(at, n);
}

/* ---- scores ---- */

/* Vectors of 16 keys that a tile passes at once: the whole block where there are registers for it. */
enum { TILE_KEYS = V16_TILE / TILE_QUERIES, BLOCK_VECTORS = BLOCK / 16 };

/* All keys of a block for n_q <= TILE_QUERIES queries, n_q constant. */
INLINE void scores_tile(enum element type, const float *q, size_t n_q, const uint8_t *k, size_t head_dim, float scale,
                        float *scores, size_t ld, const uint8_t *ahead) {
    size_t row = BLOCK * element_size(type);
    for (size_t first = 0; first < BLOCK_VECTORS; first += TILE_KEYS) {
        v16 dot[TILE_QUERIES][TILE_KEYS];
        UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < TILE_KEYS; i++) dot[h][i] = v16_zero();
        for (size_t d = 0; d < head_dim; d++) {
            v16 key[TILE_KEYS];
            if (ahead && first == 0)
                prefetch(ahead + d * row, row);
            UNROLL for (size_t i = 0; i < TILE_KEYS; i++) key[i] = load_as(type, k + d * row, 16 * (first + i));
            UNROLL for (size_t h = 0; h < n_q; h++) {
                v16 channel = v16_set1(q[h * head_dim + d]);
                UNROLL for (size_t i = 0; i < TILE_KEYS; i++) dot[h][i] = v16_fma(channel, key[i], dot[h][i]);
            }
        }
        v16 factor = v16_set1(scale);
        UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < TILE_KEYS; i++)
            v16_store(scores + h * ld + 16 * (first + i), v16_mul(dot[h][i], factor));
    }
}

INLINE void scores_float(enum element type, const float *q, size_t n_q, const void *k, size_t head_dim, float scale,
                         float *out, size_t ld, const void *ahead) {
#define SCORES(n) scores_tile(type, q + h * head_dim, n, k, head_dim, scale, out + h * ld, ld, h ? NULL : ahead)
    FOR_TILES(h, n_q, SCORES);
#undef SCORES
}

static void scores_f32(const float *q, size_t n_q, const float *k, size_t n_keys, size_t head_dim, float scale,
                       float *out, size_t ld, const void *ahead) {
    (void)n_keys; /* the whole block, without a tail */
    scores_float(F32, q, n_q, k, head_dim, scale, out, ld, ahead);
}

static void scores_f16(const float *q, size_t n_q, const uint16_t *k, size_t n_keys, size_t head_dim, float scale,
                       float *out, size_t ld, const void *ahead) {
    (void)n_keys;
    scores_float(F16, q, n_q, k, head_dim, scale, out, ld, ahead);
}

INLINE void scores_q8_tile(const int8_t *q, const float *q_scale, const int32_t *q_sum, size_t n_q, const int8_t *k,
                           const float *k_scale, size_t padded, float *scores, size_t ld, const uint8_t *ahead) {
    for (size_t first = 0; first < BLOCK_VECTORS; first += TILE_KEYS) {
        w16 dot[TILE_QUERIES][TILE_KEYS];
        UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < TILE_KEYS; i++) dot[h][i] =
            w16_key_start(q_sum[h]);
        for (size_t d = 0; d < padded; d += 4) {
            k64 key[TILE_KEYS];
            if (ahead && first == 0)
                prefetch(ahead + d * BLOCK, 4 * BLOCK);
            UNROLL for (size_t i = 0; i < TILE_KEYS; i++) key[i] = k64_load(k + d * BLOCK + 64 * (first + i));
            UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < TILE_KEYS; i++) dot[h][i] =
                w16_dot_keys(dot[h][i], key[i], q + h * padded + d);
        }
        UNROLL for (size_t i = 0; i < TILE_KEYS; i++) {
            v16 key_scale = v16_load(k_scale + 16 * (first + i));
            UNROLL for (size_t h = 0; h < n_q; h++)
                v16_store(scores + h * ld + 16 * (first + i),
                          v16_mul(v16_from_w16(dot[h][i]), v16_mul(v16_set1(q_scale[h]), key_scale)));
        }
    }
}

static void scores_q8(const int8_t *q, const float *q_scale, const int32_t *q_sum, size_t n_q, const int8_t *k,
                      const float *k_scale, size_t n_keys, size_t head_dim, float *out, size_t ld, const void *ahead) {
    (void)n_keys;
    size_t padded = tern_kv_pad(head_dim);
#define SCORES(n)                                                                                                      \
    scores_q8_tile(q + h * padded, q_scale + h, q_sum + h, n, k, k_scale, padded, out + h * ld, ld, h ? NULL : ahead)
    FOR_TILES(h, n_q, SCORES);
#undef SCORES
}

/* ---- softmax ---- */

static float softmax_exp(float *scores, size_t n, float *max) {
    size_t whole = n / 16 * 16, left = n - whole;
    v16 largest = v16_set1(-INFINITY);
    for (size_t i = 0; i < whole; i += 16)
        largest = v16_max(v16_load(scores + i), largest); /* NaN: keeps largest */
    if (left)
        largest = v16_keep_n(v16_max(v16_load_n(scores + whole, left), largest), largest, left);
    *max = v16_largest(largest);

    v16 shift = v16_set1(*max), sum = v16_zero();
    for (size_t i = 0; i < whole; i += 16) {
        v16 e = v16_exp(v16_sub(v16_load(scores + i), shift));
        v16_store(scores + i, e);
        sum = v16_add(sum, e);
    }
    if (left) {
        v16 e = v16_exp(v16_sub(v16_load_n(scores + whole, left), shift));
        v16_store_n(scores + whole, e, left);
        sum = v16_keep_n(v16_add(sum, e), sum, left);
    }
    return v16_fold(sum);
}

/* ---- values ---- */

enum { TILE_WIDTH = V16_TILE / TILE_QUERIES };

/* out += p v for n_q <= TILE_QUERIES queries and `width` vectors of channels from d on, all constant;
 * `left` != 0: the one vector has only that many channels. */
INLINE void values_tile(enum element type, const float *p, size_t ld, size_t n_q, const uint8_t *v, size_t n_keys,
                        size_t head_dim, size_t d, size_t width, size_t left, float *out, const uint8_t *ahead) {
    v16 sum[TILE_QUERIES][TILE_WIDTH];
    UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < width; i++) {
        const float *at = out + h * head_dim + d + 16 * i;
        sum[h][i] = left ? v16_load_n(at, left) : v16_load(at);
    }
    size_t row = head_dim * element_size(type);
    for (size_t j = 0; j < n_keys; j++) {
        v16 value[TILE_WIDTH];
        if (ahead)
            prefetch(ahead + j * row + d * element_size(type), 16 * width * element_size(type));
        UNROLL for (size_t i = 0; i < width; i++) value[i] =
            left ? load_as_n(type, v + j * row, d, left) : load_as(type, v + j * row, d + 16 * i);
        UNROLL for (size_t h = 0; h < n_q; h++) {
            v16 weight = v16_set1(p[h * ld + j]);
            UNROLL for (size_t i = 0; i < width; i++) sum[h][i] = v16_fma(weight, value[i], sum[h][i]);
        }
    }
    UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < width; i++) {
        float *at = out + h * head_dim + d + 16 * i;
        if (left)
            v16_store_n(at, sum[h][i], left);
        else
            v16_store(at, sum[h][i]);
    }
}

INLINE void values_queries(enum element type, const float *p, size_t ld, size_t n_q, const uint8_t *v, size_t n_keys,
                           size_t head_dim, float *out, const uint8_t *ahead) {
    size_t d = 0;
    for (; d + 16 * TILE_WIDTH <= head_dim; d += 16 * TILE_WIDTH)
        values_tile(type, p, ld, n_q, v, n_keys, head_dim, d, TILE_WIDTH, 0, out, ahead);
    for (; d + 16 <= head_dim; d += 16)
        values_tile(type, p, ld, n_q, v, n_keys, head_dim, d, 1, 0, out, ahead);
    if (d < head_dim)
        values_tile(type, p, ld, n_q, v, n_keys, head_dim, d, 1, head_dim - d, out, ahead);
}

INLINE void values_float(enum element type, const float *p, size_t ld, size_t n_q, const void *v, size_t n_keys,
                         size_t head_dim, float *out, const void *ahead) {
#define VALUES(n) values_queries(type, p + h * ld, ld, n, v, n_keys, head_dim, out + h * head_dim, h ? NULL : ahead)
    FOR_TILES(h, n_q, VALUES);
#undef VALUES
}

static void values_f32(const float *p, size_t ld, size_t n_q, const float *v, size_t n_keys, size_t head_dim,
                       float *out, const void *ahead) {
    values_float(F32, p, ld, n_q, v, n_keys, head_dim, out, ahead);
}

static void values_f16(const float *p, size_t ld, size_t n_q, const uint16_t *v, size_t n_keys, size_t head_dim,
                       float *out, const void *ahead) {
    values_float(F16, p, ld, n_q, v, n_keys, head_dim, out, ahead);
}

/* The rounded weights of one query and block. */
typedef struct weights {
    float step;
    _Alignas(LINE) uint8_t high[BLOCK], low[BLOCK]; /* the digits; 0 behind n_keys */
} weights;

static void round_weights(const float *p, const float *v_scale, size_t n_keys, weights *out) {
    v16 w[BLOCK_VECTORS], largest = v16_set1(TERN_WEIGHT_TINY);
    UNROLL for (size_t i = 0; i < BLOCK_VECTORS; i++) {
        size_t at = 16 * i;
        v16 weight = v16_zero(), scale = v16_zero();
        if (n_keys >= at + 16) {
            weight = v16_load(p + at);
            scale = v16_load(v_scale + at);
        } else if (n_keys > at) {
            weight = v16_load_n(p + at, n_keys - at);
            scale = v16_load_n(v_scale + at, n_keys - at);
        }
        w[i] = v16_if_less(v16_zero(), weight, v16_mul(weight, scale), v16_zero());
        largest = v16_max(w[i], largest); /* NaN: keeps largest */
    }
    out->step = v16_largest(largest) / (float)TERN_WEIGHT_MAX;
    v16 per_step = v16_set1(1.0f / out->step);
    UNROLL for (size_t i = 0; i < BLOCK_VECTORS; i++) v16_store_digits(
        out->high + 16 * i, out->low + 16 * i, v16_max(v16_round(v16_mul(w[i], per_step)), v16_zero()));
}

/* Each query needs two sums a vector, one a digit. */
enum { TILE_Q8 = V16_TILE >= 8 ? TILE_QUERIES : 2, TILE_Q8_WIDTH = V16_TILE / 2 / TILE_Q8 };

/* As values_tile, for n_q <= TILE_Q8. */
INLINE void values_q8_tile(const weights *w, size_t n_q, const uint8_t *v, size_t n_keys, size_t head_dim, size_t d,
                           size_t width, size_t left, float *out, const uint8_t *ahead) {
    w16 high[TILE_Q8][TILE_Q8_WIDTH], low[TILE_Q8][TILE_Q8_WIDTH];
    UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < width; i++) high[h][i] = low[h][i] =
        w16_zero();
    for (size_t j = 0; j < n_keys; j += 4) {
        size_t at = j * head_dim + 4 * d;
        b64 value[TILE_Q8_WIDTH];
        if (ahead)
            prefetch(ahead + at, 64 * width);
        UNROLL for (size_t i = 0; i < width; i++) value[i] =
            left ? b64_load_n(v + at, left) : b64_load(v + at + 64 * i);
        UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < width; i++) {
            high[h][i] = w16_dot_weights(high[h][i], value[i], w[h].high + j);
            low[h][i] = w16_dot_weights(low[h][i], value[i], w[h].low + j);
        }
    }
    UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < width; i++) {
        float *to = out + h * head_dim + d + 16 * i;
        v16 sum = v16_from_w16(w16_join(high[h][i], low[h][i])), step = v16_set1(w[h].step);
        if (left)
            v16_store_n(to, v16_fma(sum, step, v16_load_n(to, left)), left);
        else
            v16_store(to, v16_fma(sum, step, v16_load(to)));
    }
}

INLINE void values_q8_queries(const float *p, size_t ld, size_t n_q, const uint8_t *v, const float *v_scale,
                              size_t n_keys, size_t head_dim, float *out, const uint8_t *ahead) {
    weights w[TILE_Q8];
    for (size_t h = 0; h < n_q; h++)
        round_weights(p + h * ld, v_scale, n_keys, &w[h]);
    size_t d = 0;
    for (; d + 16 * TILE_Q8_WIDTH <= head_dim; d += 16 * TILE_Q8_WIDTH)
        values_q8_tile(w, n_q, v, n_keys, head_dim, d, TILE_Q8_WIDTH, 0, out, ahead);
    for (; d + 16 <= head_dim; d += 16)
        values_q8_tile(w, n_q, v, n_keys, head_dim, d, 1, 0, out, ahead);
    if (d < head_dim)
        values_q8_tile(w, n_q, v, n_keys, head_dim, d, 1, head_dim - d, out, ahead);
}

static void values_q8(const float *p, size_t ld, size_t n_q, const int8_t *v, const float *v_scale, size_t n_keys,
                      size_t head_dim, float *out, const void *ahead) {
    size_t h = 0;
    for (; h + TILE_Q8 <= n_q; h += TILE_Q8)
        values_q8_queries(p + h * ld, ld, TILE_Q8, (const uint8_t *)v, v_scale, n_keys, head_dim, out + h * head_dim,
                          h ? NULL : ahead);
    for (; h < n_q; h++)
        values_q8_queries(p + h * ld, ld, 1, (const uint8_t *)v, v_scale, n_keys, head_dim, out + h * head_dim,
                          h ? NULL : ahead);
}

/* ---- splits ---- */

static void merge(float *max, float *sum, float *out, const float *max_i, const float *sum_i, const float *out_i,
                  size_t n_q, size_t head_dim) {
    for (size_t h = 0; h < n_q; h++) {
        float m = max_i[h] > max[h] ? max_i[h] : max[h], *to = out + h * head_dim;
        v16 a = v16_exp(v16_set1(max[h] - m)), b = v16_exp(v16_set1(max_i[h] - m));
        const float *from = out_i + h * head_dim;
        size_t d = 0;
        for (; d + 16 <= head_dim; d += 16)
            v16_store(to + d, v16_fma(v16_load(to + d), a, v16_mul(v16_load(from + d), b)));
        if (d < head_dim) {
            size_t n = head_dim - d;
            v16_store_n(to + d, v16_fma(v16_load_n(to + d, n), a, v16_mul(v16_load_n(from + d, n), b)), n);
        }
        v16_store_n(&sum[h], v16_fma(v16_set1(sum[h]), a, v16_mul(v16_set1(sum_i[h]), b)), 1);
        max[h] = m;
    }
}

const tern_attention_kernels KERNEL(attention) = {
    .scores_f32 = scores_f32,
    .scores_f16 = scores_f16,
    .scores_q8 = scores_q8,
    .softmax_exp = softmax_exp,
    .values_f32 = values_f32,
    .values_f16 = values_f16,
    .values_q8 = values_q8,
    .merge = merge,
};
