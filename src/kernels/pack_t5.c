/* The t5r16 packing (kernels.h): 16 rows interleaved, 3 trits in 5 bits. Runs at load time over every weight. */
#include <string.h>

#include "kernels/kernels.h"

enum { COLS = 12, BLOCK_BYTES = 40, PAIR_BYTES = 5 }; /* a pair of rows is 8 codes: whole bytes */

/* Four bytes of two rows, the first row in the low half. Compilers make one load of each four shifts. */
static inline uint64_t load_4(const int8_t *low, const int8_t *high) {
    const uint8_t *a = (const uint8_t *)low, *b = (const uint8_t *)high;
    return (uint64_t)((uint32_t)a[0] | (uint32_t)a[1] << 8 | (uint32_t)a[2] << 16 | (uint32_t)a[3] << 24) |
           (uint64_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24) << 32;
}

/* T + 1 in each of eight bytes: neither step carries from one byte to the next. */
static inline uint64_t digits(uint64_t trits) { return (trits ^ 0x8080808080808080u) - 0x7f7f7f7f7f7f7f7fu; }

/* 12 trits of two rows -> their 8 codes in 40 bits. The codes are computed in eight bytes at once (the largest is
 * 26) and then moved together: bytes to fields of 10 bits, to 20, to 40. */
static inline uint64_t pack_pair(const int8_t *row0, const int8_t *row1) {
    uint64_t codes =
        digits(load_4(row0, row1)) + 3 * digits(load_4(row0 + 4, row1 + 4)) + 9 * digits(load_4(row0 + 8, row1 + 8));
    codes = (codes & 0x001f001f001f001fu) | (codes >> 3 & 0x03e003e003e003e0u);
    codes = (codes & 0x000003ff000003ffu) | (codes >> 6 & 0x000ffc00000ffc00u);
    return (codes & 0xfffffu) | (codes >> 12 & 0xfffff00000u);
}

static inline void store_pair(uint8_t *packed, uint64_t codes) {
    for (int i = 0; i < PAIR_BYTES; i++)
        packed[i] = (uint8_t)(codes >> 8 * i);
}

static void pack_group(uint8_t *packed, const int8_t *trits, size_t ld, size_t n_rows, size_t k) {
    static const int8_t zeros[COLS] = {0};
    size_t whole = k / COLS, blocks = (k + COLS - 1) / COLS;
    for (size_t b = 0; b < blocks; b++, packed += BLOCK_BYTES)
        for (size_t r = 0; r < TERN_GROUP_ROWS; r += 2) {
            const int8_t *from[2];
            int8_t tail[2][COLS] = {{0}, {0}};
            for (size_t i = 0; i < 2; i++) {
                from[i] = r + i < n_rows ? trits + (r + i) * ld + b * COLS : zeros;
                if (b == whole && r + i < n_rows)
                    from[i] = memcpy(tail[i], from[i], k % COLS);
            }
            store_pair(packed + r / 2 * PAIR_BYTES, pack_pair(from[0], from[1]));
        }
}

/* The four codes of a row are 20 bits: from bit 0 or 4 of their first byte, three bytes hold them. */
static inline void unpack_4(const uint8_t *at, size_t row, int8_t trits[COLS]) {
    unsigned bits = ((unsigned)at[0] | (unsigned)at[1] << 8 | (unsigned)at[2] << 16) >> row % 2 * 4;
    for (unsigned j = 0; j < 4; j++) {
        unsigned code = bits >> 5 * j & 31, thirds = code * 11 >> 5, ninths = code * 57 >> 9; /* code / 3, code / 9 */
        trits[j] = (int8_t)(code - 3 * thirds) - 1;
        trits[4 + j] = (int8_t)(thirds - 3 * ninths) - 1;
        trits[8 + j] = (int8_t)(ninths % 3) - 1;
    }
}

static void unpack_row(const uint8_t *group, size_t row, size_t k, int8_t *trits) {
    const uint8_t *at = group + row * 20 / 8;
    for (; k >= COLS; k -= COLS, trits += COLS, at += BLOCK_BYTES)
        unpack_4(at, row, trits);
    if (k) {
        int8_t rest[COLS];
        unpack_4(at, row, rest);
        memcpy(trits, rest, k);
    }
}

const tern_packing tern_packing_t5r16 = {"t5r16", COLS, BLOCK_BYTES, pack_group, unpack_row, .binary = false};
