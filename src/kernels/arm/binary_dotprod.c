/*
 * Binary weights times int8 with the Armv8.2 dot product. Bits are masked where they are, four of them also after a
 * shift by four, so that they are worth 1, 2, 4 or 8: the vector operand of sdot, with the activations of 4 columns by
 * lane. Each worth has its own sum; the largest, 8 * 127 * k / 4, stays below 2^31 far beyond TERN_BINARY_MAX columns.
 */
#include "kernels/arm/ternary.h"
#include "kernels/binary_many.h"

TERN_DECLARE_MATMUL_OF(b1, dotprod);

enum { FIELDS = 4 };

/* Bit f of both nibbles; f constant. */
#define STEP(f)                                                                                                        \
    sum[f] = vdotq_laneq_s32(sum[f], vreinterpretq_s8_u8(vandq_u8(low, vdupq_n_u8(1 << (f)))), x0, f);                 \
    sum[f] = vdotq_laneq_s32(sum[f], vreinterpretq_s8_u8(vandq_u8(high, vdupq_n_u8(1 << (f)))), x1, f)

/* A quarter of a block, 4 rows x 32 columns. */
INLINE void add_products(int32x4_t sum[FIELDS], uint8x16_t low, int8x16_t x0, int8x16_t x1) {
    uint8x16_t high = vshrq_n_u8(low, 4);
    STEP(0);
    STEP(1);
    STEP(2);
    STEP(3);
}

INLINE void one_group(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    int32x4_t sum[QUARTERS][FIELDS];
    UNROLL for (size_t i = 0; i < QUARTERS; i++) UNROLL for (size_t f = 0; f < FIELDS; f++) sum[i][f] = vdupq_n_s32(0);
    for (size_t k = 0; k < k_pad; k += TERN_SIGNS, w += BLOCK_BYTES) {
        int8x16_t x0 = vld1q_s8(q + k), x1 = vld1q_s8(q + k + 16);
        UNROLL for (size_t i = 0; i < QUARTERS; i++) add_products(sum[i], vld1q_u8(w + 16 * i), x0, x1);
    }
    UNROLL for (size_t i = 0; i < QUARTERS; i++) {
        int32x4_t total = vsraq_n_s32(vsraq_n_s32(vsraq_n_s32(sum[i][0], sum[i][1], 1), sum[i][2], 2), sum[i][3], 3);
        vst1q_s32(acc + 4 * i, vsubq_s32(vshlq_n_s32(total, 1), vdupq_n_s32(q_sum)));
    }
}

/* Fewer instructions than rewriting the weights takes, by count. */
enum { FEW_TOKENS = 2 };

void tern_matmul_i8_b1_dotprod(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                               const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens > FEW_TOKENS) {
        tern_binary_many(tern_matmul_i8_t2_dotprod, w, k_pad, n_groups, q, ld_q, q_sum, n_tokens, acc, ld_acc);
        return;
    }
    for (size_t g = 0; g < n_groups; g++, w += k_pad / TERN_SIGNS * BLOCK_BYTES)
        for (size_t t = 0; t < n_tokens; t++)
            one_group(w, k_pad, q + t * ld_q, q_sum[t], acc + t * ld_acc + g * TERN_GROUP_ROWS);
}
