/* The CPU backend: splits each operation over the pool's threads and calls the
 * kernels. No split changes a result: integer products are exact, and every
 * float result is computed by one kernel call whose order of operations does
 * not depend on how many rows or tokens come along with it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/backend.h"
#include "runtime/cpu_attention.h"
#include "runtime/cpu_head.h"
#include "runtime/cpu_linear.h"
#include "runtime/embedding.h"

typedef struct cpu_backend {
    tern_backend base;
    const tern_weights *weights;
    const tern_kernels *kernels;
    tern_pool *pool;
    tern_cpu_linear linear;
    tern_cpu_attention attention;
    tern_cpu_head head;
    uint8_t *row; /* of the embedding, as stored */
} cpu_backend;

static cpu_backend *of(tern_backend *backend) { return (cpu_backend *)backend; }

/* ---------------------------------------------------------------- memory */

static tern_status cpu_alloc(tern_backend *backend, size_t n_bytes, void **memory, tern_error *err) {
    (void)backend;
    *memory = tern_aligned_alloc(n_bytes);
    return *memory ? TERN_OK : tern_fail_memory(err, "a session");
}

static void cpu_release(tern_backend *backend, void *memory) {
    (void)backend;
    tern_aligned_free(memory);
}

static void cpu_free(tern_backend *backend) {
    cpu_backend *be = of(backend);
    tern_cpu_linear_free(&be->linear);
    tern_cpu_attention_free(&be->attention);
    tern_cpu_head_free(&be->head);
    free(be->row);
    free(be);
}

static tern_status cpu_reserve(tern_backend *backend, uint32_t max_batch, uint32_t n_ctx, tern_error *err) {
    cpu_backend *be = of(backend);
    tern_status status = tern_cpu_attention_reserve(&be->attention, n_ctx, err);
    return status ? status : tern_cpu_linear_reserve(&be->linear, max_batch, err);
}

/* ------------------------------------------------- operations on token rows */

/* One task is one token; a single token runs on the caller without waking anybody. */
typedef struct row_job {
    cpu_backend *be;
    const float *in, *gain;
    float *out;
    uint32_t size;
} row_job;

static void norm_task(void *context, size_t token, int worker) {
    (void)worker;
    row_job *job = context;
    job->be->kernels->rms_norm(job->in + token * job->size, job->gain, job->size, job->be->weights->dims.rms_eps,
                               job->out + token * job->size);
}

static void cpu_norm(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n, float *out) {
    row_job job = {of(backend), x, gain, out, size};
    tern_pool_run(job.be->pool, n, norm_task, &job);
}

static void cpu_embed(tern_backend *backend, const tern_slot *slots, uint32_t n, float *x) {
    const cpu_backend *be = of(backend);
    for (uint32_t i = 0; i < n; i++)
        tern_embedding_row(be->weights, slots[i].id, be->row, x + (size_t)i * be->weights->dims.hidden_size);
}

/* -------------------------------------------------------------- BitLinear */

static void cpu_norm_quantize(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n,
                              tern_rounding rounding) {
    tern_cpu_norm_quantize(&of(backend)->linear, x, gain, size, n, rounding);
}

static void cpu_linear(tern_backend *backend, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                       uint32_t n) {
    tern_cpu_linear_run(&of(backend)->linear, linears, out, n_linears, n);
}

static void cpu_linear_add(tern_backend *backend, const tern_linear *linear, float *x, uint32_t n) {
    tern_cpu_linear_add(&of(backend)->linear, linear, x, n);
}

static void cpu_gated(tern_backend *backend, const tern_linear *gate, const tern_linear *up, float *out, uint32_t n) {
    tern_cpu_gated(&of(backend)->linear, gate, up, out, n);
}

/* ---------------------------------------------------- attention and LM head */

static void cpu_rope_store(tern_backend *backend, const tern_slot *slots, uint32_t n, uint32_t layer, float *q,
                           float *k, const float *v) {
    tern_cpu_rope_store(&of(backend)->attention, slots, n, layer, q, k, v);
}

static void cpu_attention_op(tern_backend *backend, const tern_slot *slots, uint32_t n, uint32_t layer, const float *q,
                             float *out) {
    tern_cpu_attention_run(&of(backend)->attention, slots, n, layer, q, out);
}

static tern_status cpu_logits(tern_backend *backend, const float *x, uint32_t n, float *logits, tern_error *err) {
    (void)err; /* it cannot fail */
    tern_cpu_head_logits(&of(backend)->head, x, n, logits);
    return TERN_OK;
}

static tern_status cpu_candidates(tern_backend *backend, const float *x, uint32_t n, const tern_head_query *queries,
                                  tern_candidates *out, tern_error *err) {
    return tern_cpu_head_candidates(&of(backend)->head, x, n, queries, out, err);
}

static void cpu_stats(tern_backend *backend, tern_model_stats *stats) {
    tern_ffn_counts counts = tern_cpu_ffn_counts(&of(backend)->linear);
    *stats = (tern_model_stats){.ffn_up_rows = counts.up_read,
                                .ffn_up_rows_all = counts.up_total,
                                .ffn_down_columns = counts.down_read,
                                .ffn_down_columns_all = counts.down_total,
                                .screen_extra_bytes = of(backend)->head.screen.counts.extra_bytes};
}

static void cpu_to_host(tern_backend *backend, const float *from, size_t n_floats, float *host) {
    (void)backend;
    memcpy(host, from, n_floats * sizeof *host);
}

static void cpu_from_host(tern_backend *backend, const float *host, size_t n_floats, float *to) {
    (void)backend;
    memcpy(to, host, n_floats * sizeof *to);
}

static const tern_backend_ops cpu_ops = {
    .name = "cpu",
    .free = cpu_free,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .reserve = cpu_reserve,
    .embed = cpu_embed,
    .norm = cpu_norm,
    .norm_quantize = cpu_norm_quantize,
    .linear = cpu_linear,
    .linear_add = cpu_linear_add,
    .gated = cpu_gated,
    .rope_store = cpu_rope_store,
    .attention = cpu_attention_op,
    .logits = cpu_logits,
    .candidates = cpu_candidates,
    .stats = cpu_stats,
    .to_host = cpu_to_host,
    .from_host = cpu_from_host,
};

tern_status tern_cpu_backend_create(const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool,
                                    bool dense_ffn, tern_backend **backend, tern_error *err) {
    cpu_backend *be = calloc(1, sizeof *be);
    uint8_t *row = malloc(tern_embedding_row_bytes(weights));
    if (!be || !row) {
        free(be);
        free(row);
        return tern_fail_memory(err, "the CPU backend");
    }
    *be = (cpu_backend){.base = {&cpu_ops}, .weights = weights, .kernels = kernels, .pool = pool, .row = row};
    tern_cpu_linear_init(&be->linear, weights, kernels, pool);
    be->linear.dense = dense_ffn;
    tern_cpu_attention_init(&be->attention, &weights->dims, kernels, pool);
    tern_cpu_head_init(&be->head, weights, kernels, pool);
    *backend = &be->base;
    return TERN_OK;
}
