/* Gumbel noise as a function of (seed, draw, row): SplitMix64 (Steele et al. 2014) jumps to any of its numbers, and
 * each draw begins it somewhere else. */
#define TERN_GUMBEL_ROWS tern_gumbel_rows_any
#include "runtime/gumbel_tmpl.c"

#include <stdatomic.h>

#include "base/cpu.h"
#include "runtime/head.h"

const tern_gumbel_kernel tern_gumbel_kernels[] = {
#if defined(__x86_64__)
    {TERN_CPU_AVX2 | TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI, tern_gumbel_rows_avx512vnni},
    {TERN_CPU_AVX2, tern_gumbel_rows_avx2},
#endif
    {0, tern_gumbel_rows_any},
};

uint64_t tern_gumbel_start(uint64_t seed, uint64_t counter) { return mix(mix(seed + 0x9e3779b97f4a7c15u) ^ counter); }

/* Asking the CPU takes longer than a few hundred rows, so it is asked once. (Whoever comes in between asks, too.) */
static tern_gumbel_fn best_kernel(void) {
    static _Atomic(tern_gumbel_fn) best;
    tern_gumbel_fn rows = atomic_load_explicit(&best, memory_order_relaxed);
    if (rows)
        return rows;
    const tern_gumbel_kernel *kernel = tern_gumbel_kernels;
    unsigned features = tern_cpu_features();
    while (kernel->features & ~features)
        kernel++;
    atomic_store_explicit(&best, kernel->rows, memory_order_relaxed);
    return kernel->rows;
}

void tern_gumbel_rows(uint64_t seed, uint64_t counter, uint32_t first, size_t n, float *out) {
    best_kernel()(tern_gumbel_start(seed, counter), first, n, out);
}

double tern_gumbel(uint64_t seed, uint64_t counter, uint32_t id) {
    float noise;
    tern_gumbel_rows_any(tern_gumbel_start(seed, counter), id, 1, &noise);
    return (double)noise;
}
