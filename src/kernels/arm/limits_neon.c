/* The yardsticks of plain NEON: smlal and smlal2, as in ternary_neon.c. */
#include <arm_neon.h>

#include "kernels/limits.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

uint64_t tern_limit_dot_neon(uint64_t macs);
uint64_t tern_limit_read_neon(const void *block, size_t bytes);

enum { SUMS = 12, MACS = 16 }; /* sums: more than latency times throughput; 16 multiply-adds a step */

uint64_t tern_limit_dot_neon(uint64_t macs) {
    int16x8_t sum[SUMS];
    int8x16_t codes = vdupq_n_s8(1), activations = codes;
    uint64_t done = 0;
    UNROLL for (size_t i = 0; i < SUMS; i++) sum[i] = vdupq_n_s16(0);
    for (; done < macs; done += SUMS * MACS)
        UNROLL for (size_t i = 0; i < SUMS; i++) {
            __asm__("" : "+w"(codes), "+w"(activations)); /* as if new: no product stands for another */
            sum[i] = vmlal_s8(sum[i], vget_low_s8(codes), vget_low_s8(activations));
            sum[i] = vmlal_high_s8(sum[i], codes, activations);
        }
    UNROLL for (size_t i = 0; i < SUMS; i++) __asm__ volatile("" : : "w"(sum[i]));
    return done;
}

uint64_t tern_limit_read_neon(const void *block, size_t bytes) {
    enum { LINE = 4 }; /* vectors of 16 bytes */
    const uint64_t *words = block;
    size_t stream = bytes / sizeof *words / TERN_READ_STREAMS;
    uint64x2_t sum[TERN_READ_STREAMS][LINE], total = vdupq_n_u64(0);
    UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) UNROLL for (size_t j = 0; j < LINE; j++) sum[s][j] =
        vdupq_n_u64(0);
    for (size_t i = 0; i < stream; i += 2 * LINE)
        UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) UNROLL for (size_t j = 0; j < LINE; j++) sum[s][j] =
            vaddq_u64(sum[s][j], vld1q_u64(words + s * stream + i + 2 * j));
    UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) UNROLL for (size_t j = 0; j < LINE; j++) total =
        vaddq_u64(total, sum[s][j]);
    return vgetq_lane_u64(total, 0) + vgetq_lane_u64(total, 1);
}
