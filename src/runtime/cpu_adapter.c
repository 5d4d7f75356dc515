#include "runtime/cpu_adapter.h"

#include "base/mem.h"

/* Rows and tokens of one task. */
enum { A_ROWS = 4, B_ROWS = 64, MANY_TOKENS = 64, FEW_TOKENS = 8 };

bool tern_cpu_adapter_create(const tern_weights *weights, uint32_t max_batch, tern_cpu_adapter *adapter) {
    const tern_dims *dims = &weights->dims;
    *adapter = (tern_cpu_adapter){.rank = tern_weights_low_rank(weights), .max_batch = max_batch};
    if (!adapter->rank)
        return true;
    size_t widest = tern_widest(dims);
    adapter->x = tern_aligned_alloc(max_batch * widest * sizeof(float));
    adapter->u = tern_aligned_alloc((size_t)TERN_LINEARS_AT_ONCE * max_batch * adapter->rank * sizeof(float));
    adapter->up = tern_aligned_alloc((size_t)max_batch * dims->ffn_size * sizeof(float));
    if (adapter->x && adapter->u && adapter->up)
        return true;
    tern_cpu_adapter_free(adapter);
    return false;
}

void tern_cpu_adapter_free(tern_cpu_adapter *adapter) {
    tern_aligned_free(adapter->x);
    tern_aligned_free(adapter->u);
    tern_aligned_free(adapter->up);
    *adapter = (tern_cpu_adapter){0};
}

typedef struct adapter_job {
    const tern_cpu_adapter *adapter;
    const tern_kernels *kernels;
    const tern_quantised *input;
    const tern_linear *linears[TERN_LINEARS_AT_ONCE]; /* [n_linears] that are adapted */
    float *out[TERN_LINEARS_AT_ONCE];
    uint32_t n_linears, n_tokens, cols;
} adapter_job;

static float *u_of(const adapter_job *job, uint32_t i) {
    return job->adapter->u + (size_t)i * job->adapter->max_batch * job->adapter->rank;
}

/* One task is one token. */
static void dequantise_task(void *context, size_t token, int worker) {
    (void)worker;
    const adapter_job *job = context;
    const int8_t *q = job->input->q + token * tern_q_pad(job->cols);
    float *x = job->adapter->x + token * job->cols, scale = job->input->scale[token];
    for (uint32_t i = 0; i < job->cols; i++)
        x[i] = (float)q[i] / scale;
}

/* A task's share of one matrix's rows and the batch's tokens; the matrices' tasks follow one another. */
typedef struct share {
    uint32_t linear, row, n_rows, token, n_tokens;
} share;

static uint32_t pieces(uint32_t n, uint32_t piece) { return (n + piece - 1) / piece; }

static uint32_t rows_of(const adapter_job *job, uint32_t i, bool of_a) {
    return of_a ? job->linears[i]->low_rank->rank : job->linears[i]->rows;
}

static size_t n_shares(const adapter_job *job, uint32_t i, bool of_a) {
    return (size_t)pieces(rows_of(job, i, of_a), of_a ? A_ROWS : B_ROWS) * pieces(job->n_tokens, MANY_TOKENS);
}

static share share_of(const adapter_job *job, size_t task, bool of_a) {
    share s = {0};
    uint32_t piece = of_a ? A_ROWS : B_ROWS;
    while (task >= n_shares(job, s.linear, of_a))
        task -= n_shares(job, s.linear++, of_a);
    uint32_t rows = rows_of(job, s.linear, of_a), n_pieces = pieces(rows, piece);
    s.row = (uint32_t)(task % n_pieces) * piece;
    s.n_rows = rows - s.row < piece ? rows - s.row : piece;
    s.token = (uint32_t)(task / n_pieces) * MANY_TOKENS;
    s.n_tokens = job->n_tokens - s.token < MANY_TOKENS ? job->n_tokens - s.token : MANY_TOKENS;
    return s;
}

/* u = scale * A x~ */
static void a_task(void *context, size_t task, int worker) {
    (void)worker;
    const adapter_job *job = context;
    share s = share_of(job, task, true);
    const tern_low_rank *low_rank = job->linears[s.linear]->low_rank;
    size_t row_bytes = (size_t)(low_rank->a->bytes / low_rank->rank);
    float *u = u_of(job, s.linear) + (size_t)s.token * low_rank->rank + s.row;
    job->kernels->head[low_rank->a_type](low_rank->a->data + s.row * row_bytes, row_bytes, s.n_rows,
                                         job->adapter->x + (size_t)s.token * job->cols, job->cols, s.n_tokens, u,
                                         low_rank->rank);
    for (uint32_t t = 0; t < s.n_tokens; t++)
        for (uint32_t r = 0; r < s.n_rows; r++)
            u[t * low_rank->rank + r] *= low_rank->scale;
}

/* out += B u */
static void b_task(void *context, size_t task, int worker) {
    (void)worker;
    const adapter_job *job = context;
    share s = share_of(job, task, false);
    const tern_linear *linear = job->linears[s.linear];
    const tern_low_rank *low_rank = linear->low_rank;
    size_t row_bytes = (size_t)(low_rank->b->bytes / linear->rows);
    float y[FEW_TOKENS * B_ROWS];
    for (uint32_t t = 0; t < s.n_tokens; t += FEW_TOKENS) {
        uint32_t n = s.n_tokens - t < FEW_TOKENS ? s.n_tokens - t : FEW_TOKENS;
        job->kernels->head[low_rank->b_type](low_rank->b->data + s.row * row_bytes, row_bytes, s.n_rows,
                                             u_of(job, s.linear) + (size_t)(s.token + t) * low_rank->rank,
                                             low_rank->rank, n, y, B_ROWS);
        for (uint32_t i = 0; i < n; i++)
            job->kernels->add(job->out[s.linear] + (size_t)(s.token + t + i) * linear->rows + s.row, y + i * B_ROWS,
                              s.n_rows);
    }
}

void tern_cpu_adapter_add(const tern_cpu_adapter *adapter, const tern_kernels *kernels, tern_pool *pool,
                          const tern_quantised *input, const tern_linear *const *linears, float *const *out,
                          uint32_t n_linears, uint32_t n) {
    adapter_job job = {.adapter = adapter, .kernels = kernels, .input = input, .n_tokens = n, .cols = linears[0]->cols};
    size_t a_tasks = 0, b_tasks = 0;
    for (uint32_t i = 0; i < n_linears; i++) {
        if (!linears[i]->low_rank)
            continue;
        job.linears[job.n_linears] = linears[i];
        job.out[job.n_linears] = out[i];
        a_tasks += n_shares(&job, job.n_linears, true);
        b_tasks += n_shares(&job, job.n_linears, false);
        job.n_linears++;
    }
    if (!job.n_linears)
        return;
    tern_pool_run(pool, n, dequantise_task, &job);
    tern_pool_run(pool, a_tasks, a_task, &job);
    tern_pool_run(pool, b_tasks, b_task, &job);
}
