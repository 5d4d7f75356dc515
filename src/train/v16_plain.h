/* The 16-lane vectors of kernels/float_tmpl.c (as far as training's templates use them) in plain C, for compilers to
 * make of them what the machine has. Unlike there, v16_fma may round twice: without the instruction it is slow. */
#ifndef TERN_TRAIN_V16_PLAIN_H
#define TERN_TRAIN_V16_PLAIN_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

#define V16_ISA ref

typedef struct v16 {
    float lane[16];
} v16;

#define V16_EACH(expression)                                                                                           \
    v16 out;                                                                                                           \
    for (int i = 0; i < 16; i++)                                                                                       \
        out.lane[i] = (expression);                                                                                    \
    return out

static inline v16 v16_set1(float a) { V16_EACH(a); }
static inline v16 v16_zero(void) { return v16_set1(0.0f); }
static inline v16 v16_load(const void *p) {
    v16 out;
    memcpy(&out, p, sizeof out);
    return out;
}
static inline v16 v16_load_n(const void *p, size_t n) {
    v16 out = v16_zero();
    memcpy(&out, p, 4 * n);
    return out;
}
static inline v16 v16_load_i8(const void *p) { V16_EACH(((const int8_t *)p)[i]); }
static inline v16 v16_load_i8_n(const void *p, size_t n) {
    int8_t buffer[16] = {0};
    memcpy(buffer, p, n);
    return v16_load_i8(buffer);
}
static inline void v16_store(float *p, v16 a) { memcpy(p, &a, sizeof a); }
static inline void v16_store_n(float *p, v16 a, size_t n) { memcpy(p, &a, 4 * n); }
static inline v16 v16_add(v16 a, v16 b) { V16_EACH(a.lane[i] + b.lane[i]); }
static inline v16 v16_sub(v16 a, v16 b) { V16_EACH(a.lane[i] - b.lane[i]); }
static inline v16 v16_mul(v16 a, v16 b) { V16_EACH(a.lane[i] * b.lane[i]); }
static inline v16 v16_fma(v16 a, v16 b, v16 c) { V16_EACH(a.lane[i] * b.lane[i] + c.lane[i]); }
static inline v16 v16_max(v16 a, v16 b) { V16_EACH(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]); }
/* To the nearest integer, |a| < 2^22: adding 1.5 * 2^23 leaves no room for a fraction. */
static inline v16 v16_round(v16 a) { V16_EACH((a.lane[i] + 0x1.8p23f) - 0x1.8p23f); }
static inline v16 v16_pow2(v16 a) {
    V16_EACH(tern_f32_from_bits((uint32_t)((a.lane[i] >= -126.0f ? (int32_t)a.lane[i] : -126) + 127) << 23));
}
static inline v16 v16_if_less(v16 a, v16 b, v16 x, v16 y) { V16_EACH(a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i]); }
static inline float v16_fold(v16 a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a.lane[i] += a.lane[i + half];
    return a.lane[0];
}
static inline float v16_largest(v16 a) {
    float largest = a.lane[0];
    for (int i = 1; i < 16; i++)
        largest = a.lane[i] > largest ? a.lane[i] : largest;
    return largest;
}

#undef V16_EACH

#endif
