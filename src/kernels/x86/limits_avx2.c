/* The yardsticks of AVX2. A dot product is vpmaddubsw and the 16-bit addition that collects it, as in ternary_avx2.c.
 */
#include <immintrin.h>

#include "kernels/limits.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

uint64_t tern_limit_dot_avx2(uint64_t macs);
uint64_t tern_limit_read_avx2(const void *block, size_t bytes);

enum { SUMS = 12, MACS = 32 }; /* sums: more than latency times throughput; 32 bytes a product */

uint64_t tern_limit_dot_avx2(uint64_t macs) {
    __m256i sum[SUMS], codes = _mm256_set1_epi8(1), activations = codes;
    uint64_t done = 0;
    UNROLL for (size_t i = 0; i < SUMS; i++) sum[i] = _mm256_setzero_si256();
    for (; done < macs; done += SUMS * MACS)
        UNROLL for (size_t i = 0; i < SUMS; i++) {
            __asm__("" : "+x"(codes), "+x"(activations)); /* as if new: no product stands for another */
            sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(codes, activations));
        }
    UNROLL for (size_t i = 0; i < SUMS; i++) __asm__ volatile("" : : "x"(sum[i]));
    return done;
}

uint64_t tern_limit_read_avx2(const void *block, size_t bytes) {
    const __m256i *vectors = block;
    size_t stream = bytes / sizeof *vectors / TERN_READ_STREAMS;
    __m256i sum[TERN_READ_STREAMS];
    UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) sum[s] = _mm256_setzero_si256();
    for (size_t i = 0; i < stream; i++)
        UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) sum[s] =
            _mm256_add_epi64(sum[s], _mm256_load_si256(vectors + s * stream + i));
    uint64_t words[4];
    _mm256_storeu_si256((__m256i *)words,
                        _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3])));
    return words[0] + words[1] + words[2] + words[3];
}
