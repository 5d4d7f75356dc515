/* The float kernels on AVX-512. */
#include "kernels/x86/v16_avx512.h"

#include "kernels/float_tmpl.c"
