/* Float32 products on NEON: 24 of 32 registers hold sums. */
#define V16_ISA neon
#include "kernels/arm/v16_neon.h"

#define GEMM_ROWS 6
#define GEMM_VECTORS 1
#define GEMM_NAME "neon"
#define GEMM_FEATURES TERN_CPU_NEON

#include "train/gemm_f32_tmpl.c"
