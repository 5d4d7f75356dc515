/* The matrices and norms of one layer as floats, and what becomes of them. */
#ifndef TERN_QUANT_LAYER_H
#define TERN_QUANT_LAYER_H

#include "model/weights.h"
#include "quant/matrix.h"

typedef struct tern_quant_layer {
    const float *norms[TERN_NORM_OUTPUT]; /* by tern_norm; NULL: there is none */
    tern_quant_matrix matrices[TERN_LINEARS_PER_LAYER];
    float *values[TERN_LINEARS_PER_LAYER]; /* what matrices[i].w points to */
    char names[TERN_LINEARS_PER_LAYER][128];
    float *memory;
    int8_t *trits;
} tern_quant_layer;

/* Which weights share a scale: those of a matrix, of a row, or of so many columns of a row, which divide those of every
 * matrix. */
typedef struct tern_quant_scales {
    bool by_row;
    uint32_t group_cols; /* 0: all */
} tern_quant_scales;

/* Room for any layer of a model whose tensors are bound. */
tern_status tern_quant_layer_create(const tern_weights *weights, const tern_quant_scales *scales,
                                    tern_quant_layer *layer, tern_error *err);
void tern_quant_layer_free(tern_quant_layer *layer);

/* Read layer `index`: norms and matrices. A matrix that is ternary as it stands (0 and one magnitude, both signs) is
 * TERN_ERR_UNSUPPORTED: there is nothing to quantise. */
tern_status tern_quant_layer_load(const tern_weights *weights, tern_pool *pool, uint32_t index, tern_quant_layer *layer,
                                  tern_error *err);

/* values[which] = trits * scales: what the quantised model multiplies with. */
void tern_quant_layer_settle(tern_pool *pool, tern_quant_layer *layer, int which);

#endif
