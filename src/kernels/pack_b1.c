/* The b1r16 packing, and signs in the same order (kernels/binary.h). */
#include <string.h>

#include "kernels/binary.h"

enum { BLOCK_BYTES = 64 };

/* 32 trits -> a word. Four bytes at a time: the top bit of each says whether it is negative. */
static inline uint32_t pack_32(const int8_t *trits) {
    uint32_t word = 0;
    for (unsigned f = 0; f < 8; f++) {
        const uint8_t *at = (const uint8_t *)trits + 4 * (size_t)f; /* compilers make one load of the four */
        uint32_t four = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        word |= (~four >> 7 & 0x01010101u) << f;
    }
    return word;
}

static inline void store_word(uint8_t *bytes, uint32_t word) {
    for (int j = 0; j < 4; j++)
        bytes[j] = (uint8_t)(word >> 8 * j);
}

static void pack_group(uint8_t *packed, const int8_t *trits, size_t ld, size_t n_rows, size_t k) {
    size_t blocks = tern_sign_words(k);
    memset(packed, 0, blocks * BLOCK_BYTES);
    for (size_t r = 0; r < n_rows; r++) {
        const int8_t *from = trits + r * ld;
        size_t b = 0;
        for (; (b + 1) * TERN_SIGNS <= k; b++)
            store_word(packed + b * BLOCK_BYTES + 4 * r, pack_32(from + b * TERN_SIGNS));
        if (b < blocks) {
            int8_t tail[TERN_SIGNS];
            memset(tail, -1, sizeof tail);
            memcpy(tail, from + b * TERN_SIGNS, k % TERN_SIGNS);
            store_word(packed + b * BLOCK_BYTES + 4 * r, pack_32(tail));
        }
    }
}

static void unpack_row(const uint8_t *group, size_t row, size_t k, int8_t *trits) {
    for (size_t i = 0; i < k; i++) {
        size_t b = i / TERN_SIGNS, f = i % TERN_SIGNS / 4, j = i % 4;
        trits[i] = (int8_t)(2 * (group[b * BLOCK_BYTES + 4 * row + j] >> f & 1) - 1);
    }
}

const tern_packing tern_packing_b1r16 = {"b1r16", TERN_SIGNS, BLOCK_BYTES, pack_group, unpack_row, .binary = true};

void tern_pack_signs(const float *x, size_t n, uint32_t *signs) {
    memset(signs, 0, tern_sign_words(n) * sizeof *signs);
    for (size_t i = 0; i < n; i++) {
        size_t f = i % TERN_SIGNS / 4, j = i % 4;
        signs[i / TERN_SIGNS] |= (uint32_t) !(x[i] < 0) << (8 * j + f);
    }
}
