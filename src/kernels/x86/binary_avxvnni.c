/* Binary weights times int8 on AVX-VNNI: as in binary_avx512vnni.c, but 16 registers hold no eight sums of two halves,
 * so bits are worth 1, 2, 4 or 8, four of them after a shift by four. */
#include <immintrin.h>

#include "kernels/binary_many.h"
#include "kernels/rungs.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

TERN_DECLARE_MATMUL(avxvnni);
TERN_DECLARE_MATMUL_OF(b1, avxvnni);

enum { HALVES = 2, FIELDS = 4, PREFETCH_BYTES = 4096 };

static inline __attribute__((always_inline)) __m256i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm256_set1_epi32(word);
}

/* _mm256_dpbusd_avx_epi32(); but from that GCC 12 makes register copies. */
static inline __attribute__((always_inline)) __m256i dot(__m256i sum, __m256i weights, __m256i activations) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(weights), "x"(activations));
    return sum;
}

static void one_group(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    __m256i sum[HALVES][FIELDS];
    UNROLL for (size_t h = 0; h < HALVES; h++) UNROLL for (int f = 0; f < FIELDS; f++) sum[h][f] =
        _mm256_setzero_si256();
    for (size_t k = 0; k < k_pad; k += TERN_SIGNS, w += 64) {
        _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256i low = _mm256_loadu_si256((const __m256i *)(w + 32 * h)), high = _mm256_srli_epi32(low, 4);
            UNROLL for (int f = 0; f < FIELDS; f++) {
                __m256i bit = _mm256_set1_epi8((char)(1 << f));
                sum[h][f] = dot(sum[h][f], _mm256_and_si256(low, bit), broadcast_4(q + k + 4 * f));
                sum[h][f] = dot(sum[h][f], _mm256_and_si256(high, bit), broadcast_4(q + k + 16 + 4 * f));
            }
        }
    }
    UNROLL for (size_t h = 0; h < HALVES; h++) {
        __m256i total = sum[h][0];
        UNROLL for (int f = 1; f < FIELDS; f++) total = _mm256_add_epi32(total, _mm256_srai_epi32(sum[h][f], f));
        total = _mm256_sub_epi32(_mm256_add_epi32(total, total), _mm256_set1_epi32(q_sum));
        _mm256_storeu_si256((__m256i *)(acc + 8 * h), total);
    }
}

/* So few tokens take less time one by one, from the L1 cache, than it takes to rewrite the weights. */
enum { FEW_TOKENS = 4 };

void tern_matmul_i8_b1_avxvnni(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                               const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens > FEW_TOKENS) {
        tern_binary_many(tern_matmul_i8_t2_avxvnni, w, k_pad, n_groups, q, ld_q, q_sum, n_tokens, acc, ld_acc);
        return;
    }
    for (size_t g = 0; g < n_groups; g++, w += k_pad / TERN_SIGNS * 64)
        for (size_t t = 0; t < n_tokens; t++)
            one_group(w, k_pad, q + t * ld_q, q_sum[t], acc + t * ld_acc + g * TERN_GROUP_ROWS);
}
