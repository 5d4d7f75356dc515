/* The ladder: which rungs exist, and which one this process climbs to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/rungs.h"
#include "kernels/screen.h"

TERN_DECLARE_FLOAT_KERNELS(ref);
TERN_DECLARE_MATMUL(ref);
TERN_DECLARE_MATMUL_OF(t5, ref);
TERN_DECLARE_MATMUL_OF(b1, ref);
TERN_DECLARE_SIGNS(ref);
TERN_DECLARE_DOT_ROWS(ref);

TERN_TERNARY_T2(ref);
TERN_TERNARY_T5(ref);
TERN_BINARY_B1(ref, ref, ref);
static const tern_ternary *const ternary_ref[] = {&tern_t2_ref, &tern_t5_ref, NULL};

static const tern_kernels kernels_ref = {
    .name = "ref",
    .features = 0,
    .ternary = ternary_ref,
    .binary = &tern_b1_ref,
    TERN_FLOAT_KERNELS(ref),
    .screen = &tern_screen_kernels_ref,
    .dot_rows = tern_dot_rows_ref,
};

#if defined(__x86_64__)
TERN_DECLARE_FLOAT_KERNELS(avx2);
TERN_DECLARE_FLOAT_KERNELS(avx512vnni);
TERN_DECLARE_MATMUL(avx2);
TERN_DECLARE_MATMUL(avxvnni);
TERN_DECLARE_MATMUL(avx512vnni);
TERN_DECLARE_MATMUL_OF(t5, avx512vbmi);
TERN_DECLARE_MATMUL_OF(b1, avx2);
TERN_DECLARE_MATMUL_OF(b1, avxvnni);
TERN_DECLARE_MATMUL_OF(b1, avx512vnni);
TERN_DECLARE_SIGNS(avx2);
TERN_DECLARE_SIGNS(avx512popcnt);
TERN_DECLARE_DOT_ROWS(avx2);
TERN_DECLARE_DOT_ROWS(avxvnni);
TERN_DECLARE_DOT_ROWS(avx512vnni);
TERN_TERNARY_T2(avx2);
TERN_TERNARY_T2(avxvnni);
TERN_TERNARY_T2(avx512vnni);
TERN_TERNARY_T5(avx512vbmi);
TERN_BINARY_B1(avx2, avx2, avx2);
TERN_BINARY_B1(avxvnni, avxvnni, avx2);
TERN_BINARY_B1(avx512vnni, avx512vnni, avx2); /* the first CPUs with VNNI have no vpopcntd */
TERN_BINARY_B1(avx512vbmi, avx512vnni, avx512popcnt);
static const tern_ternary *const ternary_avx2[] = {&tern_t2_avx2, NULL};
static const tern_ternary *const ternary_avxvnni[] = {&tern_t2_avxvnni, NULL};
static const tern_ternary *const ternary_avx512vnni[] = {&tern_t2_avx512vnni, NULL};
static const tern_ternary *const ternary_avx512vbmi[] = {&tern_t5_avx512vbmi, &tern_t2_avx512vnni, NULL};

static const tern_kernels kernels_avx2 = {
    .name = "avx2",
    .features = TERN_CPU_AVX2,
    .ternary = ternary_avx2,
    .binary = &tern_b1_avx2,
    TERN_FLOAT_KERNELS(avx2),
    .screen = &tern_screen_kernels_avx2,
    .dot_rows = tern_dot_rows_avx2,
};

/* AVX-VNNI adds the dot product only; the float kernels are AVX2's. */
static const tern_kernels kernels_avxvnni = {
    .name = "avxvnni",
    .features = TERN_CPU_AVX2 | TERN_CPU_AVXVNNI,
    .ternary = ternary_avxvnni,
    .binary = &tern_b1_avxvnni,
    TERN_FLOAT_KERNELS(avx2),
    .screen = &tern_screen_kernels_avx2,
    .dot_rows = tern_dot_rows_avxvnni,
};

static const tern_kernels kernels_avx512vnni = {
    .name = "avx512vnni",
    .features = TERN_CPU_AVX2 | TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI,
    .ternary = ternary_avx512vnni,
    .binary = &tern_b1_avx512vnni,
    TERN_FLOAT_KERNELS(avx512vnni),
    .screen = &tern_screen_kernels_avx512vnni,
    .dot_rows = tern_dot_rows_avx512vnni,
};

/* VBMI permutes bytes, which unpacks 5-bit codes; the other kernels are AVX-512 VNNI's, but for counts of bits: every
 * CPU with VNNI and VBMI has those, too. */
static const tern_kernels kernels_avx512vbmi = {
    .name = "avx512vbmi",
    .features = TERN_CPU_AVX2 | TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI | TERN_CPU_AVX512VBMI | TERN_CPU_AVX512POPCNT,
    .ternary = ternary_avx512vbmi,
    .binary = &tern_b1_avx512vbmi,
    TERN_FLOAT_KERNELS(avx512vnni),
    .screen = &tern_screen_kernels_avx512vnni,
    .dot_rows = tern_dot_rows_avx512vnni,
};
#endif

/* Worst first. */
static const tern_kernels *const ladder[] = {
    &kernels_ref,
#if defined(__x86_64__)
    &kernels_avx2, &kernels_avxvnni, &kernels_avx512vnni, &kernels_avx512vbmi,
#elif defined(__aarch64__)
    &tern_kernels_neon,
    &tern_kernels_dotprod,
    &tern_kernels_i8mm,
#endif
    NULL,
};

const tern_kernels *const *tern_kernels_all(void) { return ladder; }

static bool runs_here(const tern_kernels *rung) { return (rung->features & ~tern_cpu_features()) == 0; }

tern_status tern_kernels_choose(const char *name, const tern_kernels **kernels, tern_error *err) {
    bool from_environment = false;
    if (!name || !*name) {
        name = getenv("TERN_CPU");
        from_environment = true;
    }
    const tern_kernels *best = NULL;
    char names[128] = "";
    size_t used = 0;
    for (size_t i = 0; ladder[i]; i++) {
        if (!runs_here(ladder[i]))
            continue;
        best = ladder[i];
        if (name && strcmp(name, best->name) == 0) {
            *kernels = best;
            return TERN_OK;
        }
        int n = snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", best->name);
        if (n > 0 && (size_t)n < sizeof names - used) /* a handful of short names: always */
            used += (size_t)n;
    }
    if (name && *name)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s%s: not a kernel set that this CPU runs; use one of: %s",
                         from_environment ? "TERN_CPU=" : "", name, names);
    *kernels = best;
    return TERN_OK;
}
