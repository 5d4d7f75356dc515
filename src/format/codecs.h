/* The functions behind codec.c's table: one file per family of weight types. Contracts as in codec.h. */
#ifndef TERN_FORMAT_CODECS_H
#define TERN_FORMAT_CODECS_H

#include <string.h>

#include "format/codec.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the codecs load little-endian numbers as they lie; a big-endian host needs swapping loads here"
#endif

/* Unaligned loads and stores: tensors lie at any address (safetensors promise no alignment). */
static inline uint16_t tern_load_u16(const uint8_t *bytes) {
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}
static inline void tern_store_u16(uint8_t *bytes, uint16_t value) { memcpy(bytes, &value, sizeof value); }

#define TERN_ONES UINT64_C(0x0101010101010101)

/* Four 2-bit codes a byte: the codes at bit `shift` of in [32] -> trits out [32] (code - 1). Nonzero if one of them
 * was 3. Eight bytes at a time in a plain register, which compilers turn into whichever vectors there are (SSE2
 * has no byte shifts, so the straightforward byte loop comes out several times slower). */
static inline uint64_t tern_unpack_2bit_32(const uint8_t *in, unsigned shift, int8_t *out) {
    uint64_t bad = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t codes;
        memcpy(&codes, in + 8 * i, sizeof codes);
        codes = codes >> shift & 3 * TERN_ONES;
        bad |= codes & codes >> 1;
        codes = ((codes | 0x80 * TERN_ONES) - TERN_ONES) ^ 0x80 * TERN_ONES; /* no borrow between bytes */
        memcpy(out + 8 * i, &codes, sizeof codes);
    }
    return bad & TERN_ONES;
}

/* True if a scale can be used: finite and positive. */
static inline bool tern_scale_is_usable(float scale) { return scale > 0 && scale <= 3.402823466e+38f; }
/* The message for one that cannot. */
tern_status tern_fail_scale(const tern_tensor *tensor, float scale, tern_error *err);
/* Scale 0 is right only for a tensor of zeros (all codes 1, which is byte 0x55 in the 2-bit types). */
bool tern_codes_are_zero(const uint8_t *codes, uint64_t n_bytes);

/* float.c */
void tern_f32_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_f16_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_bf16_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_i8_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_f32_encode_row(const float *values, uint64_t cols, uint8_t *out);
void tern_f16_encode_row(const float *values, uint64_t cols, uint8_t *out);
void tern_bf16_encode_row(const float *values, uint64_t cols, uint8_t *out);

/* quant.c */
void tern_q8_0_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_q4_0_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_q6_k_decode_row(const tern_tensor *tensor, uint64_t row, float *out);
void tern_q8_0_encode_row(const float *values, uint64_t cols, uint8_t *out);
void tern_q4_0_encode_row(const float *values, uint64_t cols, uint8_t *out);
void tern_q6_k_encode_row(const float *values, uint64_t cols, uint8_t *out);

/* i2_s.c */
bool tern_i2_s_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld);
tern_status tern_i2_s_scale(const tern_tensor *tensor, float *scale, tern_error *err);
void tern_i2_s_encode(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out);

/* tq.c */
bool tern_tq1_0_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld);
bool tern_tq2_0_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld);
float tern_tq_block_scale(const tern_tensor *tensor, uint64_t row, uint64_t block);
tern_status tern_tq_scale(const tern_tensor *tensor, float *scale, tern_error *err);
void tern_tq1_0_encode(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out);
void tern_tq2_0_encode(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out);

/* hf_packed.c */
bool tern_hf_packed_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld);
tern_status tern_hf_packed_scale(const tern_tensor *tensor, float *scale, tern_error *err);
/* trits [rows, cols], rows a multiple of 4, -> out [rows / 4, cols]; the scale goes into a tensor of its own. */
void tern_hf_packed_encode(const int8_t *trits, uint64_t rows, uint64_t cols, uint8_t *out);
void tern_hf_packed_encode_trits(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out);

#endif
