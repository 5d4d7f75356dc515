/* What the kernels need to know of a batch, brought to the GPU before it in one copy: where its tokens stand, the rows
 * of the embedding, the addresses of their sequences' KV blocks. And the angles of rotary embedding, which are made as
 * positions are first reached. */
#ifndef TERN_CUDA_STEP_H
#define TERN_CUDA_STEP_H

#include "cuda/device.h"
#include "runtime/kv.h"

struct tern_slot;

typedef struct tern_cuda_step {
    uint32_t max_batch, n_positions; /* there is room for */
    uint32_t n_rotations;            /* positions whose angles are there */
    uint64_t generation;             /* changes when anything on the GPU moves */
    uint8_t *memory, *host;          /* [capacity] on the GPU, and what is copied there */
    size_t capacity;
    tern_cu_event *copied; /* what is in `host` */
    float *cos, *sin;      /* [n_positions, head_dim / 2] on the GPU */
    float *host_cos, *host_sin;
    uint8_t *row; /* of the embedding, as stored */
    /* of the current batch, in `memory`: where they are depends on its size alone */
    const tern_cuda_slot *slots;
    const float *embedded; /* [n, hidden] */
    uint8_t *const *tables;
    uint32_t n_splits; /* of its longest sequence, rounded up to a power of two */
} tern_cuda_step;

tern_status tern_cuda_step_init(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                tern_error *err);
void tern_cuda_step_free(tern_cuda_step *step, tern_cuda_device *device);
/* Nothing is in line that uses what was there. */
tern_status tern_cuda_step_reserve(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                   uint32_t max_batch, uint32_t n_ctx, tern_error *err);
/* Put the copy for a batch in line. */
tern_status tern_cuda_step_begin(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                 const struct tern_slot *slots, uint32_t n, tern_error *err);

#endif
