/*
 * Products of several tokens with lines (lines.h) on AVX-512 VBMI and VNNI. A piece of the matrix is unpacked once to a
 * panel of digits T + 1 that stays in cache while all tokens pass: vectors of 16 outputs x 4 inputs, the unsigned
 * operand of vpdpbusd, as in ternary_avx512vnni.c; 4 activations, broadcast, are the signed one.
 */
#include <string.h>

#include "kernels/x86/lines_avx512vbmi.h"

#define INLINE LINES_INLINE
#define UNROLL LINES_UNROLL

/* 3 groups x 8 tokens are 24 accumulators; with 3 vectors of weights and one of activations they fit the registers.
 * A chunk's panel: 24 KB for a quarter of a block of columns, 28 KB for 48 rows; twice that leaves L1 and is slower. */
enum { TILE_GROUPS = 3, TILE_TOKENS = 8, GROUP = 16, VECTOR = 64, CHUNK_COLUMNS = 512, CHUNK_BLOCKS = 3 };
/* Rows times up to so many tokens need no panel: 20 tokens 345 instead of 251 GMAC/s, 64 as many. */
enum { PANEL_TOKENS = 48 };

/* ---------------------------------------------------------------- the product of a panel */

/* n_groups groups of 16 outputs: where their sums go (token 0), and which of the 16 exist. */
typedef struct outputs {
    int32_t *acc[TILE_GROUPS];
    __mmask16 exist[TILE_GROUPS];
    size_t ld;
} outputs;

INLINE __m512i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* acc (+)= panel [n_steps][n_groups][16 outputs][4 inputs] . q [n_tokens][4 * n_steps]. With q_sum the sums begin, at
 * -q_sum; without they go on. n_groups <= TILE_GROUPS and n_tokens <= TILE_TOKENS are constant. */
INLINE void tile(const uint8_t *panel, size_t n_steps, size_t n_groups, const int8_t *q, size_t ld_q,
                 const int32_t *q_sum, size_t n_tokens, const outputs *out, size_t token) {
    __m512i sum[TILE_TOKENS][TILE_GROUPS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] =
        q_sum ? _mm512_set1_epi32(-q_sum[token + t])
              : _mm512_maskz_loadu_epi32(out->exist[g], out->acc[g] + (token + t) * out->ld);
    /* Every third token has a pointer, as in ternary_avx512vnni.c. */
    const int8_t *row[(TILE_TOKENS + 2) / 3];
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + (token + t) * ld_q;
    const uint8_t *end = panel + n_steps * n_groups * VECTOR;
    do { /* n_steps > 0: a loop that might not run costs copies of all sums */
        __m512i digits[TILE_GROUPS];
        UNROLL for (size_t g = 0; g < n_groups; g++) digits[g] = _mm512_load_si512(panel + g * VECTOR);
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            __m512i activations = broadcast_4(row[t / 3] + t % 3 * ld_q);
            UNROLL for (size_t g = 0; g < n_groups; g++) lines_add_dots(&sum[t][g], digits[g], activations);
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += 4;
        panel += n_groups * VECTOR;
    } while (panel < end);
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++)
        _mm512_mask_storeu_epi32(out->acc[g] + (token + t) * out->ld, out->exist[g], sum[t][g]);
}

typedef void tile_fn(const uint8_t *panel, size_t n_steps, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                     const outputs *out, size_t token);

#define TILE(groups, tokens)                                                                                           \
    static void tile_##groups##x##tokens(const uint8_t *panel, size_t n_steps, const int8_t *q, size_t ld_q,           \
                                         const int32_t *q_sum, const outputs *out, size_t token) {                     \
        tile(panel, n_steps, groups, q, ld_q, q_sum, tokens, out, token);                                              \
    }
#define TILES(tokens) TILE(1, tokens) TILE(2, tokens) TILE(3, tokens)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)
TILES(8)

static tile_fn *const tiles[TILE_GROUPS][TILE_TOKENS] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8},
    {tile_2x1, tile_2x2, tile_2x3, tile_2x4, tile_2x5, tile_2x6, tile_2x7, tile_2x8},
    {tile_3x1, tile_3x2, tile_3x3, tile_3x4, tile_3x5, tile_3x6, tile_3x7, tile_3x8},
};

/* Pieces of the matrix that will be unpacked next: n of `bytes` bytes, `stride` apart. They come into the cache while
 * tiles are computed, `per_tile` at a time. */
typedef struct fetch {
    const uint8_t *at;
    size_t stride, bytes, n, per_tile;
} fetch;

static void fetch_some(fetch *next, size_t n) {
    for (n = lines_smaller(n, next->n); n; n--, next->n--, next->at += next->stride)
        lines_fetch(next->at, next->bytes);
}

static size_t n_tiles_of(size_t n_tokens) { return (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS; }

/* All tokens, in tiles of even size: 9 tokens are 4 + 5, not 8 + 1. */
static void multiply(const uint8_t *panel, size_t n_steps, size_t n_groups, const int8_t *q, size_t ld_q,
                     const int32_t *q_sum, size_t n_tokens, const outputs *out, fetch *next) {
    size_t n_tiles = n_tiles_of(n_tokens);
    for (size_t i = 0, t = 0; i < n_tiles; i++) {
        size_t tokens = (n_tokens - t) / (n_tiles - i);
        fetch_some(next, next->per_tile);
        tiles[n_groups - 1][tokens - 1](panel, n_steps, q, ld_q, q_sum, out, t);
        t += tokens;
    }
}

/* ---------------------------------------------------------------- down */

/* One block of the columns [first, end) -> a panel of [n_steps][3 digits] for each quarter of the block, `stride` bytes
 * apart. The last four columns may be filled up with any: their activations are zero. */
static void unpack_columns(const uint8_t *lines, size_t bytes, lines_block block, size_t first, size_t end,
                           uint8_t *panel, size_t stride) {
    for (size_t i = first; i < end; i += LINES_QUAD, panel += LINES_DIGITS * VECTOR) {
        const uint8_t *p[LINES_QUAD];
        for (size_t j = 0; j < LINES_QUAD; j++)
            p[j] = lines + lines_smaller(i + j, end - 1) * bytes;
        __m512i codes[LINES_QUARTERS];
        lines_quad_codes(p, block, codes);
        UNROLL for (size_t v = 0; v < LINES_QUARTERS; v++) UNROLL for (size_t f = 0; f < LINES_DIGITS; f++)
            _mm512_store_si512(panel + v * stride + f * VECTOR, lines_digit(codes[v], (int)f));
    }
}

/* acc (+)= panels of a block . q */
static void multiply_block(const uint8_t *panel, size_t stride, size_t n_steps, lines_block block, const int8_t *q,
                           size_t ld_q, const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc,
                           fetch *next) {
    for (size_t v = 0; GROUP * v < block.m; v++) {
        outputs out = {.ld = ld_acc};
        for (size_t f = 0; f < LINES_DIGITS; f++) {
            out.acc[f] = acc + f * block.m + GROUP * v;
            out.exist[f] = lines_rows(block, f, v);
        }
        multiply(panel + v * stride, n_steps, LINES_DIGITS, q, ld_q, q_sum, n_tokens, &out, next);
    }
}

void tern_lines_matmul_columns_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, size_t first_row,
                                          size_t n_rows, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                                          size_t n_tokens, int32_t *acc, size_t ld_acc, void *scratch) {
    if (n_tokens <= TERN_LINES_FEW) {
        tern_lines_few_columns_avx512vbmi(lines, n, n_lines, first_row, n_rows, q, ld_q, q_sum, n_tokens, acc, ld_acc);
        return;
    }
    size_t bytes = tern_line_bytes(n), chunk = CHUNK_COLUMNS;
    size_t stride = chunk / LINES_QUAD * LINES_DIGITS * VECTOR;
    const uint8_t *rows = lines + first_row / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
    size_t n_blocks = (n_rows + TERN_LINE_BLOCK - 1) / TERN_LINE_BLOCK;
    fetch next = {rows, bytes, tern_line_bytes(n_rows), lines_smaller(n_lines, chunk), 0};
    for (size_t first = 0; first < n_lines; first += chunk) {
        size_t end = lines_smaller(first + chunk, n_lines), n_steps = (end - first + LINES_QUAD - 1) / LINES_QUAD;
        fetch_some(&next, next.n);
        next.n = lines_smaller(n_lines - end, chunk);
        next.per_tile = next.n / (n_blocks * LINES_QUARTERS * n_tiles_of(n_tokens)) + 1;
        for (size_t r = 0; r < n_rows; r += TERN_LINE_BLOCK) {
            lines_block block = lines_block_of(lines_smaller(n_rows - r, TERN_LINE_BLOCK));
            unpack_columns(rows + r / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, bytes, block, first, end, scratch,
                           stride);
            multiply_block(scratch, stride, n_steps, block, q + first, ld_q, first ? NULL : q_sum, n_tokens, acc + r,
                           ld_acc, &next);
        }
    }
}

/* ---------------------------------------------------------------- up */

/* Four neighbouring codes of a line, 20 bits, lie in 3 bytes; step s = 0..15 of a block begins at bit 20 s. Byte i of
 * the permutation: dword i / 4 % 2 of qword i / 8 is the first or second line, of step i / 8. */
#define LINES_STEP(i) ((i) / 8 * 20 / 8 + (i) % 4 + (i) / 4 % 2 * 64)
#define LINES_STEP_8(i) (LINES_STEP(i) + 20)
/* Byte j of a dword: 5 j bits further; odd steps begin in the middle of a byte. */
#define LINES_STEP_SHIFT(i) ((i) / 4 % 2 * 32 + (i) % 4 * 5)
#define LINES_ODD_SHIFT(i) (LINES_STEP_SHIFT(i) + 4)
static const uint8_t step_bytes[2][64]
    __attribute__((aligned(64))) = {{T5_EACH_64(LINES_STEP)}, {T5_EACH_64(LINES_STEP_8)}};
static const uint8_t step_shift[2][64]
    __attribute__((aligned(64))) = {{T5_EACH_64(LINES_STEP_SHIFT)}, {T5_EACH_64(LINES_ODD_SHIFT)}};

/* x [8] of 8 qwords -> qword i of x[j] is qword j of the old x[i]. */
INLINE void transpose_qwords(__m512i *x) {
    __m512i y[8];
    UNROLL for (int i = 0; i < 4; i++) {
        y[i] = _mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]);     /* qwords 0, 2, 4, 6 of two */
        y[i + 4] = _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]); /* 1, 3, 5, 7 */
    }
    UNROLL for (int odd = 0; odd < 2; odd++) {
        __m512i *z = y + 4 * odd;
        __m512i low_01 = _mm512_shuffle_i64x2(z[0], z[1], 0x44), high_01 = _mm512_shuffle_i64x2(z[0], z[1], 0xee);
        __m512i low_23 = _mm512_shuffle_i64x2(z[2], z[3], 0x44), high_23 = _mm512_shuffle_i64x2(z[2], z[3], 0xee);
        x[odd] = _mm512_shuffle_i64x2(low_01, low_23, 0x88);
        x[odd + 2] = _mm512_shuffle_i64x2(low_01, low_23, 0xdd);
        x[odd + 4] = _mm512_shuffle_i64x2(high_01, high_23, 0x88);
        x[odd + 6] = _mm512_shuffle_i64x2(high_01, high_23, 0xdd);
    }
}

/* A block of 16 lines -> vectors of 16 lines x 4 inputs: first those of digit 0, n_steps of them, then of the others;
 * `step` bytes apart. */
INLINE void unpack_rows(const uint8_t *const *line, size_t offset, lines_block block, size_t n_steps, uint8_t *panel,
                        size_t step) {
    UNROLL for (size_t half = 0; half < 2; half++) {
        __m512i x[8];
        UNROLL for (int i = 0; i < 8; i++) x[i] = _mm512_permutex2var_epi8(
            _mm512_maskz_loadu_epi8(block.bytes, line[2 * i] + offset), _mm512_load_si512(step_bytes[half]),
            _mm512_maskz_loadu_epi8(block.bytes, line[2 * i + 1] + offset));
        transpose_qwords(x);
        UNROLL for (size_t i = 0; i < 8; i++) {
            size_t s = 8 * half + i;
            if (s >= n_steps)
                return;
            __m512i codes = _mm512_multishift_epi64_epi8(_mm512_load_si512(step_shift[i % 2]), x[i]);
            UNROLL for (size_t f = 0; f < LINES_DIGITS; f++)
                _mm512_store_si512(panel + (f * n_steps + s) * step, lines_digit(codes, (int)f));
        }
    }
}

enum { BLOCK_STEPS = TERN_LINE_BLOCK / 4 };

/* The blocks of 16 * n_groups lines from trit `at` on, whole ones or the last, partial one. */
static void unpack_groups(const uint8_t *lines, size_t bytes, size_t n_lines, size_t n_groups, size_t at, size_t size,
                          uint8_t *panel) {
    size_t step = n_groups * VECTOR;
    for (size_t g = 0; g < n_groups; g++, panel += VECTOR) {
        const uint8_t *line[GROUP];
        for (size_t r = 0; r < GROUP; r++) /* behind the last line: that again */
            line[r] = lines + lines_smaller(GROUP * g + r, n_lines - 1) * bytes;
        size_t offset = at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
        if (size < TERN_LINE_BLOCK) {
            lines_block block = lines_block_of(size);
            unpack_rows(line, offset, block, (block.m + 3) / 4, panel, step);
            continue;
        }
        for (size_t b = 0; b < size / TERN_LINE_BLOCK; b++)
            unpack_rows(line, offset + b * TERN_LINE_BLOCK_BYTES, lines_whole_block(), BLOCK_STEPS / LINES_DIGITS,
                        panel + b * BLOCK_STEPS * step, step);
    }
}

/* What follows trit `at` of 16 * n_groups lines, or of the lines behind them: a chunk to fetch. */
static fetch rows_ahead(const uint8_t *lines, size_t n, size_t n_lines, size_t n_groups, size_t at, size_t n_tokens) {
    size_t bytes = tern_line_bytes(n), offset = at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
    fetch next = {lines + offset, bytes, lines_smaller(bytes - offset, CHUNK_BLOCKS * TERN_LINE_BLOCK_BYTES), 0, 0};
    next.n = lines_smaller(n_lines, GROUP * n_groups);
    if (at >= n) {
        next.at = lines + next.n * bytes;
        next.bytes = lines_smaller(bytes, CHUNK_BLOCKS * TERN_LINE_BLOCK_BYTES);
        next.n = lines_smaller(n_lines - next.n, GROUP * n_groups);
    }
    next.per_tile = next.n / n_tiles_of(n_tokens) + 1;
    return next;
}

/* 16 * n_groups lines. */
static void rows_groups(const uint8_t *lines, size_t n, size_t n_lines, size_t n_groups, const int8_t *q, size_t ld_q,
                        const int32_t *q_sum, size_t n_tokens, const outputs *out, uint8_t *panel) {
    size_t bytes = tern_line_bytes(n), at = 0, whole = n / TERN_LINE_BLOCK * TERN_LINE_BLOCK;
    fetch next;
    for (size_t size; at < whole; at += size) {
        size = lines_smaller(whole - at, (size_t)CHUNK_BLOCKS * TERN_LINE_BLOCK);
        unpack_groups(lines, bytes, n_lines, n_groups, at, size, panel);
        next = rows_ahead(lines, n, n_lines, n_groups, at + size, n_tokens);
        multiply(panel, size / 4, n_groups, q + at, ld_q, at ? NULL : q_sum, n_tokens, out, &next);
    }
    if (at == n)
        return;
    size_t m = (n - at + 2) / 3, n_steps = (m + 3) / 4;
    unpack_groups(lines, bytes, n_lines, n_groups, at, n - at, panel);
    next = rows_ahead(lines, n, n_lines, n_groups, n, n_tokens);
    for (size_t f = 0; f < LINES_DIGITS; f++)
        multiply(panel + f * n_steps * n_groups * VECTOR, n_steps, n_groups, q + at + f * m, ld_q,
                 at + f ? NULL : q_sum, n_tokens, out, &next);
}

void tern_lines_matmul_rows_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                                       const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc,
                                       void *scratch) {
    if (n_tokens <= PANEL_TOKENS) { /* unpacking again for every eight is cheaper than a panel */
        tern_lines_few_rows_avx512vbmi(lines, n, n_lines, q, ld_q, q_sum, n_tokens, acc, ld_acc);
        return;
    }
    for (size_t i = 0; i < n_lines; i += GROUP * TILE_GROUPS) {
        size_t left = n_lines - i, n_groups = lines_smaller((left + GROUP - 1) / GROUP, TILE_GROUPS);
        outputs out = {.ld = ld_acc};
        for (size_t g = 0; g < n_groups; g++) {
            out.acc[g] = acc + i + GROUP * g;
            out.exist[g] = (__mmask16)((1u << lines_smaller(left - GROUP * g, GROUP)) - 1);
        }
        rows_groups(lines + i * tern_line_bytes(n), n, left, n_groups, q, ld_q, q_sum, n_tokens, &out, scratch);
    }
}
