/* Packed Hugging Face weights (numerics.md section 5): four 2-bit codes a byte down the OUTPUT dimension, strided by a
 * quarter of the rows: with R = out/4, byte [r][c] holds rows r, r+R, r+2R, r+3R in bits 1-0, 3-2, 5-4, 7-6. */
#include "base/half.h"
#include "format/codecs.h"

static uint64_t decode_row(const uint8_t *in, uint64_t cols, unsigned shift, int8_t *out) {
    uint64_t bad = 0, i = 0;
    for (; i + 32 <= cols; i += 32)
        bad |= tern_unpack_2bit_32(in + i, shift, out + i);
    for (; i < cols; i++) {
        unsigned code = in[i] >> shift & 3;
        bad |= code == 3;
        out[i] = (int8_t)((int)code - 1);
    }
    return bad;
}

bool tern_hf_packed_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld) {
    uint64_t bad = 0, quarter = tensor->rows / 4;
    for (uint64_t i = 0; i < n_rows; i++) {
        const uint8_t *in = tensor->data + (row + i) % quarter * tensor->cols;
        bad |= decode_row(in, tensor->cols, (unsigned)(2 * ((row + i) / quarter)), trits + i * ld);
    }
    return !bad;
}

tern_status tern_hf_packed_scale(const tern_tensor *tensor, float *scale, tern_error *err) {
    const tern_codec *codec = tensor->scale ? tern_codec_of(tensor->scale->type) : NULL;
    if (!codec || !codec->decode_row || tensor->scale->rows * tensor->scale->cols != 1)
        return tern_fail(err, TERN_ERR_FORMAT, "packed tensor '%s' has no usable weight_scale beside it", tensor->name);
    float stored;
    codec->decode_row(tensor->scale, 0, &stored);
    /* linear_class "bitlinear" stores 1/mean, "autobitlinear" the mean (numerics.md section 4, c and d) */
    float value = tensor->scale_is_inverse ? 1.0f / stored : stored;
    bool zero = stored == 0 && !tensor->scale_is_inverse && tern_codes_are_zero(tensor->data, tensor->bytes);
    if (!tern_scale_is_usable(value) && !zero)
        return tern_fail_scale(tensor, stored, err);
    *scale = value;
    return TERN_OK;
}

void tern_hf_packed_encode(const int8_t *trits, uint64_t rows, uint64_t cols, uint8_t *out) {
    uint64_t n = rows / 4 * cols; /* of the bytes, and from one of a byte's codes to the next */
    for (uint64_t i = 0; i < n; i++) {
        unsigned byte = 0;
        for (unsigned j = 0; j < 4; j++)
            byte |= (unsigned)(trits[j * n + i] + 1) << (2 * j);
        out[i] = (uint8_t)byte;
    }
}

void tern_hf_packed_encode_trits(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out) {
    (void)scale;
    tern_hf_packed_encode(trits, rows, cols, out);
}
