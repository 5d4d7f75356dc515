/* The t2r16 packing (kernels.h): 16 rows interleaved, 2 bits a weight. Runs at load time over every weight. */
#include <string.h>

#include "kernels/kernels.h"

/* 16 trits of one row -> the 4 bytes of that row in a block.
 * The low two bits of a trit byte are 11, 00, 01 for -1, 0, 1. Eight trits are masked at a time; the two
 * words overlap to fields {0, 2} in the low half and {1, 3} in the high half, then to one dword. Last, every
 * 2-bit field is incremented modulo 4 (low' = !low, high' = high ^ low), which makes the codes 0, 1, 2. */
static inline uint32_t pack_16(const int8_t *trits) {
    const uint64_t low_bits = 0x0303030303030303u;
    uint64_t a, b;
    memcpy(&a, trits, 8);
    memcpy(&b, trits + 8, 8);
    uint64_t halves = (a & low_bits) | (b & low_bits) << 4;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    halves = halves >> 32 | halves << 32;
#endif
    uint32_t fields = (uint32_t)halves | (uint32_t)(halves >> 32) << 2;
    return (~fields & 0x55555555u) | ((fields ^ fields << 1) & 0xaaaaaaaau);
}

static void pack_group(uint8_t *packed, const int8_t *trits, size_t ld, size_t n_rows, size_t k) {
    const uint32_t zeros = 0x55555555u; /* code 1 in every field */
    size_t whole = k / TERN_GROUP_COLS, blocks = (k + TERN_GROUP_COLS - 1) / TERN_GROUP_COLS;
    for (size_t b = 0; b < blocks; b++) {
        for (size_t r = 0; r < n_rows; r++) {
            const int8_t *from = trits + r * ld + b * TERN_GROUP_COLS;
            int8_t tail[TERN_GROUP_COLS] = {0};
            if (b == whole)
                from = memcpy(tail, from, k % TERN_GROUP_COLS);
            uint32_t bytes = pack_16(from);
            memcpy(packed + b * 64 + r * 4, &bytes, 4);
        }
        for (size_t r = n_rows; r < TERN_GROUP_ROWS; r++)
            memcpy(packed + b * 64 + r * 4, &zeros, 4);
    }
}

static void unpack_row(const uint8_t *group, size_t row, size_t k, int8_t *trits) {
    for (size_t i = 0; i < k; i++) {
        size_t block = i / TERN_GROUP_COLS, field = i % TERN_GROUP_COLS / 4, j = i % 4;
        trits[i] = (int8_t)((group[block * 64 + row * 4 + j] >> 2 * field & 3) - 1);
    }
}

const tern_packing tern_packing_t2r16 = {"t2r16", TERN_GROUP_COLS, 64, pack_group, unpack_row, .binary = false};
