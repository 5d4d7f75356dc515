/*
 * Ternary product with the Armv8.2 dot product (sdot: 4 rows x 4 columns an instruction).
 *
 * The packing's 16-byte quarter q of a block is rows 4q..4q+3 x 4 columns, four times over in its 2-bit fields: with
 * one field isolated it is the vector operand of sdot, and the 16 activations of the block are the by-lane operand,
 * lane f for field f. Codes T + 1 are multiplied and the sum of the activations subtracted at the end:
 * sum q * T = sum q * (T + 1) - sum q.
 */
#include "kernels/arm/ternary.h"

/*
 * One token: decode, bound by memory and then by the number of instructions, so fields 1 and 2 are masked where they
 * are instead of shifted down first. Their products come out 4 and 16 times too large, in accumulators of their own;
 * the largest multiplier is 2 << 4 = 32, of which |sum| <= 32 * 127 * (DRAIN / 4) = 2^31 * 0.497 between two drains.
 * Field 3 would be -128 in place; it is shifted down, which needs no mask.
 */
enum { DRAIN = 1 << 20 }; /* columns */

INLINE void one_token(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    const uint8x16_t field0 = vdupq_n_u8(0x03), field1 = vdupq_n_u8(0x0c), field2 = vdupq_n_u8(0x30);
    int32x4_t total[QUARTERS];
    UNROLL for (size_t i = 0; i < QUARTERS; i++) total[i] = vdupq_n_s32(-q_sum);
    for (size_t k = 0; k < k_pad;) {
        size_t end = k_pad - k < DRAIN ? k_pad : k + DRAIN;
        int32x4_t times4[QUARTERS], times16[QUARTERS];
        UNROLL for (size_t i = 0; i < QUARTERS; i++) times4[i] = times16[i] = vdupq_n_s32(0);
        for (; k < end; k += TERN_GROUP_COLS, w += BLOCK_BYTES) {
            int8x16_t x = vld1q_s8(q + k);
            UNROLL for (size_t i = 0; i < QUARTERS; i++) {
                uint8x16_t bytes = vld1q_u8(w + 16 * i);
                total[i] = vdotq_laneq_s32(total[i], vreinterpretq_s8_u8(vandq_u8(bytes, field0)), x, 0);
                times4[i] = vdotq_laneq_s32(times4[i], vreinterpretq_s8_u8(vandq_u8(bytes, field1)), x, 1);
                times16[i] = vdotq_laneq_s32(times16[i], vreinterpretq_s8_u8(vandq_u8(bytes, field2)), x, 2);
                total[i] = vdotq_laneq_s32(total[i], vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6)), x, 3);
            }
        }
        UNROLL for (size_t i = 0; i < QUARTERS; i++) total[i] =
            vsraq_n_s32(vsraq_n_s32(total[i], times4[i], 2), times16[i], 4);
    }
    UNROLL for (size_t i = 0; i < QUARTERS; i++) vst1q_s32(acc + 4 * i, total[i]);
}

/* n_quarters * 4 rows, n_tokens tokens, both constant: n_quarters * n_tokens accumulators (16 of the 32 registers)
 * and the tokens' activations stay in registers; a field is isolated once for all tokens. */
enum { MAX_TOKENS = 8 };

INLINE void tile(const uint8_t *w, size_t n_quarters, size_t k_pad, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                 size_t n_tokens, int32_t *acc, size_t ld_acc) {
    const uint8x16_t low = vdupq_n_u8(3);
    int32x4_t sum[QUARTERS][MAX_TOKENS];
    UNROLL for (size_t i = 0; i < n_quarters; i++) UNROLL for (size_t t = 0; t < n_tokens; t++) sum[i][t] =
        vdupq_n_s32(-q_sum[t]);
    for (size_t k = 0; k < k_pad; k += TERN_GROUP_COLS, w += BLOCK_BYTES) {
        int8x16_t x[MAX_TOKENS];
        UNROLL for (size_t t = 0; t < n_tokens; t++) x[t] = vld1q_s8(q + t * ld_q + k);
        UNROLL for (size_t i = 0; i < n_quarters; i++) {
            uint8x16_t bytes = vld1q_u8(w + 16 * i);
            int8x16_t codes = vreinterpretq_s8_u8(vandq_u8(bytes, low));
            UNROLL for (size_t t = 0; t < n_tokens; t++) sum[i][t] = vdotq_laneq_s32(sum[i][t], codes, x[t], 0);
            codes = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 2), low));
            UNROLL for (size_t t = 0; t < n_tokens; t++) sum[i][t] = vdotq_laneq_s32(sum[i][t], codes, x[t], 1);
            codes = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(bytes, 4), low));
            UNROLL for (size_t t = 0; t < n_tokens; t++) sum[i][t] = vdotq_laneq_s32(sum[i][t], codes, x[t], 2);
            codes = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6));
            UNROLL for (size_t t = 0; t < n_tokens; t++) sum[i][t] = vdotq_laneq_s32(sum[i][t], codes, x[t], 3);
        }
    }
    UNROLL for (size_t i = 0; i < n_quarters; i++) UNROLL for (size_t t = 0; t < n_tokens; t++)
        vst1q_s32(acc + t * ld_acc + 4 * i, sum[i][t]);
}

/* A group stays in L1 (10 KB at k = 2560) while the tokens pass over it: the weights come from memory once. */
void tern_matmul_i8_t2_dotprod(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                               const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    for (size_t g = 0; g < n_groups; g++, w += tern_group_bytes(&tern_packing_t2r16, k_pad), acc += TERN_GROUP_ROWS) {
        size_t t = 0;
        for (; t + 8 <= n_tokens; t += 8)
            for (size_t half = 0; half < 2; half++)
                tile(w + 32 * half, 2, k_pad, q + t * ld_q, ld_q, q_sum + t, 8, acc + t * ld_acc + 8 * half, ld_acc);
        for (; t + 4 <= n_tokens; t += 4)
            tile(w, 4, k_pad, q + t * ld_q, ld_q, q_sum + t, 4, acc + t * ld_acc, ld_acc);
        for (; t + 2 <= n_tokens; t += 2)
            tile(w, 4, k_pad, q + t * ld_q, ld_q, q_sum + t, 2, acc + t * ld_acc, ld_acc);
        if (t < n_tokens)
            one_token(w, k_pad, q + t * ld_q, q_sum[t], acc + t * ld_acc);
    }
}
