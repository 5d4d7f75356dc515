/*
 * The float kernels, written once over 16-lane vectors and included by
 * x86/float_avx2.c, x86/float_avx512vnni.c and arm/float_neon.c, each after the
 * header that defines for its ISA:
 *
 *   V16_ISA             suffix of the function names, e.g. avx2
 *   V16_TILE            accumulators (v16) that a tile may keep in registers: 4 or 16
 *   v16                 16 floats
 *   v16_zero(), v16_set1(float)
 *   v16_load(const void *), v16_store(float *, v16)            any alignment
 *   v16_load_f16, v16_load_bf16, v16_load_i8, v16_load_i32(const void *)   16 elements, converted to float
 *   v16_load_n, v16_load_f16_n, v16_load_bf16_n, v16_load_i8_n, v16_load_i32_n(const void *, n)
 *                       n of 1..15 elements, the other lanes 0; nothing behind them is touched
 *   v16_store_n(float *, v16, n)
 *   v16_store_f16(uint16_t *, v16), v16_store_f16_n            rounded to nearest even
 *   v16_store_i8(int8_t *, v16), v16_store_i8_n                lanes are integers in -128..127
 *   v16_add, v16_sub, v16_mul, v16_div(a, b)
 *   v16_fma(a, b, c)    a * b + c, rounded once
 *   v16_max(a, b)       a > b ? a : b, so b if one is NaN
 *   v16_abs(a)
 *   v16_round(a)        to the nearest integer, ties to even
 *   v16_pow2(n)         2^n for integral n in -126..127; anything for other lanes
 *   v16_if_less(a, b, x, y)     a < b ? x : y
 *   v16_nan_to_zero(a)
 *   v16_keep_n(a, b, n)         lanes below n (0..15) from a, the others from b
 *   v16_fold(a)         the sum in the order of kernels.h
 *   v16_fold4(a, b, c, d, float out[4])     four folds
 *   v16_f16(const void *)       one f16 as a float
 *   b16                 16 bytes: b16_load(const void *), b16_and(a, uint8_t), b16_or(a, b), b16_shl(a, n),
 *                       b16_shr(a, n) (zeros come in; n constant 0..7), b16_sub(a, uint8_t), v16_from_b16(a) (signed
 * bytes) dot_i8(const int8_t *, const int8_t *, n)   exact int32
 *
 * Every operation is exact IEEE, so each ISA gives the bits of ref/.
 */
#include <math.h>
#include <string.h>

#include "kernels/rungs.h"

#define INLINE static inline __attribute__((always_inline))
#define JOIN_(operation, isa) tern_##operation##_##isa
#define JOIN(operation, isa) JOIN_(operation, isa)
#define KERNEL(operation) JOIN(operation, V16_ISA)

TERN_DECLARE_FLOAT_KERNELS(V16_ISA);

/* Loops over a tile must unroll for its array to live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- BitLinear's float ends ---- */

void KERNEL(quantize_i8)(const float *x, size_t n, size_t n_pad, int8_t *q, float *scale, int32_t *sum) {
    size_t whole = n / 16 * 16, left = n - whole;
    v16 largest = v16_set1(1e-5f);
    for (size_t i = 0; i < whole; i += 16)
        largest = v16_max(v16_abs(v16_load(x + i)), largest); /* NaN: keeps largest */
    if (left)
        largest = v16_max(v16_abs(v16_load_n(x + whole, left)), largest);
    float lanes[16];
    v16_store(lanes, largest);
    float max = lanes[0];
    for (size_t j = 1; j < 16; j++)
        max = lanes[j] > max ? lanes[j] : max;
    float s = 127.0f / max;

    /* |x| <= max makes |x * s| at most 127 after rounding, so no clamp is needed. The sum is kept in float lanes,
     * exact while they stay below 2^24: fold them often enough. */
    const size_t fold_every = (size_t)1 << 20;
    v16 factor = v16_set1(s);
    int32_t total = 0;
    for (size_t start = 0; start < n; start += fold_every) {
        size_t end = n - start < fold_every ? n : start + fold_every, i = start;
        v16 partial = v16_zero();
        for (; i + 16 <= end; i += 16) {
            v16 rounded = v16_nan_to_zero(v16_round(v16_mul(v16_load(x + i), factor)));
            v16_store_i8(q + i, rounded);
            partial = v16_add(partial, rounded);
        }
        if (i < end) {
            v16 rounded = v16_nan_to_zero(v16_round(v16_mul(v16_load_n(x + i, end - i), factor)));
            v16_store_i8_n(q + i, rounded, end - i);
            partial = v16_add(partial, rounded);
        }
        v16_store(lanes, partial);
        for (size_t j = 0; j < 16; j++)
            total += (int32_t)lanes[j];
    }
    memset(q + n, 0, n_pad - n);
    *scale = s;
    *sum = total;
}

void KERNEL(dequantize)(const int32_t *acc, size_t n, float s, float weight_scale, float *y) {
    v16 divisor = v16_set1(s), factor = v16_set1(weight_scale);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(y + i, v16_mul(v16_div(v16_load_i32(acc + i), divisor), factor));
    if (i < n)
        v16_store_n(y + i, v16_mul(v16_div(v16_load_i32_n(acc + i, n - i), divisor), factor), n - i);
}

/* ---- element by element ---- */

void KERNEL(rms_norm)(const float *x, const float *gain, size_t n, float eps, float *out) {
    size_t whole = n / 16 * 16, left = n - whole;
    v16 squares = v16_zero();
    for (size_t i = 0; i < whole; i += 16)
        squares = v16_fma(v16_load(x + i), v16_load(x + i), squares);
    if (left) {
        v16 last = v16_load_n(x + whole, left);
        squares = v16_keep_n(v16_fma(last, last, squares), squares, left);
    }
    float r = 1.0f / sqrtf(v16_fold(squares) / (float)n + eps);
    v16 factor = v16_set1(r);
    for (size_t i = 0; i < whole; i += 16)
        v16_store(out + i, v16_mul(v16_mul(v16_load(x + i), factor), v16_load(gain + i)));
    if (left)
        v16_store_n(out + whole, v16_mul(v16_mul(v16_load_n(x + whole, left), factor), v16_load_n(gain + whole, left)),
                    left);
}

void KERNEL(add)(float *x, const float *y, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(x + i, v16_add(v16_load(x + i), v16_load(y + i)));
    if (i < n)
        v16_store_n(x + i, v16_add(v16_load_n(x + i, n - i), v16_load_n(y + i, n - i)), n - i);
}

INLINE v16 relu2_mul(v16 gate, v16 up) {
    return v16_if_less(v16_zero(), gate, v16_mul(v16_mul(gate, gate), up), v16_zero());
}

void KERNEL(relu2_mul)(const float *gate, const float *up, size_t n, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(out + i, relu2_mul(v16_load(gate + i), v16_load(up + i)));
    if (i < n)
        v16_store_n(out + i, relu2_mul(v16_load_n(gate + i, n - i), v16_load_n(up + i, n - i)), n - i);
}

void KERNEL(divide)(float *x, size_t n, float d) {
    v16 divisor = v16_set1(d);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(x + i, v16_div(v16_load(x + i), divisor));
    if (i < n)
        v16_store_n(x + i, v16_div(v16_load_n(x + i, n - i), divisor), n - i);
}

void KERNEL(f32_to_f16)(const float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store_f16(out + i, v16_load(x + i));
    if (i < n)
        v16_store_f16_n(out + i, v16_load_n(x + i, n - i), n - i);
}

void KERNEL(rope)(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin) {
    size_t h = head_dim / 2;
    for (size_t head = 0; head < n_heads; head++) {
        float *a = x + head * head_dim, *b = a + h;
        size_t i = 0;
        for (; i + 16 <= h; i += 16) {
            v16 va = v16_load(a + i), vb = v16_load(b + i), c = v16_load(cos + i), s = v16_load(sin + i);
            v16_store(a + i, v16_sub(v16_mul(va, c), v16_mul(vb, s)));
            v16_store(b + i, v16_add(v16_mul(vb, c), v16_mul(va, s)));
        }
        if (i < h) {
            size_t n = h - i;
            v16 va = v16_load_n(a + i, n), vb = v16_load_n(b + i, n);
            v16 c = v16_load_n(cos + i, n), s = v16_load_n(sin + i, n);
            v16_store_n(a + i, v16_sub(v16_mul(va, c), v16_mul(vb, s)), n);
            v16_store_n(b + i, v16_add(v16_mul(vb, c), v16_mul(va, s)), n);
        }
    }
}

/* ---- softmax ---- */

/* exp of ref/float.c, operation by operation. */
INLINE v16 v16_exp(v16 x) {
    v16 n = v16_round(v16_mul(x, v16_set1(TERN_EXP_LOG2E)));
    v16 r = v16_fma(n, v16_set1(-TERN_EXP_LN2_HI), x);
    r = v16_fma(n, v16_set1(-TERN_EXP_LN2_LO), r);
    v16 p = v16_set1(1.0f / 5040.0f);
    p = v16_fma(p, r, v16_set1(1.0f / 720.0f));
    p = v16_fma(p, r, v16_set1(1.0f / 120.0f));
    p = v16_fma(p, r, v16_set1(1.0f / 24.0f));
    p = v16_fma(p, r, v16_set1(1.0f / 6.0f));
    p = v16_fma(p, r, v16_set1(0.5f));
    p = v16_fma(p, r, v16_set1(1.0f));
    p = v16_fma(p, r, v16_set1(1.0f));
    return v16_if_less(x, v16_set1(TERN_EXP_MIN), v16_zero(), v16_mul(p, v16_pow2(n)));
}

float KERNEL(softmax_exp)(float *scores, size_t n) {
    size_t whole = n / 16 * 16, left = n - whole;
    v16 largest = v16_set1(-INFINITY);
    for (size_t i = 0; i < whole; i += 16)
        largest = v16_max(v16_load(scores + i), largest);
    if (left)
        largest = v16_keep_n(v16_max(v16_load_n(scores + whole, left), largest), largest, left);
    float lanes[16];
    v16_store(lanes, largest);
    float max = lanes[0];
    for (size_t j = 1; j < 16; j++)
        max = lanes[j] > max ? lanes[j] : max;

    v16 shift = v16_set1(max), sum = v16_zero();
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

/* Ask for memory that is needed soon, into L2: where a kernel hops between rows, the processor's own prefetcher does
 * not follow. Past the end of the data it is harmless, hence the integer. */
INLINE void prefetch(const void *p, size_t distance, size_t n_bytes) {
    uintptr_t at = (uintptr_t)p + distance;
    for (uintptr_t end = at + n_bytes; at < end; at += 64)
        __builtin_prefetch((const void *)at, 0, 2);
}

/* ---- attention ---- */

/* Stored element types; always a constant where these are called, so the switch costs nothing. */
enum element { F32, F16, BF16, I8 };

INLINE size_t element_size(enum element type) { return type == F32 ? 4 : type == I8 ? 1 : 2; }

/* Elements i.. of the row at p as floats: 16, or n of 1..15. */
INLINE v16 load_as(enum element type, const void *p, size_t i) {
    const uint8_t *at = (const uint8_t *)p + i * element_size(type);
    return type == F32    ? v16_load(at)
           : type == F16  ? v16_load_f16(at)
           : type == BF16 ? v16_load_bf16(at)
                          : v16_load_i8(at);
}

INLINE v16 load_as_n(enum element type, const void *p, size_t i, size_t n) {
    const uint8_t *at = (const uint8_t *)p + i * element_size(type);
    return type == F32    ? v16_load_n(at, n)
           : type == F16  ? v16_load_f16_n(at, n)
           : type == BF16 ? v16_load_bf16_n(at, n)
                          : v16_load_i8_n(at, n);
}

enum { TILE_HEADS = 4, TILE_KEYS = V16_TILE / TILE_HEADS, PREFETCH_BYTES = 4096 };

/* Scores of n_q <= TILE_HEADS heads and n_keys <= TILE_KEYS keys, both constant. */
INLINE void scores_tile(enum element type, const float *q, size_t n_q, const uint8_t *k, size_t n_keys, size_t head_dim,
                        float scale, float *scores, size_t ld) {
    v16 dot[TILE_KEYS][TILE_HEADS];
    UNROLL for (size_t j = 0; j < TILE_KEYS; j++) UNROLL for (size_t h = 0; h < TILE_HEADS; h++) dot[j][h] = v16_zero();
    size_t row = head_dim * element_size(type), d = 0;
    for (; d + 16 <= head_dim; d += 16)
        UNROLL for (size_t j = 0; j < n_keys; j++) {
            v16 key = load_as(type, k + j * row, d);
            UNROLL for (size_t h = 0; h < n_q; h++) dot[j][h] = v16_fma(v16_load(q + h * head_dim + d), key, dot[j][h]);
        }
    size_t left = head_dim - d;
    if (left)
        UNROLL for (size_t j = 0; j < n_keys; j++) {
            v16 key = load_as_n(type, k + j * row, d, left);
            UNROLL for (size_t h = 0; h < n_q; h++) dot[j][h] =
                v16_keep_n(v16_fma(v16_load_n(q + h * head_dim + d, left), key, dot[j][h]), dot[j][h], left);
        }
    UNROLL for (size_t j = 0; j < n_keys; j++) {
        float sums[TILE_HEADS];
        v16_fold4(dot[j][0], dot[j][1], dot[j][2], dot[j][3], sums);
        UNROLL for (size_t h = 0; h < n_q; h++) scores[h * ld + j] = sums[h] * scale;
    }
}

INLINE void scores_heads(enum element type, const float *q, size_t n_q, const uint8_t *k, size_t n_keys,
                         size_t head_dim, float scale, float *scores, size_t ld) {
    size_t row = head_dim * element_size(type), j = 0;
    for (; j + TILE_KEYS <= n_keys; j += TILE_KEYS) {
        prefetch(k + j * row, PREFETCH_BYTES, TILE_KEYS * row);
        scores_tile(type, q, n_q, k + j * row, TILE_KEYS, head_dim, scale, scores + j, ld);
    }
    for (; j < n_keys; j++)
        scores_tile(type, q, n_q, k + j * row, 1, head_dim, scale, scores + j, ld);
}

INLINE void scores(enum element type, const float *q, size_t n_q, const void *k, size_t n_keys, size_t head_dim,
                   float scale, float *out, size_t ld) {
    size_t h = 0;
    for (; h + TILE_HEADS <= n_q; h += TILE_HEADS)
        scores_heads(type, q + h * head_dim, TILE_HEADS, k, n_keys, head_dim, scale, out + h * ld, ld);
    for (; h < n_q; h++)
        scores_heads(type, q + h * head_dim, 1, k, n_keys, head_dim, scale, out + h * ld, ld);
}

void KERNEL(scores_f32)(const float *q, size_t n_q, const float *k, size_t n_keys, size_t head_dim, float scale,
                        float *out, size_t ld) {
    scores(F32, q, n_q, k, n_keys, head_dim, scale, out, ld);
}

void KERNEL(scores_f16)(const float *q, size_t n_q, const uint16_t *k, size_t n_keys, size_t head_dim, float scale,
                        float *out, size_t ld) {
    scores(F16, q, n_q, k, n_keys, head_dim, scale, out, ld);
}

#ifndef V16_HAS_DOT_I8_4
static void dot_i8_4(const int8_t *a, size_t ld, const int8_t *b, size_t n, int32_t out[4]) {
    for (size_t i = 0; i < 4; i++)
        out[i] = dot_i8(a + i * ld, b, n);
}
#endif

void KERNEL(scores_q8)(const int8_t *q, const float *q_scale, size_t n_q, const int8_t *k, const float *k_scale,
                       size_t n_keys, size_t head_dim, float scale, float *out, size_t ld) {
    for (size_t j = 0; j < n_keys; j++) {
        const int8_t *key = k + j * head_dim;
        prefetch(key, PREFETCH_BYTES, head_dim);
        int32_t dot[TILE_HEADS];
        for (size_t h = 0; h < n_q; h += TILE_HEADS) {
            size_t n = n_q - h < TILE_HEADS ? n_q - h : TILE_HEADS;
            if (n == TILE_HEADS)
                dot_i8_4(q + h * head_dim, head_dim, key, head_dim, dot);
            else
                for (size_t i = 0; i < n; i++)
                    dot[i] = dot_i8(q + (h + i) * head_dim, key, head_dim);
            for (size_t i = 0; i < n; i++)
                out[(h + i) * ld + j] = (float)dot[i] * (q_scale[h + i] * k_scale[j]) * scale;
        }
    }
}

/* A run of keys small enough that its values stay in L1 while the tiles pass over them side by side. */
enum { TILE_WIDTH = V16_TILE / TILE_HEADS, RUN_KEYS = 32 };

/* out += p v for n_q <= TILE_HEADS heads and `width` vectors of the head's elements from d on, all constant;
 * `left` != 0: the one vector has only that many elements. v_scale: NULL unless type is I8. */
INLINE void values_tile(enum element type, const float *p, size_t ld, size_t n_q, const uint8_t *v,
                        const float *v_scale, size_t n_keys, size_t head_dim, size_t d, size_t width, size_t left,
                        float *out) {
    v16 sum[TILE_HEADS][TILE_WIDTH];
    UNROLL for (size_t h = 0; h < n_q; h++) UNROLL for (size_t i = 0; i < width; i++) {
        const float *at = out + h * head_dim + d + 16 * i;
        sum[h][i] = left ? v16_load_n(at, left) : v16_load(at);
    }
    size_t row = head_dim * element_size(type);
    for (size_t j = 0; j < n_keys; j++) {
        v16 value[TILE_WIDTH];
        prefetch(v + j * row, RUN_KEYS * row + d * element_size(type), 16 * width * element_size(type));
        UNROLL for (size_t i = 0; i < width; i++) value[i] =
            left ? load_as_n(type, v + j * row, d, left) : load_as(type, v + j * row, d + 16 * i);
        UNROLL for (size_t h = 0; h < n_q; h++) {
            v16 weight = v16_set1(type == I8 ? p[h * ld + j] * v_scale[j] : p[h * ld + j]);
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

INLINE void values_heads(enum element type, const float *p, size_t ld, size_t n_q, const uint8_t *v,
                         const float *v_scale, size_t n_keys, size_t head_dim, float *out) {
    size_t d = 0;
    for (; d + 16 * TILE_WIDTH <= head_dim; d += 16 * TILE_WIDTH)
        values_tile(type, p, ld, n_q, v, v_scale, n_keys, head_dim, d, TILE_WIDTH, 0, out);
    for (; d + 16 <= head_dim; d += 16)
        values_tile(type, p, ld, n_q, v, v_scale, n_keys, head_dim, d, 1, 0, out);
    if (d < head_dim)
        values_tile(type, p, ld, n_q, v, v_scale, n_keys, head_dim, d, 1, head_dim - d, out);
}

INLINE void values(enum element type, const float *p, size_t ld, size_t n_q, const uint8_t *v, const float *v_scale,
                   size_t n_keys, size_t head_dim, float *out) {
    size_t row = head_dim * element_size(type);
    for (size_t j = 0; j < n_keys; j += RUN_KEYS) {
        size_t run = n_keys - j < RUN_KEYS ? n_keys - j : RUN_KEYS, h = 0;
        const float *run_scale = v_scale ? v_scale + j : NULL;
        for (; h + TILE_HEADS <= n_q; h += TILE_HEADS)
            values_heads(type, p + h * ld + j, ld, TILE_HEADS, v + j * row, run_scale, run, head_dim,
                         out + h * head_dim);
        for (; h < n_q; h++)
            values_heads(type, p + h * ld + j, ld, 1, v + j * row, run_scale, run, head_dim, out + h * head_dim);
    }
}

void KERNEL(values_f32)(const float *p, size_t ld, size_t n_q, const float *v, size_t n_keys, size_t head_dim,
                        float *out) {
    values(F32, p, ld, n_q, (const uint8_t *)v, NULL, n_keys, head_dim, out);
}

void KERNEL(values_f16)(const float *p, size_t ld, size_t n_q, const uint16_t *v, size_t n_keys, size_t head_dim,
                        float *out) {
    values(F16, p, ld, n_q, (const uint8_t *)v, NULL, n_keys, head_dim, out);
}

void KERNEL(values_q8)(const float *p, size_t ld, size_t n_q, const int8_t *v, const float *v_scale, size_t n_keys,
                       size_t head_dim, float *out) {
    values(I8, p, ld, n_q, (const uint8_t *)v, v_scale, n_keys, head_dim, out);
}

#include "kernels/head_tmpl.c"
