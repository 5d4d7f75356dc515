/* Block-quantised embeddings and heads: Q8_0, Q4_0 and Q6_K (layouts as the GGUF specification has them). The
 * quantisers are our own and plain; what they promise is the bound that stands at each. */
#include <math.h>

#include "base/half.h"
#include "format/codecs.h"

enum {
    QK = 32,
    Q8_0_BYTES = 34, /* scale, 32 x int8 */
    Q4_0_BYTES = 18, /* scale, 16 bytes: value j low, value j + 16 high, as q + 8 */
    K = 256,
    Q6_K_LOW = 128,   /* low four bits */
    Q6_K_HIGH = 64,   /* high two bits */
    Q6_K_GROUPS = 16, /* int8 scales of 16 values each */
    Q6_K_BYTES = 210,
};

#define MAX_F16 65504.0f

void tern_q8_0_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    const uint8_t *in = tensor->data + row * (tensor->cols / QK) * Q8_0_BYTES;
    for (uint64_t block = 0; block < tensor->cols / QK; block++, in += Q8_0_BYTES, out += QK) {
        float d = tern_f16_to_f32(tern_load_u16(in));
        for (int i = 0; i < QK; i++)
            out[i] = d * (float)(int8_t)in[2 + i];
    }
}

void tern_q4_0_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    const uint8_t *in = tensor->data + row * (tensor->cols / QK) * Q4_0_BYTES;
    for (uint64_t block = 0; block < tensor->cols / QK; block++, in += Q4_0_BYTES, out += QK) {
        float d = tern_f16_to_f32(tern_load_u16(in));
        for (int i = 0; i < QK / 2; i++) {
            out[i] = d * (float)((in[2 + i] & 15) - 8);
            out[i + QK / 2] = d * (float)((in[2 + i] >> 4) - 8);
        }
    }
}

/* Where value i of a Q6_K block lies: each half of 128 values takes 64 low and 32 high bytes; value l + 32 k of a half
 * has its low bits in low byte l + 32 (k & 1), nibble k >> 1, and its high bits in high byte l, bit pair k. */
typedef struct q6_place {
    int low, low_shift, high, high_shift;
} q6_place;

static inline q6_place q6_place_of(int i) {
    int half = i >> 7, k = i >> 5 & 3, l = i & 31;
    return (q6_place){half * 64 + (k & 1) * 32 + l, k >> 1 << 2, half * 32 + l, 2 * k};
}

void tern_q6_k_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    const uint8_t *in = tensor->data + row * (tensor->cols / K) * Q6_K_BYTES;
    for (uint64_t block = 0; block < tensor->cols / K; block++, in += Q6_K_BYTES, out += K) {
        const uint8_t *high = in + Q6_K_LOW, *scales = high + Q6_K_HIGH;
        float d = tern_f16_to_f32(tern_load_u16(scales + Q6_K_GROUPS));
        for (int group = 0; group < Q6_K_GROUPS; group++) {
            float step = d * (float)(int8_t)scales[group];
            q6_place at = q6_place_of(16 * group); /* the 16 values of a group lie side by side */
            for (int i = 0; i < 16; i++) {
                int q = (in[at.low + i] >> at.low_shift & 15) | (high[at.high + i] >> at.high_shift & 3) << 4;
                out[16 * group + i] = step * (float)(q - 32);
            }
        }
    }
}

/* Of several values the one that is largest in magnitude, with its sign. */
static float extreme(const float *values, int n) {
    float most = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(values[i]) > fabsf(most))
            most = values[i];
    return most;
}

/* Store a block scale as fp16, kept finite; returns what a reader will see. */
static float put_f16(uint8_t *out, float value) {
    uint16_t half = tern_f32_to_f16(fminf(fmaxf(value, -MAX_F16), MAX_F16));
    tern_store_u16(out, half);
    return tern_f16_to_f32(half);
}

/* What to multiply by instead of dividing by a step; a step of 0 makes every code 0. */
static float inverse_of(float step) { return step != 0 ? 1 / step : 0; }

/* value * inverse rounded half to even within [low, high]; NaN becomes low. Written for the vectoriser: comparisons
 * instead of fmin/fmax, and 1.5 * 2^23, the sum with which has no fraction bits, instead of lrint. */
static inline int quantise(float value, float inverse, int low, int high) {
    float scaled = value * inverse;
    scaled = scaled > (float)low ? scaled : (float)low;
    scaled = scaled < (float)high ? scaled : (float)high;
    return (int)tern_bits_from_f32(scaled + 12582912.0f) - 0x4b400000;
}

/* |error| <= d/2 (1 + 2^-10), d = max|x| / 127, for blocks whose d is a normal fp16 number. */
void tern_q8_0_encode_row(const float *values, uint64_t cols, uint8_t *out) {
    for (uint64_t block = 0; block < cols / QK; block++, values += QK, out += Q8_0_BYTES) {
        float inverse = inverse_of(put_f16(out, fabsf(extreme(values, QK)) / 127));
        for (int i = 0; i < QK; i++)
            out[2 + i] = (uint8_t)(int8_t)quantise(values[i], inverse, -127, 127);
    }
}

/* The largest value gets the code -8; |error| <= |d|, d = max / -8, and half of that except for values of the other
 * sign above 7.5 |d|. */
void tern_q4_0_encode_row(const float *values, uint64_t cols, uint8_t *out) {
    for (uint64_t block = 0; block < cols / QK; block++, values += QK, out += Q4_0_BYTES) {
        float inverse = inverse_of(put_f16(out, extreme(values, QK) / -8));
        for (int i = 0; i < QK / 2; i++)
            out[2 + i] = (uint8_t)((quantise(values[i], inverse, -8, 7) + 8) |
                                   (quantise(values[i + QK / 2], inverse, -8, 7) + 8) << 4);
    }
}

/* A group's step is max|x of the group| / 31, rounded UP to a multiple of d = (largest step) / 127, so that nothing is
 * clipped: |error| <= (max|group| / 31 + d) / 2 (1 + 2^-10). */
void tern_q6_k_encode_row(const float *values, uint64_t cols, uint8_t *out) {
    for (uint64_t block = 0; block < cols / K; block++, values += K, out += Q6_K_BYTES) {
        uint8_t *high = out + Q6_K_LOW, *scales = high + Q6_K_HIGH;
        memset(out, 0, Q6_K_BYTES);
        float d = put_f16(scales + Q6_K_GROUPS, fabsf(extreme(values, K)) / 31 / 127);
        for (int group = 0; group < Q6_K_GROUPS; group++) {
            const float *x = values + 16 * group;
            int scale = d > 0 ? (int)fminf(ceilf(fabsf(extreme(x, 16)) / 31 / d), 127) : 0;
            scales[group] = (uint8_t)scale;
            float inverse = inverse_of(d * (float)scale);
            q6_place at = q6_place_of(16 * group);
            for (int i = 0; i < 16; i++) {
                unsigned q = (unsigned)(quantise(x[i], inverse, -32, 31) + 32);
                out[at.low + i] |= (uint8_t)((q & 15) << at.low_shift);
                high[at.high + i] |= (uint8_t)((q >> 4) << at.high_shift);
            }
        }
    }
}
