/*
 * The ternary matrix product on the packing t5r16 with AVX-512 VBMI and VNNI. A block of 40 bytes unpacks (t5.h) to
 * three registers of 16 rows x 4 columns of digits T + 1, the unsigned operand of vpdpbusd; 4 activations of a token,
 * broadcast, are the signed one. The sum of the activations is subtracted.
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
/* Two dot products a cycle with a latency of 4 need more sums than few tokens have; then the digits of a block have
 * sums of their own. */
INLINE int sums_per_row(size_t n_groups, size_t n_tokens) {
    return n_groups * n_tokens < 8 ? 3 : n_groups * n_tokens < 12 ? 2 : 1;
}

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

typedef struct problem {
    const uint8_t *w; /* the first of the groups */
    size_t blocks;    /* of 12 columns, in a group */
    const int8_t *q;
    size_t ld_q;
    const int32_t *q_sum;
    int32_t *acc;
    size_t ld_acc;
    const uint8_t *ahead; /* what to fetch meanwhile, as many bytes as there are at w */
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

/* vpmultishiftqb is best while the stream of weights is the limit. */
INLINE __m512i split(__m512i bytes, size_t n_tokens) {
    return n_tokens < 3 ? t5_split(bytes) : t5_split_by_shifts(bytes);
}

/* n_groups <= TILE_GROUPS and n_tokens <= TILE_TOKENS are constant. */
INLINE void tile(const problem *p, size_t n_groups, size_t n_tokens) {
    const int n_sums = sums_per_row(n_groups, n_tokens);
    size_t bytes = p->blocks * T5_BLOCK_BYTES;
    sums sum;
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) {
        sum[t][g][0] = _mm512_set1_epi32(-p->q_sum[t]);
        UNROLL for (int f = 1; f < n_sums; f++) sum[t][g][f] = _mm512_setzero_si512();
    }
    rows r = rows_at(p->q, p->ld_q, n_tokens);
    __m512i codes[TILE_GROUPS];
    const uint8_t *w = p->w, *last = w + bytes - T5_BLOCK_BYTES, *ahead = p->ahead;
    for (; w < last; w += T5_BLOCK_BYTES, ahead += n_groups * T5_BLOCK_BYTES) {
        UNROLL for (size_t g = 0; g < n_groups; g++) {
            _mm_prefetch((const char *)ahead + g * T5_BLOCK_BYTES, _MM_HINT_T0);
            codes[g] = split(t5_load_inside(w + g * bytes), n_tokens);
        }
        add_block(sum, n_sums, codes, n_groups, &r, p->ld_q, n_tokens);
        rows_step(&r, n_tokens);
    }
    UNROLL for (size_t g = 0; g < n_groups; g++) codes[g] = split(t5_load(w + g * bytes), n_tokens);
    add_block(sum, n_sums, codes, n_groups, &r, p->ld_q, n_tokens);
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) {
        UNROLL for (int f = 1; f < n_sums; f++) sum[t][g][0] = _mm512_add_epi32(sum[t][g][0], sum[t][g][f]);
        _mm512_storeu_si512(p->acc + t * p->ld_acc + TERN_GROUP_ROWS * g, sum[t][g][0]);
    }
}

#define TILE(groups, tokens)                                                                                           \
    static void tile_##groups##x##tokens(const problem *p) { tile(p, groups, tokens); }
#define TILES(tokens) TILE(1, tokens) TILE(2, tokens)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)
TILES(8)

typedef void tile_fn(const problem *p);
static tile_fn *const tiles[TILE_GROUPS][TILE_TOKENS] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8},
    {tile_2x1, tile_2x2, tile_2x3, tile_2x4, tile_2x5, tile_2x6, tile_2x7, tile_2x8},
};

/* Tiles of even size: 9 tokens are 4 + 5, not 8 + 1. A pair of groups stays in L1 or L2 for all of them.
 *
 * The first tile streams the groups from memory. Meanwhile the next groups are fetched in the order of memory, as far
 * ahead as these groups are long: fetching ahead of each group on its own runs, for half of every row, into what the
 * neighbour has just read, and halved the speed. */
void tern_matmul_i8_t5_avx512vbmi(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                                  const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t blocks = k_pad / COLS, bytes = blocks * T5_BLOCK_BYTES;
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t g = 0; g < n_groups; g += TILE_GROUPS) {
        size_t groups = n_groups - g < TILE_GROUPS ? n_groups - g : TILE_GROUPS;
        const uint8_t *at = w + g * bytes;
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i);
            problem p = {at,           blocks,
                         q + t * ld_q, ld_q,
                         q_sum + t,    acc + t * ld_acc + g * TERN_GROUP_ROWS,
                         ld_acc,       i == 0 ? at + groups * bytes : at};
            tiles[groups - 1][tokens - 1](&p);
            t += tokens;
        }
    }
}
