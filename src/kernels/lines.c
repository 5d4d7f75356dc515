/* The line layout (lines.h): runs at load time over every weight of `up` and `down`. */
#include "kernels/lines.h"

#include <string.h>

size_t tern_line_bytes(size_t n) {
    size_t rest = n % TERN_LINE_BLOCK, codes = (rest + 2) / 3;
    return n / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES + (codes * 5 + 7) / 8;
}

void tern_line_pack_block(uint8_t *block, const int8_t *trits, size_t stride, size_t n) {
    size_t m = (n + 2) / 3;
    uint64_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < m; i++) {
        unsigned code = 0, weight = 1;
        for (size_t f = 0; f < 3; f++, weight *= 3)
            code += weight * (unsigned)(f * m + i < n ? trits[(f * m + i) * stride] + 1 : 1);
        bits |= (uint64_t)code << n_bits;
        for (n_bits += 5; n_bits >= 8; n_bits -= 8, bits >>= 8)
            *block++ = (uint8_t)bits;
    }
    if (n_bits)
        *block = (uint8_t)bits;
}

void tern_line_unpack(const uint8_t *line, size_t n, int8_t *trits) {
    for (size_t at = 0; at < n; at += TERN_LINE_BLOCK, line += TERN_LINE_BLOCK_BYTES, trits += TERN_LINE_BLOCK) {
        size_t size = n - at < TERN_LINE_BLOCK ? n - at : TERN_LINE_BLOCK, m = (size + 2) / 3;
        for (size_t i = 0; i < size; i++) {
            size_t bit = i % m * 5;
            unsigned code = line[bit / 8] >> bit % 8;
            if (bit % 8 > 3)
                code |= (unsigned)line[bit / 8 + 1] << (8 - bit % 8);
            static const unsigned weights[] = {1, 3, 9};
            trits[i] = (int8_t)((code & 31) / weights[i / m] % 3) - 1;
        }
    }
}
