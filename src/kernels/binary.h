/*
 * Binary weights (BitNet, Wang et al. 2023): T in {-1, 1}, one bit each, and one scale a matrix. They are multiplied
 * like ternary ones that happen to have no zeros, with the same exact sums, from half the bytes or less.
 *
 * Packing b1r16: 1 bit a weight, 16 rows interleaved. Groups of 16 rows as in kernels.h, columns in blocks of 32 of 64
 * bytes: bit f of byte 4*r + j of block b (r: row in the group 0..15, j: 0..3, f: 0..7) is 1 if T is 1 in column
 * 32*b + 4*f + j, 0 if it is -1. The bits of rows and columns that the matrix does not have are 0.
 *
 * So the bytes, masked with one bit, are 16 rows x 4 consecutive columns, as in t2r16: sum q * T = 2 * (sum of those q
 * whose bit is 1) - sum q. And a row's four bytes of a block are a word of 32 signs, which one XOR and one population
 * count multiply with 32 signs of the other side.
 */
#ifndef TERN_KERNELS_BINARY_H
#define TERN_KERNELS_BINARY_H

#include "kernels/kernels.h"

/* Columns of a block: signs in a word. */
enum { TERN_SIGNS = 32 };
static inline size_t tern_sign_words(size_t n) { return (n + TERN_SIGNS - 1) / TERN_SIGNS; }

typedef struct tern_binary {
    /* b1r16 times int8. As every tern_ternary.matmul, but rows that the matrix does not have give nonsense instead of
     * 0, and exact for k_pad up to TERN_BINARY_MAX. */
    tern_ternary int8;

    /* b1r16 times signs: acc[t * ld_acc + r] = sum over i < k of T[r][i] * S[t][i], for the 16 * n_groups rows and for
     * S in {-1, 1} as tern_pack_signs() has them, token t at signs + t * ld_signs. (XNOR and count; Rastegari et al.
     * 2016, "XNOR-Net", section 3.2) */
    void (*matmul_signs)(const uint8_t *w, size_t k, size_t n_groups, const uint32_t *signs, size_t ld_signs,
                         size_t n_tokens, int32_t *acc, size_t ld_acc);
} tern_binary;

enum { TERN_BINARY_MAX = 1 << 20 };

/* x [n] -> signs [tern_sign_words(n)]: 1 for x >= 0 and for NaN, -1 for less. Bit 8*j + f of word b is that of value
 * 32*b + 4*f + j, set for 1; those behind n are 0, so that they agree with the weights' and count for nothing. */
void tern_pack_signs(const float *x, size_t n, uint32_t *signs);

#endif
