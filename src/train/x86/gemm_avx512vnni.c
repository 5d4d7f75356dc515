/* Float32 products on AVX-512: 24 of 32 registers hold sums. */
#include "kernels/x86/v16_avx512.h"

#define GEMM_ROWS 6
#define GEMM_VECTORS 4
#define GEMM_NAME "avx512"
#define GEMM_FEATURES (TERN_CPU_AVX2 | TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI)

#include "train/gemm_f32_tmpl.c"
