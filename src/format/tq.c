/* TQ1_0 and TQ2_0 (numerics.md section 6): blocks of 256 values with an fp16 scale each. In a BitNet file all blocks
 * of a tensor carry the same scale, except that a block of zeros has 0; files of tern quantize --scale row and group,
 * and llama.cpp's of other models, have several (model/scales.h). */
#include "base/half.h"
#include "format/codecs.h"

enum {
    BLOCK = 256,
    TQ1_BYTES = 54, /* 32 + 16 bytes of five trits, 4 bytes of four, scale */
    TQ2_BYTES = 66, /* 64 bytes of four 2-bit codes, scale */
};

static unsigned block_bytes(const tern_tensor *tensor) {
    return tensor->type == TERN_TYPE_TQ1_0 ? TQ1_BYTES : TQ2_BYTES;
}

/* Base-3 digits of in [n_bytes], most significant first: digit n of byte j -> out[n * n_bytes + j], less 1. A byte is
 * ceil(q * 256 / 243), so the top digit is byte * 3 >> 8, which is (byte > 85) + (byte > 170), and the low byte of the
 * product holds the rest: only byte operations, 16 at once with SSE2. */
static inline void spread_digits(const uint8_t *in, int n_bytes, int n_digits, int8_t *out) {
    uint8_t rest[32];
    memcpy(rest, in, (size_t)n_bytes);
    for (int n = 0; n < n_digits; n++)
        for (int j = 0; j < n_bytes; j++) {
            out[n * n_bytes + j] = (int8_t)((rest[j] > 85) + (rest[j] > 170) - 1);
            rest[j] = (uint8_t)(rest[j] * 3);
        }
}

static uint64_t decode_tq1_block(const uint8_t *in, int8_t *out) {
    spread_digits(in, 32, 5, out);
    spread_digits(in + 32, 16, 5, out + 160);
    spread_digits(in + 48, 4, 4, out + 240);
    return 0; /* every byte is some five digits */
}

static uint64_t decode_tq2_block(const uint8_t *in, int8_t *out) {
    uint64_t bad = 0;
    for (int half = 0; half < 2; half++)
        for (unsigned n = 0; n < 4; n++)
            bad |= tern_unpack_2bit_32(in + 32 * half, 2 * n, out + 128 * half + 32 * n);
    return bad;
}

static inline bool decode_rows(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld,
                               unsigned bytes, uint64_t (*decode_block)(const uint8_t *in, int8_t *out)) {
    uint64_t bad = 0, n_blocks = tensor->cols / BLOCK;
    for (uint64_t i = 0; i < n_rows; i++) {
        const uint8_t *in = tensor->data + (row + i) * n_blocks * bytes;
        for (uint64_t block = 0; block < n_blocks; block++, in += bytes) {
            int8_t *out = trits + i * ld + block * BLOCK;
            bad |= decode_block(in, out);
            if (!(tern_load_u16(in + bytes - 2) & 0x7fff)) /* scale 0: the values are 0, whatever the codes say */
                memset(out, 0, BLOCK);
        }
    }
    return !bad;
}

bool tern_tq1_0_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld) {
    return decode_rows(tensor, row, n_rows, trits, ld, TQ1_BYTES, decode_tq1_block);
}

bool tern_tq2_0_decode(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld) {
    return decode_rows(tensor, row, n_rows, trits, ld, TQ2_BYTES, decode_tq2_block);
}

float tern_tq_block_scale(const tern_tensor *tensor, uint64_t row, uint64_t block) {
    unsigned bytes = block_bytes(tensor);
    return tern_f16_to_f32(tern_load_u16(tensor->data + (row * (tensor->cols / BLOCK) + block + 1) * bytes - 2));
}

tern_status tern_tq_scale(const tern_tensor *tensor, float *scale, tern_error *err) {
    unsigned bytes = block_bytes(tensor);
    uint64_t n_blocks = tensor->rows * (tensor->cols / BLOCK);
    const uint8_t *at = tensor->data + bytes - 2;
    uint16_t common = 0;
    for (uint64_t block = 0; block < n_blocks; block++, at += bytes) {
        uint16_t half = tern_load_u16(at);
        if (half == common || !(half & 0x7fff))
            continue;
        if (!tern_scale_is_usable(tern_f16_to_f32(half)))
            return tern_fail_scale(tensor, tern_f16_to_f32(half), err);
        if (common)
            return tern_fail(
                err, TERN_ERR_UNSUPPORTED,
                "tensor '%s' has scales by row or block (%g and %g), where one for the whole matrix is wanted",
                tensor->name, (double)tern_f16_to_f32(common), (double)tern_f16_to_f32(half));
        common = half;
    }
    *scale = tern_f16_to_f32(common);
    return TERN_OK;
}

/* A block of zeros gets scale 0 (what ggml's quantiser writes, so that files compare equal). */
static void put_scale(const int8_t *trits, float scale, uint8_t *out) {
    uint8_t any = 0;
    for (int i = 0; i < BLOCK; i++)
        any |= (uint8_t)trits[i];
    tern_store_u16(out, any ? tern_f32_to_f16(scale) : 0);
}

void tern_tq2_0_encode(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out) {
    uint64_t n_blocks = rows * (cols / BLOCK);
    for (uint64_t block = 0; block < n_blocks; block++, trits += BLOCK, out += TQ2_BYTES) {
        for (int half = 0; half < 2; half++)
            for (int j = 0; j < 32; j++) {
                const int8_t *t = trits + 128 * half + j;
                out[32 * half + j] = (uint8_t)((t[0] + 1) | (t[32] + 1) << 2 | (t[64] + 1) << 4 | (t[96] + 1) << 6);
            }
        put_scale(trits, scale, out + TQ2_BYTES - 2);
    }
}

/* The inverse of spread_digits: digit n of byte j from trits[n * n_bytes + j]; with four digits the fifth is 0. */
static void gather_digits(const int8_t *trits, int n_bytes, int n_digits, uint8_t *out) {
    for (int j = 0; j < n_bytes; j++) {
        unsigned number = 0;
        for (int n = 0; n < 5; n++)
            number = number * 3 + (n < n_digits ? (unsigned)(trits[n * n_bytes + j] + 1) : 0);
        out[j] = (uint8_t)((number * 256 + 242) / 243);
    }
}

void tern_tq1_0_encode(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out) {
    uint64_t n_blocks = rows * (cols / BLOCK);
    for (uint64_t block = 0; block < n_blocks; block++, trits += BLOCK, out += TQ1_BYTES) {
        gather_digits(trits, 32, 5, out);
        gather_digits(trits + 160, 16, 5, out + 32);
        gather_digits(trits + 240, 4, 4, out + 48);
        put_scale(trits, scale, out + TQ1_BYTES - 2);
    }
}
