#include "runtime/cpu_round.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

/* Sum of |x| in 16 lanes, folded in halves. */
static float sum_of_magnitudes(const float *x, size_t n) {
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float magnitude = fabsf(x[i + j]);
            lanes[j] += magnitude == magnitude ? magnitude : 0.0f;
        }
    for (size_t j = 0; i + j < n; j++) {
        float magnitude = fabsf(x[i + j]);
        lanes[j] += magnitude == magnitude ? magnitude : 0.0f;
    }
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    return lanes[0];
}

static int32_t sum_of(const int8_t *q, size_t n) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

void tern_quantize_i4(const float *x, size_t n, size_t n_pad, int8_t *q, float *scale, int32_t *sum) {
    /* What is added and taken away again rounds values of a few units to integers, half to even, without a call of
     * rintf for each. */
    static const float shift = 12582912.0f; /* 1.5 * 2^23 */
    float mean = sum_of_magnitudes(x, n) / (float)n;
    float s = 2.64575131f / (mean > 1e-5f ? mean : 1e-5f); /* sqrt(7) */
    for (size_t i = 0; i < n; i++) {
        float value = x[i] * s;
        value = value == value ? value : 0.0f;
        value = value > 7.0f ? 7.0f : value;
        value = value < -8.0f ? -8.0f : value;
        q[i] = (int8_t)(value + shift - shift);
    }
    memset(q + n, 0, n_pad - n);
    *scale = s;
    *sum = sum_of(q, n);
}

/* Of floats that are not negative, the larger has the larger bits. */
static uint32_t magnitude_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

void tern_keep_larger_half(const float *x, size_t n, int8_t *q, int32_t *sum) {
    size_t wanted = (n + 1) / 2;
    uint32_t least = 0; /* the largest value that `wanted` magnitudes reach, bit by bit */
    for (uint32_t bit = UINT32_C(1) << 30; bit; bit >>= 1) {
        size_t reached = 0;
        for (size_t i = 0; i < n; i++)
            reached += magnitude_bits(x[i]) >= (least | bit);
        if (reached >= wanted)
            least |= bit;
    }
    for (size_t i = 0; i < n; i++)
        q[i] = magnitude_bits(x[i]) >= least ? q[i] : 0;
    *sum = sum_of(q, n);
}
