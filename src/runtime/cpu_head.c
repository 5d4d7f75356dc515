#include "runtime/cpu_head.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { HEAD_ROWS = 64, FORCED_ROWS = 16, TASKS_PER_THREAD = 16 };

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

/* ------------------------------------------------------------- forced rows */

typedef struct forced_job {
    const tern_cpu_head *head;
    const float *x;
    const tern_candidates *out;
    size_t row_bytes;
} forced_job;

static void forced_task(void *context, size_t task, int worker) {
    (void)worker;
    const forced_job *job = context;
    const tern_weights *weights = job->head->weights;
    for (size_t i = task * FORCED_ROWS; i < job->out->n && i < (task + 1) * FORCED_ROWS; i++)
        job->head->kernels->head[weights->head_type](weights->head->data + (size_t)job->out->ids[i] * job->row_bytes,
                                                     job->row_bytes, 1, job->x, weights->dims.hidden_size, 1,
                                                     &job->out->logits[i], weights->dims.vocab_size);
}

static int compare_ids(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The forced rows of a query and no others, for one token. */
static tern_status forced_rows(tern_cpu_head *head, const float *x, const tern_head_query *query, tern_candidates *out,
                               tern_error *err) {
    const tern_weights *weights = head->weights;
    if (!tern_candidates_reserve(out, query->n_forced))
        return tern_fail_memory(err, "the candidates");
    out->n = query->n_forced;
    if (!out->n)
        return TERN_OK;
    memcpy(out->ids, query->forced, out->n * sizeof *out->ids);
    qsort(out->ids, out->n, sizeof *out->ids, compare_ids);
    forced_job job = {head, x, out, weights->head->bytes / weights->dims.vocab_size};
    tern_pool_run(head->pool, (out->n + FORCED_ROWS - 1) / FORCED_ROWS, forced_task, &job);
    return TERN_OK;
}

tern_status tern_cpu_head_candidates(tern_cpu_head *head, const float *x, uint32_t n, const tern_head_query *queries,
                                     tern_candidates *out, tern_error *err) {
    const size_t hidden_size = head->weights->dims.hidden_size;
    const bool screened = head->weights->screen.n_rows && head->kernels->screen;
    tern_status status = TERN_OK;
    for (uint32_t i = 0, batch; !status && i < n; i += batch) {
        for (batch = 0; batch < TERN_SCREEN_TOKENS && i + batch < n && queries[i + batch].want != TERN_HEAD_FORCED;)
            batch++;
        if (batch == 0) {
            status = forced_rows(head, x + i * hidden_size, &queries[i], &out[i], err);
            batch = 1;
            continue;
        }
        uint32_t refused = (1u << batch) - 1;
        if (screened)
            status = tern_cpu_screen_candidates(&head->screen, x + i * hidden_size, batch, queries + i, out + i,
                                                &refused, err);
        if (!status)
            status = whole_head_of(head, x + i * hidden_size, batch, refused, queries + i, out + i, err);
    }
    return status;
}
