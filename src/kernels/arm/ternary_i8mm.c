/*
 * Ternary product with the Armv8.6 matrix multiply (smmla: 2 tokens x 2 rows x 8 columns an instruction, twice sdot).
 *
 * smmla wants two rows x 8 columns in a vector, while a field of the packing is 4 rows x 4 columns: two neighbouring
 * fields zipped by 4 bytes give them. That costs more than the dot product when few tokens share it, so it pays only
 * from MIN_TOKENS on, and there a piece of the weights is unpacked once into a buffer that fits in L1 with the pieces
 * of up to MAX_TOKENS tokens, their columns paired the same way. What is left in the inner loop is loads and smmla.
 * Fewer tokens, decode among them, take the dot product's kernel.
 *
 * Codes T + 1 are multiplied and the sum of the activations subtracted: sum q * T = sum q * (T + 1) - sum q.
 */
#include "kernels/arm/ternary.h"

enum {
    MIN_TOKENS = 6, /* instructions a block of 16 x 16: 141 here, 166 (4 + 2 tokens) there (docs/SPEED-ARM.md) */
    MAX_TOKENS = 32,
    PIECE = 512,        /* columns: 8 KB of codes, 16 KB of activations */
    OCTETS = PIECE / 8, /* 8 columns of two rows or two tokens: one vector */
    ROW_PAIRS = TERN_GROUP_ROWS / 2,
    TOKEN_PAIRS = MAX_TOKENS / 2,
    HALF_PAIRS = ROW_PAIRS / 2, /* a 4 x 4 tile of pairs keeps 16 accumulators and 8 operands in registers */
};

/* Columns [0, n) of two tokens -> [n / 8] vectors: 8 columns of the first, 8 of the second. b NULL: zeros. */
static void pair_tokens(const int8_t *a, const int8_t *b, size_t n, int8_t (*out)[16]) {
    for (size_t k = 0; k < n; k += 16, out += 2) {
        int64x2_t first = vreinterpretq_s64_s8(vld1q_s8(a + k));
        int64x2_t second = b ? vreinterpretq_s64_s8(vld1q_s8(b + k)) : vdupq_n_s64(0);
        vst1q_s8(out[0], vreinterpretq_s8_s64(vzip1q_s64(first, second)));
        vst1q_s8(out[1], vreinterpretq_s8_s64(vzip2q_s64(first, second)));
    }
}

/* Two fields of rows 4i..4i+3 -> their 8 columns, rows 4i and 4i+1, then 4i+2 and 4i+3. */
INLINE void pair_rows(uint8x16_t field, uint8x16_t next, int8_t (*out)[16]) {
    uint32x4_t a = vreinterpretq_u32_u8(field), b = vreinterpretq_u32_u8(next);
    vst1q_s8(out[0], vreinterpretq_s8_u32(vzip1q_u32(a, b)));
    vst1q_s8(out[1], vreinterpretq_s8_u32(vzip2q_u32(a, b)));
}

/* Columns [0, n) of a packed group -> codes [n / 8][ROW_PAIRS]. */
static void unpack(const uint8_t *w, size_t n, int8_t (*codes)[ROW_PAIRS][16]) {
    const uint8x16_t low = vdupq_n_u8(3);
    for (size_t k = 0; k < n; k += TERN_GROUP_COLS, w += BLOCK_BYTES, codes += 2)
        UNROLL for (size_t i = 0; i < QUARTERS; i++) {
            uint8x16_t bytes = vld1q_u8(w + 16 * i);
            pair_rows(vandq_u8(bytes, low), vandq_u8(vshrq_n_u8(bytes, 2), low), codes[0] + 2 * i);
            pair_rows(vandq_u8(vshrq_n_u8(bytes, 4), low), vshrq_n_u8(bytes, 6), codes[1] + 2 * i);
        }
}

INLINE void add_to(int32_t *acc, int64x2_t sums) {
    vst1q_s32(acc, vaddq_s32(vld1q_s32(acc), vreinterpretq_s32_s64(sums)));
}

/* acc += n_rows pairs of rows from first_row on times n_pairs pairs of tokens, counts constant, over n_octets vectors.
 * The last pair may be one token: n_tokens is 2 * n_pairs or one less. */
INLINE void tile(const int8_t (*codes)[ROW_PAIRS][16], size_t first_row, size_t n_rows, const int8_t (*x)[OCTETS][16],
                 size_t n_pairs, size_t n_octets, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    int32x4_t sum[HALF_PAIRS][ROW_PAIRS]; /* of a pair of tokens and a pair of rows: token 0's rows, token 1's rows */
    UNROLL for (size_t p = 0; p < n_pairs; p++) UNROLL for (size_t r = 0; r < n_rows; r++) sum[p][r] = vdupq_n_s32(0);
    for (size_t o = 0; o < n_octets; o++) {
        int8x16_t rows[ROW_PAIRS];
        UNROLL for (size_t r = 0; r < n_rows; r++) rows[r] = vld1q_s8(codes[o][first_row + r]);
        UNROLL for (size_t p = 0; p < n_pairs; p++) {
            int8x16_t tokens = vld1q_s8(x[p][o]);
            UNROLL for (size_t r = 0; r < n_rows; r++) sum[p][r] = vmmlaq_s32(sum[p][r], tokens, rows[r]);
        }
    }
    UNROLL for (size_t p = 0; p < n_pairs; p++) UNROLL for (size_t r = 0; r < n_rows; r += 2) {
        int64x2_t a = vreinterpretq_s64_s32(sum[p][r]), b = vreinterpretq_s64_s32(sum[p][r + 1]);
        add_to(acc + 2 * p * ld_acc + 2 * (first_row + r), vzip1q_s64(a, b));
        if (2 * p + 1 < n_tokens)
            add_to(acc + (2 * p + 1) * ld_acc + 2 * (first_row + r), vzip2q_s64(a, b));
    }
}

/* The 16 rows of an unpacked piece times all tokens of the batch: 4 pairs of tokens at a time, then 2, then 1. */
static void multiply(const int8_t (*codes)[ROW_PAIRS][16], const int8_t (*x)[OCTETS][16], size_t n_octets,
                     size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t t = 0;
    for (; t + 7 <= n_tokens; t += 8)
        for (size_t half = 0; half < 2; half++)
            tile(codes, HALF_PAIRS * half, HALF_PAIRS, x + t / 2, 4, n_octets, n_tokens - t, acc + t * ld_acc, ld_acc);
    for (; t + 3 <= n_tokens; t += 4)
        tile(codes, 0, ROW_PAIRS, x + t / 2, 2, n_octets, n_tokens - t, acc + t * ld_acc, ld_acc);
    for (; t < n_tokens; t += 2)
        tile(codes, 0, ROW_PAIRS, x + t / 2, 1, n_octets, n_tokens - t, acc + t * ld_acc, ld_acc);
}

/* n_tokens <= MAX_TOKENS. */
static void batch(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                  size_t n_tokens, int32_t *acc, size_t ld_acc) {
    int8_t x[TOKEN_PAIRS][OCTETS][16], codes[OCTETS][ROW_PAIRS][16];
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_groups * TERN_GROUP_ROWS; r++)
            acc[t * ld_acc + r] = -q_sum[t];
    for (size_t k = 0; k < k_pad; k += PIECE) {
        size_t n = k_pad - k < PIECE ? k_pad - k : PIECE;
        for (size_t t = 0; t < n_tokens; t += 2)
            pair_tokens(q + t * ld_q + k, t + 1 < n_tokens ? q + (t + 1) * ld_q + k : NULL, n, x[t / 2]);
        for (size_t g = 0; g < n_groups; g++) {
            unpack(w + g * tern_group_bytes(&tern_packing_t2r16, k_pad) + tern_group_bytes(&tern_packing_t2r16, k), n,
                   codes);
            multiply((const void *)codes, (const void *)x, n / 8, n_tokens, acc + g * TERN_GROUP_ROWS, ld_acc);
        }
    }
}

void tern_matmul_i8_t2_i8mm(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    for (size_t t = 0, n; t < n_tokens; t += n) {
        n = n_tokens - t < MAX_TOKENS ? n_tokens - t : MAX_TOKENS;
        if (n < MIN_TOKENS)
            tern_matmul_i8_t2_dotprod(w, k_pad, n_groups, q + t * ld_q, ld_q, q_sum + t, n, acc + t * ld_acc, ld_acc);
        else
            batch(w, k_pad, n_groups, q + t * ld_q, ld_q, q_sum + t, n, acc + t * ld_acc, ld_acc);
    }
}
