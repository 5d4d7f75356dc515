/* Float32 products in plain C. */
#include "train/v16_plain.h"

#define GEMM_ROWS 2
#define GEMM_VECTORS 1
#define GEMM_NAME "ref"
#define GEMM_FEATURES 0

#include "train/gemm_f32_tmpl.c"
