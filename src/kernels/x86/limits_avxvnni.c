/* The yardstick of AVX-VNNI: vpdpbusd on ymm. Memory is read as by AVX2. */
#include <immintrin.h>

#include "kernels/limits.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

uint64_t tern_limit_dot_avxvnni(uint64_t macs);

enum { SUMS = 12, MACS = 32 }; /* sums: more than latency times throughput; 32 bytes a product */

uint64_t tern_limit_dot_avxvnni(uint64_t macs) {
    __m256i sum[SUMS], codes = _mm256_set1_epi8(1), activations = codes;
    uint64_t done = 0;
    UNROLL for (size_t i = 0; i < SUMS; i++) sum[i] = _mm256_setzero_si256();
    for (; done < macs; done += SUMS * MACS)
        UNROLL for (size_t i = 0; i < SUMS; i++) {
            __asm__("" : "+x"(codes), "+x"(activations)); /* as if new: no product stands for another */
            sum[i] = _mm256_dpbusd_avx_epi32(sum[i], codes, activations);
        }
    UNROLL for (size_t i = 0; i < SUMS; i++) __asm__ volatile("" : : "x"(sum[i]));
    return done;
}
