/* Row arithmetic on NEON. */
#define V16_ISA neon
#include "kernels/arm/v16_neon.h"

#define ROWS_FEATURES TERN_CPU_NEON

#include "train/ops_rows_tmpl.c"
