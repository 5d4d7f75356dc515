/*
 * Binary weights on baseline NEON. A quarter of a block is 4 rows x 32 columns (ternary.h); one of its bits tested
 * gives a mask of 4 rows x 4 columns.
 *
 * Times int8: activations under the mask are added in pairs in 16-bit lanes. A pair is at most 254 in magnitude and a
 * block has 8, so 16 blocks (32512) are summed before they go to 32 bits.
 * Times signs: bytes of differing bits are counted, in bytes for 31 blocks (of 8 at most), then in 32 bits.
 */
#include "kernels/arm/ternary.h"
#include "kernels/binary_many.h"

TERN_DECLARE_MATMUL_OF(b1, neon);
TERN_DECLARE_SIGNS(neon);

enum { BITS = 8, SPAN_BLOCKS = 16, COUNT_BLOCKS = 31 };

INLINE void one_group(const uint8_t *w, size_t k_pad, const int8_t *q, int32_t q_sum, int32_t *acc) {
    int32x4_t total[QUARTERS];
    UNROLL for (size_t i = 0; i < QUARTERS; i++) total[i] = vdupq_n_s32(0);
    for (size_t k = 0; k < k_pad;) {
        size_t end = k_pad - k < SPAN_BLOCKS * TERN_SIGNS ? k_pad : k + SPAN_BLOCKS * TERN_SIGNS;
        int16x8_t sum[QUARTERS];
        UNROLL for (size_t i = 0; i < QUARTERS; i++) sum[i] = vdupq_n_s16(0);
        for (; k < end; k += TERN_SIGNS, w += BLOCK_BYTES) {
            int8x16_t x[BITS]; /* the 4 activations of a bit, for each of 4 rows */
            UNROLL for (size_t f = 0; f < BITS; f++) {
                int32_t four;
                memcpy(&four, q + k + 4 * f, sizeof four);
                x[f] = vreinterpretq_s8_s32(vdupq_n_s32(four));
            }
            UNROLL for (size_t i = 0; i < QUARTERS; i++) {
                uint8x16_t bytes = vld1q_u8(w + 16 * i);
                UNROLL for (size_t f = 0; f < BITS; f++) {
                    int8x16_t mask = vreinterpretq_s8_u8(vtstq_u8(bytes, vdupq_n_u8((uint8_t)(1u << f))));
                    sum[i] = vpadalq_s8(sum[i], vandq_s8(x[f], mask));
                }
            }
        }
        UNROLL for (size_t i = 0; i < QUARTERS; i++) total[i] = vpadalq_s16(total[i], sum[i]);
    }
    UNROLL for (size_t i = 0; i < QUARTERS; i++)
        vst1q_s32(acc + 4 * i, vsubq_s32(vshlq_n_s32(total[i], 1), vdupq_n_s32(q_sum)));
}

/* Fewer instructions than rewriting the weights takes, by count. */
enum { FEW_TOKENS = 2 };

void tern_matmul_i8_b1_neon(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens > FEW_TOKENS) {
        tern_binary_many(tern_matmul_i8_t2_neon, w, k_pad, n_groups, q, ld_q, q_sum, n_tokens, acc, ld_acc);
        return;
    }
    for (size_t g = 0; g < n_groups; g++, w += k_pad / TERN_SIGNS * BLOCK_BYTES)
        for (size_t t = 0; t < n_tokens; t++)
            one_group(w, k_pad, q + t * ld_q, q_sum[t], acc + t * ld_acc + g * TERN_GROUP_ROWS);
}

INLINE void signs_once(const uint8_t *w, size_t k, const uint32_t *signs, int32_t *acc) {
    uint32x4_t total[QUARTERS];
    size_t words = tern_sign_words(k);
    UNROLL for (size_t i = 0; i < QUARTERS; i++) total[i] = vdupq_n_u32(0);
    for (size_t b = 0; b < words;) {
        size_t end = words - b < COUNT_BLOCKS ? words : b + COUNT_BLOCKS;
        uint8x16_t differ[QUARTERS];
        UNROLL for (size_t i = 0; i < QUARTERS; i++) differ[i] = vdupq_n_u8(0);
        for (; b < end; b++, w += BLOCK_BYTES) {
            uint8x16_t other = vreinterpretq_u8_u32(vdupq_n_u32(signs[b]));
            UNROLL for (size_t i = 0; i < QUARTERS; i++) differ[i] =
                vaddq_u8(differ[i], vcntq_u8(veorq_u8(vld1q_u8(w + 16 * i), other)));
        }
        UNROLL for (size_t i = 0; i < QUARTERS; i++) total[i] = vpadalq_u16(total[i], vpaddlq_u8(differ[i]));
    }
    UNROLL for (size_t i = 0; i < QUARTERS; i++)
        vst1q_s32(acc + 4 * i, vsubq_s32(vdupq_n_s32((int32_t)k), vshlq_n_s32(vreinterpretq_s32_u32(total[i]), 1)));
}

void tern_matmul_signs_b1_neon(const uint8_t *w, size_t k, size_t n_groups, const uint32_t *signs, size_t ld_signs,
                               size_t n_tokens, int32_t *acc, size_t ld_acc) {
    for (size_t g = 0; g < n_groups; g++, w += tern_sign_words(k) * BLOCK_BYTES)
        for (size_t t = 0; t < n_tokens; t++)
            signs_once(w, k, signs + t * ld_signs, acc + t * ld_acc + g * TERN_GROUP_ROWS);
}
