/* The attention kernels with the dot product; also those of the i8mm rung. */
#define V16_ISA dotprod
#include "kernels/arm/v16_neon.h"

#include "kernels/attention_tmpl.c"
