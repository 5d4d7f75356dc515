/* The 16-lane vectors of float_tmpl.c (which says what each operation means) on AVX2 + FMA + F16C: two ymm. */
#ifndef TERN_KERNELS_X86_V16_AVX2_H
#define TERN_KERNELS_X86_V16_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define V16_ISA avx2
enum { V16_TILE = 4 };

typedef struct v16 {
    __m256 lo, hi;
} v16;
typedef __m128i b16;

static inline v16 v16_zero(void) { return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline v16 v16_set1(float a) { return (v16){_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
static inline v16 v16_load(const void *p) {
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps((const float *)((const char *)p + 32))};
}
static inline void v16_store(float *p, v16 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}

/* Lanes below n are all ones, in the 8 lanes that begin at `first`. */
static inline __m256i v16_mask(size_t n, int first) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - first), lane);
}
static inline v16 v16_load_n(const void *p, size_t n) {
    return (v16){_mm256_maskload_ps(p, v16_mask(n, 0)),
                 _mm256_maskload_ps((const float *)((const char *)p + 32), v16_mask(n, 8))};
}
static inline void v16_store_n(float *p, v16 a, size_t n) {
    _mm256_maskstore_ps(p, v16_mask(n, 0), a.lo);
    _mm256_maskstore_ps(p + 8, v16_mask(n, 8), a.hi);
}

static inline v16 v16_from_b16(b16 a) {
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(a, a)))};
}
static inline v16 v16_load_f16(const void *p) {
    const __m128i *halves = p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
static inline __m256 v16_widen_bf16(__m128i a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16));
}
static inline v16 v16_load_bf16(const void *p) {
    const __m128i *halves = p;
    return (v16){v16_widen_bf16(_mm_loadu_si128(halves)), v16_widen_bf16(_mm_loadu_si128(halves + 1))};
}
static inline v16 v16_load_i8(const void *p) { return v16_from_b16(_mm_loadu_si128(p)); }
static inline v16 v16_load_i32(const void *p) {
    const __m256i *words = p;
    return (v16){_mm256_cvtepi32_ps(_mm256_loadu_si256(words)), _mm256_cvtepi32_ps(_mm256_loadu_si256(words + 1))};
}

/* Narrow tails go through a buffer: there is no masked load of bytes or words. */
static inline v16 v16_load_f16_n(const void *p, size_t n) {
    uint16_t buffer[16] = {0};
    memcpy(buffer, p, 2 * n);
    return v16_load_f16(buffer);
}
static inline v16 v16_load_bf16_n(const void *p, size_t n) {
    uint16_t buffer[16] = {0};
    memcpy(buffer, p, 2 * n);
    return v16_load_bf16(buffer);
}
static inline v16 v16_load_i8_n(const void *p, size_t n) {
    int8_t buffer[16] = {0};
    memcpy(buffer, p, n);
    return v16_load_i8(buffer);
}
static inline v16 v16_load_i32_n(const void *p, size_t n) {
    int32_t buffer[16] = {0};
    memcpy(buffer, p, 4 * n);
    return v16_load_i32(buffer);
}

static inline void v16_store_f16(uint16_t *p, v16 a) {
    enum { nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.lo, nearest));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.hi, nearest));
}
static inline void v16_store_f16_n(uint16_t *p, v16 a, size_t n) {
    uint16_t buffer[16];
    v16_store_f16(buffer, a);
    memcpy(p, buffer, 2 * n);
}
static inline void v16_store_i8(int8_t *p, v16 a) {
    __m256i words =
        _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)); /* lo 0-3, hi 0-3, lo 4-7 .. */
    words = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
static inline void v16_store_i8_n(int8_t *p, v16 a, size_t n) {
    int8_t buffer[16];
    v16_store_i8(buffer, a);
    memcpy(p, buffer, n);
}

static inline v16 v16_add(v16 a, v16 b) { return (v16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
static inline v16 v16_sub(v16 a, v16 b) { return (v16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
static inline v16 v16_mul(v16 a, v16 b) { return (v16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
static inline v16 v16_div(v16 a, v16 b) { return (v16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
static inline v16 v16_fma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline v16 v16_max(v16 a, v16 b) { return (v16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
static inline v16 v16_abs(v16 a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
static inline v16 v16_round(v16 a) {
    return (v16){_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline __m256 v16_half_pow2(__m256 n) {
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
static inline v16 v16_pow2(v16 n) { return (v16){v16_half_pow2(n.lo), v16_half_pow2(n.hi)}; }
static inline v16 v16_if_less(v16 a, v16 b, v16 x, v16 y) {
    return (v16){_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                 _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
static inline v16 v16_nan_to_zero(v16 a) {
    return (v16){_mm256_and_ps(a.lo, _mm256_cmp_ps(a.lo, a.lo, _CMP_ORD_Q)),
                 _mm256_and_ps(a.hi, _mm256_cmp_ps(a.hi, a.hi, _CMP_ORD_Q))};
}
static inline v16 v16_keep_n(v16 a, v16 b, size_t n) {
    return (v16){_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(v16_mask(n, 0))),
                 _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(v16_mask(n, 8)))};
}

/* 16 -> 8 -> 4, lane j with lane j + half. */
static inline __m128 v16_fold_to_4(v16 a) {
    __m256 r8 = _mm256_add_ps(a.lo, a.hi);
    return _mm_add_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
}
static inline float v16_fold(v16 a) {
    __m128 r4 = v16_fold_to_4(a), r2 = _mm_add_ps(r4, _mm_movehl_ps(r4, r4));
    return _mm_cvtss_f32(_mm_add_ss(r2, _mm_movehdup_ps(r2)));
}
static inline void v16_fold4(v16 a, v16 b, v16 c, v16 d, float out[4]) {
    __m128 r0 = v16_fold_to_4(a), r1 = v16_fold_to_4(b), r2 = v16_fold_to_4(c), r3 = v16_fold_to_4(d);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(r0, r2), _mm_add_ps(r1, r3)));
}

static inline float v16_f16(const void *p) {
    uint16_t half;
    memcpy(&half, p, 2);
    return _cvtsh_ss(half);
}
static inline b16 b16_load(const void *p) { return _mm_loadu_si128(p); }
static inline b16 b16_and(b16 a, uint8_t b) { return _mm_and_si128(a, _mm_set1_epi8((char)b)); }
static inline b16 b16_or(b16 a, b16 b) { return _mm_or_si128(a, b); }
static inline b16 b16_shl(b16 a, int n) { return b16_and(_mm_slli_epi16(a, n), (uint8_t)(0xff << n)); }
static inline b16 b16_shr(b16 a, int n) { return b16_and(_mm_srli_epi16(a, n), (uint8_t)(0xff >> n)); }
static inline b16 b16_sub(b16 a, uint8_t b) { return _mm_sub_epi8(a, _mm_set1_epi8((char)b)); }

static inline float v16_largest(v16 a) {
    __m256 r8 = _mm256_max_ps(a.lo, a.hi);
    __m128 r4 = _mm_max_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
    __m128 r2 = _mm_max_ps(r4, _mm_movehl_ps(r4, r4));
    return _mm_cvtss_f32(_mm_max_ss(r2, _mm_movehdup_ps(r2)));
}

/* ---- the integers of attention_tmpl.c ---- */

typedef struct w16 {
    __m256i lo, hi;
} w16;
typedef w16 b64;
typedef w16 k64;

static inline w16 w16_zero(void) { return (w16){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline v16 v16_from_w16(w16 a) { return (v16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
static inline w16 w16_join(w16 high, w16 low) {
    return (w16){_mm256_add_epi32(_mm256_slli_epi32(high.lo, 7), low.lo),
                 _mm256_add_epi32(_mm256_slli_epi32(high.hi, 7), low.hi)};
}
static inline b64 b64_load(const void *p) {
    const __m256i *bytes = p;
    return (b64){_mm256_loadu_si256(bytes), _mm256_loadu_si256(bytes + 1)};
}
static inline b64 b64_load_n(const void *p, size_t n) {
    uint8_t buffer[64] = {0};
    memcpy(buffer, p, 4 * n);
    return b64_load(buffer);
}
static inline __m256i b32_broadcast(const void *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}
/* acc + the sums of 4 products; a is unsigned, and no two products exceed 16 bits. */
static inline __m256i dot_u8_i8(__m256i acc, __m256i a, __m256i b) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
}
static inline w16 w16_dot_weights(w16 acc, b64 v, const uint8_t *p) {
    __m256i four = b32_broadcast(p);
    return (w16){dot_u8_i8(acc.lo, four, v.lo), dot_u8_i8(acc.hi, four, v.hi)};
}
/* q k = |q| (k with the sign of q): 2 * 127 * 127 fits. */
static inline k64 k64_load(const void *p) { return b64_load(p); }
static inline w16 w16_key_start(int32_t q_sum) {
    (void)q_sum;
    return w16_zero();
}
static inline w16 w16_dot_keys(w16 acc, k64 k, const int8_t *q) {
    __m256i four = b32_broadcast(q), size = _mm256_abs_epi8(four);
    return (w16){dot_u8_i8(acc.lo, size, _mm256_sign_epi8(k.lo, four)),
                 dot_u8_i8(acc.hi, size, _mm256_sign_epi8(k.hi, four))};
}
static inline void v16_store_digits(uint8_t *high, uint8_t *low, v16 a) {
    __m256i n_lo = _mm256_cvtps_epi32(a.lo), n_hi = _mm256_cvtps_epi32(a.hi);
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(n_lo, n_hi), _MM_SHUFFLE(3, 1, 2, 0));
    __m256i tops = _mm256_srli_epi16(words, 7), rests = _mm256_and_si256(words, _mm256_set1_epi16(127));
    _mm_storeu_si128((__m128i *)high,
                     _mm_packus_epi16(_mm256_castsi256_si128(tops), _mm256_extracti128_si256(tops, 1)));
    _mm_storeu_si128((__m128i *)low,
                     _mm_packus_epi16(_mm256_castsi256_si128(rests), _mm256_extracti128_si256(rests, 1)));
}

#endif
