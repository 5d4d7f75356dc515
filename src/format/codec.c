#include <strings.h>

#include "base/mem.h"
#include "format/codecs.h"

enum { NOT_IN_GGUF = UINT32_MAX, TQ_BLOCK = 256 };

/* Block sizes as in numerics.md section 6 and, for the Q types, the GGUF specification. */
static const tern_codec codecs[] = {
    {TERN_TYPE_F32, "F32", 0, 1, 4, .decode_row = tern_f32_decode_row, .encode_row = tern_f32_encode_row},
    {TERN_TYPE_F16, "F16", 1, 1, 2, .decode_row = tern_f16_decode_row, .encode_row = tern_f16_encode_row},
    {TERN_TYPE_BF16, "BF16", 30, 1, 2, .decode_row = tern_bf16_decode_row, .encode_row = tern_bf16_encode_row},
    {TERN_TYPE_Q4_0, "Q4_0", 2, 32, 18, .decode_row = tern_q4_0_decode_row, .encode_row = tern_q4_0_encode_row},
    {TERN_TYPE_Q8_0, "Q8_0", 8, 32, 34, .decode_row = tern_q8_0_decode_row, .encode_row = tern_q8_0_encode_row},
    {TERN_TYPE_Q6_K, "Q6_K", 14, 256, 210, .decode_row = tern_q6_k_decode_row, .encode_row = tern_q6_k_encode_row},
    {TERN_TYPE_I8, "I8", 24, 1, 1, .decode_row = tern_i8_decode_row},
    {TERN_TYPE_TQ1_0, "TQ1_0", 34, TQ_BLOCK, 54, .ternary = true, .decode_trits = tern_tq1_0_decode,
     .scale = tern_tq_scale, .block_scale = tern_tq_block_scale, .encode_trits = tern_tq1_0_encode},
    {TERN_TYPE_TQ2_0, "TQ2_0", 35, TQ_BLOCK, 66, .ternary = true, .decode_trits = tern_tq2_0_decode,
     .scale = tern_tq_scale, .block_scale = tern_tq_block_scale, .encode_trits = tern_tq2_0_encode},
    {TERN_TYPE_I2_S, "I2_S", 36, 128, 32, .tail_bytes = 32, .ternary = true, .decode_trits = tern_i2_s_decode,
     .scale = tern_i2_s_scale, .encode_trits = tern_i2_s_encode},
    {TERN_TYPE_HF_PACKED, "HF_PACKED", NOT_IN_GGUF, 4, 1, .ternary = true, .decode_trits = tern_hf_packed_decode,
     .scale = tern_hf_packed_scale, .encode_trits = tern_hf_packed_encode_trits},
};

enum { N_CODECS = sizeof codecs / sizeof codecs[0] };

const tern_codec *tern_codec_of(tern_dtype type) {
    for (int i = 0; i < N_CODECS; i++)
        if (codecs[i].type == type)
            return &codecs[i];
    return NULL;
}

const tern_codec *tern_codec_of_gguf(uint32_t gguf_type) {
    for (int i = 0; i < N_CODECS; i++)
        if (codecs[i].gguf_type == gguf_type && gguf_type != NOT_IN_GGUF)
            return &codecs[i];
    return NULL;
}

const tern_codec *tern_codec_named(const char *name) {
    for (int i = 0; i < N_CODECS; i++)
        if (strcasecmp(codecs[i].name, name) == 0)
            return &codecs[i];
    return NULL;
}

bool tern_codec_bytes(const tern_codec *codec, uint64_t rows, uint64_t cols, uint64_t *bytes) {
    uint64_t values, size;
    if (!rows || !cols || !tern_mul_u64(rows, cols, &values))
        return false;
    /* what has to divide into blocks: I2_S runs through the matrix, HF packs down the rows, the rest along a row */
    uint64_t unit = codec->type == TERN_TYPE_I2_S ? values : codec->type == TERN_TYPE_HF_PACKED ? rows : cols;
    if (unit % codec->block_values || !tern_mul_u64(values / codec->block_values, codec->block_bytes, &size))
        return false;
    return tern_add_u64(size, codec->tail_bytes, bytes);
}

tern_status tern_fail_scale(const tern_tensor *tensor, float scale, tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' has the scale %g; it must be finite and positive", tensor->name,
                     (double)scale);
}

bool tern_codes_are_zero(const uint8_t *codes, uint64_t n_bytes) {
    for (uint64_t i = 0; i < n_bytes; i++)
        if (codes[i] != 0x55)
            return false;
    return true;
}
