/*
 * The ternary matrix product on AVX2: vpmaddubsw multiplies the codes T + 1 (unsigned) with the activations (signed)
 * and adds neighbours to 16 bits. One step is at most 2 * 127 * 2 = 508 in magnitude, so 64 steps (16 blocks,
 * 32512) are summed in 16 bits before vpmaddwd widens them: nothing saturates or wraps, whatever the data.
 * A group of 16 rows is two registers of 8 rows. The sum of the activations is subtracted at the end.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/rungs.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

TERN_DECLARE_MATMUL(avx2);

/* 1 group x 6 tokens are 12 accumulators of the 16 registers. */
enum { HALVES = 2, TILE_TOKENS = 6 };
enum { STEPS_IN_16_BITS = 64, SPAN_BYTES = STEPS_IN_16_BITS / 4 * 64 };
/* The first pass streams the weights from memory: fetch that far ahead, over the end of the group into the next. */
enum { PREFETCH_BYTES = 4096 };
/* Many tokens multiply from a panel of unpacked codes, 16 KiB: a product and its addition are four of the four vector
 * instructions of two cycles, so every shift and mask in between costs (measured: 177 GMAC/s without a panel, 205 with
 * it; products and additions alone reach 217). */
enum { PANEL_BLOCKS = 64, PANEL_BLOCK_BYTES = 256, PANEL_TOKENS = 13 };

INLINE __m256i field(const uint8_t *half_block, int f) {
    __m256i block = _mm256_loadu_si256((const __m256i *)half_block);
    return _mm256_and_si256(_mm256_srli_epi32(block, 2 * f), _mm256_set1_epi8(3));
}

INLINE __m256i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm256_set1_epi32(word);
}

/* sum += codes * activations, in pairs, in 16 bits. The empty statement keeps GCC from regrouping a block's additions
 * into trees, which spilled most of the registers (measured: 120 instead of 170 GMAC/s). */
INLINE __m256i add_products(__m256i sum, __m256i codes, __m256i activations) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, activations));
    __asm__("" : "+x"(sum));
    return sum;
}

/* 16-bit sums of column pairs -> 32-bit sums, one a row. */
INLINE __m256i widen(__m256i sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }

INLINE void store_sum(int32_t *acc, __m256i sum, int32_t q_sum) {
    _mm256_storeu_si256((__m256i *)acc, _mm256_sub_epi32(sum, _mm256_set1_epi32(q_sum)));
}

/* One token: the weights are the cost, the arithmetic hides behind their stream. */
static void decode(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, int32_t q_sum, int32_t *acc) {
    for (size_t g = 0; g < n_groups; g++) {
        __m256i total[HALVES] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        const int8_t *row = q;
        for (const uint8_t *end = w + tern_group_bytes(&tern_packing_t2r16, k_pad); w < end;) {
            const uint8_t *stop = (size_t)(end - w) < SPAN_BYTES ? end : w + SPAN_BYTES;
            __m256i sum[HALVES] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            for (; w < stop; w += 64, row += TERN_GROUP_COLS) {
                _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
                UNROLL for (int f = 0; f < 4; f++) {
                    __m256i activations = broadcast_4(row + 4 * f);
                    UNROLL for (size_t h = 0; h < HALVES; h++) sum[h] =
                        add_products(sum[h], field(w + 32 * h, f), activations);
                }
            }
            UNROLL for (size_t h = 0; h < HALVES; h++) total[h] = _mm256_add_epi32(total[h], widen(sum[h]));
        }
        UNROLL for (size_t h = 0; h < HALVES; h++) store_sum(acc + TERN_GROUP_ROWS * g + 8 * h, total[h], q_sum);
    }
}

/* One group and n_tokens <= TILE_TOKENS (constant) tokens. */
INLINE void tile(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                 int32_t *acc, size_t ld_acc) {
    __m256i total[TILE_TOKENS][HALVES];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++) total[t][h] =
        _mm256_setzero_si256();
    const int8_t *row[TILE_TOKENS]; /* every third token has a pointer, as in ternary_avx512vnni.c */
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + t * ld_q;
    for (const uint8_t *end = w + tern_group_bytes(&tern_packing_t2r16, k_pad); w < end;) {
        const uint8_t *stop = (size_t)(end - w) < SPAN_BYTES ? end : w + SPAN_BYTES;
        __m256i sum[TILE_TOKENS][HALVES];
        UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++) sum[t][h] =
            _mm256_setzero_si256();
        for (; w < stop; w += 64) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            UNROLL for (int f = 0; f < 4; f++) {
                __m256i codes[HALVES] = {field(w, f), field(w + 32, f)};
                UNROLL for (size_t t = 0; t < n_tokens; t++) {
                    __m256i activations = broadcast_4(row[t / 3] + t % 3 * ld_q + 4 * f);
                    UNROLL for (size_t h = 0; h < HALVES; h++) sum[t][h] =
                        add_products(sum[t][h], codes[h], activations);
                }
            }
            UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += TERN_GROUP_COLS;
        }
        UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++) total[t][h] =
            _mm256_add_epi32(total[t][h], widen(sum[t][h]));
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++)
        store_sum(acc + t * ld_acc + 8 * h, total[t][h], q_sum[t]);
}

/* n_blocks packed blocks -> their codes, a byte each: [n_blocks][4 fields][64]. */
static void fill_panel(const uint8_t *w, size_t n_blocks, uint8_t *panel) {
    for (size_t b = 0; b < n_blocks; b++, w += 64, panel += PANEL_BLOCK_BYTES) {
        _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
        UNROLL for (int f = 0; f < 4; f++) UNROLL for (int h = 0; h < HALVES; h++)
            _mm256_store_si256((__m256i *)(void *)(panel + 64 * f + 32 * h), field(w + 32 * h, f));
    }
}

/* acc = or += panel x tokens, up to STEPS_IN_16_BITS steps of it. */
INLINE void panel_span(const uint8_t *panel, size_t n_blocks, bool add, const int8_t *q, size_t ld_q,
                       const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    const int8_t *row[TILE_TOKENS];
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + t * ld_q;
    __m256i sum[TILE_TOKENS][HALVES];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++) sum[t][h] =
        _mm256_setzero_si256();
    for (const uint8_t *end = panel + n_blocks * PANEL_BLOCK_BYTES; panel < end; panel += PANEL_BLOCK_BYTES) {
        UNROLL for (int f = 0; f < 4; f++) {
            const __m256i *at = (const __m256i *)(const void *)(panel + 64 * f);
            __m256i codes[HALVES] = {_mm256_load_si256(at), _mm256_load_si256(at + 1)};
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m256i activations = broadcast_4(row[t / 3] + t % 3 * ld_q + 4 * f);
                UNROLL for (size_t h = 0; h < HALVES; h++) sum[t][h] = add_products(sum[t][h], codes[h], activations);
            }
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += TERN_GROUP_COLS;
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++) {
        __m256i *to = (__m256i *)(void *)(acc + t * ld_acc + 8 * h);
        __m256i before = add ? _mm256_loadu_si256(to) : _mm256_set1_epi32(-q_sum[t]);
        _mm256_storeu_si256(to, _mm256_add_epi32(before, widen(sum[t][h])));
    }
}

typedef struct tile_fns {
    void (*packed)(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, int32_t *acc,
                   size_t ld_acc);
    void (*panel_span)(const uint8_t *panel, size_t n_blocks, bool add, const int8_t *q, size_t ld_q,
                       const int32_t *q_sum, int32_t *acc, size_t ld_acc);
} tile_fns;

#define TILE(tokens)                                                                                                   \
    static void tile_##tokens(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum,      \
                              int32_t *acc, size_t ld_acc) {                                                           \
        tile(w, k_pad, q, ld_q, q_sum, tokens, acc, ld_acc);                                                           \
    }                                                                                                                  \
    static void panel_span_##tokens(const uint8_t *panel, size_t n_blocks, bool add, const int8_t *q, size_t ld_q,     \
                                    const int32_t *q_sum, int32_t *acc, size_t ld_acc) {                               \
        panel_span(panel, n_blocks, add, q, ld_q, q_sum, tokens, acc, ld_acc);                                         \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static const tile_fns tiles[TILE_TOKENS] = {{tile_1, panel_span_1}, {tile_2, panel_span_2}, {tile_3, panel_span_3},
                                            {tile_4, panel_span_4}, {tile_5, panel_span_5}, {tile_6, panel_span_6}};

/* One group and any number of tokens, in tiles of even size: 7 tokens are 3 + 4, not 6 + 1. The group stays in L1 or
 * L2 for all of them. */
static void few(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                int32_t *acc, size_t ld_acc) {
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t i = 0, t = 0; i < n_tiles; i++) {
        size_t tokens = (n_tokens - t) / (n_tiles - i);
        tiles[tokens - 1].packed(w, k_pad, q + t * ld_q, ld_q, q_sum + t, acc + t * ld_acc, ld_acc);
        t += tokens;
    }
}

/* The same from a panel. */
static void many(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                 int32_t *acc, size_t ld_acc) {
    uint8_t panel[PANEL_BLOCKS * PANEL_BLOCK_BYTES] __attribute__((aligned(64)));
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS, blocks = k_pad / TERN_GROUP_COLS;
    for (size_t b = 0; b < blocks; b += PANEL_BLOCKS) {
        size_t n_blocks = blocks - b < PANEL_BLOCKS ? blocks - b : PANEL_BLOCKS;
        fill_panel(w + b * 64, n_blocks, panel);
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i), span = STEPS_IN_16_BITS / 4;
            for (size_t s = 0; s < n_blocks; s += span)
                tiles[tokens - 1].panel_span(panel + s * PANEL_BLOCK_BYTES, n_blocks - s < span ? n_blocks - s : span,
                                             b + s > 0, q + t * ld_q + (b + s) * TERN_GROUP_COLS, ld_q, q_sum + t,
                                             acc + t * ld_acc, ld_acc);
            t += tokens;
        }
    }
}

void tern_matmul_i8_t2_avx2(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens == 1) {
        decode(w, k_pad, n_groups, q, q_sum[0], acc);
        return;
    }
    for (size_t g = 0; g < n_groups; g++)
        (n_tokens < PANEL_TOKENS ? few : many)(w + g * tern_group_bytes(&tern_packing_t2r16, k_pad), k_pad, q, ld_q,
                                               q_sum, n_tokens, acc + g * TERN_GROUP_ROWS, ld_acc);
}
