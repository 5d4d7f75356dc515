#include "cuda/layout.h"

#include <string.h>

/* One lane's word: four columns from `col` on, of rows `row` and row + 8, and the same 16 columns further. */
static uint32_t pack_word(const int8_t *trits, size_t n_rows, size_t cols, size_t row, size_t col) {
    uint32_t word = 0;
    for (size_t f = 0; f < 4; f++)
        for (size_t j = 0; j < 4; j++) {
            size_t r = row + 8 * (f % 2), c = col + 16 * (f / 2) + j;
            int trit = r < n_rows && c < cols ? trits[r * cols + c] : 0;
            word |= (uint32_t)(trit + 1) << (8 * j + 2 * f);
        }
    return word;
}

void tern_cuda_pack_group(const int8_t *trits, size_t n_rows, size_t cols, uint8_t *group) {
    for (size_t col = 0; col < cols; col += TERN_CUDA_COLS)
        for (size_t lane = 0; lane < 32; lane++)
            for (size_t w = 0; w < 4; w++, group += 4) {
                uint32_t word = pack_word(trits, n_rows, cols, lane / 4, col + 32 * w + 4 * (lane % 4));
                for (size_t j = 0; j < 4; j++)
                    group[j] = (uint8_t)(word >> (8 * j));
            }
}
