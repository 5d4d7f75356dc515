/* Row arithmetic on AVX2 and FMA. */
#include "kernels/x86/v16_avx2.h"

#define ROWS_FEATURES TERN_CPU_AVX2

#include "train/ops_rows_tmpl.c"
