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
 *                       bytes)
 *
 * Every operation is exact IEEE, so each ISA gives the bits of ref/.
 */
#include <math.h>
#include <string.h>

#include "kernels/rungs.h"
#include "kernels/tmpl.h"

#include "kernels/exp_tmpl.c"

TERN_DECLARE_FLOAT_KERNELS(V16_ISA);

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

void KERNEL(dequantize_rows)(const int32_t *acc, size_t n, float s, const float *weight_scales, float *y) {
    v16 divisor = v16_set1(s);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(y + i, v16_mul(v16_div(v16_load_i32(acc + i), divisor), v16_load(weight_scales + i)));
    if (i < n)
        v16_store_n(y + i,
                    v16_mul(v16_div(v16_load_i32_n(acc + i, n - i), divisor), v16_load_n(weight_scales + i, n - i)),
                    n - i);
}

void KERNEL(add_scaled)(const int32_t *acc, size_t n, const float *weight_scales, float *sum) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(sum + i, v16_fma(v16_load_i32(acc + i), v16_load(weight_scales + i), v16_load(sum + i)));
    if (i < n)
        v16_store_n(
            sum + i,
            v16_fma(v16_load_i32_n(acc + i, n - i), v16_load_n(weight_scales + i, n - i), v16_load_n(sum + i, n - i)),
            n - i);
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

INLINE v16 silu_mul(v16 gate, v16 up) {
    v16 e = v16_exp(v16_sub(v16_zero(), v16_abs(gate)));
    v16 above = v16_if_less(gate, v16_zero(), v16_mul(gate, e), gate);
    return v16_mul(v16_div(above, v16_add(v16_set1(1.0f), e)), up);
}

void KERNEL(silu_mul)(const float *gate, const float *up, size_t n, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(out + i, silu_mul(v16_load(gate + i), v16_load(up + i)));
    if (i < n)
        v16_store_n(out + i, silu_mul(v16_load_n(gate + i, n - i), v16_load_n(up + i, n - i)), n - i);
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

/* Ask for memory that is needed soon, into L2: where a kernel hops between rows, the processor's own prefetcher does
 * not follow. Past the end of the data it is harmless, hence the integer. */
INLINE void prefetch(const void *p, size_t distance, size_t n_bytes) {
    uintptr_t at = (uintptr_t)p + distance;
    for (uintptr_t end = at + n_bytes; at < end; at += 64)
        __builtin_prefetch((const void *)at, 0, 2);
}

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

#include "kernels/head_tmpl.c"
