/*
 * Binary weights on AVX2.
 *
 * Times int8: bits are masked where they are, four of them also after a shift by four, so that they are worth 1, 2, 4
 * or 8: the unsigned operand of vpmaddubsw. A step of the last is at most 2 * 127 * 8 = 2032 in magnitude and there are
 * two in a block, so 8 blocks (32512) are summed in 16 bits. vpmaddwd then widens and weighs the four sums at once, to
 * 8 times the result, which stays below 2^31 up to TERN_BINARY_MAX columns.
 *
 * Times signs: bits are counted by nibble, in bytes for 31 blocks (of 8 at most), then in 32 bits.
 */
#include <immintrin.h>

#include "kernels/binary_many.h"
#include "kernels/rungs.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

TERN_DECLARE_MATMUL(avx2);
TERN_DECLARE_MATMUL_OF(b1, avx2);
TERN_DECLARE_SIGNS(avx2);

enum { HALVES = 2, FIELDS = 4, PREFETCH_BYTES = 4096 };
enum { SPAN_BLOCKS = 8, COUNT_BLOCKS = 31 };

static inline __attribute__((always_inline)) __m256i load(const uint8_t *bytes) {
    return _mm256_loadu_si256((const __m256i *)bytes);
}

static inline __attribute__((always_inline)) __m256i broadcast_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return _mm256_set1_epi32(word);
}

/* Half a block: 8 rows x 32 columns. */
static inline __attribute__((always_inline)) void add_products(__m256i sum[FIELDS], __m256i low, const int8_t *q) {
    __m256i high = _mm256_srli_epi32(low, 4);
    UNROLL for (int f = 0; f < FIELDS; f++) {
        __m256i bit = _mm256_set1_epi8((char)(1 << f));
        sum[f] = _mm256_add_epi16(sum[f], _mm256_maddubs_epi16(_mm256_and_si256(low, bit), broadcast_4(q + 4 * f)));
        sum[f] =
            _mm256_add_epi16(sum[f], _mm256_maddubs_epi16(_mm256_and_si256(high, bit), broadcast_4(q + 16 + 4 * f)));
    }
}

static void one_group(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    __m256i total[HALVES] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t k = 0; k < k_pad;) {
        size_t end = k_pad - k < SPAN_BLOCKS * TERN_SIGNS ? k_pad : k + SPAN_BLOCKS * TERN_SIGNS;
        __m256i sum[HALVES][FIELDS];
        UNROLL for (size_t h = 0; h < HALVES; h++) UNROLL for (int f = 0; f < FIELDS; f++) sum[h][f] =
            _mm256_setzero_si256();
        for (; k < end; k += TERN_SIGNS, w += 64) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            UNROLL for (size_t h = 0; h < HALVES; h++) add_products(sum[h], load(w + 32 * h), q + k);
        }
        UNROLL for (size_t h = 0; h < HALVES; h++) UNROLL for (int f = 0; f < FIELDS; f++) total[h] =
            _mm256_add_epi32(total[h], _mm256_madd_epi16(sum[h][f], _mm256_set1_epi16((int16_t)(8 >> f))));
    }
    UNROLL for (size_t h = 0; h < HALVES; h++) _mm256_storeu_si256(
        (__m256i *)(acc + 8 * h), _mm256_sub_epi32(_mm256_srai_epi32(total[h], 2), _mm256_set1_epi32(q_sum)));
}

/* So few tokens take less time one by one, from the L1 cache, than it takes to rewrite the weights. */
enum { FEW_TOKENS = 8 };

void tern_matmul_i8_b1_avx2(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens > FEW_TOKENS) {
        tern_binary_many(tern_matmul_i8_t2_avx2, w, k_pad, n_groups, q, ld_q, q_sum, n_tokens, acc, ld_acc);
        return;
    }
    for (size_t g = 0; g < n_groups; g++, w += k_pad / TERN_SIGNS * 64)
        for (size_t t = 0; t < n_tokens; t++)
            one_group(w, k_pad, q + t * ld_q, q_sum[t], acc + t * ld_acc + g * TERN_GROUP_ROWS);
}

/* ------------------------------------------------------------------- signs */

static inline __attribute__((always_inline)) __m256i count_bits(__m256i bytes) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                            2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(bytes, low)),
                           _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi32(bytes, 4), low)));
}

/* One group, one token. */
static inline void signs_once(const uint8_t *w, size_t k, const uint32_t *signs, int32_t *acc) {
    __m256i total[HALVES] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    size_t words = tern_sign_words(k);
    for (size_t b = 0; b < words;) {
        size_t end = words - b < COUNT_BLOCKS ? words : b + COUNT_BLOCKS;
        __m256i differ[HALVES] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (; b < end; b++) {
            _mm_prefetch((const char *)w + 64 * b + PREFETCH_BYTES, _MM_HINT_T0);
            __m256i other = _mm256_set1_epi32((int32_t)signs[b]);
            UNROLL for (size_t h = 0; h < HALVES; h++) differ[h] =
                _mm256_add_epi8(differ[h], count_bits(_mm256_xor_si256(load(w + 64 * b + 32 * h), other)));
        }
        UNROLL for (size_t h = 0; h < HALVES; h++) { /* counts are unsigned, and so is vpmaddubsw's first operand */
            __m256i pairs = _mm256_maddubs_epi16(differ[h], _mm256_set1_epi8(1));
            total[h] = _mm256_add_epi32(total[h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    }
    UNROLL for (size_t h = 0; h < HALVES; h++) _mm256_storeu_si256(
        (__m256i *)(acc + 8 * h), _mm256_sub_epi32(_mm256_set1_epi32((int32_t)k), _mm256_slli_epi32(total[h], 1)));
}

void tern_matmul_signs_b1_avx2(const uint8_t *w, size_t k, size_t n_groups, const uint32_t *signs, size_t ld_signs,
                               size_t n_tokens, int32_t *acc, size_t ld_acc) {
    for (size_t g = 0; g < n_groups; g++, w += tern_sign_words(k) * 64)
        for (size_t t = 0; t < n_tokens; t++)
            signs_once(w, k, signs + t * ld_signs, acc + t * ld_acc + g * TERN_GROUP_ROWS);
}
