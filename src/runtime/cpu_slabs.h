/*
 * The quantised input of matrices in slabs of columns with scales of their own (model/scales.h): cut up so that the
 * kernels take each slab for a matrix.
 */
#ifndef TERN_RUNTIME_CPU_SLABS_H
#define TERN_RUNTIME_CPU_SLABS_H

#include "model/weights.h"

typedef struct tern_cpu_slabs {
    int8_t *q;     /* [slabs][tokens][tern_q_pad(slab_cols)], zeros behind the columns; NULL: no matrix has slabs */
    int32_t *sums; /* [slabs][tokens] of it */
    int32_t *acc;  /* [slabs][rows] of `down` by columns, one token */
} tern_cpu_slabs;

/* For max_batch tokens. False: no memory. */
bool tern_cpu_slabs_create(const tern_weights *weights, uint32_t max_batch, tern_cpu_slabs *slabs);
void tern_cpu_slabs_free(tern_cpu_slabs *slabs);

/* Cut q [n][tern_q_pad(cols)], the input of these matrices, of which those with slabs have them of one width. Without
 * any, nothing happens. */
void tern_cpu_slabs_cut(tern_cpu_slabs *slabs, tern_pool *pool, const int8_t *q, const tern_linear *const *linears,
                        uint32_t n_linears, uint32_t n);

#endif
