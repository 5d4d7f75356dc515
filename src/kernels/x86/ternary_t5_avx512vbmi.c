/*
 * The ternary matrix product on the packing t5r16 with AVX-512 VBMI and VNNI. A block of 40 bytes unpacks (t5.h) to
 * three registers of 16 rows x 4 columns of digits T + 1, the unsigned operand of vpdpbusd; 4 activations of a token,
 * broadcast, are the signed one. The sum of the activations is subtracted.
 *
 * Few tokens: the weights come from memory, digits go straight into the dot products. Many tokens: digits are written
 * to a panel in L1 first, because the byte permutations compete with the dot products for the same two ports (8 tokens
 * a pass over the codes: 85% of the dot product's peak; the panel: 96%).
 */
#include <string.h>

#include "kernels/rungs.h"
#include "kernels/x86/t5.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

TERN_DECLARE_MATMUL_OF(t5, avx512vbmi);

enum { COLS = 12, DIGITS = 3 };
/* 2 groups x 8 tokens are 16 accumulators, and each broadcast serves two dot products. */
enum { TILE_GROUPS = 2, TILE_TOKENS = 8 };
/* Two dot products a cycle with a latency of 4 need 8 sums; with fewer tokens each digit has its own. */
enum { ENOUGH_SUMS = 8 };
/* Blocks of a panel: 48 KiB for 2 groups. Longer ones leave L1, shorter ones add to the sums in memory more often. */
enum { PANEL_BLOCKS = 128 };

INLINE __m512i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* _mm512_dpbusd_epi32(); but from that GCC 12 makes register copies, three for two dot products. */
INLINE __m512i dot(__m512i sum, __m512i digits, __m512i activations) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(digits), "v"(activations));
    return sum;
}

INLINE __m512i minus(int32_t q_sum) { return _mm512_set1_epi32(-q_sum); }

/* ---- few tokens ---- */

typedef struct problem {
    const uint8_t *w; /* the first of the groups */
    size_t blocks;    /* of 12 columns, in a group */
    const int8_t *q;
    size_t ld_q;
    const int32_t *q_sum;
    int32_t *acc;
    size_t ld_acc;
} problem;

/* The activations of every third token have a pointer; the two behind it are reached with [pointer + ld] and
 * [pointer + 2 ld], so that all addresses fit the registers. */
typedef struct rows {
    const int8_t *third[(TILE_TOKENS + 2) / 3];
} rows;

INLINE rows rows_at(const int8_t *q, size_t ld_q, size_t n_tokens) {
    rows r;
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) r.third[t / 3] = q + t * ld_q;
    return r;
}

INLINE void rows_step(rows *r, size_t n_tokens) {
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) r->third[t / 3] += COLS;
}

INLINE __m512i activations_of(const rows *r, size_t ld_q, size_t t, int f) {
    return broadcast_4(r->third[t / 3] + t % 3 * ld_q + 4 * f);
}

typedef __m512i sums[TILE_TOKENS][TILE_GROUPS][DIGITS];

/* One block of each group for all tokens. */
INLINE void add_block(sums sum, int n_sums, const __m512i *codes, size_t n_groups, const rows *r, size_t ld_q,
                      size_t n_tokens) {
    UNROLL for (int f = 0; f < DIGITS; f++) {
        __m512i digits[TILE_GROUPS];
        UNROLL for (size_t g = 0; g < n_groups; g++) digits[g] = t5_digit(codes[g], f);
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            __m512i activations = activations_of(r, ld_q, t, f);
            UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g][f % n_sums] =
                dot(sum[t][g][f % n_sums], digits[g], activations);
        }
    }
}

/* n_groups <= TILE_GROUPS and n_tokens <= TILE_TOKENS are constant. The next groups are prefetched in the order of
 * memory, as far ahead as these groups are long: prefetching ahead of each group on its own runs into what the
 * neighbour has just read for half of every row, and halved the speed. */
INLINE void few(const problem *p, size_t n_groups, size_t n_tokens) {
    const int n_sums = n_groups * n_tokens < ENOUGH_SUMS ? DIGITS : 1;
    size_t bytes = p->blocks * T5_BLOCK_BYTES;
    sums sum;
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) {
        sum[t][g][0] = minus(p->q_sum[t]);
        UNROLL for (int f = 1; f < n_sums; f++) sum[t][g][f] = _mm512_setzero_si512();
    }
    rows r = rows_at(p->q, p->ld_q, n_tokens);
    __m512i codes[TILE_GROUPS];
    const uint8_t *w = p->w, *last = w + bytes - T5_BLOCK_BYTES;
    const char *ahead = (const char *)w + n_groups * bytes;
    for (; w < last; w += T5_BLOCK_BYTES, ahead += n_groups * T5_BLOCK_BYTES) {
        UNROLL for (size_t g = 0; g < n_groups; g++) {
            _mm_prefetch(ahead + g * T5_BLOCK_BYTES, _MM_HINT_T0);
            codes[g] = t5_codes_inside(w + g * bytes);
        }
        add_block(sum, n_sums, codes, n_groups, &r, p->ld_q, n_tokens);
        rows_step(&r, n_tokens);
    }
    UNROLL for (size_t g = 0; g < n_groups; g++) codes[g] = t5_codes(w + g * bytes);
    add_block(sum, n_sums, codes, n_groups, &r, p->ld_q, n_tokens);
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) {
        UNROLL for (int f = 1; f < n_sums; f++) sum[t][g][0] = _mm512_add_epi32(sum[t][g][0], sum[t][g][f]);
        _mm512_storeu_si512(p->acc + t * p->ld_acc + TERN_GROUP_ROWS * g, sum[t][g][0]);
    }
}

/* ---- many tokens ---- */

/* n_blocks blocks of n_groups groups -> digits [n_blocks][DIGITS][n_groups][64]. */
INLINE void fill_panel(const uint8_t *w, size_t group_bytes, size_t n_blocks, size_t n_groups, uint8_t *panel) {
    for (size_t b = 0; b < n_blocks; b++, w += T5_BLOCK_BYTES, panel += DIGITS * n_groups * 64)
        UNROLL for (size_t g = 0; g < n_groups; g++) {
            __m512i codes = t5_codes(w + g * group_bytes);
            UNROLL for (int f = 0; f < DIGITS; f++)
                _mm512_store_si512(panel + ((size_t)f * n_groups + g) * 64, t5_digit(codes, f));
        }
}

static void fill_panel_1(const uint8_t *w, size_t group_bytes, size_t n_blocks, uint8_t *panel) {
    fill_panel(w, group_bytes, n_blocks, 1, panel);
}

static void fill_panel_2(const uint8_t *w, size_t group_bytes, size_t n_blocks, uint8_t *panel) {
    fill_panel(w, group_bytes, n_blocks, 2, panel);
}

/* acc = or += panel x tokens; only the columns of the panel, where q begins, too. */
INLINE void many(const problem *p, const uint8_t *panel, size_t n_blocks, bool add, size_t n_groups, size_t n_tokens) {
    __m512i sum[TILE_TOKENS][TILE_GROUPS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] =
        add ? _mm512_loadu_si512(p->acc + t * p->ld_acc + TERN_GROUP_ROWS * g) : minus(p->q_sum[t]);
    rows r = rows_at(p->q, p->ld_q, n_tokens);
    for (const uint8_t *end = panel + n_blocks * DIGITS * n_groups * 64; panel < end; panel += DIGITS * n_groups * 64) {
        UNROLL for (int f = 0; f < DIGITS; f++) {
            __m512i digits[TILE_GROUPS];
            UNROLL for (size_t g = 0; g < n_groups; g++) digits[g] =
                _mm512_load_si512(panel + ((size_t)f * n_groups + g) * 64);
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i activations = activations_of(&r, p->ld_q, t, f);
                UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] = dot(sum[t][g], digits[g], activations);
            }
        }
        rows_step(&r, n_tokens);
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++)
        _mm512_storeu_si512(p->acc + t * p->ld_acc + TERN_GROUP_ROWS * g, sum[t][g]);
}

/* ---- each size of tile ---- */

#define TILE(groups, tokens)                                                                                           \
    static void few_##groups##x##tokens(const problem *p) { few(p, groups, tokens); }                                  \
    static void many_##groups##x##tokens(const problem *p, const uint8_t *panel, size_t n_blocks, bool add) {          \
        many(p, panel, n_blocks, add, groups, tokens);                                                                 \
    }
#define TILES(tokens) TILE(1, tokens) TILE(2, tokens)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)
TILES(8)

typedef struct tile {
    void (*few)(const problem *p);
    void (*many)(const problem *p, const uint8_t *panel, size_t n_blocks, bool add);
} tile;

#define ROW(groups, tokens)                                                                                            \
    { few_##groups##x##tokens, many_##groups##x##tokens }
static const tile tiles[TILE_GROUPS][TILE_TOKENS] = {
    {ROW(1, 1), ROW(1, 2), ROW(1, 3), ROW(1, 4), ROW(1, 5), ROW(1, 6), ROW(1, 7), ROW(1, 8)},
    {ROW(2, 1), ROW(2, 2), ROW(2, 3), ROW(2, 4), ROW(2, 5), ROW(2, 6), ROW(2, 7), ROW(2, 8)},
};

static problem shifted(problem p, size_t token, size_t column) {
    p.q += token * p.ld_q + column;
    p.q_sum += token;
    p.acc += token * p.ld_acc;
    return p;
}

/* All tokens for up to TILE_GROUPS groups. */
static void multiply_many(const problem *p, size_t n_groups, size_t n_tokens) {
    uint8_t panel[PANEL_BLOCKS * DIGITS * TILE_GROUPS * 64] __attribute__((aligned(64)));
    size_t bytes = p->blocks * T5_BLOCK_BYTES;
    size_t n_parts = (p->blocks + PANEL_BLOCKS - 1) / PANEL_BLOCKS,
           n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t part = 0, b = 0; part < n_parts; part++) {
        size_t n_blocks = (p->blocks - b) / (n_parts - part);
        (n_groups == 1 ? fill_panel_1 : fill_panel_2)(p->w + b * T5_BLOCK_BYTES, bytes, n_blocks, panel);
        /* Tiles of even size: 9 tokens are 4 + 5, not 8 + 1. */
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i);
            problem part_of = shifted(*p, t, b * COLS);
            tiles[n_groups - 1][tokens - 1].many(&part_of, panel, n_blocks, part > 0);
            t += tokens;
        }
        b += n_blocks;
    }
}

void tern_matmul_i8_t5_avx512vbmi(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                                  const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    problem p = {w, k_pad / COLS, q, ld_q, q_sum, acc, ld_acc};
    for (size_t g = 0; g < n_groups; g += TILE_GROUPS) {
        size_t groups = n_groups - g < TILE_GROUPS ? n_groups - g : TILE_GROUPS;
        if (n_tokens <= TILE_TOKENS)
            tiles[groups - 1][n_tokens - 1].few(&p);
        else
            multiply_many(&p, groups, n_tokens);
        p.w += groups * p.blocks * T5_BLOCK_BYTES;
        p.acc += groups * TERN_GROUP_ROWS;
    }
}
