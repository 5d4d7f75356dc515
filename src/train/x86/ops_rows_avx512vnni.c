/* Row arithmetic on AVX-512. */
#include "kernels/x86/v16_avx512.h"

#define ROWS_FEATURES (TERN_CPU_AVX2 | TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI)

#include "train/ops_rows_tmpl.c"
