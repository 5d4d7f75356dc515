/* What several kernels compute, in the order of operations of kernels/kernels.h. */
#ifndef TERN_CUDA_MATH_CUH
#define TERN_CUDA_MATH_CUH

/* exp(x) for x <= 0: kernels/ref/exp.h, operation by operation. */
DEVICE float exp_(float x) {
    if (x < -87.0f)
        return 0.0f;
    if (!(x == x))
        return x;
    float n = round_(x * 0x1.715476p+0f);
    float r = fma_(n, -0x1.62e400p-1f, x);
    r = fma_(n, -0x1.7f7d1cp-20f, r);
    float p = 1.0f / 5040.0f;
    p = fma_(p, r, 1.0f / 720.0f);
    p = fma_(p, r, 1.0f / 120.0f);
    p = fma_(p, r, 1.0f / 24.0f);
    p = fma_(p, r, 1.0f / 6.0f);
    p = fma_(p, r, 0.5f);
    p = fma_(p, r, 1.0f);
    p = fma_(p, r, 1.0f);
    return p * float_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

/* Lanes 0 .. 15 hold the 16 partial results; every lane of them gets the sum. The fold of kernels.h adds lane j + half
 * to lane j; here lane j + half gets the same sum, as addition commutes. */
DEVICE float fold16(float r) {
    UNROLL for (int half = 8; half > 0; half /= 2) r = r + shuffle_xor(r, half);
    return r;
}

/* The largest of a warp's values, NaN aside. */
DEVICE float warp_max(float x) {
    UNROLL for (int lanes = WARP / 2; lanes > 0; lanes /= 2) x = fmaxf(x, shuffle_xor(x, lanes));
    return x;
}

DEVICE int32_t warp_sum(int32_t x) {
    UNROLL for (int lanes = WARP / 2; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
    return x;
}

/* 127 / max(largest, 1e-5): quantize_i8's scale. */
DEVICE float scale_i8(float largest) { return div_(127.0f, fmaxf(largest, 1e-5f)); }

/* clamp(round_half_even(x s)), 0 for what is no number */
DEVICE int32_t round_i8(float x, float s) {
    float y = round_(x * s);
    if (!(y == y))
        return 0;
    return (int32_t)fminf(fmaxf(y, -128.0f), 127.0f);
}

/* quantize_i8 of n values by one warp -> q [n_pad], zeros behind n. Returns the scale, to all lanes. */
DEVICE float warp_quantize(const float *x, uint32_t n, uint32_t n_pad, int8_t *q, uint32_t lane) {
    float largest = 0.0f;
    for (uint32_t i = lane; i < n; i += WARP)
        largest = fmaxf(largest, fabsf(x[i]));
    float s = scale_i8(warp_max(largest));
    for (uint32_t i = lane; i < n_pad; i += WARP)
        q[i] = i < n ? (int8_t)round_i8(x[i], s) : (int8_t)0;
    return s;
}

#endif
