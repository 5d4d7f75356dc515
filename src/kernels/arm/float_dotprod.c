/* The float kernels with the dot product in the int8 attention scores; also those of the i8mm rung. */
#define V16_ISA dotprod
#include "kernels/arm/v16_neon.h"

#include "kernels/float_tmpl.c"
