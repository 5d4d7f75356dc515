/*
 * The 16-lane vectors of float_tmpl.c (which says what each operation means) on NEON: four q registers, lanes 0-3
 * first. The includer names the set: V16_ISA is neon (baseline Armv8.0) or dotprod; they differ in the integer dot
 * product only.
 */
#ifndef TERN_KERNELS_ARM_V16_NEON_H
#define TERN_KERNELS_ARM_V16_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { V16_TILE = 4 };

typedef struct v16 {
    float32x4_t part[4];
} v16;
typedef uint8x16_t b16;

#define V16_MAP1(f, a) ((v16){{f(a.part[0]), f(a.part[1]), f(a.part[2]), f(a.part[3])}})
#define V16_MAP2(f, a, b)                                                                                              \
    ((v16){{f(a.part[0], b.part[0]), f(a.part[1], b.part[1]), f(a.part[2], b.part[2]), f(a.part[3], b.part[3])}})

static inline v16 v16_set1(float a) { return (v16){{vdupq_n_f32(a), vdupq_n_f32(a), vdupq_n_f32(a), vdupq_n_f32(a)}}; }
static inline v16 v16_zero(void) { return v16_set1(0.0f); }

/* Elements may lie at any address, so they are loaded as bytes. */
static inline uint8x16_t v16_bytes(const void *p, size_t offset) { return vld1q_u8((const uint8_t *)p + offset); }
static inline float32x4_t v16_quad(const void *p, size_t offset) { return vreinterpretq_f32_u8(v16_bytes(p, offset)); }
static inline v16 v16_load(const void *p) {
    return (v16){{v16_quad(p, 0), v16_quad(p, 16), v16_quad(p, 32), v16_quad(p, 48)}};
}
static inline void v16_store(float *p, v16 a) {
    vst1q_f32(p, a.part[0]);
    vst1q_f32(p + 4, a.part[1]);
    vst1q_f32(p + 8, a.part[2]);
    vst1q_f32(p + 12, a.part[3]);
}

static inline v16 v16_from_b16(b16 a) {
    int8x16_t bytes = vreinterpretq_s8_u8(a);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return (v16){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
                  vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
}
static inline v16 v16_load_i8(const void *p) { return v16_from_b16(v16_bytes(p, 0)); }
static inline v16 v16_load_f16(const void *p) {
    float16x8_t low = vreinterpretq_f16_u8(v16_bytes(p, 0)), high = vreinterpretq_f16_u8(v16_bytes(p, 16));
    return (v16){{vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low), vcvt_f32_f16(vget_low_f16(high)),
                  vcvt_high_f32_f16(high)}};
}
static inline v16 v16_load_bf16(const void *p) {
    uint16x8_t low = vreinterpretq_u16_u8(v16_bytes(p, 0)), high = vreinterpretq_u16_u8(v16_bytes(p, 16));
    return (v16){{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(low), 16)),
                  vreinterpretq_f32_u32(vshll_high_n_u16(low, 16)),
                  vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16)),
                  vreinterpretq_f32_u32(vshll_high_n_u16(high, 16))}};
}
static inline float32x4_t v16_from_i32(float32x4_t words) { return vcvtq_f32_s32(vreinterpretq_s32_f32(words)); }
static inline v16 v16_load_i32(const void *p) {
    v16 words = v16_load(p);
    return V16_MAP1(v16_from_i32, words);
}

/* NEON has no masked loads and stores: tails go through a buffer. */
static inline v16 v16_load_n(const void *p, size_t n) {
    float buffer[16] = {0};
    memcpy(buffer, p, 4 * n);
    return v16_load(buffer);
}
static inline v16 v16_load_i32_n(const void *p, size_t n) {
    int32_t buffer[16] = {0};
    memcpy(buffer, p, 4 * n);
    return v16_load_i32(buffer);
}
static inline v16 v16_load_f16_n(const void *p, size_t n) {
    uint16_t buffer[16] = {0};
    memcpy(buffer, p, 2 * n);
    return v16_load_f16(buffer);
}
static inline v16 v16_load_bf16_n(const void *p, size_t n) {
    uint16_t buffer[16] = {0};
    memcpy(buffer, p, 2 * n);
    return v16_load_bf16(buffer);
}
static inline v16 v16_load_i8_n(const void *p, size_t n) {
    int8_t buffer[16] = {0};
    memcpy(buffer, p, n);
    return v16_load_i8(buffer);
}
static inline void v16_store_n(float *p, v16 a, size_t n) {
    float buffer[16];
    v16_store(buffer, a);
    memcpy(p, buffer, 4 * n);
}

static inline void v16_store_f16(uint16_t *p, v16 a) {
    float16x8_t low = vcvt_high_f16_f32(vcvt_f16_f32(a.part[0]), a.part[1]);
    float16x8_t high = vcvt_high_f16_f32(vcvt_f16_f32(a.part[2]), a.part[3]);
    vst1q_u16(p, vreinterpretq_u16_f16(low));
    vst1q_u16(p + 8, vreinterpretq_u16_f16(high));
}
static inline void v16_store_f16_n(uint16_t *p, v16 a, size_t n) {
    uint16_t buffer[16];
    v16_store_f16(buffer, a);
    memcpy(p, buffer, 2 * n);
}
static inline void v16_store_i8(int8_t *p, v16 a) {
    int16x8_t low = vmovn_high_s32(vmovn_s32(vcvtq_s32_f32(a.part[0])), vcvtq_s32_f32(a.part[1]));
    int16x8_t high = vmovn_high_s32(vmovn_s32(vcvtq_s32_f32(a.part[2])), vcvtq_s32_f32(a.part[3]));
    vst1q_s8(p, vmovn_high_s16(vmovn_s16(low), high));
}
static inline void v16_store_i8_n(int8_t *p, v16 a, size_t n) {
    int8_t buffer[16];
    v16_store_i8(buffer, a);
    memcpy(p, buffer, n);
}

static inline v16 v16_add(v16 a, v16 b) { return V16_MAP2(vaddq_f32, a, b); }
static inline v16 v16_sub(v16 a, v16 b) { return V16_MAP2(vsubq_f32, a, b); }
static inline v16 v16_mul(v16 a, v16 b) { return V16_MAP2(vmulq_f32, a, b); }
static inline v16 v16_div(v16 a, v16 b) { return V16_MAP2(vdivq_f32, a, b); }
static inline v16 v16_fma(v16 a, v16 b, v16 c) {
    return (v16){{vfmaq_f32(c.part[0], a.part[0], b.part[0]), vfmaq_f32(c.part[1], a.part[1], b.part[1]),
                  vfmaq_f32(c.part[2], a.part[2], b.part[2]), vfmaq_f32(c.part[3], a.part[3], b.part[3])}};
}
/* Not vmaxq (NaN if one is) and not vmaxnmq (the other one, whichever that is): b if one is NaN. */
static inline float32x4_t v16_max_quad(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline v16 v16_max(v16 a, v16 b) { return V16_MAP2(v16_max_quad, a, b); }
static inline v16 v16_abs(v16 a) { return V16_MAP1(vabsq_f32, a); }
static inline v16 v16_round(v16 a) { return V16_MAP1(vrndnq_f32, a); }
static inline float32x4_t v16_pow2_quad(float32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline v16 v16_pow2(v16 n) { return V16_MAP1(v16_pow2_quad, n); }
static inline v16 v16_if_less(v16 a, v16 b, v16 x, v16 y) {
    return (v16){{vbslq_f32(vcltq_f32(a.part[0], b.part[0]), x.part[0], y.part[0]),
                  vbslq_f32(vcltq_f32(a.part[1], b.part[1]), x.part[1], y.part[1]),
                  vbslq_f32(vcltq_f32(a.part[2], b.part[2]), x.part[2], y.part[2]),
                  vbslq_f32(vcltq_f32(a.part[3], b.part[3]), x.part[3], y.part[3])}};
}
static inline float32x4_t v16_nan_to_zero_quad(float32x4_t a) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vceqq_f32(a, a)));
}
static inline v16 v16_nan_to_zero(v16 a) { return V16_MAP1(v16_nan_to_zero_quad, a); }
static inline float32x4_t v16_keep_quad(float32x4_t a, float32x4_t b, size_t n, uint32_t first) {
    const uint32x4_t lane = {0, 1, 2, 3};
    return vbslq_f32(vcltq_u32(vaddq_u32(lane, vdupq_n_u32(first)), vdupq_n_u32((uint32_t)n)), a, b);
}
static inline v16 v16_keep_n(v16 a, v16 b, size_t n) {
    return (v16){{v16_keep_quad(a.part[0], b.part[0], n, 0), v16_keep_quad(a.part[1], b.part[1], n, 4),
                  v16_keep_quad(a.part[2], b.part[2], n, 8), v16_keep_quad(a.part[3], b.part[3], n, 12)}};
}

/* 16 -> 8 -> 4, lane j with lane j + half. */
static inline float32x4_t v16_fold_to_4(v16 a) {
    return vaddq_f32(vaddq_f32(a.part[0], a.part[2]), vaddq_f32(a.part[1], a.part[3]));
}
/* 4 -> 2 of two vectors: lanes 0, 1 from a, 2, 3 from b. */
static inline float32x4_t v16_fold_to_2(float32x4_t a, float32x4_t b) {
    float64x2_t wide_a = vreinterpretq_f64_f32(a), wide_b = vreinterpretq_f64_f32(b);
    return vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(wide_a, wide_b)),
                     vreinterpretq_f32_f64(vzip2q_f64(wide_a, wide_b)));
}
static inline float v16_fold(v16 a) {
    float32x4_t r4 = v16_fold_to_4(a);
    return vpadds_f32(vadd_f32(vget_low_f32(r4), vget_high_f32(r4)));
}
static inline void v16_fold4(v16 a, v16 b, v16 c, v16 d, float out[4]) {
    float32x4_t ab = v16_fold_to_2(v16_fold_to_4(a), v16_fold_to_4(b));
    float32x4_t cd = v16_fold_to_2(v16_fold_to_4(c), v16_fold_to_4(d));
    vst1q_f32(out, vpaddq_f32(ab, cd));
}

static inline float v16_f16(const void *p) {
    __fp16 half;
    memcpy(&half, p, 2);
    return half;
}
static inline b16 b16_load(const void *p) { return v16_bytes(p, 0); }
static inline b16 b16_and(b16 a, uint8_t b) { return vandq_u8(a, vdupq_n_u8(b)); }
static inline b16 b16_or(b16 a, b16 b) { return vorrq_u8(a, b); }
static inline b16 b16_shl(b16 a, int n) { return vshlq_u8(a, vdupq_n_s8((int8_t)n)); }
static inline b16 b16_shr(b16 a, int n) { return vshlq_u8(a, vdupq_n_s8((int8_t)-n)); }
static inline b16 b16_sub(b16 a, uint8_t b) { return vsubq_u8(a, vdupq_n_u8(b)); }

static inline float v16_largest(v16 a) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.part[0], a.part[1]), vmaxq_f32(a.part[2], a.part[3])));
}

/* ---- the integers of attention_tmpl.c ---- */

typedef struct w16 {
    int32x4_t part[4];
} w16;
typedef struct b64 {
    int8x16_t part[4];
} b64;
typedef b64 k64;

static inline w16 w16_zero(void) {
    int32x4_t zero = vdupq_n_s32(0);
    return (w16){{zero, zero, zero, zero}};
}
static inline v16 v16_from_w16(w16 a) { return V16_MAP1(vcvtq_f32_s32, a); }
static inline w16 w16_join(w16 high, w16 low) {
    return (w16){
        {vaddq_s32(vshlq_n_s32(high.part[0], 7), low.part[0]), vaddq_s32(vshlq_n_s32(high.part[1], 7), low.part[1]),
         vaddq_s32(vshlq_n_s32(high.part[2], 7), low.part[2]), vaddq_s32(vshlq_n_s32(high.part[3], 7), low.part[3])}};
}
static inline b64 b64_load(const void *p) {
    const int8_t *bytes = p;
    return (b64){{vld1q_s8(bytes), vld1q_s8(bytes + 16), vld1q_s8(bytes + 32), vld1q_s8(bytes + 48)}};
}
static inline b64 b64_load_n(const void *p, size_t n) {
    int8_t buffer[64] = {0};
    memcpy(buffer, p, 4 * n);
    return b64_load(buffer);
}
/* 4 int32 lanes + the sums of 4 products each. */
static inline int32x4_t dot_i8_step(int32x4_t sum, int8x16_t a, int8x16_t b) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, a, b);
#else
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b))), high = vpaddlq_s16(vmull_high_s8(a, b));
    return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
}
static inline w16 w16_dot(w16 acc, b64 a, const void *b) {
    int32_t four;
    memcpy(&four, b, 4);
    int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(four));
    return (w16){{dot_i8_step(acc.part[0], a.part[0], all), dot_i8_step(acc.part[1], a.part[1], all),
                  dot_i8_step(acc.part[2], a.part[2], all), dot_i8_step(acc.part[3], a.part[3], all)}};
}
static inline w16 w16_dot_weights(w16 acc, b64 v, const uint8_t *p) { return w16_dot(acc, v, p); }
static inline k64 k64_load(const void *p) { return b64_load(p); }
static inline w16 w16_key_start(int32_t q_sum) {
    (void)q_sum;
    return w16_zero();
}
static inline w16 w16_dot_keys(w16 acc, k64 k, const int8_t *q) { return w16_dot(acc, k, q); }
static inline uint8x16_t v16_narrow(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
    int16x8_t low = vmovn_high_s32(vmovn_s32(a), b), high = vmovn_high_s32(vmovn_s32(c), d);
    return vreinterpretq_u8_s8(vmovn_high_s16(vmovn_s16(low), high));
}
static inline void v16_store_digits(uint8_t *high, uint8_t *low, v16 a) {
    int32x4_t n[4], rest[4];
    for (size_t i = 0; i < 4; i++) {
        n[i] = vcvtq_s32_f32(a.part[i]);
        rest[i] = vandq_s32(n[i], vdupq_n_s32(127));
        n[i] = vshrq_n_s32(n[i], 7);
    }
    vst1q_u8(high, v16_narrow(n[0], n[1], n[2], n[3]));
    vst1q_u8(low, v16_narrow(rest[0], rest[1], rest[2], rest[3]));
}

#endif
