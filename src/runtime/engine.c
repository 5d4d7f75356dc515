#include "runtime/engine.h"

#include <stdlib.h>
#include <string.h>

tern_status tern_engine_create(const tern_weights *weights, tern_backend *backend, tern_engine **out, tern_error *err) {
    tern_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        backend->ops->free(backend);
        return tern_fail_memory(err, "the engine");
    }
    engine->weights = weights;
    engine->backend = backend;
    pthread_mutex_init(&engine->lock, NULL);
    *out = engine;
    return TERN_OK;
}

static void release_activations(tern_backend *backend, tern_activations *a) {
    if (a->x)
        backend->ops->release(backend, a->x);
    if (a->step)
        backend->ops->release(backend, a->step);
    *a = (tern_activations){0};
}

void tern_engine_free(tern_engine *engine) {
    if (!engine)
        return;
    release_activations(engine->backend, &engine->activations);
    engine->backend->ops->free(engine->backend);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

/* Floats of max_batch rows of `size`, to whole cache lines. */
static size_t floats_of(uint32_t max_batch, uint32_t size) { return ((size_t)max_batch * size + 15) / 16 * 16; }

static tern_status make_activations(tern_engine *engine, uint32_t max_batch, tern_activations *a, tern_error *err) {
    const tern_dims *dims = &engine->weights->dims;
    size_t hidden = floats_of(max_batch, dims->hidden_size), kv = floats_of(max_batch, tern_kv_size(dims));
    size_t q = floats_of(max_batch, tern_q_size(dims)), attention = 2 * q + 2 * kv,
           ffn = floats_of(max_batch, dims->ffn_size);
    size_t most = attention > ffn ? attention : ffn;
    if (most < hidden) /* y */
        most = hidden;
    tern_backend *be = engine->backend;
    *a = (tern_activations){.max_batch = max_batch};
    void *x = NULL, *step = NULL;
    tern_status status = be->ops->alloc(be, hidden * sizeof(float), &x, err);
    if (!status)
        status = be->ops->alloc(be, most * sizeof(float), &step, err);
    a->x = x;
    a->step = step;
    if (status) {
        release_activations(be, a);
        if (status != TERN_ERR_MEMORY)
            return status;
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory for prefill steps of %u tokens; a smaller chunk needs less", max_batch);
    }
    a->q = a->step;
    a->attended = a->q + q;
    a->k = a->attended + q;
    a->v = a->k + kv;
    a->gated = a->y = a->step;
    return TERN_OK;
}

/* Other sessions may be using the engine: what they have is replaced only once the larger one is whole. */
tern_status tern_engine_reserve(tern_engine *engine, uint32_t max_batch, uint32_t n_ctx, tern_error *err) {
    pthread_mutex_lock(&engine->lock);
    tern_status status = engine->backend->ops->reserve(engine->backend, max_batch, n_ctx, err);
    if (!status && max_batch > engine->activations.max_batch) {
        tern_activations larger;
        status = make_activations(engine, max_batch, &larger, err);
        if (!status) {
            larger.generation = engine->activations.generation + 1;
            release_activations(engine->backend, &engine->activations);
            engine->activations = larger;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return status;
}

void tern_engine_lock(tern_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    tern_pool_enter(engine->pool);
}

void tern_engine_unlock(tern_engine *engine) {
    tern_pool_leave(engine->pool);
    pthread_mutex_unlock(&engine->lock);
}

tern_status tern_engine_logits(tern_engine *engine, const float *hidden, uint32_t n, float *logits, tern_error *err) {
    const tern_backend_ops *ops = engine->backend->ops;
    tern_engine_lock(engine);
    ops->from_host(engine->backend, hidden, (size_t)n * engine->weights->dims.hidden_size, engine->activations.y);
    tern_status status = ops->logits(engine->backend, engine->activations.y, n, logits, err);
    tern_engine_unlock(engine);
    return status;
}

tern_status tern_engine_candidates(tern_engine *engine, const float *hidden, uint32_t n, const tern_head_query *queries,
                                   tern_candidates *out, tern_error *err) {
    const tern_backend_ops *ops = engine->backend->ops;
    tern_engine_lock(engine);
    ops->from_host(engine->backend, hidden, (size_t)n * engine->weights->dims.hidden_size, engine->activations.y);
    tern_status status = ops->candidates(engine->backend, engine->activations.y, n, queries, out, err);
    tern_engine_unlock(engine);
    return status;
}

void tern_engine_stats(tern_engine *engine, tern_model_stats *stats) {
    pthread_mutex_lock(&engine->lock);
    engine->backend->ops->stats(engine->backend, stats);
    pthread_mutex_unlock(&engine->lock); /* it ran no step: this thread was never put on a CPU */
}
