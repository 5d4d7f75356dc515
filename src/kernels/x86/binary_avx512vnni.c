/*
 * Binary weights times int8 on AVX-512 VNNI.
 *
 * One token: a block of 64 packed bytes, masked with one bit where it is, is 16 rows x
 * 4 columns of 0 or 2^f, the unsigned operand of vpdpbusd: one AND and one dot product for 64 weights. Each bit has a
 * sum of its own, 2^f times too large, which is shifted when all is added. Even the largest, 128 * 127 * k / 8, stays
 * below 2^31 up to TERN_BINARY_MAX columns, and the eight are as many independent chains.
 *
 * Several: bits are shifted down, which serves all tokens of a tile; as much work as the fields of t2r16, from half the
 * bytes (ternary_avx512vnni.c says more about tiles).
 */
#include <immintrin.h>

#include <string.h>

#include "kernels/rungs.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

TERN_DECLARE_MATMUL_OF(b1, avx512vnni);

/* One token streams the weights from memory: fetch that far ahead, over the end of the group into the next. */
enum { BITS = 8, PREFETCH_BYTES = 4096 };

static inline __attribute__((always_inline)) __m512i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* _mm512_dpbusd_epi32(); but from that GCC 12 makes register copies. */
static inline __attribute__((always_inline)) __m512i dot(__m512i sum, __m512i weights, __m512i activations) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(activations));
    return sum;
}

static void one_token(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, int32_t q_sum, int32_t *acc) {
    for (size_t g = 0; g < n_groups; g++, acc += TERN_GROUP_ROWS) {
        __m512i sum[BITS], total = _mm512_setzero_si512();
        UNROLL for (int f = 0; f < BITS; f++) sum[f] = _mm512_setzero_si512();
        for (size_t k = 0; k < k_pad; k += TERN_SIGNS, w += 64) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            __m512i block = _mm512_loadu_si512(w);
            UNROLL for (int f = 0; f < BITS; f++) sum[f] =
                dot(sum[f], _mm512_and_si512(block, _mm512_set1_epi8((char)(1u << f))), broadcast_4(q + k + 4 * f));
        }
        UNROLL for (int f = 0; f < BITS; f++) total = _mm512_add_epi32(total, _mm512_srai_epi32(sum[f], (unsigned)f));
        total = _mm512_sub_epi32(_mm512_add_epi32(total, total), _mm512_set1_epi32(q_sum));
        _mm512_storeu_si512(acc, total);
    }
}

enum { TILE_GROUPS = 2, TILE_TOKENS = 8 };

/* n_groups <= TILE_GROUPS and n_tokens <= TILE_TOKENS are constant, and so is n_chains, the sums of each of them: few
 * tokens need more than one, or the latency of vpdpbusd is the limit. */
static inline __attribute__((always_inline)) void tile(const uint8_t *w, size_t k_pad, size_t n_groups, size_t n_chains,
                                                       const int8_t *q, size_t ld_q, const int32_t *q_sum,
                                                       size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t bytes = k_pad / TERN_SIGNS * 64;
    __m512i sum[TILE_TOKENS][TILE_GROUPS][2];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++)
        UNROLL for (size_t c = 0; c < n_chains; c++) sum[t][g][c] = _mm512_setzero_si512();
    const int8_t *row[(TILE_TOKENS + 2) / 3];
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + t * ld_q;
    const char *ahead = (const char *)w + n_groups * bytes;
    for (const uint8_t *end = w + bytes; w < end; w += 64, ahead += n_groups * 64) {
        __m512i block[TILE_GROUPS];
        UNROLL for (size_t g = 0; g < n_groups; g++) {
            _mm_prefetch(ahead + g * 64, _MM_HINT_T0);
            block[g] = _mm512_loadu_si512(w + g * bytes);
        }
        UNROLL for (int f = 0; f < BITS; f++) {
            __m512i bits[TILE_GROUPS];
            UNROLL for (size_t g = 0; g < n_groups; g++) bits[g] =
                _mm512_and_si512(_mm512_srli_epi32(block[g], (unsigned)f), _mm512_set1_epi8(1));
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i activations = broadcast_4(row[t / 3] + t % 3 * ld_q + 4 * f);
                UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g][(size_t)f % n_chains] =
                    dot(sum[t][g][(size_t)f % n_chains], bits[g], activations);
            }
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += TERN_SIGNS;
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) {
        __m512i total = n_chains > 1 ? _mm512_add_epi32(sum[t][g][0], sum[t][g][1]) : sum[t][g][0];
        total = _mm512_sub_epi32(_mm512_add_epi32(total, total), _mm512_set1_epi32(q_sum[t]));
        _mm512_storeu_si512(acc + t * ld_acc + TERN_GROUP_ROWS * g, total);
    }
}

typedef void tile_fn(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, int32_t *acc,
                     size_t ld_acc);

#define TILE(groups, tokens, chains)                                                                                   \
    static void tile_##groups##x##tokens(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q,                 \
                                         const int32_t *q_sum, int32_t *acc, size_t ld_acc) {                          \
        tile(w, k_pad, groups, chains, q, ld_q, q_sum, tokens, acc, ld_acc);                                           \
    }
#define TILES(tokens, chains) TILE(1, tokens, chains) TILE(2, tokens, chains)
TILES(1, 2)
TILES(2, 2)
TILES(3, 2)
TILES(4, 2)
TILES(5, 1)
TILES(6, 1)
TILES(7, 1)
TILES(8, 1)

static tile_fn *const tiles[TILE_GROUPS][TILE_TOKENS] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8},
    {tile_2x1, tile_2x2, tile_2x3, tile_2x4, tile_2x5, tile_2x6, tile_2x7, tile_2x8},
};

void tern_matmul_i8_b1_avx512vnni(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                                  const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens == 1) {
        one_token(w, k_pad, n_groups, q, q_sum[0], acc);
        return;
    }
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS; /* of even size */
    for (size_t g = 0; g < n_groups; g += TILE_GROUPS) {
        size_t groups = n_groups - g < TILE_GROUPS ? n_groups - g : TILE_GROUPS;
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i);
            tiles[groups - 1][tokens - 1](w + g * (k_pad / TERN_SIGNS * 64), k_pad, q + t * ld_q, ld_q, q_sum + t,
                                          acc + t * ld_acc + g * TERN_GROUP_ROWS, ld_acc);
            t += tokens;
        }
    }
}
