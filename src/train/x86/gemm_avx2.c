/* Float32 products on AVX2 and FMA: 12 of 16 registers hold sums. */
#include "kernels/x86/v16_avx2.h"

#define GEMM_ROWS 6
#define GEMM_VECTORS 1
#define GEMM_NAME "avx2"
#define GEMM_FEATURES TERN_CPU_AVX2

#include "train/gemm_f32_tmpl.c"
