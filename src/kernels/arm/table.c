/* The tables of the Arm rungs. */
#include "base/cpu.h"
#include "kernels/arm/ternary.h"

TERN_DECLARE_FLOAT_KERNELS(neon);
TERN_DECLARE_FLOAT_KERNELS(dotprod);
TERN_DECLARE_DOT_ROWS(neon);
TERN_DECLARE_DOT_ROWS(dotprod);

TERN_DECLARE_MATMUL_OF(b1, neon);
TERN_DECLARE_MATMUL_OF(b1, dotprod);
TERN_DECLARE_MATMUL_OF(b1, i8mm);
TERN_DECLARE_SIGNS(neon);
TERN_BINARY_B1(neon, neon, neon);
TERN_BINARY_B1(dotprod, dotprod, neon);
TERN_BINARY_B1(i8mm, i8mm, neon);

TERN_TERNARY_T2(neon);
static const tern_ternary *const ternary_neon[] = {&tern_t2_neon, NULL};

const tern_kernels tern_kernels_neon = {
    .name = "neon",
    .features = TERN_CPU_NEON,
    .ternary = ternary_neon,
    .binary = &tern_b1_neon,
    TERN_FLOAT_KERNELS(neon),
    .dot_rows = tern_dot_rows_neon,
};

TERN_TERNARY_T2(dotprod);
static const tern_ternary *const ternary_dotprod[] = {&tern_t2_dotprod, NULL};

const tern_kernels tern_kernels_dotprod = {
    .name = "dotprod",
    .features = TERN_CPU_NEON | TERN_CPU_DOTPROD,
    .ternary = ternary_dotprod,
    .binary = &tern_b1_dotprod,
    TERN_FLOAT_KERNELS(dotprod),
    .dot_rows = tern_dot_rows_dotprod,
};

TERN_TERNARY_T2(i8mm);
static const tern_ternary *const ternary_i8mm[] = {&tern_t2_i8mm, NULL};

/* i8mm adds the integer matrix multiply only; few tokens, and the float kernels, are the dot product's. */
const tern_kernels tern_kernels_i8mm = {
    .name = "i8mm",
    .features = TERN_CPU_NEON | TERN_CPU_DOTPROD | TERN_CPU_I8MM,
    .ternary = ternary_i8mm,
    .binary = &tern_b1_i8mm,
    TERN_FLOAT_KERNELS(dotprod),
    .dot_rows = tern_dot_rows_dotprod,
};
