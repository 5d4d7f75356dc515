/* The reference of the LM head: rows are turned to floats in pieces of one Q6_K block, then enter the 16-lane dot. */
#include "base/half.h"
#include "kernels/ref/lanes.h"
#include "kernels/rungs.h"

enum { PIECE = 256 }; /* a multiple of every type's block and of 16 */

static uint16_t load_u16(const uint8_t *bytes) { return (uint16_t)(bytes[0] | bytes[1] << 8); }

/* Values [first, first + n) of a row -> out [n]; first is a multiple of PIECE, n <= PIECE. */
typedef void expand_fn(const uint8_t *row, size_t first, size_t n, float *out);

static void expand_f32(const uint8_t *row, size_t first, size_t n, float *out) { memcpy(out, row + first * 4, n * 4); }

static void expand_f16(const uint8_t *row, size_t first, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = tern_f16_to_f32(load_u16(row + (first + i) * 2));
}

static void expand_bf16(const uint8_t *row, size_t first, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = tern_bf16_to_f32(load_u16(row + (first + i) * 2));
}

static void expand_q8_0(const uint8_t *row, size_t first, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = row + (first + i) / 32 * 34;
        float d = tern_f16_to_f32(load_u16(block));
        out[i] = (float)(int8_t)block[2 + i % 32] * d;
    }
}

static void expand_q4_0(const uint8_t *row, size_t first, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = row + (first + i) / 32 * 18;
        float d = tern_f16_to_f32(load_u16(block));
        int code = block[2 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15;
        out[i] = (float)(code - 8) * d;
    }
}

/* A block is two halves of 128 values; a half has 64 bytes of low nibbles and 32 of high bit pairs. Its value i stands
 * in nibble i / 64 of ql[i % 64] and in pair i / 32 of qh[i % 32]. */
static void expand_q6_k(const uint8_t *row, size_t first, size_t n, float *out) {
    const uint8_t *block = row + first / 256 * 210, *scales = block + 192;
    float d = tern_f16_to_f32(load_u16(block + 208));
    for (size_t i = 0; i < n; i++) {
        const uint8_t *ql = block + i / 128 * 64, *qh = block + 128 + i / 128 * 32;
        size_t j = i % 128;
        int low = ql[j % 64] >> j / 64 * 4 & 15, high = qh[j % 32] >> j / 32 * 2 & 3;
        out[i] = d * (float)(int8_t)scales[i / 16] * (float)((low | high << 4) - 32);
    }
}

static void head(expand_fn *expand, const uint8_t *rows, size_t row_bytes, size_t n_rows, const float *x, size_t k,
                 size_t n_tokens, float *y, size_t ld_y) {
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) {
            float lanes[TERN_LANES] = {0}, piece[PIECE];
            for (size_t first = 0; first < k; first += PIECE) {
                size_t n = k - first < PIECE ? k - first : PIECE;
                expand(rows + r * row_bytes, first, n, piece);
                for (size_t i = 0; i < n; i++)
                    lanes[i % TERN_LANES] = fmaf(piece[i], x[t * k + first + i], lanes[i % TERN_LANES]);
            }
            y[t * ld_y + r] = tern_ref_fold(lanes);
        }
}

#define HEAD(type)                                                                                                     \
    void tern_head_##type##_ref(const uint8_t *rows, size_t row_bytes, size_t n_rows, const float *x, size_t k,        \
                                size_t n_tokens, float *y, size_t ld_y) {                                              \
        head(expand_##type, rows, row_bytes, n_rows, x, k, n_tokens, y, ld_y);                                         \
    }

HEAD(f32)
HEAD(f16)
HEAD(bf16)
HEAD(q8_0)
HEAD(q4_0)
HEAD(q6_k)
