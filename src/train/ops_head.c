/* Cross entropy with the LM head: chunks of as many tokens as the scratch holds logits for. */
#include <math.h>
#include <string.h>

#include "kernels/attention.h"
#include "train/ops_rows.h"

typedef struct head_job {
    const tern_ops *ops;
    const int32_t *targets;
    const float *weight; /* NULL: no gradients wanted */
    float z_loss;
    size_t first, n, vocab; /* this chunk */
    float *logits;          /* [n, vocab]; then the gradients by them */
    float *nll;
} head_job;

/* A token's logits: the loss, and in their place the gradients by them,
 *     w (p - 1[target]) + w z 2 lse p. */
static void loss_task(void *context, size_t task, int worker) {
    (void)worker;
    const head_job *job = context;
    size_t t = job->first + task, vocab = job->vocab;
    float *row = job->logits + task * vocab, max;
    int32_t target = job->targets[t];
    if (target < 0) {
        job->nll[t] = 0.0f;
        if (job->weight)
            memset(row, 0, vocab * sizeof *row);
        return;
    }
    float wanted = row[target], sum = job->ops->kernels->attention->softmax_exp(row, vocab, &max);
    double lse = (double)max + log((double)sum);
    job->nll[t] = (float)(lse - (double)wanted);
    if (!job->weight)
        return;
    double factor = (double)job->weight[t] * (1.0 + 2.0 * (double)job->z_loss * lse);
    job->ops->rows->scale(row, vocab, (float)(factor / (double)sum));
    row[target] -= job->weight[t];
}

/* Tokens of a chunk: whole blocks of the products' rows where possible. */
static size_t chunk_tokens(const tern_ops *ops, size_t vocab) {
    size_t n = ops->n_shared / vocab;
    return n > TERN_GEMM_MC ? n / TERN_GEMM_MC * TERN_GEMM_MC : n;
}

typedef struct head_args {
    const float *h, *e;
    size_t n, k;
    const tern_gemm *gemm;
    float *dh, *de;
} head_args;

static void run(const tern_ops *ops, head_job *job, const head_args *args) {
    size_t chunk = chunk_tokens(ops, job->vocab), k = args->k, vocab = job->vocab;
    job->ops = ops;
    job->logits = ops->shared;
    for (job->first = 0; job->first < args->n; job->first += chunk) {
        const float *h = args->h + job->first * k;
        job->n = args->n - job->first < chunk ? args->n - job->first : chunk;
        tern_product logits = {.m = job->n, .n = vocab, .k = k, .alpha = 1.0f, .c = job->logits, .ldc = vocab};
        logits.a = (tern_operand){.data = h, .ld = k};
        logits.b = (tern_operand){.data = args->e, .ld = k};
        tern_gemm_run(args->gemm, ops->pool, &logits, ops->gemm_scratch);
        tern_pool_run(ops->pool, job->n, loss_task, job);
        if (args->dh) {
            tern_product p = {.m = job->n, .n = k, .k = vocab, .alpha = 1.0f, .ldc = k};
            p.a = (tern_operand){.data = job->logits, .ld = vocab};
            p.b = (tern_operand){.k_major = true, .data = args->e, .ld = k};
            p.c = args->dh + job->first * k;
            tern_gemm_run(args->gemm, ops->pool, &p, ops->gemm_scratch);
        }
        if (args->de) {
            tern_product p = {.m = vocab, .n = k, .k = job->n, .alpha = 1.0f, .add = true, .c = args->de, .ldc = k};
            p.a = (tern_operand){.k_major = true, .data = job->logits, .ld = vocab};
            p.b = (tern_operand){.k_major = true, .data = h, .ld = k};
            tern_gemm_run(args->gemm, ops->pool, &p, ops->gemm_scratch);
        }
    }
}

void tern_op_head_loss(const tern_ops *ops, const float *h, const float *e, const int32_t *targets, size_t n, size_t k,
                       size_t vocab, bool exact, float *nll) {
    head_args args = {.h = h, .e = e, .n = n, .k = k, .gemm = exact ? ops->gemm->exact : ops->gemm};
    head_job job = {.targets = targets, .vocab = vocab, .nll = nll};
    run(ops, &job, &args);
}

void tern_op_head_loss_backward(const tern_ops *ops, const float *h, const float *e, const int32_t *targets,
                                const float *weight, float z_loss, size_t n, size_t k, size_t vocab, float *nll,
                                float *dh, float *de) {
    head_args args = {.h = h, .e = e, .n = n, .k = k, .gemm = ops->gemm, .dh = dh, .de = de};
    head_job job = {.targets = targets, .weight = weight, .z_loss = z_loss, .vocab = vocab, .nll = nll};
    run(ops, &job, &args);
}
