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
    size_t bytes; /* from each column to the next, if that much more than they have may be read; 0: only they may */
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

/*
 * Codes 16v .. 16v+15 of a block of four columns, as lines_half_codes() gives them, from the 10 bytes of each that hold
 * them. Without vpmultishiftqb, which takes a port of the dot product (t5_split_by_shifts): two of the columns give a
 * word for each of their codes that is shifted right, the other two one that is shifted left.
 */
/* Byte i / 2 * 2: code i / 4 of column i % 4 / 2 * 2 (64 + ..: of the second operand). */
#define QUARTER_WORD(i) ((i) / 4 * 5 / 8 + (i) % 2 + (i) % 4 / 2 * 64)
#define QUARTER_SHIFT(i) (i) / 4 * 5 % 8
#define QUARTER_RIGHT(i) (i) % 2 ? 0 : QUARTER_SHIFT(i)
#define QUARTER_LEFT(i) (i) % 2 ? 0 : 8 - QUARTER_SHIFT(i)

typedef struct quarter_tables {
    uint8_t word[64], right[64], left[64], digit[LINES_DIGITS][64];
} quarter_tables;

static const quarter_tables quarter_of __attribute__((aligned(64))) = {
    {T5_EACH_64(QUARTER_WORD)},
    {T5_EACH_64(QUARTER_RIGHT)},
    {T5_EACH_64(QUARTER_LEFT)},
    {{T5_EACH_64(T5_DIGIT_0)}, {T5_EACH_64(T5_DIGIT_1)}, {T5_EACH_64(T5_DIGIT_2)}},
};

INLINE __m512i quarter_codes(const __m128i *column, const quarter_tables *tables) {
    __m512i c[LINES_QUAD], words = _mm512_load_si512(tables->word);
    UNROLL for (int j = 0; j < LINES_QUAD; j++) c[j] = _mm512_castsi128_si512(column[j]);
    __m512i even = _mm512_permutex2var_epi8(c[0], words, c[2]), odd = _mm512_permutex2var_epi8(c[1], words, c[3]);
    even = _mm512_srlv_epi16(even, _mm512_load_si512(tables->right));
    odd = _mm512_sllv_epi16(odd, _mm512_load_si512(tables->left));
    return _mm512_ternarylogic_epi64(_mm512_set1_epi16(0x00ff), even, odd, 0xca); /* low byte ? even : odd */
}

/* Of 16 bytes behind the beginning of a quarter, those that the block has. */
INLINE __mmask16 quarter_bytes(const shape *of, size_t v) { return (__mmask16)(of->bytes >> 10 * v); }

/* The same as add_quarters() of one quarter for 5 to 8 tokens, where dot products are the limit. inside (constant):
 * columns lie c->bytes apart and more may be read, so that plain loads do and no pointers are looked up. */
INLINE void add_quarter(const columns *c, const strip *s, size_t v, size_t n_tokens, bool plain) {
    __m512i sum[TERN_LINES_FEW][LINES_DIGITS];
    const shape *const of = s->shape;
    int32_t *const acc = s->acc + 16 * v;
    const size_t m = plain ? TERN_LINE_BLOCK / LINES_DIGITS : of->m, ld_acc = s->ld_acc, ld_q = c->ld_q,
                 bytes = c->bytes, at = s->offset + 10 * v;
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) {
        const int32_t *from = acc + t * ld_acc + f * m;
        sum[t][f] = plain ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi32(of->rows[f][v], from);
    }
    const uint8_t *const *columns_at = c->line, *const *ahead_at = c->ahead + v;
    const uint8_t *column = c->line[0] + at, *ahead = c->ahead[v] + s->offset;
    const int8_t *q[(TERN_LINES_FEW + 2) / 3], *const end = c->q + LINES_QUAD * c->n_quads; /* every third token's */
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) q[t / 3] = c->q + t * ld_q;
    do {
        const quarter_tables *tables = &quarter_of; /* from memory, as above */
        __asm__("" : "+r"(tables));
        __m128i quad[LINES_QUAD];
        if (plain) {
            quad[0] = _mm_loadu_si128((const __m128i *)column);
            quad[1] = _mm_loadu_si128((const __m128i *)(column + bytes));
            column += 2 * bytes;
            quad[2] = _mm_loadu_si128((const __m128i *)column);
            quad[3] = _mm_loadu_si128((const __m128i *)(column + bytes));
            column += 2 * bytes;
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
            ahead += LINES_QUAD * bytes;
        } else {
            UNROLL for (size_t j = 0; j < LINES_QUAD; j++) quad[j] =
                _mm_maskz_loadu_epi8(quarter_bytes(of, v), columns_at[j] + at);
            _mm_prefetch((const char *)*ahead_at + s->offset, _MM_HINT_T0);
            columns_at += LINES_QUAD;
            ahead_at += LINES_QUAD;
        }
        __m512i codes = quarter_codes(quad, tables), digits[LINES_DIGITS];
        UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) digits[f] =
            _mm512_permutexvar_epi8(codes, _mm512_load_si512(tables->digit[f]));
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            __m512i activations = broadcast_4(q[t / 3] + t % 3 * ld_q);
            UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) lines_add_dots(&sum[t][f], digits[f], activations);
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) q[t / 3] += LINES_QUAD;
    } while (q[0] < end);
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t f = 0; f < LINES_DIGITS; f++) {
        int32_t *to = acc + t * ld_acc + f * m;
        if (plain)
            _mm512_storeu_si512(to, sum[t][f]);
        else
            _mm512_mask_storeu_epi32(to, of->rows[f][v], sum[t][f]);
    }
}

typedef void add_fn(const columns *c, const strip *s);

/* As many quarters at a time as the registers have sums for. */
#define ADD(tokens, first, quarters)                                                                                   \
    static __attribute__((noinline)) void add_##tokens##_##first(const columns *c, const strip *s) {                   \
        add_quarters(c, s, first, quarters, tokens, false);                                                            \
    }
#define ADD_HALVES(tokens) ADD(tokens, 0, 2) ADD(tokens, 2, 2)
#define ADD_ONE(tokens, v)                                                                                             \
    static __attribute__((noinline)) void add_##tokens##_##v(const columns *c, const strip *s) {                       \
        if (16 * v >= s->shape->m) /* nothing of a short block */                                                      \
            return;                                                                                                    \
        if (c->bytes && s->shape->m == TERN_LINE_BLOCK / LINES_DIGITS)                                                 \
            add_quarter(c, s, v, tokens, true);                                                                        \
        else                                                                                                           \
            add_quarter(c, s, v, tokens, false);                                                                       \
    }
#define ADD_QUARTERS(tokens) ADD_ONE(tokens, 0) ADD_ONE(tokens, 1) ADD_ONE(tokens, 2) ADD_ONE(tokens, 3)
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
        c.bytes = 0;
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
        c.bytes = (n_lines - i - size) * bytes >= sizeof(__m128i) ? bytes : 0;
        for (size_t j = 0; j < LINES_QUAD * c.n_quads; j++) {
            c.line[j] = lines + lines_smaller(i + j, n_lines - 1) * bytes;
            c.ahead[j] = i + j + CHUNK_COLUMNS < n_lines ? c.line[j] + CHUNK_COLUMNS * bytes : c.line[j];
        }
        add_rows(&c, shapes, offset, n_rows, n_tokens, acc, ld_acc);
    }
}
