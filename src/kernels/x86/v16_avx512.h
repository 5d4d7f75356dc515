/* The 16-lane vectors of float_tmpl.c (which says what each operation means) on AVX-512: one zmm. */
#ifndef TERN_KERNELS_X86_V16_AVX512_H
#define TERN_KERNELS_X86_V16_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define V16_ISA avx512vnni
enum { V16_TILE = 16 };

typedef __m512 v16;
typedef __m128i b16;

static inline __mmask16 v16_mask(size_t n) { return (__mmask16)((1u << n) - 1); }

static inline v16 v16_zero(void) { return _mm512_setzero_ps(); }
static inline v16 v16_set1(float a) { return _mm512_set1_ps(a); }
static inline v16 v16_load(const void *p) { return _mm512_loadu_ps(p); }
static inline void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
static inline v16 v16_load_n(const void *p, size_t n) { return _mm512_maskz_loadu_ps(v16_mask(n), p); }
static inline void v16_store_n(float *p, v16 a, size_t n) { _mm512_mask_storeu_ps(p, v16_mask(n), a); }

static inline v16 v16_from_f16(__m256i a) { return _mm512_cvtph_ps(a); }
static inline v16 v16_from_bf16(__m256i a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16));
}
static inline v16 v16_from_b16(b16 a) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a)); }
static inline v16 v16_load_f16(const void *p) { return v16_from_f16(_mm256_loadu_si256(p)); }
static inline v16 v16_load_bf16(const void *p) { return v16_from_bf16(_mm256_loadu_si256(p)); }
static inline v16 v16_load_i8(const void *p) { return v16_from_b16(_mm_loadu_si128(p)); }
static inline v16 v16_load_i32(const void *p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
static inline v16 v16_load_f16_n(const void *p, size_t n) {
    return v16_from_f16(_mm256_maskz_loadu_epi16(v16_mask(n), p));
}
static inline v16 v16_load_bf16_n(const void *p, size_t n) {
    return v16_from_bf16(_mm256_maskz_loadu_epi16(v16_mask(n), p));
}
static inline v16 v16_load_i8_n(const void *p, size_t n) { return v16_from_b16(_mm_maskz_loadu_epi8(v16_mask(n), p)); }
static inline v16 v16_load_i32_n(const void *p, size_t n) {
    return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(v16_mask(n), p));
}

static inline __m256i v16_to_f16(v16 a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline void v16_store_f16(uint16_t *p, v16 a) { _mm256_storeu_si256((__m256i *)p, v16_to_f16(a)); }
static inline void v16_store_f16_n(uint16_t *p, v16 a, size_t n) {
    _mm256_mask_storeu_epi16(p, v16_mask(n), v16_to_f16(a));
}
static inline __m128i v16_to_i8(v16 a) { return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)); }
static inline void v16_store_i8(int8_t *p, v16 a) { _mm_storeu_si128((__m128i *)p, v16_to_i8(a)); }
static inline void v16_store_i8_n(int8_t *p, v16 a, size_t n) { _mm_mask_storeu_epi8(p, v16_mask(n), v16_to_i8(a)); }

static inline v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
static inline v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
static inline v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
static inline v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
static inline v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
static inline v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
static inline v16 v16_abs(v16 a) { return _mm512_abs_ps(a); }
static inline v16 v16_round(v16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline v16 v16_pow2(v16 n) {
    __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
static inline v16 v16_if_less(v16 a, v16 b, v16 x, v16 y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline v16 v16_nan_to_zero(v16 a) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a); }
static inline v16 v16_keep_n(v16 a, v16 b, size_t n) { return _mm512_mask_blend_ps(v16_mask(n), b, a); }

/* 16 -> 8 -> 4, lane j with lane j + half. */
static inline __m128 v16_fold_to_4(v16 a) {
    __m256 r8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
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

static inline float v16_largest(v16 a) { return _mm512_reduce_max_ps(a); }

/* ---- the integers of attention_tmpl.c ---- */

typedef __m512i w16, b64, k64;

static inline w16 w16_zero(void) { return _mm512_setzero_si512(); }
static inline v16 v16_from_w16(w16 a) { return _mm512_cvtepi32_ps(a); }
static inline w16 w16_join(w16 high, w16 low) { return _mm512_add_epi32(_mm512_slli_epi32(high, 7), low); }
static inline b64 b64_load(const void *p) { return _mm512_loadu_si512(p); }
static inline b64 b64_load_n(const void *p, size_t n) { return _mm512_maskz_loadu_epi32(v16_mask(n), p); }
static inline __m512i b64_broadcast(const void *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
}
/* As an instruction of its own: with the intrinsic GCC 12 moves the accumulators of a large tile about, some through
 * memory, which costs a third of the time. */
static inline __m512i dot_u8_i8(__m512i acc, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
}
/* vpdpbusd wants one unsigned operand. Weights are; a key becomes key + 128 (its top bit flipped), and 128 times the
 * query's sum is taken off beforehand. */
static inline w16 w16_dot_weights(w16 acc, b64 v, const uint8_t *p) { return dot_u8_i8(acc, b64_broadcast(p), v); }
static inline k64 k64_load(const void *p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8((char)0x80));
}
static inline w16 w16_key_start(int32_t q_sum) { return _mm512_set1_epi32(-128 * q_sum); }
static inline w16 w16_dot_keys(w16 acc, k64 k, const int8_t *q) { return dot_u8_i8(acc, k, b64_broadcast(q)); }
static inline void v16_store_digits(uint8_t *high, uint8_t *low, v16 a) {
    __m512i n = _mm512_cvtps_epi32(a);
    _mm_storeu_si128((__m128i *)high, _mm512_cvtepi32_epi8(_mm512_srli_epi32(n, 7)));
    _mm_storeu_si128((__m128i *)low, _mm512_cvtepi32_epi8(_mm512_and_si512(n, _mm512_set1_epi32(127))));
}

#endif
