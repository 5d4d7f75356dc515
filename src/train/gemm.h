/*
 * Float matrix products for the backward pass, one table per instruction set: C (+)= A B with the operands rounded to
 * bfloat16 where the CPU multiplies those faster (ternary and int8 values are exact in it; only gradients round), sums
 * in float32. Not part of the bit-identity of kernels.h: the same CPU gives the same bits, for every number of threads.
 *
 * How: the summed index k is cut into stretches of TERN_GEMM_KC. Of each, B is packed once, by all threads, into panels
 * of `nr` columns, and so is A if its rows in memory are k; then tasks of a few rows of C each (pack their part of A
 * and) run over the panels with a tile of mr x nr sums in registers (Goto and van de Geijn 2008). The stretches follow
 * one another in every element of C, so its order of summation does not depend on how the tasks are cut.
 */
#ifndef TERN_TRAIN_GEMM_H
#define TERN_TRAIN_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"

typedef enum tern_operand_type {
    TERN_OPERAND_F32,
    TERN_OPERAND_I8,
    TERN_OPERAND_TRITS, /* a matrix in groups of t2r16 (kernels.h); only as B, only k_major */
} tern_operand_type;

/* A factor of a product. Its element (i, k), i being the row (A) or column (B) of C that it belongs to and k the summed
 * index, is data[k * ld + i] if k_major, else data[i * ld + k]. */
typedef struct tern_operand {
    tern_operand_type type;
    bool k_major;
    const void *data;
    size_t ld;           /* elements; trits: the matrix's columns */
    const float *divide; /* F32 and k_major: element (i, k) counts as itself / divide[k]; NULL: as itself */
} tern_operand;

/* C [m, n] = alpha * A B, or C += */
typedef struct tern_product {
    size_t m, n, k;
    tern_operand a, b;
    float alpha;
    bool add;
    float *c;
    size_t ldc;
} tern_product;

/* The parts of a product that an instruction set writes for itself. A unit is `unit` values with neighbouring k, 1
 * float or 2 bfloat16, the last one filled up with a zero. */
typedef struct tern_gemm {
    const char *name;
    unsigned features;               /* TERN_CPU_* bits it needs */
    size_t mr, nr, unit, unit_bytes; /* nr is a multiple of 16 */
    const struct tern_gemm *exact;   /* float32 products for this CPU; itself if these are */

    /* k_major operand (not trits), k in [k0, k0 + nk), i in [first, first + n) -> to [width / group][stride][group],
     * the first units of each stride; zeros behind n. group is mr or nr, width a multiple of it. */
    void (*pack_k_major)(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                         size_t group, size_t stride, void *to);
    /* The other kind -> to [n][units] */
    void (*pack_rows)(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, void *to);
    /* The other kind -> to [units][width], zeros behind n */
    void (*pack_turned)(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width, void *to);
    /* c [m <= mr][n <= nr] = alpha * sum over units, or +=. Unit u of row r of A is at a + r * a_row + u * a_step
     * (bytes; all mr rows may be read), B is [units][nr]. */
    void (*tile)(size_t n_units, const void *a, size_t a_row, size_t a_step, const void *b, float *c, size_t ldc,
                 size_t m, size_t n, float alpha, bool add);
} tern_gemm;

/* Of a stretch of k, at a time: rows of C in a task, rows of A that are packed together, columns of B. */
enum { TERN_GEMM_KC = 512, TERN_GEMM_MC = 96, TERN_GEMM_SHARED_M = 4096, TERN_GEMM_NC = 4096 };

/* All that are compiled in, best first, NULL behind the last. */
const tern_gemm *const *tern_gemm_all(void);
/* The best one that needs no more than these features. */
const tern_gemm *tern_gemm_choose(unsigned features);

/* Bytes of scratch, 64-byte aligned, that a product with up to `widest` columns needs on a pool of that many threads.
 */
size_t tern_gemm_scratch(size_t widest, int threads);
void tern_gemm_run(const tern_gemm *gemm, tern_pool *pool, const tern_product *product, void *scratch);

#endif
