/* The layout of ternary matrices on a GPU, against its description (src/cuda/layout.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cuda/layout.h"

/* Where the description says that a weight is: read the way a kernel does. */
static int trit_at(const uint8_t *group, size_t row, size_t col) {
    const uint8_t *tile = group + col / TERN_CUDA_COLS * TERN_CUDA_TILE_BYTES;
    size_t c = col % TERN_CUDA_COLS, w = c / 32, high = c % 32 / 16, t = c % 16 / 4, j = c % 4;
    size_t lane = row % 8 * 4 + t, f = 2 * high + row / 8;
    uint32_t word;
    memcpy(&word, tile + lane * TERN_CUDA_LANE_BYTES + 4 * w,
           sizeof word); /* little-endian, as all that tern runs on */
    uint32_t four = word >> (2 * f) & 0x03030303u;
    return (int)(four >> (8 * j) & 255) - 1;
}

static void test_every_weight_has_its_place(void **state) {
    (void)state;
    static const size_t shapes[][2] = {{16, 128}, {16, 2560}, {1, 1}, {5, 100}, {16, 130}, {9, 640}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t rows = shapes[i][0], cols = shapes[i][1], bytes = tern_cuda_group_bytes(cols);
        int8_t *trits = malloc(rows * cols);
        uint8_t *group = malloc(bytes);
        assert_non_null(trits);
        assert_non_null(group);
        memset(group, 0xff, bytes);
        uint32_t seed = 1;
        for (size_t k = 0; k < rows * cols; k++) {
            seed = seed * 1664525u + 1013904223u;
            trits[k] = (int8_t)((int)(seed >> 16) % 3 - 1);
        }
        tern_cuda_pack_group(trits, rows, cols, group);
        for (size_t row = 0; row < TERN_CUDA_ROWS; row++)
            for (size_t col = 0; col < tern_cuda_k_pad(cols); col++)
                assert_int_equal(trit_at(group, row, col), row < rows && col < cols ? trits[row * cols + col] : 0);
        free(trits);
        free(group);
    }
}

static void test_sizes(void **state) {
    (void)state;
    assert_int_equal(tern_cuda_k_pad(1), 128);
    assert_int_equal(tern_cuda_k_pad(2560), 2560);
    assert_int_equal(tern_cuda_n_groups(17), 2);
    assert_int_equal(tern_cuda_matrix_bytes(2560, 6912), 2560 * 6912 / 4); /* 2 bits a weight */
    assert_int_equal(tern_cuda_matrix_bytes(17, 129), 2 * 2 * 512);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_weight_has_its_place),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
