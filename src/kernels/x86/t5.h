/*
 * Unpacking 5-bit codes of three trits with AVX-512 VBMI, for the packing t5r16 (kernels.h) and for lines (lines.h):
 * a whole block of either is 64 codes, 5 bits each, in 40 bytes.
 */
#ifndef TERN_KERNELS_X86_T5_H
#define TERN_KERNELS_X86_T5_H

#include <immintrin.h>
#include <stdint.h>

#define T5_INLINE static inline __attribute__((always_inline))

enum { T5_BLOCK_BYTES = 40 };

#define T5_EACH_8(m, i) m(i), m(i + 1), m(i + 2), m(i + 3), m(i + 4), m(i + 5), m(i + 6), m(i + 7)
#define T5_EACH_64(m)                                                                                                  \
    T5_EACH_8(m, 0), T5_EACH_8(m, 8), T5_EACH_8(m, 16), T5_EACH_8(m, 24), T5_EACH_8(m, 32), T5_EACH_8(m, 40),          \
        T5_EACH_8(m, 48), T5_EACH_8(m, 56)

/* Byte i of a qword is byte i % 8 of the five bytes (eight codes) that the qword unpacks. */
#define T5_SPREAD(i) ((i) / 8 * 5 + (i) % 8) % 64
/* Byte i takes 8 bits from bit 5 * (i % 8) of its qword: a code and 3 bits of the next one. */
#define T5_SHIFT(i) (i) % 8 * 5
/* Word i / 2 is the two bytes from where code i begins, for even or odd i; then how far it is shifted: an even code to
 * bit 0, an odd one to bit 8. */
#define T5_EVEN(i) (((i) / 2 * 2 * 5 / 8) + (i) % 2) % 64
#define T5_ODD(i) ((((i) / 2 * 2 + 1) * 5 / 8) + (i) % 2) % 64
#define T5_SHIFT_EVEN(i) (i) % 2 ? 0 : (i)*5 % 8
#define T5_SHIFT_ODD(i) (i) % 2 ? 0 : 8 - ((i) + 1) * 5 % 8
/* vpermb looks at 6 bits of such a byte: a code and 1 bit more, so a table of 32 entries stands twice. */
#define T5_DIGIT_0(i) (i) % 32 % 3
#define T5_DIGIT_1(i) (i) % 32 / 3 % 3
#define T5_DIGIT_2(i) (i) % 32 / 9 % 3

static const uint8_t t5_spread[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_SPREAD)};
static const uint8_t t5_shift[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_SHIFT)};
static const uint8_t t5_even[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_EVEN)};
static const uint8_t t5_odd[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_ODD)};
static const uint8_t t5_shift_even[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_SHIFT_EVEN)};
static const uint8_t t5_shift_odd[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_SHIFT_ODD)};
static const uint8_t t5_digits[3][64]
    __attribute__((aligned(64))) = {{T5_EACH_64(T5_DIGIT_0)}, {T5_EACH_64(T5_DIGIT_1)}, {T5_EACH_64(T5_DIGIT_2)}};

/* The 40 bytes of a block, none behind them read. */
T5_INLINE __m512i t5_load(const uint8_t *block) { return _mm512_maskz_loadu_epi64(0x1f, block); }

/* The same where 64 bytes may be read, such as before another block: a tenth faster. */
T5_INLINE __m512i t5_load_inside(const uint8_t *block) { return _mm512_loadu_si512(block); }

/* 40 loaded bytes -> 64 codes; the upper three bits of each byte are junk. */
T5_INLINE __m512i t5_split(__m512i bytes) {
    __m512i spread = _mm512_permutexvar_epi8(_mm512_load_si512(t5_spread), bytes);
    return _mm512_multishift_epi64_epi8(_mm512_load_si512(t5_shift), spread);
}

/* The same without vpmultishiftqb, which on Zen 5 occupies one of the two ports of vpdpbusd, while shifts and
 * vpternlogd find others: for loops that are full of dot products. Even codes are shifted right and odd codes left,
 * each from a word of two bytes of the block. */
T5_INLINE __m512i t5_split_by_shifts(__m512i bytes) {
    __m512i even = _mm512_permutexvar_epi8(_mm512_load_si512(t5_even), bytes);
    __m512i odd = _mm512_permutexvar_epi8(_mm512_load_si512(t5_odd), bytes);
    even = _mm512_srlv_epi16(even, _mm512_load_si512(t5_shift_even));
    odd = _mm512_sllv_epi16(odd, _mm512_load_si512(t5_shift_odd));
    return _mm512_ternarylogic_epi64(_mm512_set1_epi16(0x00ff), even, odd, 0xca); /* low byte ? even : odd */
}

/* The 64 codes of the 40 bytes at `block`. */
T5_INLINE __m512i t5_codes(const uint8_t *block) { return t5_split(t5_load(block)); }

/* T + 1 (0, 1, 2) of trit f = 0..2 of each code. */
T5_INLINE __m512i t5_digit(__m512i codes, int f) {
    return _mm512_permutexvar_epi8(codes, _mm512_load_si512(t5_digits[f]));
}

#endif
