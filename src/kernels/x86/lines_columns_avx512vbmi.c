/*
 * Lines as columns (`down`) times few tokens on AVX-512 VBMI and VNNI: four columns a step, their entries side by side
 * in registers as digits T + 1, the unsigned operand of vpdpbusd; four activations of a token, broadcast, are the
 * signed one. The sums of the activations are subtracted from the result.
 */
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/lines_avx512vbmi.h"

#define INLINE LINES_INLINE
#define UNROLL LINES_UNROLL

/* Sums stay in registers for so many columns, then for the next block of the same columns, which stay in L1 or L2.
 * Of a list few columns at a time, because the next ones are fetched in the meantime and tasks have short lists. */
enum { LIST_COLUMNS = 16, CHUNK_COLUMNS = 128, MOST_SUMS = 24 };

typedef struct columns {
    size_t n_quads;
    const uint8_t *line[CHUNK_COLUMNS], *ahead[CHUNK_COLUMNS]; /* ahead: to be fetched */
    const int8_t *q;                                           /* [tokens][ld_q], 4 for each quad */
    size_t ld_q;
} columns;

INLINE __m512i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* What blocks of a size have in common: see lines_block and lines_rows. */
typedef struct shape {
    size_t m;
    __mmask64 bytes;
    __mmask16 rows[LINES_DIGITS][LINES_QUARTERS];
} shape;

/* A block of all columns: where it begins, and where its sums go. */
typedef struct strip {
    size_t offset;
    const shape *shape;
    int32_t *acc; /* [tokens][ld_acc] */
    size_t ld_acc;
} strip;

static shape shape_of(size_t size) {
    lines_block block = lines_block_of(size);
    shape s = {.m = block.m, .bytes = block.bytes};
    for (size_t f = 0; f < LINES_DIGITS; f++)
        for (size_t v = 0; v < LINES_QUARTERS; v++)
            s.rows[f][v] = lines_rows(block, f, v);
    return s;
}

/* acc[t * ld_acc + r] += the strip's quarters [first, first + n_quarters), 1, 2 or 4 of them, times n_tokens rows of q
 * (all constant). Each fetches its share of what comes next. whole (constant): so is the block, and nothing of the
 * shape is looked up, which for the few columns of one token takes a fifth as long as the products. */
INLINE void add_quarters(const columns *c, const strip *s, size_t first, size_t n_quarters, size_t n_tokens,
                         bool whole) {
    __m512i sum[MOST_SUMS];
    const shape *const of = s->shape;
    int32_t *const acc = s->acc;
    const size_t ld_acc = s->ld_acc, m = whole ? TERN_LINE_BLOCK / LINES_DIGITS : of->m;
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t v = 0; v < n_quarters; v++)
        UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) {
        const int32_t *from = acc + t * ld_acc + f * m + 16 * (first + v);
        sum[(t * n_quarters + v) * LINES_DIGITS + f] =
            whole ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi32(of->rows[f][first + v], from);
    }
    const __mmask64 bytes = whole ? lines_whole_block().bytes : of->bytes;
    const size_t offset = s->offset;
    const int8_t *q = c->q, *end = q + LINES_QUAD * c->n_quads;
    const uint8_t *const *columns_at = c->line, *const *ahead = c->ahead;
    do {
        __m512i line[LINES_QUAD], codes[LINES_QUARTERS];
        /* With all registers taken by sums, the tables are to be read from memory: compilers would rather keep them
         * and spill sums. */
        const uint8_t *tables = t5_digits[0];
        if (n_tokens * n_quarters * LINES_DIGITS == MOST_SUMS)
            __asm__("" : "+r"(tables));
        UNROLL for (size_t j = 0; j < LINES_QUAD; j++) line[j] = _mm512_maskz_loadu_epi8(bytes, columns_at[j] + offset);
        UNROLL for (size_t j = first; j < first + n_quarters; j++)
            _mm_prefetch((const char *)ahead[j] + offset, _MM_HINT_T0);
        UNROLL for (size_t v = 0; v < n_quarters; v += 2) {
            __m512i half[2];
            lines_half_codes(line, (int)(first + v) / 2, half);
            codes[v] = half[first % 2];
            codes[v + 1] = half[1];
        }
        /* token by token: digit by digit the activations of all would be held in registers that the sums need */
        UNROLL for (size_t v = 0; v < n_quarters; v++) {
            __m512i digits[LINES_DIGITS];
            UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) digits[f] =
                _mm512_permutexvar_epi8(codes[v], _mm512_load_si512(tables + 64 * f));
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i activations = broadcast_4(q + t * c->ld_q);
                UNROLL for (size_t f = 0; f < LINES_DIGITS; f++)
                    lines_add_dots(&sum[(t * n_quarters + v) * LINES_DIGITS + f], digits[f], activations);
            }
        }
        columns_at += LINES_QUAD;
        ahead += LINES_QUAD;
        q += LINES_QUAD;
    } while (q < end);
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t v = 0; v < n_quarters; v++)
        UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) {
        int32_t *to = acc + t * ld_acc + f * m + 16 * (first + v);
        __m512i x = sum[(t * n_quarters + v) * LINES_DIGITS + f];
        if (whole)
            _mm512_storeu_si512(to, x);
        else
            _mm512_mask_storeu_epi32(to, of->rows[f][first + v], x);
    }
}

typedef void add_fn(const columns *c, const strip *s);

/* As many quarters at a time as the registers have sums for. */
#define ADD(tokens, first, quarters)                                                                                   \
    static __attribute__((noinline)) void add_##tokens##_##first(const columns *c, const strip *s) {                   \
        add_quarters(c, s, first, quarters, tokens, false);                                                            \
    }
#define ADD_HALVES(tokens) ADD(tokens, 0, 2) ADD(tokens, 2, 2)
#define ADD_QUARTERS(tokens) ADD(tokens, 0, 1) ADD(tokens, 1, 1) ADD(tokens, 2, 1) ADD(tokens, 3, 1)
ADD(1, 0, 4)
ADD(2, 0, 4)
ADD_HALVES(3)
ADD_HALVES(4)
ADD_QUARTERS(5)
ADD_QUARTERS(6)
ADD_QUARTERS(7)
ADD_QUARTERS(8)

static __attribute__((noinline)) void add_whole(const columns *c, const strip *s) {
    add_quarters(c, s, 0, LINES_QUARTERS, 1, true);
}

static add_fn *const add[TERN_LINES_FEW][LINES_QUARTERS] = {
    {add_1_0},
    {add_2_0},
    {add_3_0, add_3_2},
    {add_4_0, add_4_2},
    {add_5_0, add_5_1, add_5_2, add_5_3},
    {add_6_0, add_6_1, add_6_2, add_6_3},
    {add_7_0, add_7_1, add_7_2, add_7_3},
    {add_8_0, add_8_1, add_8_2, add_8_3},
};

/* acc[t * ld_acc + r] += for all blocks of n_rows rows, which begin at `offset` of each column. shapes: of a whole
 * block and of the last one. */
static void add_rows(const columns *c, const shape *shapes, size_t offset, size_t n_rows, size_t n_tokens, int32_t *acc,
                     size_t ld_acc) {
    for (size_t r = 0; r < n_rows; r += TERN_LINE_BLOCK, offset += TERN_LINE_BLOCK_BYTES) {
        strip s = {offset, n_rows - r < TERN_LINE_BLOCK ? &shapes[1] : &shapes[0], acc + r, ld_acc};
        if (n_tokens == 1 && s.shape == &shapes[0])
            add_whole(c, &s);
        else
            for (size_t i = 0; i < LINES_QUARTERS && add[n_tokens - 1][i]; i++)
                add[n_tokens - 1][i](c, &s);
    }
    for (size_t i = 0; i < LINES_QUAD * c->n_quads; i++) /* the strips fetch where blocks begin */
        _mm_prefetch((const char *)c->ahead[i] + offset - 1, _MM_HINT_T0);
}

static void subtract(int32_t *acc, size_t n, int32_t value) {
    for (size_t i = 0; i < n; i++)
        acc[i] -= value;
}

void tern_lines_sums_avx512vbmi(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q,
                                int32_t *acc) {
    size_t bytes = tern_line_bytes(n);
    const shape shapes[2] = {shape_of(TERN_LINE_BLOCK), shape_of((n - 1) % TERN_LINE_BLOCK + 1)};
    int32_t q_sum = 0;
    for (size_t i = 0; i < n_which; i++)
        q_sum += q[i];
    subtract(acc, n, q_sum);
    for (size_t i = 0; i < lines_smaller(n_which, LIST_COLUMNS); i++)
        lines_fetch(lines + which[i] * bytes, bytes);
    for (size_t i = 0, size; i < n_which; i += size) {
        columns c;
        int8_t words[LIST_COLUMNS] = {0}; /* the last quad is filled up with zeros times any column */
        size = lines_smaller(n_which - i, LIST_COLUMNS);
        memcpy(words, q + i, size);
        c.n_quads = (size + LINES_QUAD - 1) / LINES_QUAD;
        c.q = words;
        c.ld_q = 0;
        for (size_t j = 0; j < LINES_QUAD * c.n_quads; j++) { /* behind the list nothing new is fetched */
            size_t next = i + LIST_COLUMNS + j;
            c.line[j] = lines + which[lines_smaller(i + j, n_which - 1)] * bytes;
            c.ahead[j] = next < n_which ? lines + which[next] * bytes : c.line[j];
        }
        add_rows(&c, shapes, 0, n, 1, acc, 0);
    }
}

void tern_lines_few_columns_avx512vbmi(const uint8_t *lines, size_t n, size_t n_lines, size_t first_row, size_t n_rows,
                                       const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                                       int32_t *acc, size_t ld_acc) {
    size_t bytes = tern_line_bytes(n), offset = first_row / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES;
    const shape shapes[2] = {shape_of(TERN_LINE_BLOCK), shape_of((n_rows - 1) % TERN_LINE_BLOCK + 1)};
    for (size_t t = 0; t < n_tokens; t++) {
        memset(acc + t * ld_acc, 0, n_rows * sizeof *acc);
        subtract(acc + t * ld_acc, n_rows, q_sum[t]);
    }
    for (size_t i = 0; i < lines_smaller(n_lines, CHUNK_COLUMNS); i++)
        lines_fetch(lines + i * bytes + offset, tern_line_bytes(n_rows));
    for (size_t i = 0; i < n_lines; i += CHUNK_COLUMNS) {
        size_t size = lines_smaller(n_lines - i, CHUNK_COLUMNS);
        columns c = {.n_quads = (size + LINES_QUAD - 1) / LINES_QUAD, .q = q + i, .ld_q = ld_q};
        for (size_t j = 0; j < LINES_QUAD * c.n_quads; j++) {
            c.line[j] = lines + lines_smaller(i + j, n_lines - 1) * bytes;
            c.ahead[j] = i + j + CHUNK_COLUMNS < n_lines ? c.line[j] + CHUNK_COLUMNS * bytes : c.line[j];
        }
        add_rows(&c, shapes, offset, n_rows, n_tokens, acc, ld_acc);
    }
}
