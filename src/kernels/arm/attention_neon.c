/* The attention kernels on baseline NEON. */
#define V16_ISA neon
#include "kernels/arm/v16_neon.h"

#include "kernels/attention_tmpl.c"
