/*
 * Float matrix products for the backward pass, one table per instruction set: C (+)= A B with the operands rounded to
 * bfloat16 where the CPU multiplies those faster (ternary and int8 values are exact in it; only gradients round), sums
 * in float32. Not part of the bit-identity of kernels.h: the same CPU gives the same bits, for every number of threads.
 */
#ifndef TERN_TRAIN_GEMM_H
#define TERN_TRAIN_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tern_gemm tern_gemm;

#endif
