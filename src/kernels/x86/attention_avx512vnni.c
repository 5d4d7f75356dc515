/* The attention kernels on AVX-512 with VNNI. */
#include "kernels/x86/v16_avx512.h"

#include "kernels/attention_tmpl.c"
