/* Which yardsticks belong to which rung. */
#include "kernels/limits.h"

#include "base/cpu.h"

#define DECLARE_DOT(isa) uint64_t tern_limit_dot_##isa(uint64_t macs)
#define DECLARE_READ(isa) uint64_t tern_limit_read_##isa(const void *block, size_t bytes)

DECLARE_DOT(ref);
DECLARE_READ(ref);
#if defined(__x86_64__)
DECLARE_DOT(avx2);
DECLARE_DOT(avxvnni);
DECLARE_DOT(avx512vnni);
DECLARE_READ(avx2);
DECLARE_READ(avx512vnni);
#elif defined(__aarch64__)
DECLARE_DOT(neon);
DECLARE_DOT(dotprod);
DECLARE_DOT(i8mm);
DECLARE_READ(neon);
#endif

/* Worst first. */
static const tern_limits table[] = {
    {"compiled C", 0, tern_limit_dot_ref, tern_limit_read_ref},
#if defined(__x86_64__)
    {"vpmaddubsw ymm", TERN_CPU_AVX2, tern_limit_dot_avx2, tern_limit_read_avx2},
    {"vpdpbusd ymm", TERN_CPU_AVX2 | TERN_CPU_AVXVNNI, tern_limit_dot_avxvnni, tern_limit_read_avx2},
    {"vpdpbusd zmm", TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI, tern_limit_dot_avx512vnni, tern_limit_read_avx512vnni},
#elif defined(__aarch64__)
    {"smlal", TERN_CPU_NEON, tern_limit_dot_neon, tern_limit_read_neon},
    {"sdot", TERN_CPU_NEON | TERN_CPU_DOTPROD, tern_limit_dot_dotprod, tern_limit_read_neon},
    {"smmla", TERN_CPU_NEON | TERN_CPU_DOTPROD | TERN_CPU_I8MM, tern_limit_dot_i8mm, tern_limit_read_neon},
#endif
};

const tern_limits *tern_limits_of(const tern_kernels *rung) {
    const tern_limits *best = &table[0];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if ((table[i].features & ~rung->features) == 0)
            best = &table[i];
    return best;
}
