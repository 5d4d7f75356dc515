#include "runtime/cpu_head.h"

#include <stdlib.h>

#include "base/mem.h"

enum { HEAD_ROWS = 64, TASKS_PER_THREAD = 16 };

void tern_cpu_head_init(tern_cpu_head *head, const tern_weights *weights, const tern_kernels *kernels,
                        tern_pool *pool) {
    *head = (tern_cpu_head){.weights = weights, .kernels = kernels, .pool = pool};
    tern_cpu_screen_init(&head->screen, weights, kernels, pool);
}

void tern_cpu_head_free(tern_cpu_head *head) {
    tern_cpu_screen_free(&head->screen);
    free(head->logits);
}

typedef struct head_job {
    const tern_cpu_head *head;
    const float *x;
    float *logits;
    uint32_t n_tokens;
    size_t row_bytes, rows_per_task;
} head_job;

static void head_task(void *context, size_t task, int worker) {
    (void)worker;
    const head_job *job = context;
    const tern_weights *weights = job->head->weights;
    size_t row = task * job->rows_per_task, n_rows = weights->dims.vocab_size - row;
    if (n_rows > job->rows_per_task)
        n_rows = job->rows_per_task;
    job->head->kernels->head[weights->head_type](weights->head->data + row * job->row_bytes, job->row_bytes, n_rows,
                                                 job->x, weights->dims.hidden_size, job->n_tokens, job->logits + row,
                                                 weights->dims.vocab_size);
}

void tern_cpu_head_logits(tern_cpu_head *head, const float *x, uint32_t n, float *logits) {
    head_job job = {head, x, logits, n, 0, HEAD_ROWS};
    const tern_weights *weights = head->weights;
    job.row_bytes = weights->head->bytes / weights->dims.vocab_size;
    if (n == 1) {
        size_t tasks = (size_t)tern_pool_threads(head->pool) * TASKS_PER_THREAD;
        job.rows_per_task = (weights->dims.vocab_size + tasks - 1) / tasks;
    }
    tern_pool_run(head->pool, (weights->dims.vocab_size + job.rows_per_task - 1) / job.rows_per_task, head_task, &job);
}

/* n tokens by the whole head, in one pass over it. */
static tern_status whole_head(tern_cpu_head *head, const float *x, uint32_t n, const tern_head_query *queries,
                              tern_candidates *out, tern_error *err) {
    size_t vocab_size = head->weights->dims.vocab_size, n_logits;
    if (n > head->logits_rows) {
        free(head->logits);
        head->logits_rows = 0;
        head->logits = tern_mul_size(n, vocab_size, &n_logits) ? tern_alloc_array(n_logits, sizeof(float)) : NULL;
        if (!head->logits)
            return tern_fail_memory(err, "the logits");
        head->logits_rows = n;
    }
    tern_cpu_head_logits(head, x, n, head->logits);
    tern_status status = TERN_OK;
    for (uint32_t i = 0; !status && i < n; i++)
        status = tern_candidates_from_logits(&queries[i], head->logits + i * vocab_size, vocab_size, &out[i], err);
    return status;
}

/* The same for those of them that `mask` names. */
static tern_status whole_head_of(tern_cpu_head *head, const float *x, uint32_t n, uint32_t mask,
                                 const tern_head_query *queries, tern_candidates *out, tern_error *err) {
    tern_status status = TERN_OK;
    for (uint32_t i = 0, end; !status && i < n; i = end) {
        bool wanted = mask >> i & 1;
        for (end = i + 1; end < n && (mask >> end & 1) == wanted; end++)
            ;
        if (wanted)
            status =
                whole_head(head, x + (size_t)i * head->weights->dims.hidden_size, end - i, queries + i, out + i, err);
    }
    return status;
}

tern_status tern_cpu_head_candidates(tern_cpu_head *head, const float *x, uint32_t n, const tern_head_query *queries,
                                     tern_candidates *out, tern_error *err) {
    const size_t hidden_size = head->weights->dims.hidden_size;
    const bool screened = head->weights->screen.n_rows && head->kernels->screen;
    tern_status status = TERN_OK;
    for (uint32_t i = 0; !status && i < n; i += TERN_SCREEN_TOKENS) {
        uint32_t batch = n - i < TERN_SCREEN_TOKENS ? n - i : TERN_SCREEN_TOKENS, refused = (1u << batch) - 1;
        if (screened)
            status = tern_cpu_screen_candidates(&head->screen, x + i * hidden_size, batch, queries + i, out + i,
                                                &refused, err);
        if (!status)
            status = whole_head_of(head, x + i * hidden_size, batch, refused, queries + i, out + i, err);
    }
    return status;
}
