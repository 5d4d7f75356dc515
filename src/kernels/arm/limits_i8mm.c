/* The yardstick of the Armv8.6 matrix multiply: smmla. Memory is read as by NEON. */
#include <arm_neon.h>

#include "kernels/limits.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

uint64_t tern_limit_dot_i8mm(uint64_t macs);

enum { SUMS = 12, MACS = 32 }; /* sums: more than latency times throughput; 32 multiply-adds a step */

uint64_t tern_limit_dot_i8mm(uint64_t macs) {
    int32x4_t sum[SUMS];
    int8x16_t codes = vdupq_n_s8(1), activations = codes;
    uint64_t done = 0;
    UNROLL for (size_t i = 0; i < SUMS; i++) sum[i] = vdupq_n_s32(0);
    for (; done < macs; done += SUMS * MACS)
        UNROLL for (size_t i = 0; i < SUMS; i++) {
            __asm__("" : "+w"(codes), "+w"(activations)); /* as if new: no product stands for another */
            sum[i] = vmmlaq_s32(sum[i], codes, activations);
        }
    UNROLL for (size_t i = 0; i < SUMS; i++) __asm__ volatile("" : : "w"(sum[i]));
    return done;
}
