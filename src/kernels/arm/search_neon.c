/* dot_rows on NEON: products of 16 bits, added in pairs. Twice 127 * 127 fits 16 bits. */
#include <arm_neon.h>

#include "kernels/rungs.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

TERN_DECLARE_DOT_ROWS(neon);

enum { TILE = 4 }; /* rows that share the query's loads, each a stream of its own */

/* n (constant) rows */
INLINE void tile(const int8_t *rows, size_t k, size_t n, const int8_t *q, int32_t *dots) {
    int32x4_t sum[TILE];
    UNROLL for (size_t r = 0; r < n; r++) sum[r] = vdupq_n_s32(0);
    for (size_t j = 0; j < k; j += 16) {
        int8x16_t query = vld1q_s8(q + j);
        UNROLL for (size_t r = 0; r < n; r++) {
            int8x16_t row = vld1q_s8(rows + r * k + j);
            int16x8_t pair = vmull_s8(vget_low_s8(row), vget_low_s8(query));
            sum[r] = vpadalq_s16(sum[r], vmlal_s8(pair, vget_high_s8(row), vget_high_s8(query)));
        }
    }
    UNROLL for (size_t r = 0; r < n; r++) dots[r] = vaddvq_s32(sum[r]);
}

void tern_dot_rows_neon(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots) {
    size_t i = 0;
    for (; i + TILE <= n_rows; i += TILE)
        tile(rows + i * k, k, TILE, q, dots + i);
    for (; i < n_rows; i++)
        tile(rows + i * k, k, 1, q, dots + i);
}
