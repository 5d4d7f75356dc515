/* Norms, squared ReLU and embedding: a few operations a value, so memory decides; tasks are runs of tokens. */
#include <string.h>

#include "train/ops_rows.h"

enum { TOKENS = 16, VALUES = 16 << 10, EMBED_PARTS = 64 };

static size_t tasks_of(size_t n, size_t per_task) { return (n + per_task - 1) / per_task; }
static size_t end_of(size_t task, size_t per_task, size_t n) {
    return (task + 1) * per_task < n ? (task + 1) * per_task : n;
}

/* ---------------------------------------------------------------- norm */

typedef struct norm_job {
    const tern_ops *ops;
    const float *x, *gain, *dy;
    size_t n, k;
    float eps;
    const tern_act *act; /* forward; NULL: y */
    float *y;
    float *dx, *dgain; /* backward */
} norm_job;

static void norm_task(void *context, size_t task, int worker) {
    const norm_job *job = context;
    const tern_kernels *kernels = job->ops->kernels;
    const tern_act *act = job->act;
    for (size_t t = task * TOKENS; t < end_of(task, TOKENS, job->n); t++) {
        float *to = job->y ? job->y + t * job->k : tern_worker_scratch(job->ops, worker);
        kernels->rms_norm(job->x + t * job->k, job->gain, job->k, job->eps, to);
        if (!job->y)
            kernels->quantize_i8(to, job->k, act->ld, act->q + t * act->ld, &act->scale[t], &act->sum[t]);
    }
}

void tern_op_norm(const tern_ops *ops, const float *x, const float *gain, size_t n, size_t k, float eps,
                  const tern_act *act) {
    norm_job job = {.ops = ops, .x = x, .gain = gain, .n = n, .k = k, .eps = eps, .act = act, .y = act->x};
    tern_pool_run(ops->pool, tasks_of(n, TOKENS), norm_task, &job);
}

void tern_op_final_norm(const tern_ops *ops, const float *x, const float *gain, size_t n, size_t k, float eps,
                        float *y) {
    norm_job job = {.ops = ops, .x = x, .gain = gain, .n = n, .k = k, .eps = eps, .y = y};
    tern_pool_run(ops->pool, tasks_of(n, TOKENS), norm_task, &job);
}

/* A block's share of dgain goes to its own row of the scratch ... */
static void norm_backward_task(void *context, size_t block, int worker) {
    (void)worker;
    const norm_job *job = context;
    size_t k = job->k;
    float *share = job->ops->shared + block * k;
    memset(share, 0, k * sizeof *share);
    for (size_t t = block * TERN_NORM_TOKENS; t < end_of(block, TERN_NORM_TOKENS, job->n); t++)
        job->ops->rows->norm_backward(job->x + t * k, job->gain, job->dy + t * k, k, job->eps, job->dx + t * k, share);
}

void tern_op_norm_backward(const tern_ops *ops, const float *x, const float *gain, const float *dy, size_t n, size_t k,
                           float eps, float *dx, float *dgain) {
    norm_job job = {.ops = ops, .x = x, .gain = gain, .dy = dy, .n = n, .k = k, .eps = eps, .dx = dx};
    size_t blocks = tasks_of(n, TERN_NORM_TOKENS);
    tern_pool_run(ops->pool, blocks, norm_backward_task, &job);
    for (size_t b = 0; b < blocks; b++) /* ... and they are added in order: one row in TERN_NORM_TOKENS */
        ops->kernels->add(dgain, ops->shared + b * k, k);
}

/* ---------------------------------------------------------------- squared ReLU */

typedef struct relu2_job {
    const tern_ops *ops;
    const float *gate, *up, *dh;
    size_t n;
    float *h, *dgate, *dup;
} relu2_job;

static void relu2_task(void *context, size_t task, int worker) {
    (void)worker;
    const relu2_job *job = context;
    size_t first = task * VALUES, n = end_of(task, VALUES, job->n) - first;
    if (job->h)
        job->ops->kernels->relu2_mul(job->gate + first, job->up + first, n, job->h + first);
    else
        job->ops->rows->relu2_backward(job->gate + first, job->up + first, job->dh + first, n, job->dgate + first,
                                       job->dup + first);
}

void tern_op_relu2(const tern_ops *ops, const float *gate, const float *up, size_t n, size_t k, float *h) {
    relu2_job job = {.ops = ops, .gate = gate, .up = up, .n = n * k, .h = h};
    tern_pool_run(ops->pool, tasks_of(n * k, VALUES), relu2_task, &job);
}

void tern_op_relu2_backward(const tern_ops *ops, const float *gate, const float *up, const float *dh, size_t n,
                            size_t k, float *dgate, float *dup) {
    relu2_job job = {.ops = ops, .gate = gate, .up = up, .dh = dh, .n = n * k, .dgate = dgate, .dup = dup};
    tern_pool_run(ops->pool, tasks_of(n * k, VALUES), relu2_task, &job);
}

/* ---------------------------------------------------------------- embedding */

typedef struct embed_job {
    const tern_ops *ops;
    const int32_t *ids;
    const float *from;
    size_t n, k;
    float *to;
} embed_job;

static void embed_task(void *context, size_t task, int worker) {
    (void)worker;
    const embed_job *job = context;
    for (size_t t = task * TOKENS; t < end_of(task, TOKENS, job->n); t++)
        memcpy(job->to + t * job->k, job->from + (size_t)job->ids[t] * job->k, job->k * sizeof *job->to);
}

void tern_op_embed(const tern_ops *ops, const float *table, const int32_t *ids, size_t n, size_t k, float *x) {
    embed_job job = {.ops = ops, .ids = ids, .from = table, .n = n, .k = k, .to = x};
    tern_pool_run(ops->pool, tasks_of(n, TOKENS), embed_task, &job);
}

/* One task has every EMBED_PARTS-th row of the table and looks through all tokens for them: in order, whatever else
 * happens. */
static void embed_backward_task(void *context, size_t part, int worker) {
    (void)worker;
    const embed_job *job = context;
    for (size_t t = 0; t < job->n; t++)
        if ((size_t)job->ids[t] % EMBED_PARTS == part)
            job->ops->kernels->add(job->to + (size_t)job->ids[t] * job->k, job->from + t * job->k, job->k);
}

void tern_op_embed_backward(const tern_ops *ops, const int32_t *ids, const float *dx, size_t n, size_t k,
                            float *dtable) {
    embed_job job = {.ops = ops, .ids = ids, .from = dx, .n = n, .k = k, .to = dtable};
    tern_pool_run(ops->pool, EMBED_PARTS, embed_backward_task, &job);
}
