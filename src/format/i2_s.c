/* I2_S: the published form of BitNet b1.58 2B4T (numerics.md section 6). Blocks of 128 values in 32 bytes run through
 * the whole matrix: byte j holds values j, j+32, j+64, j+96 in bits 7-6, 5-4, 3-2, 1-0, as trit + 1. Behind the
 * codes a tail of 32 bytes begins with the float32 scale. */
#include "base/half.h"
#include "format/codecs.h"

enum { BLOCK = 128, BLOCK_BYTES = 32, TAIL = 32 };

static uint64_t decode_block(const uint8_t *in, int8_t *out) {
    uint64_t bad = 0;
    for (unsigned n = 0; n < 4; n++)
        bad |= tern_unpack_2bit_32(in, 6 - 2 * n, out + 32 * n);
    return bad;
}

/* One row: whole blocks go straight to the output; the ones that a row shares with its neighbours (cols no multiple
 * of 128) go through a copy. */
static uint64_t decode_row(const uint8_t *codes, uint64_t begin, uint64_t cols, int8_t *out) {
    uint64_t bad = 0, end = begin + cols;
    for (uint64_t block = begin / BLOCK; block * BLOCK < end; block++) {
        uint64_t first = block * BLOCK, last = first + BLOCK;
        const uint8_t *in = codes + block * BLOCK_BYTES;
        if (first >= begin && last <= end) {
            bad |= decode_block(in, out + (first - begin));
            continue;
        }
        int8_t whole[BLOCK];
        bad |= decode_block(in, whole);
        uint64_t from = first > begin ? first : begin, to = last < end ? last : end;
        memcpy(out + (from - begin), whole + (from - first), to - from);
    }
    return bad;
}

bool tern_i2_s_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld) {
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n_rows; i++)
        bad |= decode_row(tensor->data, (row + i) * tensor->cols, tensor->cols, trits + i * ld);
    return !bad;
}

tern_status tern_i2_s_scale(const tern_tensor *tensor, float *scale, tern_error *err) {
    uint64_t code_bytes = tensor->rows * tensor->cols / 4;
    float stored;
    memcpy(&stored, tensor->data + code_bytes, sizeof stored);
    if (!tern_scale_is_usable(stored) && !(stored == 0 && tern_codes_are_zero(tensor->data, code_bytes)))
        return tern_fail_scale(tensor, stored, err);
    *scale = stored;
    return TERN_OK;
}

void tern_i2_s_encode(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out) {
    uint64_t n_blocks = rows * cols / BLOCK;
    for (uint64_t block = 0; block < n_blocks; block++, trits += BLOCK, out += BLOCK_BYTES)
        for (int j = 0; j < BLOCK_BYTES; j++)
            out[j] = (uint8_t)((trits[j] + 1) << 6 | (trits[j + 32] + 1) << 4 | (trits[j + 64] + 1) << 2 |
                               (trits[j + 96] + 1));
    memset(out, 0, TAIL);
    memcpy(out, &scale, sizeof scale);
}
