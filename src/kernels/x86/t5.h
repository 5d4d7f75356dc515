/*
 * Unpacking 5-bit codes of three trits with AVX-512 VBMI, for the packing t5r16 (kernels.h) and for lines (lines.h):
 * a whole block of either is 64 codes, 5 bits each, in 40 bytes.
 */
#ifndef TERN_KERNELS_X86_T5_H
#define TERN_KERNELS_X86_T5_H

#include <immintrin.h>
#include <stdint.h>

enum { T5_BLOCK_BYTES = 40 };

#define T5_EACH_8(m, i) m(i), m(i + 1), m(i + 2), m(i + 3), m(i + 4), m(i + 5), m(i + 6), m(i + 7)
#define T5_EACH_64(m)                                                                                                  \
    T5_EACH_8(m, 0), T5_EACH_8(m, 8), T5_EACH_8(m, 16), T5_EACH_8(m, 24), T5_EACH_8(m, 32), T5_EACH_8(m, 40),          \
        T5_EACH_8(m, 48), T5_EACH_8(m, 56)

/* Byte i of a qword is byte i % 8 of the five bytes (eight codes) that the qword unpacks. */
#define T5_SPREAD(i) ((i) / 8 * 5 + (i) % 8) % 64
/* Byte i takes 8 bits from bit 5 * (i % 8) of its qword: a code and 3 bits of the next one. */
#define T5_SHIFT(i) (i) % 8 * 5
/* vpermb looks at 6 bits of such a byte: a code and 1 bit more, so a table of 32 entries stands twice. */
#define T5_DIGIT_0(i) (i) % 32 % 3
#define T5_DIGIT_1(i) (i) % 32 / 3 % 3
#define T5_DIGIT_2(i) (i) % 32 / 9 % 3

static const uint8_t t5_spread[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_SPREAD)};
static const uint8_t t5_shift[64] __attribute__((aligned(64))) = {T5_EACH_64(T5_SHIFT)};
static const uint8_t t5_digits[3][64]
    __attribute__((aligned(64))) = {{T5_EACH_64(T5_DIGIT_0)}, {T5_EACH_64(T5_DIGIT_1)}, {T5_EACH_64(T5_DIGIT_2)}};

static inline __attribute__((always_inline)) __m512i t5_spread_codes(__m512i bytes) {
    __m512i spread = _mm512_permutexvar_epi8(_mm512_load_si512(t5_spread), bytes);
    return _mm512_multishift_epi64_epi8(_mm512_load_si512(t5_shift), spread);
}

/* The 64 codes of the 40 bytes at `block`, no byte behind them read; the upper three bits of each byte are junk. */
static inline __attribute__((always_inline)) __m512i t5_codes(const uint8_t *block) {
    return t5_spread_codes(_mm512_maskz_loadu_epi64(0x1f, block));
}

/* The same where 64 bytes may be read, such as before another block: a tenth faster. */
static inline __attribute__((always_inline)) __m512i t5_codes_inside(const uint8_t *block) {
    return t5_spread_codes(_mm512_loadu_si512(block));
}

/* T + 1 (0, 1, 2) of trit f = 0..2 of each code. */
static inline __attribute__((always_inline)) __m512i t5_digit(__m512i codes, int f) {
    return _mm512_permutexvar_epi8(codes, _mm512_load_si512(t5_digits[f]));
}

#endif
