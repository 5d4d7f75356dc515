/* The reference of dot_rows. */
#include "kernels/rungs.h"

TERN_DECLARE_DOT_ROWS(ref);

void tern_dot_rows_ref(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots) {
    for (size_t i = 0; i < n_rows; i++) {
        int32_t sum = 0;
        for (size_t j = 0; j < k; j++)
            sum += rows[i * k + j] * q[j];
        dots[i] = sum;
    }
}
