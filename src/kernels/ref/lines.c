/* The reference of the line kernels (lines.h). Written to be read; it defines the result. */
#include "kernels/lines.h"

#include <string.h>

/* Trits [size] of the block that begins at trit `at` of a line of n trits; a block is a line of its own. */
static size_t unpack_block(const uint8_t *line, size_t n, size_t at, int8_t *trits) {
    size_t size = n - at < TERN_LINE_BLOCK ? n - at : TERN_LINE_BLOCK;
    tern_line_unpack(line + at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, size, trits);
    return size;
}

static int32_t dot(const int8_t *a, const int8_t *b, size_t n) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* acc[t * ld_acc] = dot(line, q + t * ld_q) for all tokens. */
static void line_product(const uint8_t *line, size_t n, const int8_t *q, size_t ld_q, size_t n_tokens, int32_t *acc,
                         size_t ld_acc) {
    int8_t trits[TERN_LINE_BLOCK];
    for (size_t t = 0; t < n_tokens; t++)
        acc[t * ld_acc] = 0;
    for (size_t at = 0; at < n; at += TERN_LINE_BLOCK) {
        size_t size = unpack_block(line, n, at, trits);
        for (size_t t = 0; t < n_tokens; t++)
            acc[t * ld_acc] += dot(trits, q + t * ld_q + at, size);
    }
}

static void dots(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t q_sum,
                 int32_t *acc) {
    (void)q_sum; /* for kernels that multiply T + 1 and subtract */
    for (size_t i = 0; i < n_which; i++)
        line_product(lines + which[i] * tern_line_bytes(n), n, q, 0, 1, acc + i, 0);
}

static void sums(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t *acc) {
    int8_t trits[TERN_LINE_BLOCK];
    for (size_t i = 0; i < n_which; i++)
        for (size_t at = 0; at < n; at += TERN_LINE_BLOCK) {
            size_t size = unpack_block(lines + which[i] * tern_line_bytes(n), n, at, trits);
            for (size_t r = 0; r < size; r++)
                acc[at + r] += q[i] * trits[r];
        }
}

static void matmul_rows(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                        const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc, void *scratch) {
    (void)q_sum, (void)scratch;
    for (size_t i = 0; i < n_lines; i++)
        line_product(lines + i * tern_line_bytes(n), n, q, ld_q, n_tokens, acc + i, ld_acc);
}

static void matmul_columns(const uint8_t *lines, size_t n, size_t n_lines, size_t first_row, size_t n_rows,
                           const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens, int32_t *acc,
                           size_t ld_acc, void *scratch) {
    (void)q_sum, (void)scratch;
    int8_t trits[TERN_LINE_BLOCK];
    for (size_t t = 0; t < n_tokens; t++)
        memset(acc + t * ld_acc, 0, n_rows * sizeof *acc);
    for (size_t i = 0; i < n_lines; i++)
        for (size_t at = 0, size; at < n_rows; at += size) {
            size = unpack_block(lines + i * tern_line_bytes(n), n, first_row + at, trits);
            for (size_t t = 0; t < n_tokens; t++)
                for (size_t r = 0; r < size; r++)
                    acc[t * ld_acc + at + r] += q[t * ld_q + i] * trits[r];
        }
}

const tern_line_kernels tern_lines_ref = {
    .dots = dots, .sums = sums, .matmul_rows = matmul_rows, .matmul_columns = matmul_columns, .scratch_bytes = 64};
