/*
 * The ternary matrix product on AVX-512 VNNI. A block of 64 packed bytes, shifted and masked, is 16 rows x 4 columns
 * of codes T + 1, the unsigned operand of vpdpbusd; 4 activations of a token, broadcast, are the signed one. The sum of
 * the activations is subtracted at the end.
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

TERN_DECLARE_MATMUL(avx512vnni);

/* 2 groups x 8 tokens are 16 accumulators; each broadcast serves two dot products, so the dot products are the limit
 * and not the loads. 2 x 12 would fit the 32 registers, but measured slower: compilers then copy accumulators about. */
enum { TILE_GROUPS = 2, TILE_TOKENS = 8 };
/* One token streams the weights from memory: fetch that far ahead, over the end of the group into the next. */
enum { PREFETCH_BYTES = 4096 };

INLINE __m512i field(__m512i block, int f) {
    return _mm512_and_si512(_mm512_srli_epi32(block, 2 * (unsigned)f), _mm512_set1_epi8(3));
}

INLINE __m512i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* _mm512_dpbusd_epi32(); but from that GCC 12 makes register copies. */
INLINE __m512i dot(__m512i sum, __m512i codes, __m512i activations) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(activations));
    return sum;
}

/* One token: the weights are the cost. Each field has its own sum, four independent chains; with two the latency of
 * vpdpbusd would limit the stream to 30 GB/s. */
static void decode(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, int32_t q_sum, int32_t *acc) {
    for (size_t g = 0; g < n_groups; g++) {
        __m512i sum[4];
        UNROLL for (int f = 0; f < 4; f++) sum[f] = _mm512_setzero_si512();
        for (size_t k = 0; k < k_pad; k += TERN_GROUP_COLS, w += 64) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            __m512i block = _mm512_loadu_si512(w);
            UNROLL for (int f = 0; f < 4; f++) sum[f] = dot(sum[f], field(block, f), broadcast_4(q + k + 4 * f));
        }
        __m512i total = _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3]));
        _mm512_storeu_si512(acc + TERN_GROUP_ROWS * g, _mm512_sub_epi32(total, _mm512_set1_epi32(q_sum)));
    }
}

/* n_groups <= TILE_GROUPS and n_tokens <= TILE_TOKENS are constant. */
INLINE void tile(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                 size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t bytes = tern_group_bytes(&tern_packing_t2r16, k_pad);
    __m512i sum[TILE_TOKENS][TILE_GROUPS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] =
        _mm512_setzero_si512();
    /* Every third token has a pointer; the two behind it are reached with [pointer + ld] and [pointer + 2 ld], so
     * that all addresses fit the registers. */
    const int8_t *row[(TILE_TOKENS + 2) / 3];
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + t * ld_q;
    /* The next groups, in the order of memory; see ternary_t5_avx512vbmi.c. */
    const char *ahead = (const char *)w + n_groups * bytes;
    for (const uint8_t *end = w + bytes; w < end; w += 64, ahead += n_groups * 64) {
        UNROLL for (size_t g = 0; g < n_groups; g++) _mm_prefetch(ahead + g * 64, _MM_HINT_T0);
        __m512i block[TILE_GROUPS];
        UNROLL for (size_t g = 0; g < n_groups; g++) block[g] = _mm512_loadu_si512(w + g * bytes);
        UNROLL for (int f = 0; f < 4; f++) {
            __m512i codes[TILE_GROUPS];
            UNROLL for (size_t g = 0; g < n_groups; g++) codes[g] = field(block[g], f);
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i activations = broadcast_4(row[t / 3] + t % 3 * ld_q + 4 * f);
                UNROLL for (size_t g = 0; g < n_groups; g++) sum[t][g] = dot(sum[t][g], codes[g], activations);
            }
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += TERN_GROUP_COLS;
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

void tern_matmul_i8_t2_avx512vnni(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                                  const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens == 1) {
        decode(w, k_pad, n_groups, q, q_sum[0], acc);
        return;
    }
    /* Tiles of even size: 9 tokens are 4 + 5, not 8 + 1. A pair of groups stays in L1 or L2 for all of them. */
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t g = 0; g < n_groups; g += TILE_GROUPS) {
        size_t groups = n_groups - g < TILE_GROUPS ? n_groups - g : TILE_GROUPS;
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i);
            tiles[groups - 1][tokens - 1](w + g * tern_group_bytes(&tern_packing_t2r16, k_pad), k_pad, q + t * ld_q,
                                          ld_q, q_sum + t, acc + t * ld_acc + g * TERN_GROUP_ROWS, ld_acc);
            t += tokens;
        }
    }
}
