/* The yardsticks of AVX-512 VNNI: vpdpbusd on zmm, and 64-byte loads. */
#include <immintrin.h>

#include "kernels/limits.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

uint64_t tern_limit_dot_avx512vnni(uint64_t macs);
uint64_t tern_limit_read_avx512vnni(const void *block, size_t bytes);

enum { SUMS = 12, MACS = 64 }; /* sums: more than latency times throughput; 64 bytes a product */

uint64_t tern_limit_dot_avx512vnni(uint64_t macs) {
    __m512i sum[SUMS], codes = _mm512_set1_epi8(1), activations = codes;
    uint64_t done = 0;
    UNROLL for (size_t i = 0; i < SUMS; i++) sum[i] = _mm512_setzero_si512();
    for (; done < macs; done += SUMS * MACS)
        UNROLL for (size_t i = 0; i < SUMS; i++) {
            __asm__("" : "+v"(codes), "+v"(activations)); /* as if new: no product stands for another */
            sum[i] = _mm512_dpbusd_epi32(sum[i], codes, activations);
        }
    UNROLL for (size_t i = 0; i < SUMS; i++) __asm__ volatile("" : : "v"(sum[i]));
    return done;
}

uint64_t tern_limit_read_avx512vnni(const void *block, size_t bytes) {
    const __m512i *vectors = block;
    size_t stream = bytes / sizeof *vectors / TERN_READ_STREAMS;
    __m512i sum[TERN_READ_STREAMS];
    UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) sum[s] = _mm512_setzero_si512();
    for (size_t i = 0; i < stream; i++)
        UNROLL for (size_t s = 0; s < TERN_READ_STREAMS; s++) sum[s] =
            _mm512_add_epi64(sum[s], _mm512_load_si512(vectors + s * stream + i));
    uint64_t lanes[8], total = 0; /* added as unsigned: the compiler's own reduction is signed, and may overflow */
    _mm512_storeu_si512(lanes, _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3])));
    for (size_t i = 0; i < 8; i++)
        total += lanes[i];
    return total;
}
