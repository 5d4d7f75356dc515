/*
 * Ternary product on baseline Armv8.0 NEON: no dot product instruction, so byte products are summed in 16-bit lanes
 * (smlal: 8 multiply-adds an instruction) and the 16-bit sums are added into 32-bit lanes now and then.
 *
 * The packing's 16-byte quarter i of a block is rows 4i..4i+3 x 4 columns, four times over in its 2-bit fields. With
 * a field isolated, the other operand is the field's 4 activations repeated for the 4 rows; the low 8 products are
 * those of rows 4i and 4i+1, the high 8 those of rows 4i+2 and 4i+3, and lane by lane the same columns mod 4.
 *
 * Bound of the 16-bit lanes. Codes T + 1 are multiplied as they are (the sum of the activations is subtracted at the
 * end: sum q * T = sum q * (T + 1) - sum q). |q| <= 127 (the contract: never -128) and codes <= 2, so |product| <=
 * 254. A lane takes one product a field, 4 a block; after DRAIN_BLOCKS = 32 blocks |sum| <= 128 * 254 = 32512 <=
 * 32767. (A stray code 3 in a corrupt file: 128 * 381 wraps, gives a wrong sum as any other corruption, and no trap.)
 *
 * Bound of the 32-bit lanes: partial sums of the row's sum, at most 254 * k_pad < 2^31 in magnitude.
 */
#include "kernels/arm/ternary.h"

enum { DRAIN_BLOCKS = 32, MAX_TOKENS = 2 };

/* sum[0]: rows 4i, 4i+1; sum[1]: rows 4i+2, 4i+3; 4 lanes each. */
INLINE void multiply_add(int16x8_t sum[2], uint8x16_t codes, int8x16_t x) {
    int8x16_t c = vreinterpretq_s8_u8(codes);
    sum[0] = vmlal_s8(sum[0], vget_low_s8(c), vget_low_s8(x));
    sum[1] = vmlal_high_s8(sum[1], c, x);
}

/* Activations 4f..4f+3 of a block, four times. f constant. */
#define REPEAT4(x, f) vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), f))

/*
 * The 16 rows of a group, n_tokens (constant, 1 or 2) tokens: 8 accumulators of 16-bit lanes a token rest in
 * registers for DRAIN_BLOCKS blocks; the 32-bit ones are touched once in that time and may rest in L1. One token is
 * the decode shape: the quarters are four independent streams of two accumulators each.
 */
INLINE void tile(const uint8_t *w, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens,
                 int32_t *acc, size_t ld_acc) {
    const uint8x16_t low = vdupq_n_u8(3);
    int32x4_t total[MAX_TOKENS][QUARTERS][2]; /* lanes 0, 1: the first row's; 2, 3: the second's */
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t i = 0; i < QUARTERS; i++) total[t][i][0] =
        total[t][i][1] = vdupq_n_s32(0);
    for (size_t k = 0; k < k_pad;) {
        size_t left = k_pad - k, piece = DRAIN_BLOCKS * TERN_GROUP_COLS, end = left < piece ? k_pad : k + piece;
        int16x8_t sum[MAX_TOKENS][QUARTERS][2];
        UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t i = 0; i < QUARTERS; i++) sum[t][i][0] =
            sum[t][i][1] = vdupq_n_s16(0);
        for (; k < end; k += TERN_GROUP_COLS, w += BLOCK_BYTES) {
            int8x16_t x[MAX_TOKENS][4];
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                int8x16_t row = vld1q_s8(q + t * ld_q + k);
                x[t][0] = REPEAT4(row, 0);
                x[t][1] = REPEAT4(row, 1);
                x[t][2] = REPEAT4(row, 2);
                x[t][3] = REPEAT4(row, 3);
            }
            UNROLL for (size_t i = 0; i < QUARTERS; i++) {
                uint8x16_t bytes = vld1q_u8(w + 16 * i);
                uint8x16_t codes[4] = {vandq_u8(bytes, low), vandq_u8(vshrq_n_u8(bytes, 2), low),
                                       vandq_u8(vshrq_n_u8(bytes, 4), low), vshrq_n_u8(bytes, 6)};
                UNROLL for (size_t f = 0; f < 4; f++) UNROLL for (size_t t = 0; t < n_tokens; t++)
                    multiply_add(sum[t][i], codes[f], x[t][f]);
            }
        }
        UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t i = 0; i < QUARTERS; i++) {
            total[t][i][0] = vpadalq_s16(total[t][i][0], sum[t][i][0]);
            total[t][i][1] = vpadalq_s16(total[t][i][1], sum[t][i][1]);
        }
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t i = 0; i < QUARTERS; i++) {
        int32x4_t rows = vpaddq_s32(total[t][i][0], total[t][i][1]);
        vst1q_s32(acc + t * ld_acc + 4 * i, vsubq_s32(rows, vdupq_n_s32(q_sum[t])));
    }
}

/* A group stays in L1 (10 KB at k = 2560) while the tokens pass over it: the weights come from memory once. */
void tern_matmul_i8_t2_neon(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    for (size_t g = 0; g < n_groups; g++, w += tern_group_bytes(&tern_packing_t2r16, k_pad), acc += TERN_GROUP_ROWS) {
        size_t t = 0;
        for (; t + 2 <= n_tokens; t += 2)
            tile(w, k_pad, q + t * ld_q, ld_q, q_sum + t, 2, acc + t * ld_acc, ld_acc);
        if (t < n_tokens)
            tile(w, k_pad, q + t * ld_q, ld_q, q_sum + t, 1, acc + t * ld_acc, ld_acc);
    }
}
