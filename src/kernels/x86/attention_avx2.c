/* The attention kernels on AVX2 + FMA + F16C; also those of the AVX-VNNI rung. */
#include "kernels/x86/v16_avx2.h"

#include "kernels/attention_tmpl.c"
