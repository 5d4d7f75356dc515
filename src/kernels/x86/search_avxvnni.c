/* dot_rows on AVX-VNNI: vpdpbusd wants one side unsigned, so 128 is added to the rows and taken out again at the end.
 */
#include <immintrin.h>

#include "kernels/rungs.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

TERN_DECLARE_DOT_ROWS(avxvnni);

enum { TILE = 4, PREFETCH_BYTES = 4096 }; /* rows that share the query's loads, each a stream of its own */

INLINE int32_t sum_of(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* n (constant) rows; `excess` is 128 times the sum of q. */
INLINE void tile(const int8_t *rows, size_t k, size_t n, const int8_t *q, int32_t excess, int32_t *dots) {
    const __m256i top = _mm256_set1_epi8(-128);
    __m256i sum[TILE];
    UNROLL for (size_t r = 0; r < n; r++) sum[r] = _mm256_setzero_si256();
    for (size_t j = 0; j < k; j += 32) {
        __m256i query = _mm256_loadu_si256((const __m256i *)(q + j));
        UNROLL for (size_t r = 0; r < n; r++) {
            const int8_t *at = rows + r * k + j;
            _mm_prefetch((const char *)at + PREFETCH_BYTES, _MM_HINT_T0);
            __m256i row = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)at), top);
            sum[r] = _mm256_dpbusd_avx_epi32(sum[r], row, query);
        }
    }
    UNROLL for (size_t r = 0; r < n; r++) dots[r] = sum_of(sum[r]) - excess;
}

void tern_dot_rows_avxvnni(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots) {
    int32_t excess = 0;
    for (size_t j = 0; j < k; j++)
        excess += 128 * q[j];
    size_t i = 0;
    for (; i + TILE <= n_rows; i += TILE)
        tile(rows + i * k, k, TILE, q, excess, dots + i);
    for (; i < n_rows; i++)
        tile(rows + i * k, k, 1, q, excess, dots + i);
}
