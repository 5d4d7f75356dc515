/* Writing a model whose matrices are made on the way, besides tern_convert() of tern.h. */
#ifndef TERN_MODEL_CONVERT_H
#define TERN_MODEL_CONVERT_H

#include "model/weights.h"

/* Where the ternary values of matrices come from, instead of the tensors of the model that is converted. */
typedef struct tern_matrix_source {
    /* Layer 0, 1, ..., once each: for every matrix trits [rows, cols] and scales [rows][groups], all the same if the
     * type has one for a tensor. They are used until the next call. */
    tern_status (*layer)(void *user, uint32_t layer, const int8_t *trits[TERN_LINEARS_PER_LAYER],
                         const float *scales[TERN_LINEARS_PER_LAYER], tern_error *err);
    void *user;
    uint32_t group_cols; /* columns of a group, whole blocks of the type; 0: a row's scale is for all of them */
} tern_matrix_source;

/* tern_convert() to a type of other programs (params->type is not "tern"), with matrices from `source`. */
tern_status tern_convert_with(const char *in, const char *out, const tern_convert_params *params,
                              const tern_matrix_source *source, tern_error *err);

#endif
