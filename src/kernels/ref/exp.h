/* The library's exponential function. */
#ifndef TERN_KERNELS_REF_EXP_H
#define TERN_KERNELS_REF_EXP_H

#include <math.h>

#include "base/half.h"
#include "kernels/rungs.h"

/*
 * exp(x) for x <= 0, less than 1 ulp off (tests/kernels measures it). Cody and Waite's reduction
 * x = n ln2 + r, |r| <= ln2 / 2 (a little more by rounding), then the Taylor polynomial of degree 7, whose
 * truncation error, r^8 / 8! < 6e-9, is a tenth of an ulp, and 2^n by its bits. ln2 is split so that
 * n * LN2_HI is exact (LN2_HI has 15 significant bits, n 7).
 * Below -87, e^-87 = 1.6e-38 being the edge of the normal numbers, the result is 0; NaN gives NaN.
 * Every rung does these operations in this order.
 */
static inline float tern_ref_exp(float x) {
    if (x < TERN_EXP_MIN)
        return 0.0f;
    if (!(x == x))
        return x;
    float n = rintf(x * TERN_EXP_LOG2E);
    float r = fmaf(n, -TERN_EXP_LN2_HI, x);
    r = fmaf(n, -TERN_EXP_LN2_LO, r);
    float p = 1.0f / 5040.0f;
    p = fmaf(p, r, 1.0f / 720.0f);
    p = fmaf(p, r, 1.0f / 120.0f);
    p = fmaf(p, r, 1.0f / 24.0f);
    p = fmaf(p, r, 1.0f / 6.0f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * tern_f32_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

#endif
