/* What the two files of line kernels on AVX-512 VBMI share: how lines are cut into blocks, and how codes unpack. */
#ifndef TERN_KERNELS_X86_LINES_AVX512VBMI_H
#define TERN_KERNELS_X86_LINES_AVX512VBMI_H

#include "kernels/lines.h"
#include "kernels/x86/t5.h"

#define LINES_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define LINES_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LINES_UNROLL _Pragma("GCC unroll 16")
#endif

/* Trits of a code; lines whose entries are taken side by side; quarters of a block, 16 codes (10 bytes) each. */
enum { LINES_DIGITS = 3, LINES_QUAD = 4, LINES_QUARTERS = 4, LINES_CACHE_LINE = 64 };

/* A block of a line, of `size` trits: m codes in the bytes that `bytes` selects; digit f of code i is trit f * m + i of
 * the block. */
typedef struct lines_block {
    size_t size, m;
    __mmask64 bytes, codes;
} lines_block;

LINES_INLINE size_t lines_smaller(size_t a, size_t b) { return a < b ? a : b; }

/* size is 1..192. */
LINES_INLINE lines_block lines_block_of(size_t size) {
    size_t m = (size + 2) / 3;
    return (lines_block){size, m, ~(__mmask64)0 >> (64 - (5 * m + 7) / 8), ~(__mmask64)0 >> (64 - m)};
}

LINES_INLINE lines_block lines_whole_block(void) { return lines_block_of(TERN_LINE_BLOCK); }

/* Which of digit f of the codes 16v .. 16v+15 are trits of the block. */
LINES_INLINE __mmask16 lines_rows(lines_block block, size_t f, size_t v) {
    size_t r = f * block.m + 16 * v;
    if (16 * v >= block.m || r >= block.size)
        return 0;
    return (__mmask16)(0xffff >> (16 - lines_smaller(lines_smaller(block.m - 16 * v, 16), block.size - r)));
}

/* Fetch `bytes` bytes at p. */
LINES_INLINE void lines_fetch(const uint8_t *p, size_t bytes) {
    for (size_t offset = 0; offset < bytes + LINES_CACHE_LINE - 1; offset += LINES_CACHE_LINE)
        _mm_prefetch((const char *)p + lines_smaller(offset, bytes - 1), _MM_HINT_T0);
}

LINES_INLINE __m512i lines_digit(__m512i codes, int f) { return t5_digit(codes, f); }

/* Codes of the block at p, one a byte, upper three bits junk; no byte outside the block is read. */
LINES_INLINE __m512i lines_codes(const uint8_t *p, lines_block block) {
    __m512i bytes = _mm512_maskz_loadu_epi8(block.bytes, p);
    __m512i spread = _mm512_permutexvar_epi8(_mm512_load_si512(t5_spread), bytes);
    return _mm512_multishift_epi64_epi8(_mm512_load_si512(t5_shift), spread);
}

/*
 * The same block of four lines a, b, c, d -> quarters[v] with the codes 16v .. 16v+15 of all four: byte 4i + j is code
 * 16v + i of line j (upper three bits junk), the operand shape of vpdpbusd.
 *
 * A qword of a quarter is made of 2 bytes of each line that hold two neighbouring codes (10 bits; they start at an
 * even bit, so 2 bytes are enough), which a multishift then pulls apart. One permutation of two lines fetches their
 * bytes for two quarters; unpacking dwords merges the pairs of lines.
 */
/* Byte i: its lane i / 16 has qwords 2 * lane and 2 * lane + 1 of one quarter, then of the next one. In a qword's
 * dword are two bytes of the first line, then of the second (64 + ..). Qword w starts at bit 10 w. */
#define LINES_PAIR_QWORD(i) ((i) / 16 * 2 + (i) / 4 % 2)
#define LINES_PAIR(i) (LINES_PAIR_QWORD(i) * 10 / 8 + (i) % 2 + (i) / 8 % 2 * 10 + (i) / 2 % 2 * 64)
#define LINES_PAIR_2(i) (LINES_PAIR(i) + 20)
/* Byte 4r + j of qword w: code 2w + r of line j. */
#define LINES_QUAD_SHIFT(i) ((i) % 4 * 16 + (i) / 8 * 10 % 8 + (i) / 4 % 2 * 5)

static const uint8_t lines_pair[2][64]
    __attribute__((aligned(64))) = {{T5_EACH_64(LINES_PAIR)}, {T5_EACH_64(LINES_PAIR_2)}};
static const uint8_t lines_quad_shift[64] __attribute__((aligned(64))) = {T5_EACH_64(LINES_QUAD_SHIFT)};

/* half = 0, 1: quarters [2] 2 * half and 2 * half + 1. */
LINES_INLINE void lines_half_codes(const __m512i *line, int half, __m512i *quarters) {
    __m512i bytes = _mm512_load_si512(lines_pair[half]), shift = _mm512_load_si512(lines_quad_shift);
    __m512i ab = _mm512_permutex2var_epi8(line[0], bytes, line[1]);
    __m512i cd = _mm512_permutex2var_epi8(line[2], bytes, line[3]);
    quarters[0] = _mm512_multishift_epi64_epi8(shift, _mm512_unpacklo_epi32(ab, cd));
    quarters[1] = _mm512_multishift_epi64_epi8(shift, _mm512_unpackhi_epi32(ab, cd));
}

LINES_INLINE void lines_quad_codes(const uint8_t *const *p, lines_block block, __m512i *quarters) {
    __m512i line[LINES_QUAD];
    LINES_UNROLL for (int j = 0; j < LINES_QUAD; j++) line[j] = _mm512_maskz_loadu_epi8(block.bytes, p[j]);
    LINES_UNROLL for (int half = 0; half < 2; half++) lines_half_codes(line, half, quarters + 2 * half);
}

/* sum += digits . activations. In assembly because gcc 12 copies accumulators before the intrinsic overwrites them:
 * with 24 of them it spills, and the tile takes twice as long. */
LINES_INLINE void lines_add_dots(__m512i *sum, __m512i digits, __m512i activations) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(digits), "v"(activations));
}

/* Up to so many tokens at a time are multiplied without a panel, by lines_avx512vbmi.c (rows, any number of tokens) and
 * lines_columns_avx512vbmi.c. */
enum { TERN_LINES_FEW = 8 };
void tern_lines_few_rows_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                                    const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc);
void tern_lines_few_columns_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, size_t first_row, size_t n_rows,
                                       const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                                       int32_t *acc, size_t ld_acc);
void tern_lines_sums_avx512vbmi(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q,
                                int32_t *acc);
void tern_lines_matmul_rows_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                                       const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc,
                                       void *scratch);
void tern_lines_matmul_columns_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, size_t first_row,
                                          size_t n_rows, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                                          size_t n_tokens, int32_t *acc, size_t ld_acc, void *scratch);

#endif
