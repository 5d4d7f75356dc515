/* The backend for NVIDIA GPUs (runtime/backend.h, docs/CUDA.md). */
#ifndef TERN_CUDA_BACKEND_H
#define TERN_CUDA_BACKEND_H

#include "runtime/backend.h"

/* With the weights copied to the first GPU, on the pool's threads. TERN_ERR_UNSUPPORTED: no GPU, no kernels in this
 * build, or none for such a model; TERN_ERR_MEMORY: it does not fit. The backend rounds inputs to int8 only
 * (TERN_ROUND_INT8). */
tern_status tern_cuda_backend_create(const tern_weights *weights, tern_pool *pool, tern_backend **backend,
                                     tern_error *err);

#endif
