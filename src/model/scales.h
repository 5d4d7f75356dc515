/*
 * Ternary matrices whose rows have scales of their own: for all columns, or for each slab of so many columns. Files
 * have them in the blocks of TQ1_0 and TQ2_0, or in tensors of tern's own layout. BitNet models have one scale a
 * matrix, and do not come here.
 *
 * y[i] = ((float)acc[i] / s) * scales[i] with one slab; with several, whose columns are multiplied by themselves,
 * y[i] = sum / s, sum = fma((float)acc_k[i], scales[k][i], sum) for k = 0, 1, ... from sum = 0. Neither depends on
 * batches, threads or instruction sets.
 */
#ifndef TERN_MODEL_SCALES_H
#define TERN_MODEL_SCALES_H

#include "model/weights.h"

/* See which scales the matrices (bound) of types with a scale a block have -> scale and scale_known, or own_scales and
 * slab_cols, the same of all matrices that share an input and have slabs at all. Slabs are whole blocks. A scale that
 * is not finite and positive is TERN_ERR_FORMAT. Matrices of other types are not looked at. */
tern_status tern_scales_find(const tern_checkpoint *checkpoint, tern_pool *pool, tern_weights *weights,
                             tern_error *err);

/* Columns of a row that share a scale in a tensor of such a type whose rows have scales of their own; else 0. */
uint32_t tern_scales_columns(const tern_tensor *tensor);

/* Of a matrix with own_scales: so many floats, and their values -> out. */
static inline size_t tern_n_own_scales(const tern_linear *linear) {
    return linear->own_scales ? (size_t)tern_n_slabs(linear) * linear->rows : 0;
}
void tern_scales_read(const tern_linear *linear, float *out);

/* The first matrix of the model with scales of its own (bound and found); NULL: none. */
const tern_linear *tern_scales_first(const tern_weights *weights);
/* TERN_ERR_UNSUPPORTED, with that matrix's name, if there is one: `what` ("training") needs one scale a matrix. */
tern_status tern_scales_refuse(const tern_weights *weights, const char *what, tern_error *err);

#endif
