/* The tables of the Arm rungs. */
#include "base/cpu.h"
#include "kernels/arm/ternary.h"

TERN_DECLARE_FLOAT_KERNELS(neon);
TERN_DECLARE_FLOAT_KERNELS(dotprod);

const tern_kernels tern_kernels_neon = {
    .name = "neon",
    .packing = &tern_packing_t2r16,
    .features = TERN_CPU_NEON,
    .matmul_i8_t2 = tern_matmul_i8_t2_neon,
    TERN_FLOAT_KERNELS(neon),
};

const tern_kernels tern_kernels_dotprod = {
    .name = "dotprod",
    .packing = &tern_packing_t2r16,
    .features = TERN_CPU_NEON | TERN_CPU_DOTPROD,
    .matmul_i8_t2 = tern_matmul_i8_t2_dotprod,
    TERN_FLOAT_KERNELS(dotprod),
};

/* i8mm adds the integer matrix multiply only; few tokens, and the float kernels, are the dot product's. */
const tern_kernels tern_kernels_i8mm = {
    .name = "i8mm",
    .packing = &tern_packing_t2r16,
    .features = TERN_CPU_NEON | TERN_CPU_DOTPROD | TERN_CPU_I8MM,
    .matmul_i8_t2 = tern_matmul_i8_t2_i8mm,
    TERN_FLOAT_KERNELS(dotprod),
};
