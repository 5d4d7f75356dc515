/* The LM head on the CPU: all logits, or the few that matter. */
#ifndef TERN_RUNTIME_CPU_HEAD_H
#define TERN_RUNTIME_CPU_HEAD_H

#include "model/weights.h"
#include "runtime/cpu_screen.h"
#include "runtime/head.h"

typedef struct tern_cpu_head {
    const tern_weights *weights;
    const tern_kernels *kernels;
    tern_pool *pool;
    tern_cpu_screen screen;
    float *logits; /* [logits_rows, vocab] of candidates without a screen; allocated on first use */
    uint32_t logits_rows;
} tern_cpu_head;

void tern_cpu_head_init(tern_cpu_head *head, const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool);
void tern_cpu_head_free(tern_cpu_head *head);
/* logits [n, vocab] = head . x [n, hidden] */
void tern_cpu_head_logits(tern_cpu_head *head, const float *x, uint32_t n, float *logits);
/* runtime/backend.h, candidates */
tern_status tern_cpu_head_candidates(tern_cpu_head *head, const float *x, uint32_t n, const tern_head_query *queries,
                                     tern_candidates *out, tern_error *err);

#endif
