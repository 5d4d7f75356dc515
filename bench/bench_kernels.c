/*
 * The kernels of every rung at the shapes of BitNet b1.58 2B4T: GB/s of weights (or cache) read and GMAC/s, median
 * and spread of several runs, with 1 thread and with all.
 *
 *     bench_kernels [-t THREADS] [-r RUNS] [-k TEXT] [RUNG...]
 *
 * TEXT: only cases whose names have it in them.
 *
 * Buffers are larger than the caches where a decode step reads them from memory, too. The first line is what plain
 * summing of a large buffer reaches, as the yardstick of the same minute.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/half.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/attention.h"
#include "kernels/binary.h"
#include "kernels/kernels.h"
#include "kernels/lines.h"
#include "kernels/screen.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { HIDDEN = 2560, FFN = 6912, HEAD_DIM = 128, KV_HEADS = 5, QUERIES = 4, MAX_QUERIES = 32, MAX_RUNS = 99 };
#define POOL_BYTES ((size_t)192 << 20) /* well past any last-level cache of a small machine */

static tern_pool *pool;
static int n_threads = 1, n_runs = 7;
static const char *only = ""; /* what a case's name must have in it */
static uint8_t *memory;       /* [POOL_BYTES]: weights, head rows, keys or values */
static float *floats;         /* [1 << 20] */
static float *weights;        /* [1 << 16], of a softmax */
static int8_t *bytes;         /* [1 << 22] */
static float *results;        /* [1 << 22] */

/* One measured case: a step of work that is split into n_tasks. */
typedef struct job {
    const tern_kernels *rung;
    const tern_ternary *ternary; /* of the rung, for matmul and pack_group */
    size_t rows, k, tokens, row_bytes;
    int type;    /* tern_head_type, or of attention: 0 f32, 1 f16, 2 q8 */
    bool scores; /* of attention: or values */
    size_t n_tasks;
    double bytes, macs; /* of the whole step */
    tern_pool_fn run;
} job;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, job *j) {
    double seconds[MAX_RUNS];
    if (!strstr(name, only))
        return;
    tern_pool_run(pool, j->n_tasks, j->run, j);
    for (int r = 0; r < n_runs; r++) {
        double start = tern_seconds();
        tern_pool_run(pool, j->n_tasks, j->run, j);
        seconds[r] = tern_seconds() - start;
    }
    qsort(seconds, (size_t)n_runs, sizeof *seconds, by_value);
    double median = seconds[n_runs / 2];
    printf("%-11s %-30s %2d %9.2f ms %8.1f GB/s %8.1f GMAC/s   %+.0f%% %+.0f%%\n", j->rung ? j->rung->name : "-", name,
           n_threads, median * 1e3, j->bytes / median * 1e-9, j->macs / median * 1e-9, (seconds[0] / median - 1) * 100,
           (seconds[n_runs - 1] / median - 1) * 100);
    fflush(stdout);
}

/* ---- what memory gives ---- */

static volatile uint64_t sums[4096]; /* volatile: the sums are for nobody */

static void run_read(void *context, size_t task, int worker) {
    (void)worker;
    const job *j = context;
    const uint64_t *words = (const uint64_t *)(const void *)(memory + task * j->row_bytes);
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < j->row_bytes / 8; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += words[i + lane];
    for (size_t lane = 1; lane < 8; lane++)
        sum[0] += sum[lane];
    sums[task] = sum[0];
}

static void bench_memory(void) {
    job j = {.n_tasks = POOL_BYTES >> 20, .row_bytes = (size_t)1 << 20, .bytes = (double)POOL_BYTES, .run = run_read};
    measure("read memory", &j);
}

/* ---- BitLinear ---- */

/* Groups a task, as the runtime splits a layer; the sums of a task stand close together. */
enum { CHUNK_GROUPS = 16, CHUNK_GROUPS_MANY = 4 };
static size_t chunk_groups(size_t tokens) { return tokens > 8 ? CHUNK_GROUPS_MANY : CHUNK_GROUPS; }

static void run_matmul(void *context, size_t task, int worker) {
    const job *j = context;
    static const int32_t q_sum[512];
    const tern_packing *packing = j->ternary->packing;
    size_t chunk = chunk_groups(j->tokens), group = task * chunk, groups = tern_n_groups(j->rows);
    size_t n = groups - group < chunk ? groups - group : chunk;
    int32_t *acc = (int32_t *)(void *)results + (size_t)worker % 64 * 65536; /* 512 tokens x 64 rows fit */
    j->ternary->matmul(memory + group * tern_group_bytes(packing, j->k), tern_k_pad(packing, j->k), n, bytes,
                       tern_q_pad(j->k), q_sum, j->tokens, acc, chunk * TERN_GROUP_ROWS);
}

/* One token: as many rows as fill the memory. Several tokens: one matrix. */
static void bench_matmul(const tern_kernels *rung, const tern_ternary *ternary, size_t rows, size_t k, size_t tokens,
                         bool stream) {
    size_t group_bytes = tern_group_bytes(ternary->packing, k);
    if (stream)
        rows = POOL_BYTES / group_bytes * TERN_GROUP_ROWS;
    if (strcmp(rung->name, "ref") == 0)
        rows = rows < 512 ? rows : 512;
    job j = {.rung = rung, .ternary = ternary, .rows = rows, .k = k, .tokens = tokens, .run = run_matmul};
    j.n_tasks = (tern_n_groups(rows) + chunk_groups(tokens) - 1) / chunk_groups(tokens);
    j.bytes = (double)tern_n_groups(rows) * (double)group_bytes;
    j.macs = (double)rows * (double)k * (double)tokens;
    char name[64];
    snprintf(name, sizeof name, "%s k=%zu tokens=%zu%s", ternary->packing->name, k, tokens, stream ? " stream" : "");
    measure(name, &j);
}

static void run_pack(void *context, size_t task, int worker) {
    (void)worker, (void)task;
    const job *j = context;
    j->ternary->packing->pack_group((uint8_t *)results, bytes, j->k, TERN_GROUP_ROWS, j->k);
}

enum { REPEAT = 200 }; /* of cases that work on one token's rows */

static void bench_packing(const tern_kernels *rung, const tern_ternary *ternary) {
    static const size_t few[] = {2, 4, 8}, many[] = {12, 32, 128, 512};
    bench_matmul(rung, ternary, 0, HIDDEN, 1, true);
    bench_matmul(rung, ternary, 0, FFN, 1, true);
    for (size_t i = 0; i < COUNT(few); i++) /* the weights come from memory for few tokens, too */
        bench_matmul(rung, ternary, 0, HIDDEN, few[i], true);
    for (size_t i = 0; i < COUNT(many); i++) {
        bench_matmul(rung, ternary, FFN, HIDDEN, many[i], false);
        bench_matmul(rung, ternary, HIDDEN, FFN, many[i], false);
    }
    if (n_threads > 1) /* all tasks write the same group */
        return;
    job j = {.rung = rung, .ternary = ternary, .k = FFN, .n_tasks = REPEAT, .run = run_pack};
    j.bytes = j.macs = (double)(FFN * TERN_GROUP_ROWS) * REPEAT; /* "MAC" counts trits */
    char name[64];
    snprintf(name, sizeof name, "%s pack_group k=%d", ternary->packing->name, FFN);
    measure(name, &j);
}

/* ---- binary weights times signs ---- */

static void run_signs(void *context, size_t task, int worker) {
    const job *j = context;
    size_t chunk = chunk_groups(j->tokens), group = task * chunk, groups = tern_n_groups(j->rows);
    int32_t *acc = (int32_t *)(void *)results + (size_t)worker % 64 * 65536;
    j->rung->binary->matmul_signs(memory + group * tern_group_bytes(&tern_packing_b1r16, j->k), j->k,
                                  groups - group < chunk ? groups - group : chunk, (const uint32_t *)(void *)bytes,
                                  tern_sign_words(j->k), j->tokens, acc, chunk * TERN_GROUP_ROWS);
}

/* int8 activations as bit planes are eight such products: they win where this one is more than eight times as fast as
 * b1r16 with as many tokens. The matrix that stays in the cache shows the arithmetic. */
static void bench_signs(const tern_kernels *rung, size_t tokens, bool stream) {
    size_t group_bytes = tern_group_bytes(&tern_packing_b1r16, HIDDEN);
    size_t rows = stream ? POOL_BYTES / group_bytes * TERN_GROUP_ROWS : 512;
    if (strcmp(rung->name, "ref") == 0)
        rows = 64;
    job j = {.rung = rung, .rows = rows, .k = HIDDEN, .tokens = tokens, .run = run_signs};
    j.n_tasks = (tern_n_groups(rows) + chunk_groups(tokens) - 1) / chunk_groups(tokens);
    j.bytes = (double)tern_n_groups(rows) * (double)group_bytes;
    j.macs = (double)rows * (double)j.k * (double)tokens;
    char name[64];
    snprintf(name, sizeof name, "b1r16 x signs k=%d tokens=%zu%s", HIDDEN, tokens, stream ? " stream" : "");
    measure(name, &j);
}

static void bench_binary(const tern_kernels *rung) {
    static const size_t tokens[] = {1, 2, 4, 8, 32};
    for (size_t i = 0; i < COUNT(tokens); i++) { /* one after the other, so that the ratio is of the same minute */
        bench_matmul(rung, &rung->binary->int8, 512, HIDDEN, tokens[i], false);
        bench_signs(rung, tokens[i], false);
    }
    bench_signs(rung, 1, true);
    bench_packing(rung, &rung->binary->int8);
}

/* ---- lines: FFN matrices one after the other, each FFN lines of HIDDEN trits ---- */

enum { LIST_LINES = 576, ROWS_LINES = 192, COLUMNS_ROWS = 7 * TERN_LINE_ROWS, LINES_WORKERS = 16 };
static uint32_t line_list[LIST_LINES]; /* the lines that a task of LIST_LINES takes */
static size_t n_line_list;

/* A worker's own part of the results: its sums, and behind those of 128 tokens the scratch. */
static int32_t *line_sums(int worker) {
    return (int32_t *)(void *)results + (size_t)worker % LINES_WORKERS * ((1 << 22) / LINES_WORKERS);
}

static void run_lines_list(void *context, size_t task, int worker) {
    const job *j = context;
    const tern_line_kernels *lines = j->ternary->lines;
    const uint8_t *at = memory + task * LIST_LINES * j->row_bytes;
    if (j->type == 0)
        lines->dots(at, HIDDEN, line_list, n_line_list, bytes, 0, line_sums(worker));
    else
        lines->sums(at, HIDDEN, line_list, n_line_list, bytes, line_sums(worker));
}

static void run_lines_matmul(void *context, size_t task, int worker) {
    const job *j = context;
    static const int32_t q_sum[512];
    const tern_line_kernels *lines = j->ternary->lines;
    int32_t *acc = line_sums(worker), *scratch = acc + COLUMNS_ROWS * 128;
    if (j->type == 0) {
        lines->matmul_rows(memory + task * ROWS_LINES * j->row_bytes, HIDDEN, ROWS_LINES, bytes, tern_q_pad(HIDDEN),
                           q_sum, j->tokens, acc, ROWS_LINES, scratch);
    } else {
        size_t first = task % 2 * COLUMNS_ROWS;
        lines->matmul_columns(memory + task / 2 * FFN * j->row_bytes, HIDDEN, FFN, first,
                              first ? HIDDEN - COLUMNS_ROWS : COLUMNS_ROWS, bytes, tern_q_pad(FFN), q_sum, j->tokens,
                              acc, COLUMNS_ROWS, scratch);
    }
}

/* Few tokens come from memory. GB/s are those of the lines that are taken, not of the cache lines they touch. */
static void bench_lines_of(const tern_kernels *rung, const tern_ternary *ternary, int type, size_t percent,
                           size_t tokens) {
    job j = {.rung = rung, .ternary = ternary, .type = type, .tokens = tokens, .row_bytes = tern_line_bytes(HIDDEN)};
    size_t n_matrices = POOL_BYTES / (FFN * j.row_bytes);
    if (tokens > 8 || strcmp(rung->name, "ref") == 0)
        n_matrices = 1;
    tern_rng rng;
    tern_rng_seed(&rng, 2);
    n_line_list = 0;
    for (uint32_t i = 0; i < LIST_LINES; i++)
        if (tern_rng_u64(&rng) % 100 < percent)
            line_list[n_line_list++] = i;
    j.run = tokens ? run_lines_matmul : run_lines_list;
    j.n_tasks = n_matrices * (!tokens ? FFN / LIST_LINES : type == 0 ? FFN / ROWS_LINES : 2);
    double share = tokens ? 1 : (double)n_line_list / LIST_LINES;
    j.bytes = share * (double)(n_matrices * FFN * j.row_bytes);
    j.macs = share * (double)(n_matrices * FFN * HIDDEN) * (double)(tokens ? tokens : 1);
    char name[64];
    if (tokens)
        snprintf(name, sizeof name, "lines as %s tokens=%zu", type == 0 ? "rows" : "columns", tokens);
    else
        snprintf(name, sizeof name, "lines %s %zu%%", type == 0 ? "dots" : "sums", percent);
    measure(name, &j);
}

static void bench_lines(const tern_kernels *rung, const tern_ternary *ternary) {
    static const size_t tokens[] = {1, 2, 4, 8, 16, 32, 128};
    if (ternary->lines->scratch_bytes > (((size_t)1 << 22) / LINES_WORKERS - COLUMNS_ROWS * 128) * sizeof(int32_t))
        return;
    for (int type = 0; type < 2; type++) {
        bench_lines_of(rung, ternary, type, type == 0 ? 40 : 20, 0);
        bench_lines_of(rung, ternary, type, 100, 0);
        for (size_t i = 0; i < COUNT(tokens); i++)
            bench_lines_of(rung, ternary, type, 100, tokens[i]);
    }
}

/* ---- LM head ---- */

enum { CHUNK_ROWS = 64 };
static const char *const head_names[TERN_N_HEAD_TYPES] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q6_k"};
static const struct {
    size_t values, bytes;
} head_blocks[TERN_N_HEAD_TYPES] = {{1, 4}, {1, 2}, {1, 2}, {32, 34}, {32, 18}, {256, 210}};

static void run_head(void *context, size_t task, int worker) {
    (void)worker;
    const job *j = context;
    size_t row = task * CHUNK_ROWS, n = j->rows - row < CHUNK_ROWS ? j->rows - row : CHUNK_ROWS;
    j->rung->head[j->type](memory + row * j->row_bytes, j->row_bytes, n, floats, j->k, j->tokens, results + row,
                           j->rows);
}

static void bench_head(const tern_kernels *rung, int type, size_t tokens) {
    job j = {.rung = rung, .type = type, .k = HIDDEN, .tokens = tokens, .run = run_head};
    j.row_bytes = HIDDEN / head_blocks[type].values * head_blocks[type].bytes;
    j.rows = tokens == 1 ? POOL_BYTES / j.row_bytes : 4096;
    if (strcmp(rung->name, "ref") == 0)
        j.rows = 256;
    j.n_tasks = (j.rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    j.bytes = (double)j.rows * (double)j.row_bytes;
    j.macs = (double)j.rows * (double)j.k * (double)tokens;
    char name[64];
    snprintf(name, sizeof name, "head %s tokens=%zu", head_names[type], tokens);
    measure(name, &j);
}

/* ---- the head's screen: planes as large as the memory, one state for all tokens ---- */

static tern_screen_x screen_state(void) {
    static const int32_t no_sums[HIDDEN / TERN_SCREEN_BLOCK];
    return (tern_screen_x){.digits = bytes,
                           .sums = no_sums,
                           .both_sums = no_sums,
                           .fine = bytes,
                           .fine_sums = no_sums,
                           .step = 1e-4f,
                           .half_fine_step = 1e-3f};
}

static void run_screen_coarse(void *context, size_t task, int worker) {
    (void)worker;
    const job *j = context;
    tern_screen_x x[16];
    for (size_t t = 0; t < j->tokens; t++)
        x[t] = screen_state();
    size_t group = task * CHUNK_GROUPS;
    j->rung->screen->coarse(memory + group * tern_screen_coarse_bytes(j->k),
                            memory + j->rows / 16 * tern_screen_coarse_bytes(j->k) +
                                group * tern_screen_step_bytes(j->k),
                            floats, j->k, CHUNK_GROUPS, x, j->tokens, results + group * 16, j->rows);
}

static void run_screen_fine(void *context, size_t task, int worker) {
    (void)worker;
    const job *j = context;
    tern_screen_x x[16];
    float *values[16];
    for (size_t group = task * CHUNK_GROUPS; group < (task + 1) * CHUNK_GROUPS; group++) {
        for (size_t t = 0; t < j->tokens; t++) {
            x[t] = screen_state();
            values[t] = results + t * j->rows + group * 16;
        }
        j->rung->screen->fine(memory + group * tern_screen_fine_bytes(j->k),
                              memory + j->rows / 16 * tern_screen_fine_bytes(j->k) +
                                  group * tern_screen_step_bytes(j->k),
                              floats, j->k, x, j->tokens, values);
    }
}

static void bench_screen(const tern_kernels *rung, bool fine, size_t tokens) {
    if (!rung->screen)
        return;
    job j = {.rung = rung, .k = HIDDEN, .tokens = tokens, .run = fine ? run_screen_fine : run_screen_coarse};
    size_t group_bytes =
        tern_screen_step_bytes(j.k) + (fine ? tern_screen_fine_bytes(j.k) : tern_screen_coarse_bytes(j.k));
    j.n_tasks = (strcmp(rung->name, "ref") == 0 ? POOL_BYTES / 256 : POOL_BYTES) / group_bytes / CHUNK_GROUPS;
    if (j.n_tasks * CHUNK_GROUPS * 16 * tokens > (size_t)1 << 22) /* of results */
        j.n_tasks = ((size_t)1 << 22) / tokens / 16 / CHUNK_GROUPS;
    j.rows = j.n_tasks * CHUNK_GROUPS * 16;
    j.bytes = (double)j.n_tasks * CHUNK_GROUPS * (double)group_bytes;
    j.macs = (double)j.rows * (double)j.k * (double)tokens;
    char name[64];
    snprintf(name, sizeof name, "screen %s tokens=%zu", fine ? "fine" : "coarse", tokens);
    measure(name, &j);
}

/* ---- attention: blocks of keys and values ---- */

static const size_t element_bytes[] = {4, 2, 1};
static const char *const element_names[] = {"f32", "f16", "q8"};

enum { BLOCKS_A_TASK = 32 };

/* One block; `ahead` is the next one, as the runtime has it. */
static void attention_block(const job *j, const void *block, const void *ahead, float *out) {
    const tern_attention_kernels *kernels = j->rung->attention;
    static const int32_t q_sum[MAX_QUERIES];
    if (j->scores && j->type == 0)
        kernels->scores_f32(floats, j->tokens, block, TERN_KEY_BLOCK, HEAD_DIM, 0.088f, out, TERN_KEY_BLOCK, ahead);
    else if (j->scores && j->type == 1)
        kernels->scores_f16(floats, j->tokens, block, TERN_KEY_BLOCK, HEAD_DIM, 0.088f, out, TERN_KEY_BLOCK, ahead);
    else if (j->scores)
        kernels->scores_q8(bytes, floats, q_sum, j->tokens, block, floats, TERN_KEY_BLOCK, HEAD_DIM, out,
                           TERN_KEY_BLOCK, ahead);
    else if (j->type == 0)
        kernels->values_f32(weights, TERN_KEY_BLOCK, j->tokens, block, TERN_KEY_BLOCK, HEAD_DIM, out, ahead);
    else if (j->type == 1)
        kernels->values_f16(weights, TERN_KEY_BLOCK, j->tokens, block, TERN_KEY_BLOCK, HEAD_DIM, out, ahead);
    else
        kernels->values_q8(weights, TERN_KEY_BLOCK, j->tokens, block, weights, TERN_KEY_BLOCK, HEAD_DIM, out, ahead);
}

static void run_attention(void *context, size_t task, int worker) {
    const job *j = context;
    const uint8_t *block = memory + (j->tokens == QUERIES ? task * BLOCKS_A_TASK * j->row_bytes : 0);
    for (size_t i = 0; i < BLOCKS_A_TASK; i++, block += j->row_bytes)
        attention_block(j, block, i + 1 < BLOCKS_A_TASK ? block + j->row_bytes : NULL,
                        results + (size_t)worker * MAX_QUERIES * HEAD_DIM);
}

/* The 4 heads of one token (a full context, as many layers as fit the memory), or a tile of prefill from cache. */
static void bench_attention(const tern_kernels *rung, int type, bool scores, size_t queries) {
    job j = {.rung = rung, .type = type, .scores = scores, .tokens = queries, .run = run_attention};
    j.row_bytes = TERN_KEY_BLOCK * HEAD_DIM * element_bytes[type];
    j.n_tasks = (strcmp(rung->name, "ref") == 0 ? POOL_BYTES / 32 : POOL_BYTES) / j.row_bytes / BLOCKS_A_TASK;
    j.bytes = (double)j.n_tasks * BLOCKS_A_TASK * (double)j.row_bytes;
    j.macs = (double)j.n_tasks * BLOCKS_A_TASK * TERN_KEY_BLOCK * HEAD_DIM * (double)queries;
    if (queries != QUERIES) {
        j.bytes = 0;
        memset(results, 0, sizeof(float) << 22);
    }
    char name[64];
    snprintf(name, sizeof name, "%s %s %zu queries%s", scores ? "scores" : "values", element_names[type], queries,
             queries == QUERIES ? " stream" : "");
    measure(name, &j);
}

/* ---- the rest: one token's rows, from cache; "MAC" counts elements ---- */

static void run_quantize(void *context, size_t task, int worker) {
    (void)worker, (void)task;
    const job *j = context;
    float scale;
    int32_t sum;
    j->rung->quantize_i8(floats, j->k, j->k, (int8_t *)results, &scale, &sum);
}
static void run_rms_norm(void *context, size_t task, int worker) {
    (void)worker, (void)task;
    const job *j = context;
    j->rung->rms_norm(floats, floats + FFN, j->k, 1e-5f, results);
}
static void run_relu2(void *context, size_t task, int worker) {
    (void)worker, (void)task;
    const job *j = context;
    j->rung->relu2_mul(floats, floats + FFN, j->k, results);
}
static void run_dequantize(void *context, size_t task, int worker) {
    (void)worker, (void)task;
    const job *j = context;
    j->rung->dequantize((const int32_t *)(const void *)bytes, j->k, 3.0f, 0.7f, results);
}
static void run_softmax(void *context, size_t task, int worker) {
    (void)worker, (void)task;
    const job *j = context;
    memcpy(results, floats, j->k * sizeof(float));
    float max;
    j->rung->attention->softmax_exp(results, j->k, &max);
}

static void bench_rows(const tern_kernels *rung) {
    static const struct {
        const char *name;
        tern_pool_fn run;
        size_t k, elements, bytes;
    } cases[] = {
        {"quantize_i8 n=6912", run_quantize, FFN, FFN, FFN * 5},
        {"rms_norm n=6912", run_rms_norm, FFN, FFN, FFN * 12},
        {"relu2_mul n=6912", run_relu2, FFN, FFN, FFN * 12},
        {"dequantize n=6912", run_dequantize, FFN, FFN, FFN * 8},
        {"softmax_exp n=256", run_softmax, TERN_KEY_SPLIT, TERN_KEY_SPLIT, TERN_KEY_SPLIT * 8},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        job j = {.rung = rung, .run = cases[i].run, .k = cases[i].k, .n_tasks = REPEAT};
        j.macs = (double)cases[i].elements * REPEAT;
        j.bytes = (double)cases[i].bytes * REPEAT;
        if (n_threads == 1) /* all tasks write the same row */
            measure(cases[i].name, &j);
    }
}

static void bench_rung(const tern_kernels *rung) {
    for (const tern_ternary *const *ternary = rung->ternary; *ternary; ternary++) {
        bench_packing(rung, *ternary);
        if ((*ternary)->lines)
            bench_lines(rung, *ternary);
    }
    bench_binary(rung);
    static const size_t screened[] = {1, 4, 9};
    for (size_t i = 0; i < COUNT(screened); i++) {
        bench_screen(rung, false, screened[i]);
        bench_screen(rung, true, screened[i]);
    }
    for (int type = 0; type < TERN_N_HEAD_TYPES; type++) {
        bench_head(rung, type, 1);
        bench_head(rung, type, 64);
    }
    for (int type = 0; type < 3; type++) {
        bench_attention(rung, type, true, QUERIES);
        bench_attention(rung, type, false, QUERIES);
        bench_attention(rung, type, true, MAX_QUERIES);
        bench_attention(rung, type, false, MAX_QUERIES);
    }
    bench_rows(rung);
}

static bool prepare(void) {
    memory = tern_aligned_alloc(POOL_BYTES);
    floats = tern_aligned_alloc(sizeof(float) << 20);
    bytes = tern_aligned_alloc((size_t)1 << 22);
    weights = tern_aligned_alloc(sizeof(float) << 16);
    results = tern_aligned_alloc(sizeof(float) << 22);
    if (!memory || !floats || !weights || !bytes || !results)
        return false;
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; i < POOL_BYTES; i += 8) { /* valid codes 0..2 and sane floats of every width */
        uint64_t r = (tern_rng_u64(&rng) & 0x0505050505050505u) | 0x2020202020202020u;
        memcpy(memory + i, &r, 8);
    }
    for (size_t i = 0; i < (size_t)1 << 20; i++)
        floats[i] = (float)tern_rng_normal(&rng);
    for (size_t i = 0; i < (size_t)1 << 22; i++)
        bytes[i] = (int8_t)((int)(tern_rng_u64(&rng) % 255) - 127);
    for (size_t i = 0; i < (size_t)1 << 16; i++)
        weights[i] = (float)tern_rng_uniform(&rng);
    memset(results, 0, sizeof(float) << 22);
    return true;
}

int main(int argc, char **argv) {
    int max_threads = tern_cpu_count(), first_name = 1;
    for (; first_name + 1 < argc && argv[first_name][0] == '-'; first_name += 2) {
        int value = atoi(argv[first_name + 1]);
        if (strcmp(argv[first_name], "-k") == 0)
            only = argv[first_name + 1];
        else if (strcmp(argv[first_name], "-t") == 0 && value > 0)
            max_threads = value;
        else if (strcmp(argv[first_name], "-r") == 0 && value > 0 && value <= MAX_RUNS)
            n_runs = value;
        else
            return fprintf(stderr, "usage: bench_kernels [-t THREADS] [-r RUNS] [-k TEXT] [RUNG...]\n"), 2;
    }
    if (!prepare())
        return fprintf(stderr, "bench_kernels: not enough memory\n"), 1;
    printf("rung        kernel                    threads  median    weights or cache   arithmetic   spread\n");
    for (n_threads = 1;; n_threads = max_threads) {
        tern_error err;
        if (tern_pool_create(n_threads, &pool, &err))
            return fprintf(stderr, "bench_kernels: %s\n", err.message), 1;
        bench_memory();
        for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
            bool wanted = first_name >= argc;
            for (int i = first_name; i < argc; i++)
                wanted |= strcmp(argv[i], (*rung)->name) == 0;
            if (wanted && ((*rung)->features & ~tern_cpu_features()) == 0)
                bench_rung(*rung);
        }
        tern_pool_free(pool);
        if (n_threads == max_threads)
            break;
    }
    tern_aligned_free(memory);
    tern_aligned_free(floats);
    tern_aligned_free(weights);
    tern_aligned_free(bytes);
    tern_aligned_free(results);
    return 0;
}
