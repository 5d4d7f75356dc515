/*
 * The roundings of BitNet a4.8 (Wang et al. 2024, arXiv 2411.04965, section 3) of one BitLinear's input, besides
 * quantize_i8 of kernels/kernels.h. One plain C function for every instruction set; the order of its float operations
 * is part of it, so the bits are the same everywhere.
 */
#ifndef TERN_RUNTIME_CPU_ROUND_H
#define TERN_RUNTIME_CPU_ROUND_H

#include <stddef.h>
#include <stdint.h>

/* int4 by absmean of x [n]: s = sqrt(7) / max(mean|x|, 1e-5), q = round_half_even(clamp(x * s, -8, 7)),
 * q [n_pad] with zeros behind n; *scale = s; *sum = sum of q. The mean is summed in the 16 lanes of kernels.h.
 * NaN counts as 0 in the mean and gives q = 0; an infinite mean (s = 0) gives zeros. */
void tern_quantize_i4(const float *x, size_t n, size_t n_pad, int8_t *q, float *scale, int32_t *sum);

/* q[i] = 0 wherever |x[i]| is not among the (n + 1) / 2 largest of x [n]; values as large as the last of those all
 * stay. *sum = sum of what is left. */
void tern_keep_larger_half(const float *x, size_t n, int8_t *q, int32_t *sum);

#endif
