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

/* Rows that one task of a many-token product takes: 64 rows of 2560 two-bit weights (40 KB) stay in the L1/L2 cache
 * while all tokens of the batch pass. */
enum { PREFILL_GROUPS = 4, DECODE_TASKS_PER_THREAD = 4, FEW_TOKENS = 8, MIN_ACC = 4096 };
/* Less packed weight than this is multiplied sooner than another thread is woken. */
enum { MIN_TASK_BYTES = 64 << 10 };

typedef struct worker_scratch {
    int32_t *acc;  /* integer products of one task */
    float *normed; /* [widest input] between norm and quantisation */
} worker_scratch;

/* What depends on the batch size; grows, never shrinks. */
typedef struct batch_scratch {
    uint32_t max_batch;
    size_t acc_size;         /* int32 values a worker */
    worker_scratch *workers; /* [threads] */
    int8_t *q;               /* [max_batch][widest tern_q_pad], the quantised input */
    float *q_scale;          /* [max_batch] s = 127 / absmax */
    int32_t *q_sum;          /* [max_batch] */
} batch_scratch;

typedef struct cpu_backend {
    tern_backend base;
    const tern_weights *weights;
    const tern_kernels *kernels;
    tern_pool *pool;
    batch_scratch batch;
    tern_cpu_attention attention;
    tern_cpu_head head;
} cpu_backend;

static cpu_backend *of(tern_backend *backend) { return (cpu_backend *)backend; }

/* ---------------------------------------------------------------- memory */

static void *cpu_alloc(tern_backend *backend, size_t n_bytes) {
    (void)backend;
    return tern_aligned_alloc(n_bytes);
}

static void cpu_release(tern_backend *backend, void *memory) {
    (void)backend;
    tern_aligned_free(memory);
}

static void free_batch(batch_scratch *batch, int threads) {
    for (int i = 0; batch->workers && i < threads; i++) {
        tern_aligned_free(batch->workers[i].acc);
        tern_aligned_free(batch->workers[i].normed);
    }
    free(batch->workers);
    tern_aligned_free(batch->q);
    free(batch->q_scale);
    free(batch->q_sum);
    *batch = (batch_scratch){0};
}

static void cpu_free(tern_backend *backend) {
    cpu_backend *be = of(backend);
    free_batch(&be->batch, tern_pool_threads(be->pool));
    tern_cpu_attention_free(&be->attention);
    tern_cpu_head_free(&be->head);
    free(be);
}

static uint32_t widest_input(const tern_dims *dims) {
    uint32_t widest = dims->hidden_size > dims->ffn_size ? dims->hidden_size : dims->ffn_size;
    return (uint32_t)tern_q_pad(widest);
}

static bool alloc_batch(batch_scratch *batch, uint32_t max_batch, uint32_t widest, int threads) {
    size_t q_bytes, acc_size = (size_t)max_batch * PREFILL_GROUPS * TERN_GROUP_ROWS;
    *batch = (batch_scratch){.max_batch = max_batch, .acc_size = acc_size < MIN_ACC ? MIN_ACC : acc_size};
    batch->q = tern_mul_size(max_batch, widest, &q_bytes) ? tern_aligned_alloc(q_bytes) : NULL;
    batch->q_scale = tern_alloc_array(max_batch, sizeof *batch->q_scale);
    batch->q_sum = tern_alloc_array(max_batch, sizeof *batch->q_sum);
    batch->workers = tern_calloc_array((size_t)threads, sizeof *batch->workers);
    bool ok = batch->q && batch->q_scale && batch->q_sum && batch->workers;
    for (int i = 0; ok && i < threads; i++) {
        batch->workers[i].acc = tern_aligned_alloc(batch->acc_size * sizeof(int32_t));
        batch->workers[i].normed = tern_aligned_alloc(widest * sizeof(float));
        ok = batch->workers[i].acc && batch->workers[i].normed;
    }
    return ok;
}

static tern_status cpu_reserve(tern_backend *backend, uint32_t max_batch, uint32_t n_ctx, tern_error *err) {
    cpu_backend *be = of(backend);
    tern_status status = tern_cpu_attention_reserve(&be->attention, n_ctx, err);
    if (status || max_batch <= be->batch.max_batch)
        return status;
    batch_scratch larger;
    int threads = tern_pool_threads(be->pool);
    if (!alloc_batch(&larger, max_batch, widest_input(&be->weights->dims), threads)) {
        free_batch(&larger, threads);
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory for prefill steps of %u tokens; a smaller chunk needs less", max_batch);
    }
    free_batch(&be->batch, threads);
    be->batch = larger;
    return TERN_OK;
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

static void norm_quantize_task(void *context, size_t token, int worker) {
    row_job *job = context;
    cpu_backend *be = job->be;
    float *normed = be->batch.workers[worker].normed;
    size_t q_pad = tern_q_pad(job->size);
    be->kernels->rms_norm(job->in + token * job->size, job->gain, job->size, be->weights->dims.rms_eps, normed);
    be->kernels->quantize_i8(normed, job->size, q_pad, be->batch.q + token * q_pad, &be->batch.q_scale[token],
                             &be->batch.q_sum[token]);
}

static void cpu_norm_quantize(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n) {
    row_job job = {of(backend), x, gain, NULL, size};
    tern_pool_run(job.be->pool, n, norm_quantize_task, &job);
}

static void add_task(void *context, size_t token, int worker) {
    (void)worker;
    row_job *job = context;
    job->be->kernels->add(job->out + token * job->size, job->in + token * job->size, job->size);
}

static void cpu_add(tern_backend *backend, float *x, const float *y, uint32_t size, uint32_t n) {
    row_job job = {of(backend), y, NULL, x, size};
    tern_pool_run(job.be->pool, n, add_task, &job);
}

static void relu2_task(void *context, size_t token, int worker) {
    (void)worker;
    row_job *job = context;
    float *gate = job->out + token * job->size;
    job->be->kernels->relu2_mul(gate, job->in + token * job->size, job->size, gate);
}

static void cpu_relu2_mul(tern_backend *backend, float *gate, const float *up, uint32_t n) {
    row_job job = {of(backend), up, NULL, gate, of(backend)->weights->dims.ffn_size};
    tern_pool_run(job.be->pool, n, relu2_task, &job);
}

static void cpu_embed(tern_backend *backend, const tern_slot *slots, uint32_t n, float *x) {
    const tern_weights *weights = of(backend)->weights;
    const tern_codec *codec = tern_codec_of(weights->embedding->type);
    for (uint32_t i = 0; i < n; i++)
        codec->decode_row(weights->embedding, (uint64_t)slots[i].id, x + (size_t)i * weights->dims.hidden_size);
}

/* -------------------------------------------------------------- BitLinear */

typedef struct linear_job {
    cpu_backend *be;
    const tern_linear *const *linears;
    float *const *out;
    uint32_t n_linears, n_tokens;
    size_t total_groups, groups_per_task;
} linear_job;

/* Groups [group, group + n_groups) of one matrix, all tokens. */
static void linear_groups(const linear_job *job, const tern_linear *linear, float *out, size_t group, size_t n_groups,
                          int worker) {
    cpu_backend *be = job->be;
    int32_t *acc = be->batch.workers[worker].acc;
    size_t ld = n_groups * TERN_GROUP_ROWS, row = group * TERN_GROUP_ROWS;
    size_t n_rows = linear->rows - row < ld ? linear->rows - row : ld;
    be->weights->ternary->matmul(linear->packed + group * linear->unit_bytes, linear->k_pad, n_groups, be->batch.q,
                                 tern_q_pad(linear->cols), be->batch.q_sum, job->n_tokens, acc, ld);
    for (size_t t = 0; t < job->n_tokens; t++)
        be->kernels->dequantize(acc + t * ld, n_rows, be->batch.q_scale[t], linear->scale,
                                out + t * linear->rows + row);
}

/* The matrices' groups form one list; a task is a stretch of it. */
static void linear_task(void *context, size_t task, int worker) {
    const linear_job *job = context;
    size_t begin = task * job->groups_per_task, end = begin + job->groups_per_task;
    for (uint32_t i = 0; i < job->n_linears && begin < end; i++) {
        size_t n_groups = job->linears[i]->n_units;
        if (begin < n_groups) {
            size_t stop = end < n_groups ? end : n_groups;
            linear_groups(job, job->linears[i], job->out[i], begin, stop - begin, worker);
            begin = stop;
        }
        begin -= n_groups; /* what is left is counted from the next matrix on */
        end = end > n_groups ? end - n_groups : 0;
    }
}

static void cpu_linear(tern_backend *backend, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                       uint32_t n) {
    linear_job job = {of(backend), linears, out, n_linears, n, 0, PREFILL_GROUPS};
    for (uint32_t i = 0; i < n_linears; i++)
        job.total_groups += linears[i]->n_units;
    if (n <= FEW_TOKENS) { /* bandwidth counts: longer stretches, as far as the scratch goes */
        size_t tasks = (size_t)tern_pool_threads(job.be->pool) * DECODE_TASKS_PER_THREAD;
        size_t most = job.be->batch.acc_size / TERN_GROUP_ROWS / n;
        size_t least = MIN_TASK_BYTES / linears[0]->unit_bytes / n + 1;
        job.groups_per_task = (job.total_groups + tasks - 1) / tasks;
        if (job.groups_per_task < least)
            job.groups_per_task = least;
        if (job.groups_per_task > most)
            job.groups_per_task = most;
    }
    size_t n_tasks = (job.total_groups + job.groups_per_task - 1) / job.groups_per_task;
    tern_pool_run(job.be->pool, n_tasks, linear_task, &job);
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

static void cpu_logits(tern_backend *backend, const float *x, uint32_t n, float *logits) {
    tern_cpu_head_logits(&of(backend)->head, x, n, logits);
}

static tern_status cpu_candidates(tern_backend *backend, const float *x, uint32_t n, const tern_head_query *queries,
                                  tern_candidates *out, tern_error *err) {
    return tern_cpu_head_candidates(&of(backend)->head, x, n, queries, out, err);
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
    .rope_store = cpu_rope_store,
    .attention = cpu_attention_op,
    .add = cpu_add,
    .relu2_mul = cpu_relu2_mul,
    .logits = cpu_logits,
    .candidates = cpu_candidates,
    .to_host = cpu_to_host,
    .from_host = cpu_from_host,
};

tern_status tern_cpu_backend_create(const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool,
                                    tern_backend **backend, tern_error *err) {
    cpu_backend *be = calloc(1, sizeof *be);
    if (!be)
        return tern_fail_memory(err, "the CPU backend");
    *be = (cpu_backend){.base = {&cpu_ops}, .weights = weights, .kernels = kernels, .pool = pool};
    tern_cpu_attention_init(&be->attention, &weights->dims, kernels, pool);
    tern_cpu_head_init(&be->head, weights, kernels, pool);
    *backend = &be->base;
    return TERN_OK;
}
