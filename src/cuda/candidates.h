/* Candidates (runtime/head.h) chosen on the GPU, from the logits that lie there. */
#ifndef TERN_CUDA_CANDIDATES_H
#define TERN_CUDA_CANDIDATES_H

#include "cuda/device.h"
#include "runtime/head.h"

typedef struct tern_cuda_candidates {
    float *peaks, *cuts;
    tern_cuda_found *found, *host_found; /* [TERN_CUDA_SELECT_TOKENS] on the GPU, and on the host */
    uint32_t n_rows;
} tern_cuda_candidates;

tern_status tern_cuda_candidates_init(tern_cuda_candidates *candidates, tern_cuda_device *device, uint32_t vocab_size,
                                      tern_error *err);
void tern_cuda_candidates_free(tern_cuda_candidates *candidates, tern_cuda_device *device);

/* For up to TERN_CUDA_SELECT_TOKENS tokens, whose logits [n, vocab] are on the GPU -> out [n], and bit i of *chosen for
 * those of which out[i] is the answer. The others need their logits: queries that want too many rows or rows that are
 * forced, or logits with a NaN. */
tern_status tern_cuda_candidates_choose(tern_cuda_candidates *candidates, tern_cuda_device *device, const float *logits,
                                        const tern_head_query *queries, uint32_t n, tern_candidates *out,
                                        uint32_t *chosen, tern_error *err);

#endif
