/* What the kernels need to know of a batch, brought to the GPU before it: where its tokens stand, the addresses of
 * their sequences' KV blocks, the rows of the embedding, and the angles of rotary embedding, which are made as
 * positions are first reached. */
#ifndef TERN_CUDA_STEP_H
#define TERN_CUDA_STEP_H

#include "cuda/device.h"
#include "runtime/kv.h"

struct tern_slot;

typedef struct tern_cuda_step {
    uint32_t max_batch, n_positions; /* there is room for */
    uint32_t n_rotations;            /* positions whose angles are there */
    size_t n_tables;                 /* addresses there is room for */
    /* on the GPU */
    tern_cuda_slot *slots;
    uint8_t **tables;
    float *embedded;           /* [max_batch, hidden] */
    float *cos, *sin;          /* [n_positions, head_dim / 2] */
    tern_cu_event *free_again; /* after the copies from what follows */
    /* on the host, for copies that nobody waits for */
    tern_cuda_slot *host_slots;
    uint8_t **host_tables;
    float *host_embedded;
    float *host_cos, *host_sin;
    uint8_t *row;      /* of the embedding, as stored */
    uint32_t n_splits; /* of the current batch's longest sequence */
} tern_cuda_step;

tern_status tern_cuda_step_init(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                tern_error *err);
void tern_cuda_step_free(tern_cuda_step *step, tern_cuda_device *device);
tern_status tern_cuda_step_reserve(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                   uint32_t max_batch, uint32_t n_ctx, tern_error *err);
/* Put the copies for a batch in line. */
tern_status tern_cuda_step_begin(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                 const struct tern_slot *slots, uint32_t n, tern_error *err);

#endif
