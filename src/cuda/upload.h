/* The weights in the memory of a GPU: matrices as layout.h has them, norms, the rows of the LM head as they are stored.
 * (The embedding stays where it is: a step reads one row of it a token.) */
#ifndef TERN_CUDA_UPLOAD_H
#define TERN_CUDA_UPLOAD_H

#include "cuda/device.h"
#include "model/weights.h"

typedef struct tern_cuda_weights {
    uint8_t *memory;
    uint64_t bytes;
    uint64_t *tiles_at; /* [7 * n_layers], by tern_linear.index: offsets in `memory` */
    uint64_t norms_at, head_at;
    const uint8_t *host_norms; /* where the norms are in weights->memory */
} tern_cuda_weights;

/* Whether the backend has kernels for all that these weights need; TERN_ERR_UNSUPPORTED says what it has none for. */
tern_status tern_cuda_weights_check(const tern_weights *weights, tern_error *err);
/* TERN_ERR_MEMORY, with the sizes, if they do not fit beside `other_bytes` that the backend will need. On failure
 * nothing needs freeing. */
tern_status tern_cuda_weights_upload(tern_cuda_device *device, const tern_weights *weights, tern_pool *pool,
                                     uint64_t other_bytes, tern_cuda_weights *copy, tern_error *err);
void tern_cuda_weights_free(tern_cuda_device *device, tern_cuda_weights *copy);

static inline const uint8_t *tern_cuda_tiles(const tern_cuda_weights *copy, const tern_linear *linear) {
    return copy->memory + copy->tiles_at[linear->index];
}
/* NULL stays NULL: no norm. */
static inline const float *tern_cuda_gain(const tern_cuda_weights *copy, const float *gain) {
    return gain ? (const float *)(const void *)(copy->memory + copy->norms_at +
                                                ((const uint8_t *)gain - copy->host_norms))
                : NULL;
}
static inline const uint8_t *tern_cuda_head_rows(const tern_cuda_weights *copy) { return copy->memory + copy->head_at; }

#endif
