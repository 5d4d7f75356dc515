/* The float kernels once more under the name of the dot-product rungs, whose attention kernels differ
 * (attention_dotprod.c). */
#define V16_ISA dotprod
#include "kernels/arm/v16_neon.h"

#include "kernels/float_tmpl.c"
