/*
 * The ternary matrix product on AVX-VNNI: vpdpbusd on ymm, so a group of 16 rows is two registers of 8 rows. The
 * operands are those of ternary_avx512vnni.c.
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

TERN_DECLARE_MATMUL(avxvnni);

/* 1 group x 5 tokens are 10 accumulators of the 16 registers: 230 GMAC/s a core with GCC and Clang. With 6 tokens GCC
 * spills (174; Clang 237), with 4 each load serves too few products (205). */
enum { HALVES = 2, TILE_TOKENS = 5 };
/* The first tile streams the weights from memory: fetch that far ahead, over the end of the group into the next. */
enum { PREFETCH_BYTES = 4096 };

INLINE __m256i field(const uint8_t *half_block, int f) {
    __m256i block = _mm256_loadu_si256((const __m256i *)half_block);
    return _mm256_and_si256(_mm256_srli_epi32(block, 2 * f), _mm256_set1_epi8(3));
}

INLINE __m256i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm256_set1_epi32(word);
}

/* _mm256_dpbusd_avx_epi32(); but from that GCC 12 makes register copies (decode from L2: 104 GMAC/s, so 159). */
INLINE __m256i dot(__m256i sum, __m256i codes, __m256i activations) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(activations));
    return sum;
}

INLINE void store_sum(int32_t *acc, __m256i sum, int32_t q_sum) {
    _mm256_storeu_si256((__m256i *)acc, _mm256_sub_epi32(sum, _mm256_set1_epi32(q_sum)));
}

/* One token: the weights are the cost. Each field has its own sums, so that the latency of vpdpbusd does not limit
 * the stream. */
static void decode(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, int32_t q_sum, int32_t *acc) {
    for (size_t g = 0; g < n_groups; g++) {
        __m256i sum[HALVES][4];
        UNROLL for (int f = 0; f < 4; f++) sum[0][f] = sum[1][f] = _mm256_setzero_si256();
        for (size_t k = 0; k < k_pad; k += TERN_GROUP_COLS, w += 64) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            UNROLL for (int f = 0; f < 4; f++) {
                __m256i activations = broadcast_4(q + k + 4 * f);
                UNROLL for (size_t h = 0; h < HALVES; h++) sum[h][f] =
                    dot(sum[h][f], field(w + 32 * h, f), activations);
            }
        }
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256i total =
                _mm256_add_epi32(_mm256_add_epi32(sum[h][0], sum[h][1]), _mm256_add_epi32(sum[h][2], sum[h][3]));
            store_sum(acc + TERN_GROUP_ROWS * g + 8 * h, total, q_sum);
        }
    }
}

/* One group and n_tokens <= TILE_TOKENS (constant) tokens. */
INLINE void tile(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                 int32_t *acc, size_t ld_acc) {
    __m256i sum[TILE_TOKENS][HALVES];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++) sum[t][h] =
        _mm256_setzero_si256();
    const int8_t *row[TILE_TOKENS]; /* every third token has a pointer, as in ternary_avx512vnni.c */
    UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] = q + t * ld_q;
    for (const uint8_t *end = w + tern_group_bytes(&tern_packing_t2r16, k_pad); w < end; w += 64) {
        _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
        UNROLL for (int f = 0; f < 4; f++) {
            __m256i codes[HALVES] = {field(w, f), field(w + 32, f)};
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m256i activations = broadcast_4(row[t / 3] + t % 3 * ld_q + 4 * f);
                UNROLL for (size_t h = 0; h < HALVES; h++) sum[t][h] = dot(sum[t][h], codes[h], activations);
            }
        }
        UNROLL for (size_t t = 0; t < n_tokens; t += 3) row[t / 3] += TERN_GROUP_COLS;
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t h = 0; h < HALVES; h++)
        store_sum(acc + t * ld_acc + 8 * h, sum[t][h], q_sum[t]);
}

typedef void tile_fn(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, int32_t *acc,
                     size_t ld_acc);

#define TILE(tokens)                                                                                                   \
    static void tile_##tokens(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum,      \
                              int32_t *acc, size_t ld_acc) {                                                           \
        tile(w, k_pad, q, ld_q, q_sum, tokens, acc, ld_acc);                                                           \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)

static tile_fn *const tiles[TILE_TOKENS] = {tile_1, tile_2, tile_3, tile_4, tile_5};

void tern_matmul_i8_t2_avxvnni(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                               const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens == 1) {
        decode(w, k_pad, n_groups, q, q_sum[0], acc);
        return;
    }
    /* Tiles of even size: 6 tokens are 3 + 3, not 5 + 1. A group stays in L1 or L2 for all of them. */
    size_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t g = 0; g < n_groups; g++)
        for (size_t i = 0, t = 0; i < n_tiles; i++) {
            size_t tokens = (n_tokens - t) / (n_tiles - i);
            tiles[tokens - 1](w + g * tern_group_bytes(&tern_packing_t2r16, k_pad), k_pad, q + t * ld_q, ld_q,
                              q_sum + t, acc + t * ld_acc + g * TERN_GROUP_ROWS, ld_acc);
            t += tokens;
        }
}
