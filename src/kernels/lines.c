/* The line layout (lines.h): runs at load time over every weight of `up` and `down`. */
#include "kernels/lines.h"

#include <string.h>

enum { DIGITS = 3, CODE_BITS = 5 };

size_t tern_line_bytes(size_t n) {
    size_t rest = n % TERN_LINE_BLOCK, codes = (rest + 2) / DIGITS;
    return n / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES + (codes * CODE_BITS + 7) / 8;
}

/* The codes of up to TILE columns are made row by row, so that compilers vectorise over the columns; the rest of the
 * columns is zeros, then ignored. Eight codes make five bytes, which then go to their columns. */
enum { TILE = 64, CODES = 8, BYTES = 5 };

/* codes [8][TILE]: code i + j (j < 8) of each column; codes that do not exist are 0. */
static void make_codes(const int8_t *trits, size_t ld, size_t n, size_t n_cols, size_t i, uint8_t codes[CODES][TILE]) {
    static const uint8_t weights[DIGITS] = {1, 3, 9};
    size_t m = (n + 2) / DIGITS;
    for (size_t j = 0; j < CODES; j++) {
        memset(codes[j], i + j < m ? 1 + 3 + 9 : 0, TILE);
        for (size_t f = 0; i + j < m && f < DIGITS; f++) {
            size_t r = f * m + i + j;
            uint8_t row[TILE] = {0}, weight = weights[f];
            if (r >= n)
                break;
            memcpy(row, trits + r * ld, n_cols);
            for (size_t c = 0; c < TILE; c++)
                codes[j][c] = (uint8_t)(codes[j][c] + weight * row[c]);
        }
    }
}

/* Eight codes of 5 bits -> five bytes, for each column. */
static void join_codes(uint8_t codes[CODES][TILE], uint8_t bytes[BYTES][TILE]) {
    for (size_t c = 0; c < TILE; c++) {
        bytes[0][c] = (uint8_t)(codes[0][c] | codes[1][c] << 5);
        bytes[1][c] = (uint8_t)(codes[1][c] >> 3 | codes[2][c] << 2 | codes[3][c] << 7);
        bytes[2][c] = (uint8_t)(codes[3][c] >> 1 | codes[4][c] << 4);
        bytes[3][c] = (uint8_t)(codes[4][c] >> 4 | codes[5][c] << 1 | codes[6][c] << 6);
        bytes[4][c] = (uint8_t)(codes[6][c] >> 2 | codes[7][c] << 3);
    }
}

void tern_line_pack_columns(uint8_t *blocks, size_t line_bytes, const int8_t *trits, size_t ld, size_t n,
                            size_t n_cols) {
    uint8_t codes[CODES][TILE], bytes[BYTES][TILE];
    size_t block_bytes = tern_line_bytes(n);
    for (size_t col = 0; col < n_cols; col += TILE) {
        size_t cols = n_cols - col < TILE ? n_cols - col : TILE;
        for (size_t i = 0, at = 0; at < block_bytes; i += CODES, at += BYTES) {
            size_t n_bytes = block_bytes - at < BYTES ? block_bytes - at : BYTES;
            make_codes(trits + col, ld, n, cols, i, codes);
            join_codes(codes, bytes);
            for (size_t c = 0; c < cols; c++)
                for (size_t b = 0; b < n_bytes; b++)
                    blocks[(col + c) * line_bytes + at + b] = bytes[b][c];
        }
    }
}

/* ---------------------------------------------------------------- one block */

/* Eight codes, a byte each, -> 40 bits. */
static uint64_t join_8(const uint8_t *codes) {
    uint64_t x;
    memcpy(&x, codes, sizeof x);
    x = (x & 0x00ff00ff00ff00ffu) | (x & 0xff00ff00ff00ff00u) >> 3;
    x = (x & 0x0000ffff0000ffffu) | (x & 0xffff0000ffff0000u) >> 6;
    return (x & 0xffffffffu) | x >> 32 << 20;
}

void tern_line_pack_block(uint8_t *block, const int8_t *trits, size_t stride, size_t n) {
    enum { MOST = TERN_LINE_BLOCK / DIGITS };
    int8_t t[TERN_LINE_BLOCK + DIGITS] = {0};
    uint8_t codes[MOST] = {0};
    size_t m = (n + 2) / DIGITS, block_bytes = tern_line_bytes(n);
    for (size_t i = 0; i < n; i++)
        t[i] = trits[i * stride];
    for (size_t i = 0; i < m; i++)
        codes[i] = (uint8_t)(t[i] + 3 * t[m + i] + 9 * t[2 * m + i] + 1 + 3 + 9);
    for (size_t i = 0, at = 0; at < block_bytes; i += CODES, at += BYTES) {
        uint64_t bits = join_8(codes + i);
        size_t n_bytes = block_bytes - at < BYTES ? block_bytes - at : BYTES;
        for (size_t b = 0; b < n_bytes; b++)
            block[at + b] = (uint8_t)(bits >> 8 * b);
    }
}

/* 40 bits -> eight codes, a byte each: the other way round. */
static void split_8(uint64_t x, uint8_t codes[CODES]) {
    x = (x & 0xfffffu) | (x & 0xfffff00000u) << 12;
    x = (x & 0x000003ff000003ffu) | (x & 0x000ffc00000ffc00u) << 6;
    x = (x & 0x001f001f001f001fu) | (x & 0x03e003e003e003e0u) << 3;
    memcpy(codes, &x, sizeof x);
}

/* The digits of a code below 32, in numbers of 16 bits, so that compilers vectorise: 171 / 512 is 1/3 and a little. */
static void unpack_block(const uint8_t *block, size_t n, int8_t *trits) {
    enum { MOST = TERN_LINE_BLOCK / DIGITS };
    uint8_t codes[MOST] = {0};
    int8_t digits[DIGITS][MOST];
    size_t m = (n + 2) / DIGITS, block_bytes = tern_line_bytes(n);
    for (size_t i = 0, at = 0; at < block_bytes; i += CODES, at += BYTES) {
        size_t n_bytes = block_bytes - at < BYTES ? block_bytes - at : BYTES;
        uint64_t bits = 0;
        for (size_t b = 0; b < n_bytes; b++)
            bits |= (uint64_t)block[at + b] << 8 * b;
        split_8(bits, codes + i);
    }
    for (size_t i = 0; i < MOST; i++) {
        uint16_t code = codes[i], thirds = (uint16_t)(code * 171) >> 9, ninths = (uint16_t)(thirds * 171) >> 9;
        digits[0][i] = (int8_t)(code - 3 * thirds - 1);
        digits[1][i] = (int8_t)(thirds - 3 * ninths - 1);
        digits[2][i] = (int8_t)(ninths % 3 - 1);
    }
    for (size_t f = 0; f < DIGITS && f * m < n; f++)
        memcpy(trits + f * m, digits[f], n - f * m < m ? n - f * m : m);
}

void tern_line_unpack(const uint8_t *line, size_t n, int8_t *trits) {
    for (size_t at = 0; at < n; at += TERN_LINE_BLOCK, line += TERN_LINE_BLOCK_BYTES)
        unpack_block(line, n - at < TERN_LINE_BLOCK ? n - at : TERN_LINE_BLOCK, trits + at);
}
