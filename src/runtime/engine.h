/*
 * The engine: loaded weights, a backend, and the activations of one batch. One
 * forward pass runs at a time; sessions on several threads take turns.
 */
#ifndef TERN_RUNTIME_ENGINE_H
#define TERN_RUNTIME_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/backend.h"

/* Activations of a batch, in the backend's memory. What attention, the FFN and the output hold between their operations
 * is never needed at the same time: it lies in one place. */
typedef struct tern_activations {
    uint32_t max_batch;
    uint64_t generation; /* other when they are in another place */
    float *x;            /* [max_batch, hidden] residual stream */
    float *step;
    float *q, *attended; /* in `step`: [max_batch, q] */
    float *k, *v;        /* [max_batch, kv], behind them */
    float *gated;        /* or [max_batch, ffn] relu(gate)^2 * up */
    float *y;            /* or [max_batch, hidden] x after the final norm */
} tern_activations;

typedef struct tern_engine {
    const tern_weights *weights;
    tern_backend *backend;
    tern_pool *pool; /* if not NULL: whoever evaluates takes the caller's CPU in it (tern_pool_enter) */
    /* of what attention and FFN take, and of what the attention gives; zero: int8 */
    tern_rounding inputs, attended;
    pthread_mutex_t lock; /* held during a forward pass; guards activations and the backend's scratch */
    tern_activations activations;
} tern_engine;

/* The backend becomes the engine's. */
tern_status tern_engine_create(const tern_weights *weights, tern_backend *backend, tern_engine **engine,
                               tern_error *err);
void tern_engine_free(tern_engine *engine);
/* Make room for batches of max_batch tokens and contexts of n_ctx. */
tern_status tern_engine_reserve(tern_engine *engine, uint32_t max_batch, uint32_t n_ctx, tern_error *err);

/* Before and after the backend computes something. */
void tern_engine_lock(tern_engine *engine);
void tern_engine_unlock(tern_engine *engine);

/* What a caller wants of a forward pass besides the updated caches; NULL: not wanted. */
typedef struct tern_forward_output {
    float *last_hidden; /* [hidden] of the batch's last token after the final norm */
    float *hidden;      /* [n, hidden] of all its tokens */
    float *logits;      /* [n, vocab] of all its tokens */
} tern_forward_output;

/* Run slots [n] (1 <= n <= max_batch) through the model (docs/MODEL.md). Their caches have room; ids are valid. Gives
 * up between layers when *cancel becomes true (TERN_ERR_CANCELLED); caches then hold rubbish at the slots' positions.
 */
tern_status tern_forward(tern_engine *engine, const tern_slot *slots, uint32_t n, const atomic_bool *cancel,
                         const tern_forward_output *output, tern_error *err);

/* Candidates for n hidden states [n, hidden] in host memory, n queries -> out [n] (runtime/head.h). One pass over the
 * head serves all n. n <= the reserved batch. */
tern_status tern_engine_candidates(tern_engine *engine, const float *hidden, uint32_t n, const tern_head_query *queries,
                                   tern_candidates *out, tern_error *err);

void tern_engine_stats(tern_engine *engine, tern_model_stats *stats);

/* logits [n, vocab] of n hidden states [n, hidden], both in host memory, in one pass over the head. n <= the reserved
 * batch. */
tern_status tern_engine_logits(tern_engine *engine, const float *hidden, uint32_t n, float *logits, tern_error *err);

#endif
