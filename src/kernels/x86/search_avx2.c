/* dot_rows on AVX2: vpmaddubsw wants one side unsigned, so the query gives its signs to the rows. */
#include <immintrin.h>

#include "kernels/rungs.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

TERN_DECLARE_DOT_ROWS(avx2);

enum { TILE = 4, PREFETCH_BYTES = 4096 }; /* rows that share the query's loads, each a stream of its own */

INLINE int32_t sum_of(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* n (constant) rows. Twice 127 * 127 fits 16 bits. */
INLINE void tile(const int8_t *rows, size_t k, size_t n, const int8_t *q, int32_t *dots) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[TILE];
    UNROLL for (size_t r = 0; r < n; r++) sum[r] = _mm256_setzero_si256();
    for (size_t j = 0; j < k; j += 32) {
        __m256i query = _mm256_loadu_si256((const __m256i *)(q + j)), size = _mm256_abs_epi8(query);
        UNROLL for (size_t r = 0; r < n; r++) {
            const int8_t *at = rows + r * k + j;
            _mm_prefetch((const char *)at + PREFETCH_BYTES, _MM_HINT_T0);
            __m256i row = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)at), query);
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(_mm256_maddubs_epi16(size, row), ones));
        }
    }
    UNROLL for (size_t r = 0; r < n; r++) dots[r] = sum_of(sum[r]);
}

void tern_dot_rows_avx2(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots) {
    size_t i = 0;
    for (; i + TILE <= n_rows; i += TILE)
        tile(rows + i * k, k, TILE, q, dots + i);
    for (; i < n_rows; i++)
        tile(rows + i * k, k, 1, q, dots + i);
}
