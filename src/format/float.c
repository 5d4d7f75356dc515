/* F32, F16, BF16 and I8 rows. */
#include "base/half.h"
#include "format/codecs.h"

void tern_f32_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    memcpy(out, tensor->data + row * tensor->cols * 4, tensor->cols * 4);
}

void tern_f16_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    const uint8_t *in = tensor->data + row * tensor->cols * 2;
    for (uint64_t i = 0; i < tensor->cols; i++) {
        /* tern_f16_to_f32 with masks for branches, so that the loop vectorises */
        uint32_t half = tern_load_u16(in + 2 * i), magnitude = half & 0x7fff;
        uint32_t is_small = 0u - (magnitude < 0x400), is_special = 0u - (magnitude >= 0x7c00);
        uint32_t is_nan = 0u - (magnitude > 0x7c00);
        uint32_t small = tern_bits_from_f32((float)(int32_t)(magnitude & 0x3ff) * 0x1p-24f);
        uint32_t normal = (magnitude << 13) + (112u << 23) + (is_special & 112u << 23);
        uint32_t bits = (small & is_small) | ((normal | (is_nan & 0x400000)) & ~is_small);
        out[i] = tern_f32_from_bits(bits | (half & 0x8000) << 16);
    }
}

void tern_bf16_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    const uint8_t *in = tensor->data + row * tensor->cols * 2;
    for (uint64_t i = 0; i < tensor->cols; i++)
        out[i] = tern_bf16_to_f32(tern_load_u16(in + 2 * i));
}

void tern_i8_decode_row(const tern_tensor *tensor, uint64_t row, float *out) {
    const uint8_t *in = tensor->data + row * tensor->cols;
    for (uint64_t i = 0; i < tensor->cols; i++)
        out[i] = (int8_t)in[i];
}

void tern_f32_encode_row(const float *values, uint64_t cols, uint8_t *out) { memcpy(out, values, cols * 4); }

void tern_f16_encode_row(const float *values, uint64_t cols, uint8_t *out) {
    for (uint64_t i = 0; i < cols; i++)
        tern_store_u16(out + 2 * i, tern_f32_to_f16(values[i]));
}

void tern_bf16_encode_row(const float *values, uint64_t cols, uint8_t *out) {
    for (uint64_t i = 0; i < cols; i++)
        tern_store_u16(out + 2 * i, tern_f32_to_bf16(values[i]));
}
