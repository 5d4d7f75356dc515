#include "runtime/cpu_plain.h"

#include <stdlib.h>

#include "base/mem.h"

/* A tile is ROWS rows times TOKENS tokens: the rows (half a megabyte of F16 at 8192 columns) rest in L2 while the batch
 * passes by, and its results fit on the stack. */
enum { ROWS = 32, TOKENS = 16 };
/* Products of less weight than this are done sooner than another thread is woken. */
enum { MIN_SHARED_BYTES = 64 << 10 };

void tern_cpu_plain_init(tern_cpu_plain *plain, const tern_weights *weights, const tern_kernels *kernels,
                         tern_pool *pool) {
    *plain = (tern_cpu_plain){.weights = weights, .kernels = kernels, .pool = pool};
}

void tern_cpu_plain_free(tern_cpu_plain *plain) {
    tern_aligned_free(plain->normed);
    plain->normed = NULL;
    plain->max_batch = 0;
}

tern_status tern_cpu_plain_reserve(tern_cpu_plain *plain, uint32_t max_batch, tern_error *err) {
    const tern_dims *dims = &plain->weights->dims;
    size_t widest = tern_widest(dims), n_bytes;
    if (max_batch <= plain->max_batch)
        return TERN_OK;
    bool fits = tern_mul_size(widest * sizeof(float), max_batch, &n_bytes);
    float *larger = fits ? tern_aligned_alloc(n_bytes) : NULL;
    if (!larger)
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory for prefill steps of %u tokens; a smaller chunk needs less", max_batch);
    tern_cpu_plain_free(plain);
    plain->normed = larger;
    plain->max_batch = max_batch;
    return TERN_OK;
}

/* ------------------------------------------------------------------- input */

typedef struct norm_job {
    const tern_cpu_plain *plain;
    const float *x, *gain;
    uint32_t size;
} norm_job;

/* One task is one token. */
static void norm_task(void *context, size_t token, int worker) {
    (void)worker;
    const norm_job *job = context;
    job->plain->kernels->rms_norm(job->x + token * job->size, job->gain, job->size, job->plain->weights->dims.rms_eps,
                                  job->plain->normed + token * job->size);
}

void tern_cpu_plain_input(tern_cpu_plain *plain, const float *x, const float *gain, uint32_t size, uint32_t n) {
    norm_job job = {plain, x, gain, size};
    plain->x = gain ? plain->normed : x;
    if (gain)
        tern_pool_run(plain->pool, n, norm_task, &job);
}

/* ---------------------------------------------------------------- products */

typedef struct product_job {
    const tern_cpu_plain *plain;
    const tern_linear *const *linears; /* [n_linears]; of gated(): gate and up */
    float *const *out;
    uint32_t n_linears, n_tokens, rows_per_task;
} product_job;

/* n_rows <= ROWS rows from `row` on, n_tokens <= TOKENS tokens from `token` on. */
typedef struct tile {
    uint32_t row, n_rows, token, n_tokens;
} tile;

/* y[t * ld + r] = row r times token t of the tile */
static void multiply(const tern_cpu_plain *plain, const tern_linear *linear, const tile *t, float *y, size_t ld) {
    plain->kernels->head[linear->plain_type](linear->packed + t->row * linear->unit_bytes, linear->unit_bytes,
                                             t->n_rows, plain->x + (size_t)t->token * linear->cols, linear->cols,
                                             t->n_tokens, y, ld);
}

/* What becomes of a tile of linear i. */
typedef void tile_fn(const product_job *job, uint32_t i, const tile *t);

static float *place_of(const product_job *job, uint32_t i, const tile *t) {
    return job->out[i] + (size_t)t->token * job->linears[i]->rows + t->row;
}

static void store_tile(const product_job *job, uint32_t i, const tile *t) {
    multiply(job->plain, job->linears[i], t, place_of(job, i, t), job->linears[i]->rows);
}

static void add_tile(const product_job *job, uint32_t i, const tile *t) {
    float y[TOKENS * ROWS], *out = place_of(job, i, t);
    multiply(job->plain, job->linears[i], t, y, ROWS);
    for (uint32_t token = 0; token < t->n_tokens; token++)
        job->plain->kernels->add(out + (size_t)token * job->linears[i]->rows, y + (size_t)token * ROWS, t->n_rows);
}

/* The tile of gate and the same one of up. */
static void gated_tile(const product_job *job, uint32_t i, const tile *t) {
    float gate[TOKENS * ROWS], up[TOKENS * ROWS], *out = place_of(job, i, t);
    tern_gate_fn *gate_mul = tern_gate_of(job->plain->kernels, job->plain->weights->dims.activation);
    multiply(job->plain, job->linears[0], t, gate, ROWS);
    multiply(job->plain, job->linears[1], t, up, ROWS);
    for (uint32_t token = 0; token < t->n_tokens; token++)
        gate_mul(gate + (size_t)token * ROWS, up + (size_t)token * ROWS, t->n_rows,
                 out + (size_t)token * job->linears[i]->rows);
}

static size_t tasks_of(const product_job *job, uint32_t i) {
    return (job->linears[i]->rows + job->rows_per_task - 1) / job->rows_per_task;
}

/* The matrices' tasks follow one another; a task is all tokens times some rows of one. */
static void run_tiles(const product_job *job, size_t task, tile_fn *finish) {
    uint32_t i = 0;
    while (task >= tasks_of(job, i))
        task -= tasks_of(job, i++);
    uint32_t row = (uint32_t)task * job->rows_per_task, rows = job->linears[i]->rows;
    uint32_t end = rows - row < job->rows_per_task ? rows : row + job->rows_per_task;
    for (; row < end; row += ROWS)
        for (uint32_t token = 0; token < job->n_tokens; token += TOKENS) {
            uint32_t n_rows = end - row, n_tokens = job->n_tokens - token;
            const tile t = {row, n_rows < ROWS ? n_rows : ROWS, token, n_tokens < TOKENS ? n_tokens : TOKENS};
            finish(job, i, &t);
        }
}

static void store_task(void *context, size_t task, int worker) {
    (void)worker;
    run_tiles(context, task, store_tile);
}

static void add_task(void *context, size_t task, int worker) {
    (void)worker;
    run_tiles(context, task, add_tile);
}

static void gated_task(void *context, size_t task, int worker) {
    (void)worker;
    run_tiles(context, task, gated_tile);
}

/* `n_split` of the matrices are split into tasks; the others go along. */
static void run(product_job *job, uint32_t n_split, tern_pool_fn task) {
    uint64_t n_bytes = 0;
    size_t n_tasks = 0;
    uint32_t most_rows = 0;
    for (uint32_t i = 0; i < job->n_linears; i++) {
        n_bytes += tern_packed_bytes(job->linears[i]);
        most_rows = job->linears[i]->rows > most_rows ? job->linears[i]->rows : most_rows;
    }
    job->rows_per_task = n_bytes * job->n_tokens < MIN_SHARED_BYTES ? most_rows : ROWS;
    for (uint32_t i = 0; i < n_split; i++)
        n_tasks += tasks_of(job, i);
    tern_pool_run(job->plain->pool, n_tasks, task, job);
}

void tern_cpu_plain_run(tern_cpu_plain *plain, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                        uint32_t n) {
    product_job job = {.plain = plain, .linears = linears, .out = out, .n_linears = n_linears, .n_tokens = n};
    run(&job, n_linears, store_task);
}

void tern_cpu_plain_add(tern_cpu_plain *plain, const tern_linear *linear, float *x, uint32_t n) {
    product_job job = {.plain = plain,
                       .linears = (const tern_linear *[]){linear},
                       .out = (float *[]){x},
                       .n_linears = 1,
                       .n_tokens = n};
    run(&job, 1, add_task);
}

void tern_cpu_plain_gated(tern_cpu_plain *plain, const tern_linear *gate, const tern_linear *up, float *out,
                          uint32_t n) {
    product_job job = {.plain = plain,
                       .linears = (const tern_linear *[]){gate, up},
                       .out = (float *[]){out},
                       .n_linears = 2,
                       .n_tokens = n};
    run(&job, 1, gated_task);
}
