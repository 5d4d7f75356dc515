/* The operations of runtime/backend.h as launches of kernels. Every kernel keeps the order of operations of the CPU's
 * (kernels/kernels.h, kernels/attention.h), so results do not depend on how work is batched, and are the CPU's. */
#include "cuda/backend.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cuda/candidates.h"
#include "cuda/graphs.h"
#include "cuda/layout.h"
#include "cuda/products.h"
#include "cuda/step.h"
#include "cuda/upload.h"

enum {
    MAX_BATCH = 65535, /* tokens: what a grid's y has */
    STATES = 2048,     /* of splits and tokens, that wait to be merged; for more a block merges its own */
    LOGIT_ROWS = TERN_CUDA_SELECT_TOKENS, /* tokens whose logits are on the GPU at a time */
    OTHER_BYTES = 64 << 20                /* that must be left for activations and KV blocks beside the weights */
};

typedef struct cuda_backend {
    tern_backend base;
    const tern_weights *weights;
    tern_cuda_device device;
    tern_cuda_weights copy;
    tern_cuda_step step;
    tern_cuda_graphs graphs;
    /* Sessions take and give back KV blocks beside a pass, which must not happen while one is recorded. */
    pthread_mutex_t memory_lock;
    tern_cuda_input input;
    tern_cuda_quantize_args row; /* the latest norm_quantize() */
    bool row_waits;              /* for the products of few tokens, which do it themselves */
    uint32_t max_batch;
    float *states;      /* [STATES, n_heads, head_dim + 2] */
    float *logits;      /* [LOGIT_ROWS, vocab] */
    float *host_logits; /* [vocab] */
    tern_cuda_candidates candidates;
} cuda_backend;

static cuda_backend *of(tern_backend *backend) { return (cuda_backend *)backend; }

/* ---------------------------------------------------------------- memory */

static tern_status cuda_alloc(tern_backend *backend, size_t n_bytes, void **memory, tern_error *err) {
    cuda_backend *be = of(backend);
    pthread_mutex_lock(&be->memory_lock);
    tern_status status = tern_cuda_alloc_beside(&be->device, n_bytes, memory, err);
    pthread_mutex_unlock(&be->memory_lock);
    return status;
}

/* A pass that was given up may still be in line, and use it. */
static void cuda_release(tern_backend *backend, void *memory) {
    cuda_backend *be = of(backend);
    pthread_mutex_lock(&be->memory_lock);
    tern_cuda_free_beside(&be->device, memory);
    pthread_mutex_unlock(&be->memory_lock);
}

static void free_input(cuda_backend *be) {
    tern_cuda_free(&be->device, be->input.q);
    tern_cuda_free(&be->device, be->input.scale);
    tern_cuda_free(&be->device, be->input.sum);
    be->input = (tern_cuda_input){0};
    be->max_batch = 0;
}

static void cuda_free(tern_backend *backend) {
    cuda_backend *be = of(backend);
    bool entered = tern_cuda_enter(&be->device);
    tern_cuda_wait(&be->device);
    free_input(be);
    tern_cuda_free(&be->device, be->states);
    tern_cuda_free(&be->device, be->logits);
    tern_cuda_host_free(&be->device, be->host_logits);
    tern_cuda_candidates_free(&be->candidates, &be->device);
    tern_cuda_graphs_free(&be->graphs, &be->device);
    tern_cuda_step_free(&be->step, &be->device);
    tern_cuda_weights_free(&be->device, &be->copy);
    if (entered)
        tern_cuda_leave(&be->device);
    tern_cuda_device_close(&be->device);
    pthread_mutex_destroy(&be->memory_lock);
    free(be);
}

/* What tern_cuda_enter() began ends; the failure that is told is the first. */
static tern_status leave(cuda_backend *be, tern_status status, tern_error *err) {
    tern_cuda_leave(&be->device);
    tern_status kept = tern_cuda_take_error(&be->device, status ? NULL : err);
    return status ? status : kept;
}

static tern_status reserve_input(cuda_backend *be, uint32_t max_batch, tern_error *err) {
    if (max_batch <= be->max_batch)
        return TERN_OK;
    free_input(be);
    be->step.generation++; /* graphs have these addresses */
    be->input.q = tern_cuda_alloc(&be->device, max_batch * tern_cuda_k_pad(tern_widest(&be->weights->dims)));
    be->input.scale = tern_cuda_alloc(&be->device, max_batch * sizeof(float));
    be->input.sum = tern_cuda_alloc(&be->device, max_batch * sizeof(int32_t));
    if (!be->input.q || !be->input.scale || !be->input.sum) {
        free_input(be);
        tern_status status = tern_cuda_take_error(&be->device, err);
        return status ? status
                      : tern_fail(err, TERN_ERR_MEMORY,
                                  "%s: no memory for prefill steps of %u tokens; a smaller chunk needs less",
                                  be->device.name, max_batch);
    }
    be->max_batch = max_batch;
    return TERN_OK;
}

static tern_status cuda_reserve(tern_backend *backend, uint32_t max_batch, uint32_t n_ctx, tern_error *err) {
    cuda_backend *be = of(backend);
    if (max_batch > MAX_BATCH)
        return tern_fail(err, TERN_ERR_ARGUMENT, "steps of %u tokens are more than the CUDA backend takes: at most %d",
                         max_batch, MAX_BATCH);
    if (!tern_cuda_enter(&be->device))
        return tern_cuda_take_error(&be->device, err);
    tern_status status = TERN_OK;
    if (!tern_cuda_wait(&be->device)) /* what is replaced may be in use */
        status = tern_cuda_take_error(&be->device, err);
    if (!status)
        status = reserve_input(be, max_batch, err);
    if (!status)
        status = tern_cuda_step_reserve(&be->step, &be->device, be->weights, max_batch, n_ctx, err);
    return leave(be, status, err);
}

/* ----------------------------------------------------------------- a pass */

static void stop_recording(cuda_backend *be, void (*stop)(tern_cuda_graphs *, tern_cuda_device *)) {
    if (!be->graphs.recording)
        return;
    stop(&be->graphs, &be->device);
    pthread_mutex_unlock(&be->memory_lock);
}

static tern_status cuda_begin(tern_backend *backend, const tern_slot *slots, uint32_t n, uint64_t activations,
                              bool *done, tern_error *err) {
    cuda_backend *be = of(backend);
    if (!tern_cuda_enter(&be->device)) /* until it ends */
        return tern_cuda_take_error(&be->device, err);
    tern_status status = tern_cuda_step_begin(&be->step, &be->device, be->weights, slots, n, err);
    if (status)
        return leave(be, status, err);
    tern_cuda_graph_key key = {n, be->step.n_splits, activations, be->step.generation};
    pthread_mutex_lock(&be->memory_lock);
    *done = tern_cuda_graphs_begin(&be->graphs, &be->device, &key);
    if (!be->graphs.recording) /* else until it ends */
        pthread_mutex_unlock(&be->memory_lock);
    return TERN_OK;
}

static void cuda_layers_end(tern_backend *backend) { stop_recording(of(backend), tern_cuda_graphs_end); }

static tern_status cuda_end(tern_backend *backend, tern_error *err) {
    stop_recording(of(backend), tern_cuda_graphs_abandon);
    return leave(of(backend), TERN_OK, err);
}

static void cuda_embed(tern_backend *backend, const tern_slot *slots, uint32_t n, float *x) {
    cuda_backend *be = of(backend);
    (void)slots; /* begin() has seen to them */
    tern_cuda_copy_on_device(&be->device, x, be->step.embedded, (size_t)n * be->weights->dims.hidden_size * sizeof *x);
}

static void cuda_norm(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n, float *out) {
    cuda_backend *be = of(backend);
    tern_cuda_norm_args args = {x, tern_cuda_gain(&be->copy, gain), out, size, be->weights->dims.rms_eps};
    tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_norm, (tern_cuda_grid){n, 1, 1}, TERN_CUDA_ROW_THREADS, &args);
}

/* -------------------------------------------------------------- BitLinear */

/* Of few tokens each block of the product does it (gemv_norm); x stays as it is until then, as no product's output is
 * another one's input in forward.c. */
static void cuda_norm_quantize(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n,
                               tern_rounding rounding) {
    cuda_backend *be = of(backend);
    (void)rounding; /* TERN_ROUND_INT8: tern_cuda_backend_create() */
    be->input.k_pad = (uint32_t)tern_cuda_k_pad(size);
    be->row = (tern_cuda_quantize_args){x, tern_cuda_gain(&be->copy, gain), be->input, size, be->weights->dims.rms_eps};
    be->row_waits = n <= TERN_CUDA_GEMV_MOST && be->input.k_pad <= TERN_CUDA_NORM_MOST;
    if (!be->row_waits)
        tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_quantize, (tern_cuda_grid){n, 1, 1}, TERN_CUDA_ROW_THREADS,
                         &be->row);
}

static void multiply(cuda_backend *be, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                     uint32_t n, tern_cuda_mode mode) {
    tern_cuda_linear_args args = {.input = be->input, .n_matrices = n_linears, .n_tokens = n, .mode = mode};
    bool gated = mode == TERN_CUDA_RELU2 || mode == TERN_CUDA_SILU; /* both matrices at once */
    uint32_t groups = 0;
    for (uint32_t i = 0; i < n_linears; i++) {
        args.matrices[i] = (tern_cuda_matrix){tern_cuda_tiles(&be->copy, linears[i]), out[i], linears[i]->rows,
                                              gated ? 0 : groups, linears[i]->scale};
        groups += (uint32_t)tern_cuda_n_groups(linears[i]->rows);
    }
    tern_cuda_products plan = tern_cuda_plan_products(&args);
    if (be->row_waits) {
        tern_cuda_gemv_norm_args both = {be->row, args};
        tern_cuda_launch_shared(&be->device, TERN_CUDA_KERNEL_gemv_norm, plan.grid, plan.threads, be->input.k_pad,
                                &both);
    } else {
        tern_cuda_launch(&be->device, plan.kernel, plan.grid, plan.threads, &args);
    }
}

static void cuda_linear(tern_backend *backend, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                        uint32_t n) {
    for (uint32_t i = 0; i < n_linears; i += TERN_CUDA_MATRICES)
        multiply(of(backend), linears + i, out + i,
                 n_linears - i < TERN_CUDA_MATRICES ? n_linears - i : TERN_CUDA_MATRICES, n, TERN_CUDA_STORE);
}

static void cuda_linear_add(tern_backend *backend, const tern_linear *linear, float *x, uint32_t n) {
    multiply(of(backend), &linear, &x, 1, n, TERN_CUDA_ADD);
}

static void cuda_gated(tern_backend *backend, const tern_linear *gate, const tern_linear *up, float *out, uint32_t n) {
    bool silu = of(backend)->weights->dims.activation == TERN_SILU;
    multiply(of(backend), (const tern_linear *const[]){gate, up}, (float *const[]){out, out}, 2, n,
             silu ? TERN_CUDA_SILU : TERN_CUDA_RELU2);
}

/* -------------------------------------------------------------- attention */

static tern_cuda_kv kv_args(const cuda_backend *be, uint32_t layer) {
    static const tern_kv_type types[TERN_CUDA_KV_TYPES] = {TERN_KV_F16, TERN_KV_F32, TERN_KV_Q8};
    const tern_dims *dims = &be->weights->dims;
    tern_cuda_kv kv = {.slots = be->step.slots,
                       .tables = be->step.tables,
                       .n_heads = dims->n_heads,
                       .n_kv_heads = dims->n_kv_heads,
                       .head_dim = dims->head_dim};
    for (int i = 0; i < TERN_CUDA_KV_TYPES; i++) {
        tern_kv_layout layout = tern_kv_layout_of(dims, types[i]);
        kv.layouts[types[i]] = (tern_cuda_kv_layout){.at = layer * (uint64_t)layout.layer_bytes,
                                                     .head_bytes = layout.head_bytes,
                                                     .values_at = layout.values_at,
                                                     .key_scales_at = layout.key_scales_at,
                                                     .value_scales_at = layout.value_scales_at};
    }
    return kv;
}

static void cuda_rope_store(tern_backend *backend, const tern_slot *slots, uint32_t n, uint32_t layer, float *q,
                            float *k, const float *v) {
    cuda_backend *be = of(backend);
    (void)slots;
    tern_cuda_rope_store_args args = {kv_args(be, layer), q, k, v, be->step.cos, be->step.sin};
    tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_rope_store,
                     (tern_cuda_grid){args.kv.n_heads + args.kv.n_kv_heads, n, 1}, TERN_CUDA_ROPE_THREADS, &args);
}

/* The splits of few tokens go to different blocks and are merged afterwards: at a long context one block a head would
 * leave most of the GPU idle. */
static void cuda_attention(tern_backend *backend, const tern_slot *slots, uint32_t n, uint32_t layer, const float *q,
                           float *out) {
    cuda_backend *be = of(backend);
    const tern_dims *dims = &be->weights->dims;
    (void)slots;
    uint32_t heads = dims->n_heads / dims->n_kv_heads, n_splits = be->step.n_splits;
    uint32_t tiles = dims->n_kv_heads * ((heads + TERN_CUDA_HEADS - 1) / TERN_CUDA_HEADS);
    tern_cuda_attend_args args = {kv_args(be, layer), q,        out,
                                  be->states,         n_splits, (float)(1.0 / sqrt((double)dims->head_dim))};
    if (n_splits == 1 || n > STATES / n_splits) {
        tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_attend_whole, (tern_cuda_grid){tiles, n, 1},
                         TERN_CUDA_ATTEND_THREADS, &args);
        return;
    }
    tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_attend_splits, (tern_cuda_grid){tiles, n_splits, n},
                     TERN_CUDA_ATTEND_THREADS, &args);
    tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_attend_merge, (tern_cuda_grid){dims->n_heads, n, 1},
                     TERN_CUDA_ROPE_THREADS, &args);
}

/* ---------------------------------------------------------------- the head */

/* Of up to LOGIT_ROWS tokens -> be->logits. */
static void few_logits(cuda_backend *be, const float *x, uint32_t n) {
    const tern_weights *weights = be->weights;
    size_t vocab = weights->dims.vocab_size, hidden = weights->dims.hidden_size;
    tern_cuda_head_args args = {.rows = tern_cuda_head_rows(&be->copy),
                                .row_bytes = weights->head->bytes / vocab,
                                .x = x,
                                .logits = be->logits,
                                .n_rows = (uint32_t)vocab,
                                .k = (uint32_t)hidden,
                                .n_tokens = n,
                                .type = weights->head_type};
    tern_cuda_grid grid = {tern_cuda_blocks((uint32_t)vocab, TERN_CUDA_HEAD_ROWS),
                           tern_cuda_blocks(n, TERN_CUDA_HEAD_TOKENS), 1};
    tern_cuda_launch(&be->device, TERN_CUDA_KERNEL_head, grid, TERN_CUDA_HEAD_THREADS, &args);
}

/* n floats of the GPU, all that is in line before them done; NaN if that failed. */
static void bring(cuda_backend *be, const float *from, size_t n, float *host) {
    tern_cuda_copy_to_host(&be->device, host, from, n * sizeof *host);
    if (!tern_cuda_wait(&be->device))
        for (size_t i = 0; i < n; i++)
            host[i] = NAN;
}

static tern_status cuda_logits(tern_backend *backend, const float *x, uint32_t n, float *logits, tern_error *err) {
    cuda_backend *be = of(backend);
    const tern_dims *dims = &be->weights->dims;
    if (!tern_cuda_enter(&be->device))
        return tern_cuda_take_error(&be->device, err);
    for (uint32_t i = 0; i < n; i += LOGIT_ROWS) {
        uint32_t now = n - i < LOGIT_ROWS ? n - i : LOGIT_ROWS;
        few_logits(be, x + (size_t)i * dims->hidden_size, now);
        bring(be, be->logits, (size_t)now * dims->vocab_size, logits + (size_t)i * dims->vocab_size);
    }
    return leave(be, TERN_OK, err);
}

/* Of up to LOGIT_ROWS tokens: on the GPU where it can, else from the logits on the host. */
static tern_status few_candidates(cuda_backend *be, const float *x, uint32_t n, const tern_head_query *queries,
                                  tern_candidates *out, tern_error *err) {
    size_t vocab = be->weights->dims.vocab_size;
    uint32_t chosen;
    few_logits(be, x, n);
    tern_status status =
        tern_cuda_candidates_choose(&be->candidates, &be->device, be->logits, queries, n, out, &chosen, err);
    for (uint32_t i = 0; !status && i < n; i++) {
        if (chosen >> i & 1)
            continue;
        bring(be, be->logits + i * vocab, vocab, be->host_logits);
        status = tern_cuda_take_error(&be->device, err);
        if (!status)
            status = tern_candidates_from_logits(&queries[i], be->host_logits, vocab, &out[i], err);
    }
    return status;
}

static tern_status cuda_candidates(tern_backend *backend, const float *x, uint32_t n, const tern_head_query *queries,
                                   tern_candidates *out, tern_error *err) {
    cuda_backend *be = of(backend);
    if (!tern_cuda_enter(&be->device))
        return tern_cuda_take_error(&be->device, err);
    tern_status status = TERN_OK;
    for (uint32_t i = 0; !status && i < n; i += LOGIT_ROWS)
        status = few_candidates(be, x + (size_t)i * be->weights->dims.hidden_size,
                                n - i < LOGIT_ROWS ? n - i : LOGIT_ROWS, queries + i, out + i, err);
    return leave(be, status, err);
}

/* No step leaves anything out. */
static void cuda_stats(tern_backend *backend, tern_model_stats *stats) {
    (void)backend;
    *stats = (tern_model_stats){0};
}

static void cuda_to_host(tern_backend *backend, const float *from, size_t n_floats, float *host) {
    bring(of(backend), from, n_floats, host);
}

/* The caller may change what it gave as soon as this returns. A failure is told by what reads it. */
static void cuda_from_host(tern_backend *backend, const float *host, size_t n_floats, float *to) {
    cuda_backend *be = of(backend);
    if (!tern_cuda_enter(&be->device))
        return;
    tern_cuda_copy_to_device(&be->device, to, host, n_floats * sizeof *host);
    tern_cuda_wait(&be->device);
    tern_cuda_leave(&be->device);
}

static const tern_backend_ops cuda_ops = {
    .name = "cuda",
    .free = cuda_free,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .reserve = cuda_reserve,
    .begin = cuda_begin,
    .layers_end = cuda_layers_end,
    .end = cuda_end,
    .embed = cuda_embed,
    .norm = cuda_norm,
    .norm_quantize = cuda_norm_quantize,
    .linear = cuda_linear,
    .linear_add = cuda_linear_add,
    .gated = cuda_gated,
    .rope_store = cuda_rope_store,
    .attention = cuda_attention,
    .logits = cuda_logits,
    .candidates = cuda_candidates,
    .stats = cuda_stats,
    .to_host = cuda_to_host,
    .from_host = cuda_from_host,
};

/* What does not depend on batches and contexts. */
static tern_status make_buffers(cuda_backend *be, tern_error *err) {
    const tern_dims *dims = &be->weights->dims;
    size_t logits = (size_t)LOGIT_ROWS * dims->vocab_size * sizeof(float);
    size_t states = (size_t)STATES * dims->n_heads * (dims->head_dim + 2) * sizeof(float);
    be->states = tern_cuda_alloc(&be->device, states);
    be->logits = tern_cuda_alloc(&be->device, logits);
    be->host_logits = tern_cuda_host_alloc(&be->device, dims->vocab_size * sizeof(float));
    tern_status status = tern_cuda_take_error(&be->device, err);
    if (!status && (!be->states || !be->logits || !be->host_logits))
        status = tern_fail(err, TERN_ERR_MEMORY, "%s: no memory for %zu MB of logits and attention", be->device.name,
                           (logits + states) >> 20);
    if (!status)
        status = tern_cuda_candidates_init(&be->candidates, &be->device, dims->vocab_size, err);
    return status ? status : tern_cuda_step_init(&be->step, &be->device, be->weights, err);
}

tern_status tern_cuda_backend_create(const tern_weights *weights, tern_pool *pool, tern_backend **backend,
                                     tern_error *err) {
    tern_status status = tern_cuda_weights_check(weights, err);
    if (status)
        return status;
    cuda_backend *be = calloc(1, sizeof *be);
    if (!be)
        return tern_fail_memory(err, "the CUDA backend");
    be->base.ops = &cuda_ops;
    be->weights = weights;
    status = tern_cuda_device_open(&be->device, err);
    if (status) {
        free(be);
        return status;
    }
    pthread_mutex_init(&be->memory_lock, NULL);
    if (tern_cuda_enter(&be->device)) {
        status = tern_cuda_weights_upload(&be->device, weights, pool, OTHER_BYTES, &be->copy, err);
        if (!status)
            status = make_buffers(be, err);
        status = leave(be, status, err);
    } else {
        status = tern_cuda_take_error(&be->device, err);
    }
    if (status)
        cuda_free(&be->base);
    else
        *backend = &be->base;
    return status;
}
