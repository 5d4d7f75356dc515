#include "train/speed.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/optim.h"
#include "train/plan.h"

/* Enough values for the caches to matter as they do in the whole model; enough work for a clock; and the best of a few
 * passes, since whatever else the machine does makes them slower, never faster. */
enum { MAX_VALUES = 16 << 20, MAX_VOCAB = 4096, MIN_TOKENS = 256, PASSES = 4 };
#define PASS_FLOPS 30e9

typedef struct trial {
    tern_params params;
    tern_net *net;
    tern_pool *pool;
    tern_batch batch;
    int32_t *ids;     /* [n + 1] */
    uint32_t *starts; /* [n_sequences + 1] */
    float *nll, *weight;
    size_t n; /* tokens of a pass */
} trial;

double tern_train_flops(const tern_dims *dims, uint64_t n_matrix) {
    return 6.0 * (double)n_matrix + 6.0 * (double)dims->n_layers * dims->n_ctx * (double)dims->hidden_size;
}

static uint64_t matrix_values(const tern_dims *dims) {
    uint64_t width = dims->hidden_size, kv = tern_kv_size(dims), q = tern_q_size(dims);
    return dims->n_layers * width * (2 * q + 2 * kv + 3 * (uint64_t)dims->ffn_size) + dims->vocab_size * width;
}

static tern_dims smaller(const tern_dims *dims) {
    tern_dims d = *dims;
    while (d.n_layers > 1 && matrix_values(&d) > MAX_VALUES)
        d.n_layers /= 2;
    if (matrix_values(&d) > MAX_VALUES && d.vocab_size > MAX_VOCAB)
        d.vocab_size = MAX_VOCAB;
    return d;
}

/* Full rows of random ids. */
static tern_status make_batch(trial *t, const tern_dims *dims, tern_error *err) {
    size_t row = t->n < dims->n_ctx ? t->n : dims->n_ctx, n_rows = t->n / row;
    tern_rng rng;
    t->n = n_rows * row;
    t->ids = tern_alloc_array(t->n + 1, sizeof *t->ids);
    t->starts = tern_alloc_array(n_rows + 1, sizeof *t->starts);
    t->nll = tern_alloc_array(t->n, sizeof *t->nll);
    t->weight = tern_alloc_array(t->n, sizeof *t->weight);
    if (!t->ids || !t->starts || !t->nll || !t->weight)
        return tern_fail_memory(err, "a batch to measure");
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; i <= t->n; i++)
        t->ids[i] = (int32_t)(tern_rng_u64(&rng) % dims->vocab_size);
    for (size_t i = 0; i < t->n; i++)
        t->weight[i] = 1;
    for (size_t i = 0; i <= n_rows; i++)
        t->starts[i] = (uint32_t)(i * row);
    t->batch = (tern_batch){.n_tokens = t->n, .inputs = t->ids, .targets = t->ids + 1, .seqs = {t->starts, n_rows}};
    return TERN_OK;
}

static double time_of_pass(trial *t) {
    double begin = tern_seconds();
    tern_net_forward(t->net, &t->batch);
    tern_net_backward(t->net, &t->batch, t->weight, 0, t->params.grads, t->nll, NULL, NULL);
    return tern_seconds() - begin;
}

static double time_of_update(trial *t, tern_weight_mode mode) {
    tern_adam_step step = {.values = t->params.values,
                           .m = t->params.m,
                           .v = t->params.v,
                           .grads = t->params.grads,
                           .grad_scale = 1 / (float)t->n,
                           .lr = 1e-6f,
                           .t = 1,
                           .adam = {0.9f, 0.95f, 1e-8f, 1}};
    double begin = tern_seconds();
    tern_grad_norm(t->pool, t->params.grads, t->params.n_values, 1);
    tern_params_update(t->pool, &t->params, &step);
    tern_net_quantize(t->net, mode);
    return tern_seconds() - begin;
}

static tern_status make(trial *t, const tern_dims *dims, const tern_net_params *how, tern_error *err) {
    double tokens = PASS_FLOPS / tern_train_flops(dims, matrix_values(dims));
    t->n = tokens < MIN_TOKENS ? MIN_TOKENS : (size_t)tokens;
    t->n = t->n < how->max_tokens ? t->n : how->max_tokens;
    tern_status status = make_batch(t, dims, err);
    if (!status)
        status = tern_params_create(dims, true, &t->params, err);
    if (status)
        return status;
    tern_params_init(&t->params, 1);
    tern_net_params net = *how;
    net.max_tokens = t->n;
    return tern_net_create(&t->params, &net, t->pool, &t->net, err);
}

tern_status tern_train_measure(const tern_dims *dims, const tern_net_params *how, tern_pool *pool,
                               tern_train_speed *speed, tern_error *err) {
    trial t = {.pool = pool};
    const tern_dims d = smaller(dims);
    tern_status status = make(&t, &d, how, err);
    if (!status) {
        double pass = 0, update = 0;
        time_of_update(&t, how->weights);
        for (int i = 0; i < PASSES; i++) { /* the first one takes the pages */
            double a = time_of_pass(&t), b = time_of_update(&t, how->weights);
            pass = i <= 1 || a < pass ? a : pass;
            update = i <= 1 || b < update ? b : update;
        }
        *speed = (tern_train_speed){
            .flops = tern_train_flops(&d, matrix_values(&d)) * (double)t.n / pass,
            .values = (double)t.params.n_values / update,
        };
    }
    tern_net_free(t.net);
    tern_params_free(&t.params);
    free(t.ids);
    free(t.starts);
    free(t.nll);
    free(t.weight);
    return status;
}
