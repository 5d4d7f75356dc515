/*
 * The operations of a training step: float products by shape, all operations of a layer, and a whole step, with 1
 * thread and with all, as GFLOP/s and as a fraction of what the same CPU did in the same run on registers alone (fp32
 * FMA, and bf16 dot products where it has them). Medians.
 *
 *     bench_train [-t THREADS] [-r RUNS] [-n TOKENS] [--cpu RUNG] [gemm] [ops] [step]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/net.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { MAX_RUNS = 99 };

static tern_pool *pool;
static int n_threads = 1, n_runs = 5;
static size_t n_tokens = 4096;
static double fp32_peak, bf16_peak; /* FLOP/s of all threads */

static void *alloc(size_t bytes) {
    void *memory = tern_aligned_alloc(bytes);
    if (!memory) {
        fprintf(stderr, "bench_train: out of memory; -n with fewer tokens needs less\n");
        exit(1);
    }
    return memory;
}

static float *normals(size_t n, double deviation) {
    static tern_rng rng = {{1, 2, 3, 4}};
    float *x = alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((tern_rng_uniform(&rng) - 0.5) * 3.46 * deviation);
    return x;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void (*work_fn)(void *user);

static double median_seconds(work_fn work, void *user) {
    double seconds[MAX_RUNS];
    work(user);
    for (int r = 0; r < n_runs; r++) {
        double start = tern_seconds();
        work(user);
        seconds[r] = tern_seconds() - start;
    }
    qsort(seconds, (size_t)n_runs, sizeof *seconds, by_value);
    return seconds[n_runs / 2];
}

static void report(const char *name, double seconds, double flops) {
    printf("%-34s %9.3f ms", name, seconds * 1e3);
    if (flops > 0)
        printf(" %8.1f GFLOP/s %5.1f%% of fp32", flops / seconds * 1e-9, 100 * flops / seconds / fp32_peak);
    if (flops > 0 && bf16_peak > 0)
        printf(" %5.1f%% of bf16", 100 * flops / seconds / bf16_peak);
    printf("\n");
    fflush(stdout);
}

/* ---------------------------------------------------------------- peaks */

typedef struct peak_job {
    const tern_gemm *gemm;
    uint8_t *operands;
    float *c;
} peak_job;

enum { PEAK_UNITS = 64, PEAK_REPEAT = 20000 };

/* A tile whose operands are a few lines of L1: what the instruction can do, but for the loads that hide behind it. */
static void peak_task(void *context, size_t task, int worker) {
    (void)task;
    const peak_job *job = context;
    const tern_gemm *gemm = job->gemm;
    float *c = job->c + (size_t)worker * 4096;
    for (int i = 0; i < PEAK_REPEAT; i++)
        gemm->tile(PEAK_UNITS, job->operands, gemm->unit_bytes, 0, job->operands, c, gemm->nr, gemm->mr, gemm->nr, 1.0f,
                   false);
}

static void run_peak(void *user) { tern_pool_run(pool, (size_t)n_threads, peak_task, user); }

static double measure_peak(const tern_gemm *gemm) {
    peak_job job = {gemm, alloc(1 << 20), alloc((size_t)n_threads * 4096 * sizeof(float))};
    memset(job.operands, 0, 1 << 20);
    double flops = 2.0 * (double)(gemm->mr * gemm->nr * PEAK_UNITS * gemm->unit) * PEAK_REPEAT * n_threads;
    double seconds = median_seconds(run_peak, &job);
    tern_aligned_free(job.operands);
    tern_aligned_free(job.c);
    return flops / seconds;
}

/* ---------------------------------------------------------------- products */

typedef struct gemm_case {
    const tern_gemm *gemm;
    tern_product product;
    void *scratch;
} gemm_case;

static void run_gemm(void *user) {
    const gemm_case *t = user;
    tern_gemm_run(t->gemm, pool, &t->product, t->scratch);
}

/* dx = dy W, dW = dy^T x, and logits = h E^T, of a matrix [rows, cols]. */
static void bench_shape(const tern_gemm *gemm, size_t rows, size_t cols) {
    size_t n = n_tokens;
    float *dy = normals(n * rows, 1.0), *dx = normals(n * cols, 1.0), *w = normals(rows * cols, 1.0);
    float *scale = normals(n, 1.0);
    int8_t *q = alloc(n * cols);
    uint8_t *packed = alloc(tern_bit_bytes((uint32_t)rows, (uint32_t)cols));
    memset(q, 3, n * cols);
    memset(packed, 0x15, tern_bit_bytes((uint32_t)rows, (uint32_t)cols));
    gemm_case t = {.gemm = gemm, .scratch = alloc(tern_gemm_scratch(rows > cols ? rows : cols, n_threads))};
    const struct {
        const char *name;
        tern_product product;
    } cases[] = {
        {"dx = dy W~",
         {n, cols, rows, {.data = dy, .ld = rows}, {TERN_OPERAND_TRITS, true, packed, cols, NULL}, 1, false, dx, cols}},
        {"dW += dy^T x~",
         {rows, cols, n, {0, true, dy, rows, scale}, {TERN_OPERAND_I8, true, q, cols, NULL}, 1, true, w, cols}},
        {"y = x W^T", {n, rows, cols, {.data = dx, .ld = cols}, {.data = w, .ld = cols}, 1, false, dy, rows}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s %zux%zu %s", gemm->name, rows, cols, cases[i].name);
        t.product = cases[i].product;
        report(name, median_seconds(run_gemm, &t), 2.0 * (double)n * (double)rows * (double)cols);
    }
    void *const all[] = {dy, dx, w, scale, q, packed, t.scratch};
    for (size_t i = 0; i < COUNT(all); i++)
        tern_aligned_free(all[i]);
}

static void bench_gemm(const tern_gemm *gemm) {
    static const size_t shapes[][2] = {{256, 256}, {768, 256}, {256, 768}, {4096, 256}, {2560, 2560}, {6912, 2560}};
    for (size_t i = 0; i < COUNT(shapes); i++)
        bench_shape(gemm, shapes[i][0], shapes[i][1]);
}

/* ---------------------------------------------------------------- operations */

typedef struct ops_case {
    tern_ops ops;
    tern_dims dims;
    tern_sequences seqs;
    tern_bit bit;
    tern_act act, wide;
    int32_t *targets;
    float *x, *gain, *y, *a, *b, *c, *d, *e, *f, *lse, *table, *dtable, *nll, *cosines, *sines;
} ops_case;

enum { VOCAB = 4096, HIDDEN = 256, FFN = 768, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64, CTX = 512, LAYERS = 8 };

static void run_quantize(void *user) {
    ops_case *t = user;
    tern_op_quantize_weights(&t->ops, t->table, &t->bit);
}
static void run_norm(void *user) {
    ops_case *t = user;
    tern_op_norm(&t->ops, t->x, t->gain, n_tokens, HIDDEN, 1e-5f, &t->act);
}
static void run_norm_backward(void *user) {
    ops_case *t = user;
    tern_op_norm_backward(&t->ops, t->x, t->gain, t->y, n_tokens, HIDDEN, 1e-5f, t->a, t->d);
}
static void run_linear(void *user) {
    ops_case *t = user;
    tern_op_linear(&t->ops, &t->bit, &t->act, n_tokens, t->b, false);
}
static void run_linear_backward(void *user) {
    ops_case *t = user;
    tern_op_linear_backward(&t->ops, &t->bit, &t->act, t->b, n_tokens, t->x, false, t->dtable);
}
static void run_rope(void *user) {
    ops_case *t = user;
    tern_op_rope(&t->ops, &t->seqs, &t->dims, t->cosines, t->sines, false, t->x, t->b);
}
static void run_attention(void *user) {
    ops_case *t = user;
    tern_op_attention(&t->ops, &t->seqs, &t->dims, t->x, t->b, t->c, t->y, t->lse);
}
static void run_attention_backward(void *user) {
    ops_case *t = user;
    tern_op_attention_backward(&t->ops, &t->seqs, &t->dims, t->x, t->b, t->c, t->y, t->lse, t->a, t->d, t->e, t->f);
}
static void run_relu2(void *user) {
    ops_case *t = user;
    tern_op_relu2(&t->ops, t->b, t->c, n_tokens, FFN, t->d);
}
static void run_relu2_backward(void *user) {
    ops_case *t = user;
    tern_op_relu2_backward(&t->ops, t->b, t->c, t->d, n_tokens, FFN, t->e, t->f);
}
static void run_embed(void *user) {
    ops_case *t = user;
    tern_op_embed(&t->ops, t->table, t->targets, n_tokens, HIDDEN, t->x);
}
static void run_embed_backward(void *user) {
    ops_case *t = user;
    tern_op_embed_backward(&t->ops, t->targets, t->x, n_tokens, HIDDEN, t->dtable);
}
static void run_head_exact(void *user) {
    ops_case *t = user;
    tern_op_head_loss(&t->ops, t->x, t->table, t->targets, n_tokens, HIDDEN, VOCAB, true, t->nll);
}
static void run_head_backward(void *user) {
    ops_case *t = user;
    tern_op_head_loss_backward(&t->ops, t->x, t->table, t->targets, t->lse, 0.0f, n_tokens, HIDDEN, VOCAB, t->nll, t->a,
                               t->dtable);
}

static void make_case(ops_case *t, const char *cpu) {
    t->dims = (tern_dims){.vocab_size = VOCAB,
                          .n_ctx = CTX,
                          .hidden_size = HIDDEN,
                          .ffn_size = FFN,
                          .n_heads = HEADS,
                          .n_kv_heads = KV_HEADS,
                          .head_dim = HEAD_DIM,
                          .rope_theta = 10000};
    tern_error error;
    if (tern_ops_create(cpu, &t->dims, n_tokens, pool, &t->ops, &error)) {
        fprintf(stderr, "bench_train: %s\n", error.message);
        exit(1);
    }
    float **const wide[] = {&t->x, &t->y, &t->a, &t->b, &t->c, &t->d, &t->e, &t->f};
    for (size_t i = 0; i < COUNT(wide); i++)
        *wide[i] = normals(n_tokens * FFN, 1.0);
    t->gain = normals(FFN, 1.0);
    t->table = normals((size_t)VOCAB * HIDDEN, 0.1);
    t->dtable = normals((size_t)VOCAB * HIDDEN, 0.1);
    t->lse = normals(n_tokens * HEADS, 1.0);
    t->nll = normals(n_tokens, 1.0);
    t->cosines = alloc((size_t)CTX * HEAD_DIM * sizeof(float));
    t->sines = alloc((size_t)CTX * HEAD_DIM * sizeof(float));
    tern_rope_tables(&t->dims, t->cosines, t->sines);
    t->targets = alloc(n_tokens * sizeof *t->targets);
    for (size_t i = 0; i < n_tokens; i++)
        t->targets[i] = (int32_t)(i * 7919 % VOCAB);
    uint32_t *start = alloc((n_tokens / CTX + 1) * sizeof *start);
    for (size_t i = 0; i <= n_tokens / CTX; i++)
        start[i] = (uint32_t)(i * CTX);
    t->seqs = (tern_sequences){start, n_tokens / CTX};
    t->act = (tern_act){.q = alloc(n_tokens * tern_q_pad(FFN)), .ld = tern_q_pad(HIDDEN)};
    t->act.scale = alloc(n_tokens * sizeof(float));
    t->act.sum = alloc(n_tokens * sizeof(int32_t));
    t->bit = (tern_bit){.rows = FFN, .cols = HIDDEN, .packed = alloc(tern_bit_bytes(FFN, HIDDEN))};
}

static void bench_ops(const char *cpu) {
    ops_case t = {0};
    make_case(&t, cpu);
    double n = (double)n_tokens, linear = 2.0 * n * FFN * HIDDEN, head = 2.0 * n * VOCAB * HIDDEN;
    double attention = 2.0 * n * (CTX + 1) / 2 * HEADS * HEAD_DIM; /* of one of its products */
    const struct {
        const char *name;
        work_fn run;
        double flops;
    } cases[] = {
        {"quantize weights 768x256", run_quantize, 0},
        {"norm + quantize 256", run_norm, 0},
        {"norm backward 256", run_norm_backward, 0},
        {"linear 768x256", run_linear, linear},
        {"linear backward 768x256", run_linear_backward, 2 * linear},
        {"rope", run_rope, 0},
        {"attention", run_attention, 2 * attention},
        {"attention backward", run_attention_backward, 5 * attention},
        {"relu2 768", run_relu2, 0},
        {"relu2 backward 768", run_relu2_backward, 0},
        {"embed", run_embed, 0},
        {"embed backward", run_embed_backward, 0},
        {"head loss, exact", run_head_exact, head},
        {"head loss backward", run_head_backward, 3 * head},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        report(cases[i].name, median_seconds(cases[i].run, &t), cases[i].flops);
    tern_ops_free(&t.ops);
}

/* ---------------------------------------------------------------- a step */

typedef struct step_case {
    tern_params params;
    tern_net *net;
    tern_batch batch;
    float *weight, *nll;
} step_case;

static void run_net_quantize(void *user) {
    step_case *t = user;
    tern_net_quantize(t->net, TERN_WEIGHTS_TERNARY);
}
static void run_forward(void *user) {
    step_case *t = user;
    tern_net_forward(t->net, &t->batch);
}
static void run_backward(void *user) {
    step_case *t = user;
    tern_net_backward(t->net, &t->batch, t->weight, 0.0f, t->params.grads, t->nll, NULL, NULL);
}

/* Forward and backward pass of a model of the demo's shape. */
static void bench_step(const char *cpu) {
    const tern_dims dims = {VOCAB, CTX, HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, 1e-5f, 10000};
    const tern_net_params how = {.max_tokens = n_tokens, .weights = TERN_WEIGHTS_TERNARY, .cpu = cpu};
    ops_case ops = {0};
    make_case(&ops, cpu);
    step_case t = {.weight = normals(n_tokens, 1.0), .nll = normals(n_tokens, 1.0)};
    tern_error error;
    if (tern_params_create(&dims, true, &t.params, &error) || tern_net_create(&t.params, &how, pool, &t.net, &error)) {
        fprintf(stderr, "bench_train: %s\n", error.message);
        exit(1);
    }
    tern_params_init(&t.params, 1);
    t.batch = (tern_batch){ops.seqs.start[ops.seqs.n], ops.targets, ops.targets, ops.seqs};
    double n = (double)t.batch.n_tokens, kv = KV_HEADS * HEAD_DIM;
    double matrices = LAYERS * HIDDEN * (2.0 * HIDDEN + 2.0 * kv + 3.0 * FFN);
    double attention = 2.0 * n * (CTX + 1) / 2 * HEADS * HEAD_DIM * LAYERS, head = 2.0 * n * VOCAB * HIDDEN;
    report("step: quantize", median_seconds(run_net_quantize, &t), 0);
    double forward = median_seconds(run_forward, &t), backward = median_seconds(run_backward, &t);
    report("step: forward", forward, 2 * n * matrices + 2 * attention);
    report("step: backward, with the head", backward, 4 * n * matrices + 5 * attention + 3 * head);
    report("step", forward + backward, 6 * n * matrices + 7 * attention + 3 * head);
    printf("%.0f tokens/s without the optimiser\n", n / (forward + backward));
    tern_net_free(t.net);
    tern_params_free(&t.params);
    tern_ops_free(&ops.ops);
}

int main(int argc, char **argv) {
    int most = tern_cpu_count();
    const char *cpu = NULL;
    bool gemm = false, ops = false, step = false;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-t") == 0 && i + 1 < argc)
            most = atoi(argv[++i]);
        else if (strcmp(argv[i], "-r") == 0 && i + 1 < argc)
            n_runs = atoi(argv[++i]);
        else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            n_tokens = (size_t)atol(argv[++i]);
        else if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc)
            cpu = argv[++i];
        else if (strcmp(argv[i], "gemm") == 0)
            gemm = true;
        else if (strcmp(argv[i], "ops") == 0)
            ops = true;
        else if (strcmp(argv[i], "step") == 0)
            step = true;
        else
            most = 0;
    if (most < 1 || n_runs < 1 || n_runs > MAX_RUNS || n_tokens < CTX) {
        fprintf(stderr, "usage: bench_train [-t THREADS] [-r RUNS] [-n TOKENS] [--cpu RUNG] [gemm] [ops] [step]\n");
        return 2;
    }
    n_threads = most;
    tern_error error;
    tern_ops chosen;
    const tern_dims small = {.vocab_size = 16, .n_ctx = 1, .hidden_size = 16, .ffn_size = 16, .head_dim = 16};
    if (tern_pool_create(n_threads, &pool, &error) || tern_ops_create(cpu, &small, 1, pool, &chosen, &error)) {
        fprintf(stderr, "bench_train: %s\n", error.message);
        return 1;
    }
    fp32_peak = measure_peak(chosen.gemm->exact);
    bf16_peak = chosen.gemm->unit == 2 ? measure_peak(chosen.gemm) : 0;
    printf("%s, %d threads, %zu tokens: peak %.0f GFLOP/s in fp32, %.0f in bf16\n", chosen.gemm->name, n_threads,
           n_tokens, fp32_peak * 1e-9, bf16_peak * 1e-9);
    bool all = !gemm && !ops && !step;
    if (gemm || all)
        bench_gemm(chosen.gemm);
    if (ops || all)
        bench_ops(cpu);
    if (step || all)
        bench_step(cpu);
    tern_ops_free(&chosen);
    tern_pool_free(pool);
    return 0;
}
