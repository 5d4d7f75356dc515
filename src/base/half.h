/* 16-bit floats, scalar. Exact; narrowing rounds to nearest, ties to even. */
#ifndef TERN_BASE_HALF_H
#define TERN_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float tern_f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t tern_bits_from_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float tern_bf16_to_f32(uint16_t half) { return tern_f32_from_bits((uint32_t)half << 16); }

static inline uint16_t tern_f32_to_bf16(float value) {
    uint32_t bits = tern_bits_from_f32(value);
    if ((bits & 0x7fffffff) > 0x7f800000) /* NaN: keep it one after truncation */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float tern_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 0) /* zero or subnormal: mantissa * 2^-24, exact in float */
        return tern_f32_from_bits(sign | tern_bits_from_f32((float)mantissa * 0x1p-24f));
    if (exponent == 31)
        return tern_f32_from_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    return tern_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t tern_f32_to_f16(float value) {
    uint32_t bits = tern_bits_from_f32(value), magnitude = bits & 0x7fffffff;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 lets the FPU round to a multiple of 2^-24 */
        float rounded = tern_f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (tern_bits_from_f32(rounded) & 0x7ff));
    }
    uint32_t rounded = magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | rounded >> 13);
}

#endif
