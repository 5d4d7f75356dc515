/*
 * Products of one token with some lines (lines.h) on AVX-512 VBMI and VNNI. Codes unpack to digits T + 1, the unsigned
 * operand of vpdpbusd; the sum of the activations is subtracted. The lines come from memory and leave gaps that
 * hardware prefetchers do not follow: the ones to come are fetched by hand.
 */
#include <string.h>

#include "kernels/x86/lines_avx512vbmi.h"

#define INLINE LINES_INLINE
#define UNROLL LINES_UNROLL

/* ROWS lines share the loads of q and one horizontal sum. */
#ifndef AHEAD
#define AHEAD 16
#endif
#ifndef FIRST
#define FIRST AHEAD
#endif
#ifndef QUADS
#define QUADS 4
#endif
enum { CACHE_LINE = 64 };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Fetch the first lines of a list, all of them at once: in the order in which sums() wants them. */
static void fetch_first(const uint8_t *lines, size_t bytes, const uint32_t *which, size_t n_which) {
    size_t n = smaller(n_which, FIRST);
    for (size_t i = 0; i < n; i++)
        for (size_t offset = 0; offset < bytes + CACHE_LINE - 1; offset += CACHE_LINE)
            _mm_prefetch((const char *)lines + which[i] * bytes + smaller(offset, bytes - 1), _MM_HINT_T0);
}

/* Where line i + AHEAD of a list lies; behind its end: where line i lies, which is in cache. */
INLINE const uint8_t *line_ahead(const uint8_t *lines, size_t bytes, const uint32_t *which, size_t n_which, size_t i) {
    return lines + which[i + AHEAD < n_which ? i + AHEAD : smaller(i, n_which - 1)] * bytes;
}

/* ---------------------------------------------------------------- dots */

/* n_rows lines x n_tokens rows of q, both constant: up to 4 x 4 or 2 x 8 sums. */
enum { MANY_ROWS = 4, FEW_ROWS = 2, MANY_SUMS = 16 };

typedef struct product {
    const uint8_t *line[MANY_ROWS], *ahead[MANY_ROWS];
    const int8_t *q;
    size_t n, ld_q;
} product;

/* sum[t][r] += block at `at` of line r . q of token t. */
INLINE void dot_block(const product *p, size_t at, lines_block block, size_t n_rows, size_t n_tokens, __m512i *sum) {
    __m512i codes[MANY_ROWS];
    UNROLL for (size_t r = 0; r < n_rows; r++) codes[r] =
        lines_codes(p->line[r] + at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, block);
    UNROLL for (int f = 0; f < LINES_DIGITS; f++) {
        __m512i digits[MANY_ROWS];
        UNROLL for (size_t r = 0; r < n_rows; r++) digits[r] = lines_digit(codes[r], f);
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            __m512i x = _mm512_maskz_loadu_epi8(block.codes, p->q + t * p->ld_q + at + (size_t)f * block.m);
            UNROLL for (size_t r = 0; r < n_rows; r++) lines_add_dots(&sum[t * n_rows + r], digits[r], x);
        }
    }
}

/* The sums over all lanes of four vectors. */
INLINE __m128i sum_lanes(const __m512i *x) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* out [n_tokens][n_rows]: line r . q of token t, with T + 1 for T. */
INLINE void dot(const product *p, size_t n_rows, size_t n_tokens, int32_t *out) {
    __m512i sum[MANY_SUMS];
    size_t at = 0, n_sums = n_rows * n_tokens, padded = (n_sums + 3) / 4 * 4;
    UNROLL for (size_t i = 0; i < padded; i++) sum[i] = _mm512_setzero_si512();
    for (; at + TERN_LINE_BLOCK <= p->n; at += TERN_LINE_BLOCK) {
        size_t offset = at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
        UNROLL for (size_t r = 0; r < n_rows; r++) _mm_prefetch((const char *)p->ahead[r] + offset, _MM_HINT_T0);
        dot_block(p, at, lines_whole_block(), n_rows, n_tokens, sum);
    }
    UNROLL for (size_t r = 0; r < n_rows; r++)
        _mm_prefetch((const char *)p->ahead[r] + tern_line_bytes(p->n) - 1, _MM_HINT_T0);
    if (at < p->n)
        dot_block(p, at, lines_block_of(p->n - at), n_rows, n_tokens, sum);
    UNROLL for (size_t i = 0; i < padded; i += 4) _mm_storeu_si128((__m128i *)(out + i), sum_lanes(sum + i));
}

static void dots(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t q_sum,
                 int32_t *acc) {
    size_t bytes = tern_line_bytes(n);
    fetch_first(lines, bytes, which, n_which);
    for (size_t i = 0; i < n_which; i += MANY_ROWS) {
        product p = {.q = q, .n = n};
        int32_t out[MANY_ROWS];
        for (size_t r = 0; r < MANY_ROWS; r++) { /* behind the list: its last line again */
            p.line[r] = lines + which[smaller(i + r, n_which - 1)] * bytes;
            p.ahead[r] = line_ahead(lines, bytes, which, n_which, i + r);
        }
        dot(&p, MANY_ROWS, 1, out);
        for (size_t r = 0; r < smaller(n_which - i, MANY_ROWS); r++)
            acc[i + r] = out[r] - q_sum;
    }
}

#define DOT(rows, tokens)                                                                                              \
    static void dot_##rows##x##tokens(const product *p, int32_t *out) { dot(p, rows, tokens, out); }
DOT(4, 1)
DOT(4, 2)
DOT(4, 3)
DOT(4, 4)
DOT(2, 5)
DOT(2, 6)
DOT(2, 7)
DOT(2, 8)

static void (*const few_tokens[TERN_LINES_FEW])(const product *p, int32_t *out) = {dot_4x1, dot_4x2, dot_4x3, dot_4x4,
                                                                                   dot_2x5, dot_2x6, dot_2x7, dot_2x8};

/* matmul_rows of at most TERN_LINES_FEW tokens: without a panel, each line is unpacked in registers. */
void tern_lines_few_rows_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                                    const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t bytes = tern_line_bytes(n), n_rows = n_tokens <= MANY_SUMS / MANY_ROWS ? MANY_ROWS : FEW_ROWS;
    for (size_t i = 0; i < n_lines; i += n_rows) {
        product p = {.q = q, .n = n, .ld_q = ld_q};
        int32_t out[MANY_SUMS];
        for (size_t r = 0; r < n_rows; r++) {
            p.line[r] = lines + smaller(i + r, n_lines - 1) * bytes;
            p.ahead[r] = lines + smaller(i + r + AHEAD, n_lines - 1) * bytes;
        }
        few_tokens[n_tokens - 1](&p, out);
        for (size_t t = 0; t < n_tokens; t++)
            for (size_t r = 0; r < smaller(n_lines - i, n_rows); r++)
                acc[t * ld_acc + i + r] = out[t * n_rows + r] - q_sum[t];
    }
}

/* ---------------------------------------------------------------- sums */

/* Columns that add up in registers before the sums go to memory, one block after another. */
typedef struct columns {
    size_t n_quads;
    const uint8_t *line[QUADS * LINES_QUAD], *ahead[QUADS * LINES_QUAD];
    int32_t q[QUADS]; /* 4 activations each */
    int32_t correction;
} columns;

/* acc[f * m + i] += correction + the columns' entries of a block. */
INLINE void sum_block(const columns *c, size_t offset, lines_block block, int32_t *acc) {
    __m512i sum[LINES_DIGITS][LINES_QUARTERS];
    UNROLL for (int f = 0; f < LINES_DIGITS; f++) UNROLL for (int v = 0; v < LINES_QUARTERS; v++) sum[f][v] =
        _mm512_set1_epi32(c->correction);
    for (size_t i = 0; i < c->n_quads; i++) {
        const uint8_t *p[LINES_QUAD];
        UNROLL for (int j = 0; j < LINES_QUAD; j++) p[j] = c->line[LINES_QUAD * i + (size_t)j] + offset;
        __m512i codes[LINES_QUARTERS], q = _mm512_set1_epi32(c->q[i]);
        lines_quad_codes(p, block, codes);
        UNROLL for (int v = 0; v < LINES_QUARTERS; v++) UNROLL for (int f = 0; f < LINES_DIGITS; f++)
            lines_add_dots(&sum[f][v], lines_digit(codes[v], f), q);
    }
    UNROLL for (int f = 0; f < LINES_DIGITS; f++) UNROLL for (int v = 0; v < LINES_QUARTERS; v++) {
        int32_t *to = acc + (size_t)f * block.m + 16 * v;
        __mmask16 rows = (__mmask16)(block.codes >> 16 * v);
        _mm512_mask_storeu_epi32(to, rows, _mm512_add_epi32(_mm512_maskz_loadu_epi32(rows, to), sum[f][v]));
    }
}

static void sum_columns(const columns *c, size_t n, int32_t *acc) {
    size_t offset = 0, at = 0, last = tern_line_bytes(n) - 1;
    for (; at + TERN_LINE_BLOCK <= n; at += TERN_LINE_BLOCK, offset += TERN_LINE_BLOCK_BYTES) {
        for (size_t i = 0; i < QUADS * LINES_QUAD; i++)
            _mm_prefetch((const char *)c->ahead[i] + offset, _MM_HINT_T0);
        sum_block(c, offset, lines_whole_block(), acc + at);
    }
    for (size_t i = 0; i < QUADS * LINES_QUAD; i++)
        _mm_prefetch((const char *)c->ahead[i] + last, _MM_HINT_T0);
    if (at < n)
        sum_block(c, offset, lines_block_of(n - at), acc + at);
}

static void sums(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t *acc) {
    size_t bytes = tern_line_bytes(n);
    fetch_first(lines, bytes, which, n_which);
    for (size_t i = 0, size; i < n_which; i += size) {
        columns c = {0};
        size = smaller(n_which - i, QUADS * LINES_QUAD);
        c.n_quads = (size + LINES_QUAD - 1) / LINES_QUAD;
        memcpy(c.q, q + i, size);
        for (size_t j = 0; j < QUADS * LINES_QUAD; j++) { /* a quad is filled up with zeros times any column */
            c.line[j] = lines + which[smaller(i + j, n_which - 1)] * bytes;
            c.ahead[j] = line_ahead(lines, bytes, which, n_which, i + j);
        }
        for (size_t j = 0; j < size; j++)
            c.correction -= q[i + j];
        sum_columns(&c, n, acc);
    }
}

const tern_line_kernels tern_lines_avx512vbmi = {.dots = dots,
                                                 .sums = sums,
                                                 .matmul_rows = tern_lines_matmul_rows_avx512vbmi,
                                                 .matmul_columns = tern_lines_matmul_columns_avx512vbmi,
                                                 .scratch_bytes = (size_t)160 << 10};
