/* The canonical reduction of kernels.h: 16 partial results, folded in halves. */
#ifndef TERN_KERNELS_REF_LANES_H
#define TERN_KERNELS_REF_LANES_H

#include <math.h>
#include <stddef.h>

enum { TERN_LANES = 16 };

/* r[16] -> r8[j] = r[j] + r[j+8], r4[j] = r8[j] + r8[j+4], r2[j] = r4[j] + r4[j+2], r2[0] + r2[1]. */
static inline float tern_ref_fold(const float lanes[TERN_LANES]) {
    float r[TERN_LANES];
    for (size_t j = 0; j < TERN_LANES; j++)
        r[j] = lanes[j];
    for (size_t half = TERN_LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            r[j] = r[j] + r[j + half];
    return r[0];
}

/* dot(a, b), n values, element i in lane i % 16. */
static inline float tern_ref_dot(const float *a, const float *b, size_t n) {
    float r[TERN_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        r[i % TERN_LANES] = fmaf(a[i], b[i], r[i % TERN_LANES]);
    return tern_ref_fold(r);
}

#endif
