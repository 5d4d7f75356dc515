/* dot_rows on AVX-512 VNNI: vpdpbusd wants one side unsigned, so 128 is added to the rows and taken out again at the
 * end. */
#include <immintrin.h>

#include "kernels/rungs.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

TERN_DECLARE_DOT_ROWS(avx512vnni);

enum { TILE = 4, PREFETCH_BYTES = 4096 }; /* rows that share the query's loads, each a stream of its own */

/* n (constant) rows; `excess` is 128 times the sum of q. */
INLINE void tile(const int8_t *rows, size_t k, size_t n, const int8_t *q, int32_t excess, int32_t *dots) {
    const __m512i top = _mm512_set1_epi8(-128);
    __m512i sum[TILE];
    UNROLL for (size_t r = 0; r < n; r++) sum[r] = _mm512_setzero_si512();
    for (size_t j = 0; j < k; j += 64) {
        __m512i query = _mm512_loadu_si512(q + j);
        UNROLL for (size_t r = 0; r < n; r++) {
            const int8_t *at = rows + r * k + j;
            _mm_prefetch((const char *)at + PREFETCH_BYTES, _MM_HINT_T0);
            sum[r] = _mm512_dpbusd_epi32(sum[r], _mm512_xor_si512(_mm512_loadu_si512(at), top), query);
        }
    }
    UNROLL for (size_t r = 0; r < n; r++) dots[r] = _mm512_reduce_add_epi32(sum[r]) - excess;
}

void tern_dot_rows_avx512vnni(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots) {
    int32_t excess = 0;
    for (size_t j = 0; j < k; j++)
        excess += 128 * q[j];
    size_t i = 0;
    for (; i + TILE <= n_rows; i += TILE)
        tile(rows + i * k, k, TILE, q, excess, dots + i);
    for (; i < n_rows; i++)
        tile(rows + i * k, k, 1, q, excess, dots + i);
}
