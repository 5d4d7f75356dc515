#include "runtime/cpu_linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/lines.h"
#include "runtime/cpu_round.h"

/* How much a task takes, in rows (`down` of one token: columns). GROUP_ROWS: groups of 16 rows of which one token reads
 * each byte once; short tasks, so that threads finish together. GATED_ROWS: the rows of `up` that are wanted lie
 * scattered, and fetching them ahead pays over longer stretches. MIN_COLUMNS: the same for `down`, which each thread
 * takes in PARTS. MANY_ROWS: many tokens pass while these rows stay in the L1/L2 cache. */
enum {
    GROUP_ROWS = 128,
    GATED_ROWS = 576,
    MIN_COLUMNS = 256,
    PARTS = 2,
    MANY_ROWS = 64,
    FEW_TOKENS = 8,
    MOST_SHARES = 8, /* of `down` and few tokens: more threads than this would add up more than they multiply */
    SHARE_COLUMNS = 128,
};
/* A product of less packed weight than this is done sooner than another thread is woken. */
enum { MIN_SHARED_BYTES = 64 << 10 };

struct tern_linear_scratch {
    int32_t *acc;   /* integer products of one task; of `down` and one token: the worker's share of all rows */
    float *values;  /* floats of one task; the widest row between norm and quantisation */
    float *sums;    /* of slabs: the values of one task; else NULL */
    uint32_t *list; /* [ffn] lines that are needed */
    int8_t *list_q; /* [ffn] their activations */
    uint8_t *panel; /* of the line kernels */
    bool has_share; /* `down`, one token: acc holds a share */
    tern_ffn_counts counts;
    uint8_t separate[64]; /* the next worker's counts lie in another cache line */
};

/* ---------------------------------------------------------------- memory */

void tern_cpu_linear_init(tern_cpu_linear *cpu, const tern_weights *weights, const tern_kernels *kernels,
                          tern_pool *pool) {
    *cpu = (tern_cpu_linear){.weights = weights, .kernels = kernels, .pool = pool};
    tern_cpu_plain_init(&cpu->plain, weights, kernels, pool);
}

void tern_cpu_linear_free(tern_cpu_linear *cpu) {
    tern_cpu_plain_free(&cpu->plain);
    for (int i = 0; cpu->workers && i < tern_pool_threads(cpu->pool); i++) {
        tern_aligned_free(cpu->workers[i].acc);
        tern_aligned_free(cpu->workers[i].values);
        tern_aligned_free(cpu->workers[i].sums);
        tern_aligned_free(cpu->workers[i].panel);
        free(cpu->workers[i].list);
        free(cpu->workers[i].list_q);
    }
    free(cpu->workers);
    tern_aligned_free(cpu->q);
    free(cpu->q_scale);
    free(cpu->q_sum);
    tern_cpu_slabs_free(&cpu->slabs);
    tern_cpu_adapter_free(&cpu->adapter);
    cpu->workers = NULL;
}

static uint32_t widest_input(const tern_dims *dims) { return (uint32_t)tern_q_pad(tern_widest(dims)); }

static bool alloc_worker(const tern_cpu_linear *cpu, tern_linear_scratch *worker) {
    const tern_line_kernels *lines = cpu->weights->ternary->lines;
    uint32_t ffn = cpu->weights->dims.ffn_size;
    size_t widest = widest_input(&cpu->weights->dims);
    worker->acc = tern_aligned_alloc(cpu->acc_size * sizeof(int32_t));
    worker->values = tern_aligned_alloc(2 * widest * sizeof(float)); /* gates and ups side by side */
    worker->sums = cpu->slabs.q ? tern_aligned_alloc(cpu->acc_size * sizeof(float)) : NULL;
    worker->list = tern_alloc_array(ffn, sizeof *worker->list);
    worker->list_q = tern_alloc_array(ffn, sizeof *worker->list_q);
    worker->panel = tern_aligned_alloc(lines ? lines->scratch_bytes : 64);
    return worker->acc && worker->values && (worker->sums || !cpu->slabs.q) && worker->list && worker->list_q &&
           worker->panel;
}

/* Rows of a task of `down` for several tokens: a line is unpacked for whole blocks, and few long tasks read the lines
 * in longer pieces. */
static uint32_t columns_rows(const tern_cpu_linear *cpu, uint32_t rows) {
    uint32_t share = rows / (uint32_t)tern_pool_threads(cpu->pool) + 1;
    return (share + TERN_LINE_ROWS - 1) / TERN_LINE_ROWS * TERN_LINE_ROWS;
}

static bool alloc_all(tern_cpu_linear *cpu, uint32_t max_batch) {
    const tern_dims *dims = &cpu->weights->dims;
    int threads = tern_pool_threads(cpu->pool);
    size_t q_bytes, widest = widest_input(dims);
    cpu->max_batch = max_batch;
    cpu->acc_size = (size_t)columns_rows(cpu, dims->hidden_size) * max_batch;
    size_t few = (size_t)dims->hidden_size * (max_batch < FEW_TOKENS ? max_batch : FEW_TOKENS);
    if (cpu->acc_size < few)
        cpu->acc_size = few;
    if (cpu->acc_size < widest + TERN_GROUP_ROWS) /* a share of `down` is all its rows */
        cpu->acc_size = widest + TERN_GROUP_ROWS;
    cpu->q = tern_mul_size(max_batch, widest, &q_bytes) ? tern_aligned_alloc(q_bytes) : NULL;
    cpu->q_scale = tern_alloc_array(max_batch, sizeof *cpu->q_scale);
    cpu->q_sum = tern_alloc_array(max_batch, sizeof *cpu->q_sum);
    cpu->workers = tern_calloc_array((size_t)threads, sizeof *cpu->workers);
    bool ok = cpu->q && cpu->q_scale && cpu->q_sum && cpu->workers &&
              tern_cpu_slabs_create(cpu->weights, max_batch, &cpu->slabs);
    ok = ok && tern_cpu_adapter_create(cpu->weights, max_batch, &cpu->adapter);
    for (int i = 0; ok && i < threads; i++)
        ok = alloc_worker(cpu, &cpu->workers[i]);
    return ok;
}

tern_status tern_cpu_linear_reserve(tern_cpu_linear *cpu, uint32_t max_batch, tern_error *err) {
    if (cpu->weights->plain)
        return tern_cpu_plain_reserve(&cpu->plain, max_batch, err);
    if (max_batch <= cpu->max_batch)
        return TERN_OK;
    tern_cpu_linear larger;
    tern_cpu_linear_init(&larger, cpu->weights, cpu->kernels, cpu->pool);
    larger.dense = cpu->dense;
    if (!alloc_all(&larger, max_batch)) {
        tern_cpu_linear_free(&larger);
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory for prefill steps of %u tokens; a smaller chunk needs less", max_batch);
    }
    if (cpu->workers)
        for (int i = 0; i < tern_pool_threads(cpu->pool); i++)
            larger.workers[i].counts = cpu->workers[i].counts;
    tern_cpu_linear_free(cpu);
    *cpu = larger;
    return TERN_OK;
}

tern_ffn_counts tern_cpu_ffn_counts(const tern_cpu_linear *cpu) {
    tern_ffn_counts sum = {0};
    for (int i = 0; cpu->workers && i < tern_pool_threads(cpu->pool); i++) {
        const tern_ffn_counts *counts = &cpu->workers[i].counts;
        sum.up_read += counts->up_read;
        sum.up_total += counts->up_total;
        sum.down_read += counts->down_read;
        sum.down_total += counts->down_total;
    }
    return sum;
}

/* -------------------------------------------------------- quantised input */

typedef struct input_job {
    tern_cpu_linear *cpu;
    const float *x, *gain;
    uint32_t size;
    tern_rounding rounding;
} input_job;

/* One task is one token; a single token runs on the caller without waking anybody. */
static void input_task(void *context, size_t token, int worker) {
    const input_job *job = context;
    tern_cpu_linear *cpu = job->cpu;
    const float *x = job->x + token * job->size;
    float *normed = cpu->workers[worker].values;
    size_t q_pad = tern_q_pad(job->size);
    int8_t *q = cpu->q + token * q_pad;
    if (job->gain) {
        cpu->kernels->rms_norm(x, job->gain, job->size, cpu->weights->dims.rms_eps, normed);
        x = normed;
    }
    if (job->rounding == TERN_ROUND_INT4)
        tern_quantize_i4(x, job->size, q_pad, q, &cpu->q_scale[token], &cpu->q_sum[token]);
    else
        cpu->kernels->quantize_i8(x, job->size, q_pad, q, &cpu->q_scale[token], &cpu->q_sum[token]);
    if (job->rounding == TERN_ROUND_INT8_HALF)
        tern_keep_larger_half(x, job->size, q, &cpu->q_sum[token]);
}

void tern_cpu_norm_quantize(tern_cpu_linear *cpu, const float *x, const float *gain, uint32_t size, uint32_t n,
                            tern_rounding rounding) {
    input_job job = {cpu, x, gain, size, rounding};
    if (cpu->weights->plain) {
        tern_cpu_plain_input(&cpu->plain, x, gain, size, n);
        return;
    }
    tern_pool_run(cpu->pool, n, input_task, &job);
}

/* ---------------------------------------------------------------- products */

typedef struct linear_job {
    tern_cpu_linear *cpu;
    const tern_linear *const *linears;
    float *const *out;
    uint32_t n_linears, n_tokens;
    uint32_t rows_per_task; /* a multiple of 16, of TERN_LINE_ROWS for columns, or all rows */
    bool add;               /* out += instead of out = */
} linear_job;

/* How many of `rows` a task takes if `wanted` are right for a large matrix: all if sharing does not pay, and no more
 * than the scratch holds. A multiple of `wanted`'s unit unless all: what the scratch holds is cut to whole
 * TERN_LINE_ROWS, of which a task of columns must begin at one; there is room for one at least. */
static uint32_t rows_per_task(const tern_cpu_linear *cpu, uint32_t rows, uint32_t wanted, uint64_t packed_bytes,
                              uint32_t n) {
    size_t most = cpu->acc_size / n / TERN_LINE_ROWS * TERN_LINE_ROWS;
    size_t take = packed_bytes * n < MIN_SHARED_BYTES || wanted > rows ? rows : wanted;
    return (uint32_t)(take < most ? take : most);
}

static uint64_t bytes_of(const tern_linear *linear) { return (uint64_t)linear->n_units * linear->unit_bytes; }

/* y [n] = the values of sums of rows [row, row + n) that are one token's */
static void dequantize(const tern_cpu_linear *cpu, const tern_linear *linear, uint32_t row, const int32_t *acc,
                       uint32_t n, float s, float *y) {
    if (linear->own_scales)
        cpu->kernels->dequantize_rows(acc, n, s, linear->scales + row, y);
    else
        cpu->kernels->dequantize(acc, n, s, linear->scale, y);
}

/* acc [n_tokens][ld] = products of rows [row, row + n_rows) */
static void multiply(const tern_cpu_linear *cpu, const tern_linear *linear, uint32_t row, uint32_t n_rows,
                     uint32_t n_tokens, tern_linear_scratch *worker, int32_t *acc, size_t ld) {
    const tern_ternary *ternary = cpu->weights->ternary;
    size_t ld_q = tern_q_pad(linear->cols);
    if (linear->layout == TERN_LAYOUT_GROUPS)
        ternary->matmul(linear->packed + row / TERN_GROUP_ROWS * linear->unit_bytes, linear->k_pad,
                        tern_n_groups(n_rows), cpu->q, ld_q, cpu->q_sum, n_tokens, acc, ld);
    else if (linear->layout == TERN_LAYOUT_ROWS)
        ternary->lines->matmul_rows(linear->packed + row * linear->unit_bytes, linear->cols, n_rows, cpu->q, ld_q,
                                    cpu->q_sum, n_tokens, acc, ld, worker->panel);
    else
        ternary->lines->matmul_columns(linear->packed, linear->rows, linear->cols, row, n_rows, cpu->q, ld_q,
                                       cpu->q_sum, n_tokens, acc, ld, worker->panel);
}

/* acc [n_tokens][ld] = products of rows [row, row + n_rows) in one slab */
static void multiply_slab(const tern_cpu_linear *cpu, const tern_linear *linear, size_t slab, uint32_t row,
                          uint32_t n_rows, uint32_t n_tokens, const tern_linear_scratch *worker, size_t ld) {
    const tern_ternary *ternary = cpu->weights->ternary;
    size_t ld_q = tern_q_pad(linear->slab_cols), unit = linear->unit_bytes;
    const int8_t *q = cpu->slabs.q + slab * n_tokens * ld_q;
    const int32_t *sums = cpu->slabs.sums + slab * n_tokens;
    if (linear->layout == TERN_LAYOUT_GROUPS)
        ternary->matmul(linear->packed + (slab * tern_n_groups(linear->rows) + row / TERN_GROUP_ROWS) * unit,
                        linear->k_pad, tern_n_groups(n_rows), q, ld_q, sums, n_tokens, worker->acc, ld);
    else if (linear->layout == TERN_LAYOUT_ROWS)
        ternary->lines->matmul_rows(linear->packed + (slab * linear->rows + row) * unit, linear->slab_cols, n_rows, q,
                                    ld_q, sums, n_tokens, worker->acc, ld, worker->panel);
    else
        ternary->lines->matmul_columns(linear->packed + slab * linear->slab_cols * unit, linear->rows,
                                       linear->slab_cols, row, n_rows, q, ld_q, sums, n_tokens, worker->acc, ld,
                                       worker->panel);
}

/* sums [n_tokens][ld] = values of rows [row, row + n_rows) of a matrix in slabs (model/scales.h) */
static void multiply_slabs(const tern_cpu_linear *cpu, const tern_linear *linear, uint32_t row, uint32_t n_rows,
                           uint32_t n_tokens, const tern_linear_scratch *worker, size_t ld) {
    memset(worker->sums, 0, n_tokens * ld * sizeof *worker->sums);
    for (size_t slab = 0; slab < tern_n_slabs(linear); slab++) {
        multiply_slab(cpu, linear, slab, row, n_rows, n_tokens, worker, ld);
        for (size_t t = 0; t < n_tokens; t++)
            cpu->kernels->add_scaled(worker->acc + t * ld, n_rows, linear->scales + slab * linear->rows + row,
                                     worker->sums + t * ld);
    }
    for (size_t t = 0; t < n_tokens; t++)
        cpu->kernels->divide(worker->sums + t * ld, n_rows, cpu->q_scale[t]);
}

static void linear_rows(const linear_job *job, const tern_linear *linear, float *out, uint32_t row, uint32_t n_rows,
                        int worker) {
    tern_cpu_linear *cpu = job->cpu;
    tern_linear_scratch *scratch = &cpu->workers[worker];
    size_t ld = tern_n_groups(n_rows) * TERN_GROUP_ROWS;
    if (linear->slab_cols)
        multiply_slabs(cpu, linear, row, n_rows, job->n_tokens, scratch, ld);
    else
        multiply(cpu, linear, row, n_rows, job->n_tokens, scratch, scratch->acc, ld);
    for (size_t t = 0; t < job->n_tokens; t++) {
        float *to = out + t * linear->rows + row, *y = job->add ? scratch->values : to;
        if (linear->slab_cols)
            memcpy(y, scratch->sums + t * ld, n_rows * sizeof *y);
        else
            dequantize(cpu, linear, row, scratch->acc + t * ld, n_rows, cpu->q_scale[t], y);
        if (job->add)
            cpu->kernels->add(to, y, n_rows);
    }
}

static size_t tasks_of(const tern_linear *linear, uint32_t rows) { return (linear->rows + rows - 1) / rows; }

/* The matrices' tasks follow one another. */
static void linear_task(void *context, size_t task, int worker) {
    const linear_job *job = context;
    uint32_t i = 0;
    while (task >= tasks_of(job->linears[i], job->rows_per_task))
        task -= tasks_of(job->linears[i++], job->rows_per_task);
    uint32_t row = (uint32_t)task * job->rows_per_task, n_rows = job->linears[i]->rows - row;
    linear_rows(job, job->linears[i], job->out[i], row, n_rows < job->rows_per_task ? n_rows : job->rows_per_task,
                worker);
}

static void run_linears(linear_job *job) {
    tern_cpu_linear *cpu = job->cpu;
    size_t n_tasks = 0;
    uint64_t packed_bytes = 0;
    uint32_t most_rows = 0, wanted = job->n_tokens > FEW_TOKENS ? MANY_ROWS : GROUP_ROWS;
    for (uint32_t i = 0; i < job->n_linears; i++) {
        packed_bytes += bytes_of(job->linears[i]);
        most_rows = job->linears[i]->rows > most_rows ? job->linears[i]->rows : most_rows;
    }
    if (job->linears[0]->layout == TERN_LAYOUT_COLUMNS)
        wanted = columns_rows(cpu, most_rows);
    job->rows_per_task = rows_per_task(cpu, most_rows, wanted, packed_bytes, job->n_tokens);
    for (uint32_t i = 0; i < job->n_linears; i++)
        n_tasks += tasks_of(job->linears[i], job->rows_per_task);
    tern_pool_run(cpu->pool, n_tasks, linear_task, job);
}

/* What an adapter adds to products of the input. */
static void add_low_rank(tern_cpu_linear *cpu, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                         uint32_t n) {
    const tern_quantised input = {cpu->q, cpu->q_scale};
    if (cpu->adapter.rank)
        tern_cpu_adapter_add(&cpu->adapter, cpu->kernels, cpu->pool, &input, linears, out, n_linears, n);
}

void tern_cpu_linear_run(tern_cpu_linear *cpu, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                         uint32_t n) {
    linear_job job = {.cpu = cpu, .linears = linears, .out = out, .n_linears = n_linears, .n_tokens = n};
    if (cpu->weights->plain) {
        tern_cpu_plain_run(&cpu->plain, linears, out, n_linears, n);
        return;
    }
    tern_cpu_slabs_cut(&cpu->slabs, cpu->pool, cpu->q, linears, n_linears, n);
    run_linears(&job);
    add_low_rank(cpu, linears, out, n_linears, n);
}

/* ------------------------------------------------------- down, one token */

typedef struct columns_job {
    tern_cpu_linear *cpu;
    const tern_linear *linear;
    uint32_t columns_per_task;
} columns_job;

/* A worker's tasks add up in its acc. */
static void columns_task(void *context, size_t task, int worker) {
    const columns_job *job = context;
    const tern_linear *linear = job->linear;
    tern_linear_scratch *scratch = &job->cpu->workers[worker];
    uint32_t begin = (uint32_t)task * job->columns_per_task, end = begin + job->columns_per_task, n = 0;
    end = end < linear->cols ? end : linear->cols;
    for (uint32_t i = begin; i < end; i++) { /* without a branch: zeros come at random */
        scratch->list[n] = i;
        scratch->list_q[n] = job->cpu->q[i];
        n += (job->cpu->q[i] != 0) | job->cpu->dense;
    }
    if (!scratch->has_share)
        memset(scratch->acc, 0, linear->rows * sizeof *scratch->acc);
    scratch->has_share = true;
    job->cpu->weights->ternary->lines->sums(linear->packed, linear->rows, scratch->list, n, scratch->list_q,
                                            scratch->acc);
    scratch->counts.down_read += n;
    scratch->counts.down_total += end - begin;
}

static void add_columns(tern_cpu_linear *cpu, const tern_linear *linear, float *x) {
    int threads = tern_pool_threads(cpu->pool);
    columns_job job = {cpu, linear, linear->cols / (PARTS * (uint32_t)threads) + 1};
    if (job.columns_per_task < MIN_COLUMNS)
        job.columns_per_task = MIN_COLUMNS;
    if (bytes_of(linear) < MIN_SHARED_BYTES)
        job.columns_per_task = linear->cols;
    for (int i = 0; i < threads; i++)
        cpu->workers[i].has_share = false;
    tern_pool_run(cpu->pool, (linear->cols + job.columns_per_task - 1) / job.columns_per_task, columns_task, &job);
    int32_t *sum = NULL; /* integers: in any order */
    for (int i = 0; i < threads; i++) {
        const int32_t *share = cpu->workers[i].acc;
        if (!cpu->workers[i].has_share)
            continue;
        if (sum)
            for (uint32_t r = 0; r < linear->rows; r++)
                sum[r] += share[r];
        else
            sum = cpu->workers[i].acc;
    }
    dequantize(cpu, linear, 0, sum, linear->rows, cpu->q_scale[0], cpu->workers[0].values);
    cpu->kernels->add(x, cpu->workers[0].values, linear->rows);
}

/* The same in slabs: a task takes one, and leaves its sums beside the others', which are added in their order. */
static void slab_columns_task(void *context, size_t slab, int worker) {
    const columns_job *job = context;
    const tern_linear *linear = job->linear;
    tern_linear_scratch *scratch = &job->cpu->workers[worker];
    uint32_t begin = (uint32_t)slab * linear->slab_cols, end = begin + linear->slab_cols, n = 0;
    int32_t *acc = job->cpu->slabs.acc + slab * linear->rows;
    for (uint32_t i = begin; i < end; i++) {
        scratch->list[n] = i;
        scratch->list_q[n] = job->cpu->q[i];
        n += (job->cpu->q[i] != 0) | job->cpu->dense;
    }
    memset(acc, 0, linear->rows * sizeof *acc);
    job->cpu->weights->ternary->lines->sums(linear->packed, linear->rows, scratch->list, n, scratch->list_q, acc);
    scratch->counts.down_read += n;
    scratch->counts.down_total += linear->slab_cols;
}

static void add_slab_columns(tern_cpu_linear *cpu, const tern_linear *linear, float *x) {
    columns_job job = {cpu, linear, linear->slab_cols};
    float *values = cpu->workers[0].sums;
    tern_pool_run(cpu->pool, tern_n_slabs(linear), slab_columns_task, &job);
    memset(values, 0, linear->rows * sizeof *values);
    for (size_t slab = 0; slab < tern_n_slabs(linear); slab++)
        cpu->kernels->add_scaled(cpu->slabs.acc + slab * linear->rows, linear->rows,
                                 linear->scales + slab * linear->rows, values);
    cpu->kernels->divide(values, linear->rows, cpu->q_scale[0]);
    cpu->kernels->add(x, values, linear->rows);
}

/* ------------------------------------------------------- down, few tokens */

/* Each task takes whole columns, which lie together in memory, and leaves its share of all rows' sums in the acc of the
 * worker of that number, whoever does it. Shares of rows, as of many tokens, would read half a kilobyte in pieces. */
typedef struct shares_job {
    tern_cpu_linear *cpu;
    const tern_linear *linear;
    float *x;
    uint32_t n_tokens, columns_per_task, n_tasks;
} shares_job;

static void share_task(void *context, size_t task, int worker) {
    static const int32_t zeros[FEW_TOKENS]; /* the first share has the sums of all columns' activations */
    (void)worker;
    const shares_job *job = context;
    const tern_cpu_linear *cpu = job->cpu;
    const tern_linear *linear = job->linear;
    uint32_t begin = (uint32_t)task * job->columns_per_task, n = linear->cols - begin;
    n = n < job->columns_per_task ? n : job->columns_per_task;
    cpu->weights->ternary->lines->matmul_columns(linear->packed + begin * linear->unit_bytes, linear->rows, n, 0,
                                                 linear->rows, cpu->q + begin, tern_q_pad(linear->cols),
                                                 task ? zeros : cpu->q_sum, job->n_tokens, cpu->workers[task].acc,
                                                 linear->rows, cpu->workers[task].panel);
}

/* A token's shares are summed and added to x. */
static void add_shares_task(void *context, size_t token, int worker) {
    const shares_job *job = context;
    const tern_cpu_linear *cpu = job->cpu;
    uint32_t rows = job->linear->rows;
    int32_t *sum = cpu->workers[0].acc + token * rows;
    float *values = cpu->workers[worker].values;
    for (uint32_t i = 1; i < job->n_tasks; i++)
        for (uint32_t r = 0; r < rows; r++)
            sum[r] += cpu->workers[i].acc[token * rows + r];
    dequantize(cpu, job->linear, 0, sum, rows, cpu->q_scale[token], values);
    cpu->kernels->add(job->x + token * rows, values, rows);
}

static bool shares_pay(const tern_cpu_linear *cpu, const tern_linear *linear, uint32_t n) {
    int threads = tern_pool_threads(cpu->pool);
    return linear->layout == TERN_LAYOUT_COLUMNS && n <= FEW_TOKENS && threads > 1 && threads <= MOST_SHARES &&
           !linear->slab_cols && bytes_of(linear) >= MIN_SHARED_BYTES;
}

static void add_shares(tern_cpu_linear *cpu, const tern_linear *linear, float *x, uint32_t n) {
    uint32_t threads = (uint32_t)tern_pool_threads(cpu->pool), columns = (linear->cols + threads - 1) / threads;
    shares_job job = {.cpu = cpu, .linear = linear, .x = x, .n_tokens = n};
    job.columns_per_task = (columns + SHARE_COLUMNS - 1) / SHARE_COLUMNS * SHARE_COLUMNS;
    job.n_tasks = (linear->cols + job.columns_per_task - 1) / job.columns_per_task;
    tern_pool_run(cpu->pool, job.n_tasks, share_task, &job);
    tern_pool_run(cpu->pool, n, add_shares_task, &job);
}

void tern_cpu_linear_add(tern_cpu_linear *cpu, const tern_linear *linear, float *x, uint32_t n) {
    linear_job job = {.cpu = cpu,
                      .linears = (const tern_linear *[]){linear},
                      .out = (float *[]){x},
                      .n_linears = 1,
                      .n_tokens = n,
                      .add = true};
    if (cpu->weights->plain) {
        tern_cpu_plain_add(&cpu->plain, linear, x, n);
        return;
    }
    bool columns = n == 1 && linear->layout == TERN_LAYOUT_COLUMNS;
    if (!columns)
        tern_cpu_slabs_cut(&cpu->slabs, cpu->pool, cpu->q, job.linears, 1, n);
    if (columns && linear->slab_cols)
        add_slab_columns(cpu, linear, x);
    else if (columns)
        add_columns(cpu, linear, x);
    else if (shares_pay(cpu, linear, n))
        add_shares(cpu, linear, x, n);
    else
        run_linears(&job);
    add_low_rank(cpu, job.linears, job.out, 1, n);
}

/* ------------------------------------------------------------ gate and up */

typedef struct gated_job {
    tern_cpu_linear *cpu;
    const tern_linear *gate, *up;
    bool all_up; /* whatever the gates are */
    tern_gate_fn *gate_mul;
    const float *add_to_up; /* [ffn] an adapter's product; NULL: none */
    float *out;
    uint32_t n_tokens, rows_per_task;
} gated_job;

/* One token: ups [n] = values of the rows in the list. */
static void dot_lines(const tern_cpu_linear *cpu, const tern_linear *up, uint32_t n, const tern_linear_scratch *scratch,
                      float *ups) {
    cpu->weights->ternary->lines->dots(up->packed, up->cols, scratch->list, n, cpu->q, cpu->q_sum[0], scratch->acc);
    cpu->kernels->dequantize(scratch->acc, n, cpu->q_scale[0], up->own_scales ? 1 : up->scale, ups);
    for (uint32_t i = 0; up->own_scales && i < n; i++) /* the bits of dequantize_rows */
        ups[i] *= up->scales[scratch->list[i]];
}

/* The same of rows in slabs. */
static void dot_slabs(const tern_cpu_linear *cpu, const tern_linear *up, uint32_t n, const tern_linear_scratch *scratch,
                      float *ups) {
    memset(ups, 0, n * sizeof *ups);
    for (size_t slab = 0; slab < tern_n_slabs(up); slab++) {
        const float *scales = up->scales + slab * up->rows;
        cpu->weights->ternary->lines->dots(up->packed + slab * up->rows * up->unit_bytes, up->slab_cols, scratch->list,
                                           n, cpu->slabs.q + slab * tern_q_pad(up->slab_cols), cpu->slabs.sums[slab],
                                           scratch->acc);
        for (uint32_t i = 0; i < n; i++)
            scratch->sums[i] = scales[scratch->list[i]];
        cpu->kernels->add_scaled(scratch->acc, n, scratch->sums, ups);
    }
    cpu->kernels->divide(ups, n, cpu->q_scale[0]);
}

/* One token, `up` in lines: out [n_rows] holds the gates. */
static void up_where_needed(const gated_job *job, uint32_t row, uint32_t n_rows, tern_linear_scratch *scratch,
                            float *out) {
    const tern_cpu_linear *cpu = job->cpu;
    float *gates = scratch->values, *ups = scratch->values + n_rows;
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        scratch->list[n] = row + i;
        gates[n] = out[i];
        n += (out[i] > 0) | job->all_up;
    }
    if (job->up->slab_cols)
        dot_slabs(cpu, job->up, n, scratch, ups);
    else
        dot_lines(cpu, job->up, n, scratch, ups);
    for (uint32_t i = 0; job->add_to_up && i < n; i++)
        ups[i] += job->add_to_up[scratch->list[i]];
    job->gate_mul(gates, ups, n, gates);
    memset(out, 0, n_rows * sizeof *out);
    for (uint32_t i = 0; i < n; i++)
        out[scratch->list[i] - row] = gates[i];
    scratch->counts.up_read += n;
    scratch->counts.up_total += n_rows;
}

/* Rows of `gate`, then the same rows of `up`: no thread waits for another in between. */
static void gated_task(void *context, size_t task, int worker) {
    const gated_job *job = context;
    tern_cpu_linear *cpu = job->cpu;
    tern_linear_scratch *scratch = &cpu->workers[worker];
    uint32_t ffn = job->gate->rows, row = (uint32_t)task * job->rows_per_task, n_rows = ffn - row;
    if (n_rows > job->rows_per_task)
        n_rows = job->rows_per_task;
    size_t ld = tern_n_groups(n_rows) * TERN_GROUP_ROWS;
    const linear_job gate = {.cpu = cpu, .n_tokens = job->n_tokens};
    linear_rows(&gate, job->gate, job->out, row, n_rows, worker);
    if (job->n_tokens == 1 && job->up->layout == TERN_LAYOUT_ROWS) {
        up_where_needed(job, row, n_rows, scratch, job->out + row);
        return;
    }
    if (job->up->slab_cols)
        multiply_slabs(cpu, job->up, row, n_rows, job->n_tokens, scratch, ld);
    else
        multiply(cpu, job->up, row, n_rows, job->n_tokens, scratch, scratch->acc, ld);
    for (size_t t = 0; t < job->n_tokens; t++) {
        float *out = job->out + t * ffn + row, *up = job->up->slab_cols ? scratch->sums + t * ld : scratch->values;
        if (!job->up->slab_cols)
            dequantize(cpu, job->up, row, scratch->acc + t * ld, n_rows, cpu->q_scale[t], up);
        job->gate_mul(out, up, n_rows, out);
    }
}

/* One task is one token. */
static void gate_task(void *context, size_t token, int worker) {
    (void)worker;
    const gated_job *job = context;
    uint32_t ffn = job->gate->rows;
    float *gate = job->out + token * ffn;
    job->gate_mul(gate, job->cpu->adapter.up + token * ffn, ffn, gate);
}

/* The same of gates that are there. */
static void up_task(void *context, size_t task, int worker) {
    const gated_job *job = context;
    uint32_t row = (uint32_t)task * job->rows_per_task, n_rows = job->gate->rows - row;
    n_rows = n_rows < job->rows_per_task ? n_rows : job->rows_per_task;
    up_where_needed(job, row, n_rows, &job->cpu->workers[worker], job->out + row);
}

/* With an adapter the signs of the gates are known only when all of its products are added. */
static void gated_with_adapter(gated_job *job) {
    tern_cpu_linear *cpu = job->cpu;
    const tern_linear *const both[] = {job->gate, job->up};
    float *const outs[] = {job->out, cpu->adapter.up};
    if (job->n_tokens > 1 || job->up->layout != TERN_LAYOUT_ROWS) {
        tern_cpu_linear_run(cpu, both, outs, 2, job->n_tokens);
        tern_pool_run(cpu->pool, job->n_tokens, gate_task, job);
        return;
    }
    linear_job gates = {.cpu = cpu, .linears = both, .out = outs, .n_linears = 1, .n_tokens = 1};
    tern_cpu_slabs_cut(&cpu->slabs, cpu->pool, cpu->q, both, 2, 1);
    run_linears(&gates);
    memset(cpu->adapter.up, 0, job->up->rows * sizeof *cpu->adapter.up);
    add_low_rank(cpu, both, outs, 2, 1);
    job->add_to_up = job->up->low_rank ? cpu->adapter.up : NULL;
    tern_pool_run(cpu->pool, tasks_of(job->gate, job->rows_per_task), up_task, job);
}

void tern_cpu_gated(tern_cpu_linear *cpu, const tern_linear *gate, const tern_linear *up, float *out, uint32_t n) {
    gated_job job = {.cpu = cpu, .gate = gate, .up = up, .out = out, .n_tokens = n};
    if (cpu->weights->plain) {
        tern_cpu_plain_gated(&cpu->plain, gate, up, out, n);
        return;
    }
    job.gate_mul = tern_gate_of(cpu->kernels, cpu->weights->dims.activation);
    job.all_up = cpu->dense || cpu->weights->dims.activation != TERN_RELU2;
    uint32_t share = gate->rows / (uint32_t)tern_pool_threads(cpu->pool) / TERN_GROUP_ROWS * TERN_GROUP_ROWS;
    uint32_t wanted = n > FEW_TOKENS ? MANY_ROWS : GATED_ROWS;
    if (wanted > share) /* more threads than tasks */
        wanted = share < TERN_GROUP_ROWS ? TERN_GROUP_ROWS : share;
    job.rows_per_task = rows_per_task(cpu, gate->rows, wanted, bytes_of(gate) + bytes_of(up), n);
    if (gate->low_rank || up->low_rank) {
        gated_with_adapter(&job);
        return;
    }
    tern_cpu_slabs_cut(&cpu->slabs, cpu->pool, cpu->q, (const tern_linear *[]){gate, up}, 2, n);
    tern_pool_run(cpu->pool, tasks_of(gate, job.rows_per_task), gated_task, &job);
}
