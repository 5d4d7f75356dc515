/*
 * Lines: ternary vectors stored one after another, for the two matrices of which a decode step needs only a part. A
 * line of `up` is a row: rows whose gate is not positive are not needed. A line of `down` is a column: columns whose
 * activation is zero are not needed. Both are [ffn] lines of `hidden` trits, so one layout and one unpacking serve
 * both. All results are exact integers.
 *
 * Layout t5: 5 bits for 3 trits. A line is cut into blocks of 192 trits; a block of n trits (the last one may have
 * fewer than 192) has m = ceil(n / 3) codes of 5 bits, code i in bits 5i .. 5i+4 of the block, little-endian; code i
 * is (T[i]+1) + 3 (T[m+i]+1) + 9 (T[2m+i]+1), with T = 0 behind n. Bits behind the last code
 * are 0. A whole block is 40 bytes, the last one
 * ceil(5m / 8). Lines follow each other without padding, at any alignment; kernels read no byte outside the lines.
 */
#ifndef TERN_KERNELS_LINES_H
#define TERN_KERNELS_LINES_H

#include <stddef.h>
#include <stdint.h>

enum { TERN_LINE_BLOCK = 192, TERN_LINE_BLOCK_BYTES = 40 };
/* What products of several tokens take of `down`: whole blocks of each column, whose 40 bytes hold all 192 rows. */
enum { TERN_LINE_ROWS = TERN_LINE_BLOCK };

/* Bytes of one line of n trits. */
size_t tern_line_bytes(size_t n);
/* n <= 192 trits, `stride` bytes apart -> one block. Block b of a line begins at b * TERN_LINE_BLOCK_BYTES. */
void tern_line_pack_block(uint8_t *block, const int8_t *trits, size_t stride, size_t n);
/* The same for n_cols columns of trits [n][ld]: column c -> the block at blocks + c * line_bytes. */
void tern_line_pack_columns(uint8_t *blocks, size_t line_bytes, const int8_t *trits, size_t ld, size_t n,
                            size_t n_cols);
/* A line -> trits [n]. */
void tern_line_unpack(const uint8_t *line, size_t n, int8_t *trits);

typedef struct tern_line_kernels {
    /* acc[i] = sum_k q[k] * T[which[i]][k] for the lines `which` [n_which] of n trits; q [tern_q_pad(n)], zeros behind
     * n, never -128, any alignment; q_sum its sum. Exact while 254 * n < 2^31. (`up`, one token) */
    void (*dots)(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t q_sum,
                 int32_t *acc);
    /* acc[r] += sum_i q[i] * T[which[i]][r], r < n; q [n_which]. Exact while 254 * n_which < 2^31.
     * (`down`, one token) */
    void (*sums)(const uint8_t *lines, size_t n, const uint32_t *which, size_t n_which, const int8_t *q, int32_t *acc);

    /* Several tokens. acc[t * ld_acc + i] = sum_k q[t * ld_q + k] * T[i][k] for lines i < n_lines. scratch
     * [scratch_bytes], aligned to 64. (`up`) */
    void (*matmul_rows)(const uint8_t *lines, size_t n, size_t n_lines, const int8_t *q, size_t ld_q,
                        const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc, void *scratch);
    /* acc[t * ld_acc + r] = sum_i q[t * ld_q + i] * T[i][first_row + r] over all lines i < n_lines, for r < n_rows.
     * first_row is a multiple of TERN_LINE_ROWS, n_rows too unless these are the last rows. q rows are padded as
     * above. Exact while 254 * n_lines < 2^31. Of few tokens, large n_rows are faster: memory is then the limit, and
     * what lies together is read together. (`down`) */
    void (*matmul_columns)(const uint8_t *lines, size_t n, size_t n_lines, size_t first_row, size_t n_rows,
                           const int8_t *q, size_t ld_q, const int32_t *q_sum, size_t n_tokens, int32_t *acc,
                           size_t ld_acc, void *scratch);
    size_t scratch_bytes;
} tern_line_kernels;

extern const tern_line_kernels tern_lines_ref, tern_lines_avx512vbmi; /* the latter on x86 only */

#endif
