/*
 * Lines as rows (`up`) times few tokens on AVX-512 VBMI and VNNI: 64 consecutive entries of a row a step, unpacked in
 * registers to digits T + 1, the unsigned operand of vpdpbusd; activations are the signed one. The sums of the
 * activations are subtracted at the end. The lines come from memory, in lists with gaps that hardware prefetchers do
 * not follow: the ones to come are fetched by hand.
 */
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/lines_avx512vbmi.h"

#define INLINE LINES_INLINE
#define UNROLL LINES_UNROLL

/* How many lines are fetched ahead. 8 do not cover the latency of memory, 24 no better than 16, and they delay the
 * first ones of a short list. */
enum { AHEAD = 16 };
/* Lines that all tokens pass before the next ones are read, a multiple of what are taken together. */
enum { TASK_LINES = 12 };

/* Where line i + AHEAD of a list lies; behind its end: where line i lies, which is in cache. */
INLINE const uint8_t *line_ahead(const uint8_t *lines, size_t bytes, const uint32_t *which, size_t n_which, size_t i) {
    return lines + which[i + AHEAD < n_which ? i + AHEAD : lines_smaller(i, n_which - 1)] * bytes;
}

/* ---------------------------------------------------------------- dots */

/* n_rows lines x n_tokens rows of q, both constant: 4 x 2 sums while the stream of weights is the limit; more while dot
 * products are, up to 4 x 6 or 3 x 8, all that registers have room for. */
enum { MOST_ROWS = 4, MOST_SUMS = 24, SOME_SUMS = 8 };
/* Dot products have a latency of 4 cycles, and two begin in each: few sums are split by digit. */
INLINE size_t sums_per_dot(size_t n_sums) { return n_sums <= 4 ? LINES_DIGITS : 1; }

typedef struct product {
    const uint8_t *line[MOST_ROWS], *ahead[MOST_ROWS];
    const int8_t *q;
    size_t n, bytes, ld_q; /* bytes of a line */
    const int32_t *q_sum;
    int32_t *acc; /* [tokens][ld_acc] */
    size_t ld_acc;
    __mmask8 exist; /* which of the lines to store: the last one may stand there several times */
} product;

/* sum[.][t][r] += block at `at` of line r . q of token t. inside (constant): 64 bytes may be read from where the block
 * begins, and plain loads do, which are faster. */
INLINE void dot_block(const product *p, size_t at, lines_block block, bool inside, size_t n_rows, size_t n_tokens,
                      __m512i (*sum)[SOME_SUMS]) {
    __m512i codes[MOST_ROWS];
    UNROLL for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *from = p->line[r] + at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
        codes[r] = inside ? t5_split(t5_load_inside(from)) : lines_codes(from, block);
    }
    UNROLL for (int f = 0; f < LINES_DIGITS; f++) {
        __m512i digits[MOST_ROWS];
        UNROLL for (size_t r = 0; r < n_rows; r++) digits[r] = lines_digit(codes[r], f);
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            const int8_t *q = p->q + t * p->ld_q + at + (size_t)f * block.m;
            __m512i x = block.m == 64 ? _mm512_loadu_si512(q) : _mm512_maskz_loadu_epi8(block.codes, q);
            UNROLL for (size_t r = 0; r < n_rows; r++)
                lines_add_dots(&sum[(size_t)f % sums_per_dot(n_rows * n_tokens)][t * n_rows + r], digits[r], x);
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

/* acc [n_rows] = sums of a token's digits T + 1 with all lines, less that of its activations. */
INLINE void store(const product *p, const __m512i *sum, size_t n_rows, size_t token) {
    __m512i of_rows[MOST_ROWS];
    UNROLL for (size_t r = 0; r < MOST_ROWS; r++) of_rows[r] = sum[r < n_rows ? r : 0];
    __m128i x = _mm_sub_epi32(sum_lanes(of_rows), _mm_set1_epi32(p->q_sum[token]));
    _mm_mask_storeu_epi32(p->acc + token * p->ld_acc, p->exist, x);
}

/* acc [n_tokens][n_rows] = line r . q of token t, up to SOME_SUMS. */
INLINE void dot(const product *p, size_t n_rows, size_t n_tokens) {
    __m512i sum[LINES_DIGITS][SOME_SUMS];
    const size_t n_sums = n_rows * n_tokens, bytes = p->bytes;
    size_t at = 0;
    UNROLL for (size_t f = 0; f < sums_per_dot(n_sums); f++) UNROLL for (size_t i = 0; i < n_sums; i++) sum[f][i] =
        _mm512_setzero_si512();
    for (size_t offset = 0; offset + LINES_CACHE_LINE <= bytes;
         at += TERN_LINE_BLOCK, offset += TERN_LINE_BLOCK_BYTES) {
        UNROLL for (size_t r = 0; r < n_rows; r++) _mm_prefetch((const char *)p->ahead[r] + offset, _MM_HINT_T0);
        dot_block(p, at, lines_whole_block(), true, n_rows, n_tokens, sum);
    }
    for (; at + TERN_LINE_BLOCK <= p->n; at += TERN_LINE_BLOCK) {
        size_t offset = at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
        UNROLL for (size_t r = 0; r < n_rows; r++) _mm_prefetch((const char *)p->ahead[r] + offset, _MM_HINT_T0);
        dot_block(p, at, lines_whole_block(), false, n_rows, n_tokens, sum);
    }
    UNROLL for (size_t r = 0; r < n_rows; r++) _mm_prefetch((const char *)p->ahead[r] + bytes - 1, _MM_HINT_T0);
    if (at < p->n)
        dot_block(p, at, lines_block_of(p->n - at), false, n_rows, n_tokens, sum);
    UNROLL for (size_t f = 1; f < sums_per_dot(n_sums); f++) UNROLL for (size_t i = 0; i < n_sums; i++) sum[0][i] =
        _mm512_add_epi32(sum[0][i], sum[f][i]);
    UNROLL for (size_t t = 0; t < n_tokens; t++) store(p, sum[0] + t * n_rows, n_rows, t);
}

/* One block of each line for all tokens, `offset` bytes into the lines; its activations begin at q, of which every
 * third token's has a pointer. Codes are split off the ports of the dot product, which is the limit. */
INLINE void many_block(const product *p, size_t offset, const int8_t *const *q, lines_block block, bool whole,
                       bool inside, size_t n_rows, size_t n_tokens, __m512i *sum) {
    __m512i codes[MOST_ROWS];
    UNROLL for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *from = p->line[r] + offset;
        codes[r] = t5_split_by_shifts(inside ? t5_load_inside(from) : _mm512_maskz_loadu_epi8(block.bytes, from));
    }
    /* With all registers taken by sums, the tables are to be read from memory: compilers would rather keep them and
     * spill sums. */
    const uint8_t *tables = t5_digits[0];
    __asm__("" : "+r"(tables));
    const size_t m = whole ? TERN_LINE_BLOCK / LINES_DIGITS : block.m, ld_q = p->ld_q;
    UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) {
        __m512i digits[MOST_ROWS];
        UNROLL for (size_t r = 0; r < n_rows; r++) digits[r] =
            _mm512_permutexvar_epi8(codes[r], _mm512_load_si512(tables + 64 * f));
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            const int8_t *at = q[t / 3] + t % 3 * ld_q + f * m;
            __m512i x = whole ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi8(block.codes, at);
            UNROLL for (size_t r = 0; r < n_rows; r++) lines_add_dots(&sum[t * n_rows + r], digits[r], x);
        }
    }
}

/* The same as dot() with as many sums as registers have room for. inside (constant): another line follows all of
 * these, so that plain loads of whole blocks may read more. */
INLINE void dot_many(const product *p, bool inside, size_t n_rows, size_t n_tokens) {
    __m512i sum[MOST_SUMS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t r = 0; r < n_rows; r++) sum[t * n_rows + r] =
        _mm512_setzero_si512();
    const int8_t *q[(TERN_LINES_FEW + 2) / 3];
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) q[t / 3] = p->q + t * p->ld_q;
    const size_t whole = p->n / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
    size_t offset = 0;
    for (; offset < whole; offset += TERN_LINE_BLOCK_BYTES) {
        UNROLL for (size_t r = 0; r < n_rows; r++) _mm_prefetch((const char *)p->ahead[r] + offset, _MM_HINT_T0);
        many_block(p, offset, q, lines_whole_block(), true, inside, n_rows, n_tokens, sum);
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) q[t / 3] += TERN_LINE_BLOCK;
    }
    if (offset < p->bytes) {
        UNROLL for (size_t r = 0; r < n_rows; r++) _mm_prefetch((const char *)p->ahead[r] + offset, _MM_HINT_T0);
        many_block(p, offset, q, lines_block_of(p->n % TERN_LINE_BLOCK), false, false, n_rows, n_tokens, sum);
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) store(p, sum + t * n_rows, n_rows, t);
}

/* The first n of the lines. */
INLINE __mmask8 first_lines(size_t n) { return (__mmask8)((1u << n) - 1); }

static void dots(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t q_sum,
                 int32_t *acc) {
    size_t bytes = tern_line_bytes(n);
    for (size_t i = 0; i < lines_smaller(n_which, AHEAD); i++)
        lines_fetch(lines + which[i] * bytes, bytes);
    for (size_t i = 0; i < n_which; i += MOST_ROWS) {
        product p = {.q = q, .n = n, .bytes = bytes, .q_sum = &q_sum, .acc = acc + i};
        p.exist = first_lines(lines_smaller(n_which - i, MOST_ROWS));
        for (size_t r = 0; r < MOST_ROWS; r++) { /* behind the list: its last line again */
            p.line[r] = lines + which[lines_smaller(i + r, n_which - 1)] * bytes;
            p.ahead[r] = line_ahead(lines, bytes, which, n_which, i + r);
        }
        dot(&p, MOST_ROWS, 1);
    }
}

#define DOT(rows, tokens)                                                                                              \
    static void dot_##rows##x##tokens(const product *p, bool inside) {                                                 \
        (void)inside;                                                                                                  \
        dot(p, rows, tokens);                                                                                          \
    }
#define DOT_MANY(rows, tokens)                                                                                         \
    static void dot_##rows##x##tokens(const product *p, bool inside) {                                                 \
        if (inside)                                                                                                    \
            dot_many(p, true, rows, tokens);                                                                           \
        else                                                                                                           \
            dot_many(p, false, rows, tokens);                                                                          \
    }
DOT(4, 1)
DOT(4, 2)
DOT_MANY(4, 3)
DOT_MANY(4, 4)
DOT_MANY(4, 5)
DOT_MANY(4, 6)
DOT_MANY(3, 7)
DOT_MANY(3, 8)

static const struct {
    size_t rows;
    void (*run)(const product *p, bool inside);
} few_tokens[TERN_LINES_FEW] = {{4, dot_4x1}, {4, dot_4x2}, {4, dot_4x3}, {4, dot_4x4},
                                {4, dot_4x5}, {4, dot_4x6}, {3, dot_3x7}, {3, dot_3x8}};

/* The lines [first, end), of n_lines, for at most TERN_LINES_FEW tokens. */
static void few_lines(const uint8_t *lines, size_t first, size_t end, size_t n_lines, product p, size_t n_tokens) {
    size_t n_rows = few_tokens[n_tokens - 1].rows;
    int32_t *acc = p.acc;
    for (size_t i = first; i < end; i += n_rows) {
        for (size_t r = 0; r < n_rows; r++) {
            p.line[r] = lines + lines_smaller(i + r, end - 1) * p.bytes;
            p.ahead[r] = lines + lines_smaller(i + r + AHEAD, n_lines - 1) * p.bytes;
        }
        p.acc = acc + i;
        p.exist = first_lines(lines_smaller(end - i, n_rows));
        few_tokens[n_tokens - 1].run(&p, end < n_lines || i + n_rows < n_lines);
    }
}

/* matmul_rows without a panel: each line is unpacked in registers, once for every TERN_LINES_FEW tokens. */
void tern_lines_few_rows_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                                    const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t n_tiles = (n_tokens + TERN_LINES_FEW - 1) / TERN_LINES_FEW, bytes = tern_line_bytes(n);
    lines_fetch(lines, lines_smaller(n_lines, AHEAD) * bytes);
    for (size_t i = 0; i < n_lines; i += TASK_LINES)
        for (size_t tile = 0, t = 0, size; tile < n_tiles; tile++, t += size) {
            product p = {.n = n, .bytes = bytes, .q = q + t * ld_q, .ld_q = ld_q, .q_sum = q_sum + t};
            p.acc = acc + t * ld_acc;
            p.ld_acc = ld_acc;
            size = (n_tokens - t) / (n_tiles - tile);
            few_lines(lines, i, lines_smaller(i + TASK_LINES, n_lines), n_lines, p, size);
        }
}

const tern_line_kernels tern_lines_avx512vbmi = {.dots = dots,
                                                 .sums = tern_lines_sums_avx512vbmi,
                                                 .matmul_rows = tern_lines_matmul_rows_avx512vbmi,
                                                 .matmul_columns = tern_lines_matmul_columns_avx512vbmi,
                                                 .scratch_bytes = (size_t)160 << 10};
