/*
 * The ternary matrix product on the packing t5r16 with AVX-512 VBMI and VNNI. A block of 40 bytes unpacks (t5.h) to
 * three registers of 16 rows x 4 columns of digits T + 1, the unsigned operand of vpdpbusd; 4 activations of a token,
 * broadcast, are the signed one. The sum of the activations is subtracted at the end.
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
enum { TILE_GROUPS = 2, TILE_TOKENS = 8, STREAMS = 4 };
/* One token streams the weights from memory: fetch that far ahead, over the end of the group into the next. */
enum { PREFETCH_BYTES = 4096 };

INLINE __m512i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* One token, n_groups <= STREAMS (constant) groups side by side. */
INLINE void decode(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, int32_t q_sum, int32_t *acc) {
    size_t bytes = k_pad / COLS * T5_BLOCK_BYTES;
    __m512i sum[STREAMS][DIGITS];
    UNROLL for (size_t g = 0; g < n_groups; g++) UNROLL for (int f = 0; f < DIGITS; f++) sum[g][f] =
        _mm512_setzero_si512();
    for (const uint8_t *end = w + bytes; w < end; w += T5_BLOCK_BYTES, q += COLS) {
        UNROLL for (size_t g = 0; g < n_groups; g++) {
            _mm_prefetch((const char *)w + g * bytes + PREFETCH_BYTES, _MM_HINT_T0);
            __m512i codes = t5_codes(w + g * bytes);
            UNROLL for (int f = 0; f < DIGITS; f++) sum[g][f] =
                _mm512_dpbusd_epi32(sum[g][f], t5_digit(codes, f), broadcast_4(q + 4 * f));
        }
    }
    UNROLL for (size_t g = 0; g < n_groups; g++) {
        __m512i total = _mm512_add_epi32(_mm512_add_epi32(sum[g][0], sum[g][1]), sum[g][2]);
        _mm512_storeu_si512(acc + TERN_GROUP_ROWS * g, _mm512_sub_epi32(total, _mm512_set1_epi32(q_sum)));
    }
}

static void decode_1(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    decode(w, k_pad, 1, q, q_sum, acc);
}

static void decode_4(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    decode(w, k_pad, STREAMS, q, q_sum, acc);
}

/* n_groups <= TILE_GROUPS and n_tokens <= TILE_TOKENS are constant. */
INLINE void tile(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                 size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t bytes = k_pad / COLS * T5_BLOCK_BYTES;
    __m512i sum[TILE_TOKENS][TILE_GROUPS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] =
        _mm512_setzero_si512();
    /* Every third token has a pointer; the two behind it are reached with [pointer + ld] and [pointer + 2 ld], so
     * that all addresses fit the registers. */
    const int8_t *row[(TILE_TOKENS + 2) / 3];
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + t * ld_q;
    for (const uint8_t *end = w + bytes; w < end; w += T5_BLOCK_BYTES) {
        __m512i codes[TILE_GROUPS];
        UNROLL for (size_t g = 0; g < n_groups; g++) codes[g] = t5_codes(w + g * bytes);
        UNROLL for (int f = 0; f < DIGITS; f++) {
            __m512i digits[TILE_GROUPS];
            UNROLL for (size_t g = 0; g < n_groups; g++) digits[g] = t5_digit(codes[g], f);
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i activations = broadcast_4(row[t / 3] + t % 3 * ld_q + 4 * f);
                UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] =
                    _mm512_dpbusd_epi32(sum[t][g], digits[g], activations);
            }
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += COLS;
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) _mm512_storeu_si512(
        acc + t * ld_acc + TERN_GROUP_ROWS * g, _mm512_sub_epi32(sum[t][g], _mm512_set1_epi32(q_sum[t])));
}

typedef void tile_fn(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, int32_t *acc,
                     size_t ld_acc);

#define TILE(groups, tokens)                                                                                           \
    static void tile_##groups##x##tokens(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q,                 \
                                         const int32_t *q_sum, int32_t *acc, size_t ld_acc) {                          \
        tile(w, k_pad, groups, q, ld_q, q_sum, tokens, acc, ld_acc);                                                   \
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

static tile_fn *const tiles[TILE_GROUPS][TILE_TOKENS] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8},
    {tile_2x1, tile_2x2, tile_2x3, tile_2x4, tile_2x5, tile_2x6, tile_2x7, tile_2x8},
};

void tern_matmul_i8_t5_avx512vbmi(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                                  const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t bytes = k_pad / COLS * T5_BLOCK_BYTES;
    if (n_tokens == 1) {
        size_t g = 0;
        for (; g + STREAMS <= n_groups; g += STREAMS)
            decode_4(w + g * bytes, k_pad, q, q_sum[0], acc + g * TERN_GROUP_ROWS);
        for (; g < n_groups; g++)
            decode_1(w + g * bytes, k_pad, q, q_sum[0], acc + g * TERN_GROUP_ROWS);
        return;
    }
    /* Tiles of even size: 9 tokens are 4 + 5, not 8 + 1. A pair of groups stays in L1 or L2 for all of them. */
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t g = 0; g < n_groups; g += TILE_GROUPS) {
        size_t groups = n_groups - g < TILE_GROUPS ? n_groups - g : TILE_GROUPS;
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i);
            tiles[groups - 1][tokens - 1](w + g * bytes, k_pad, q + t * ld_q, ld_q, q_sum + t,
                                          acc + t * ld_acc + g * TERN_GROUP_ROWS, ld_acc);
            t += tokens;
        }
    }
}
