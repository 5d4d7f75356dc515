/* What the tests of SFT and DPO share: a small model to train, shards of a few documents, an optimiser step. Include
 * once per program. */
#ifndef TERN_TESTS_TUNE_FIXTURE_H
#define TERN_TESTS_TUNE_FIXTURE_H

#include "train_fixture.h"

#include <unistd.h>

#include "train/loop.h"
#include "train/shard_write.h"

/* Ids: 0 .. 47 words, then the roles and ends. */
enum { VOCAB = 61, USER = 50, ASSISTANT = 51, BOS = 58, EOS = 59, END_OF_TURN = 60, N_CTX = 16 };

typedef struct small_model {
    tern_pool *pool;
    tern_comm *comm;
    tern_train_config config; /* dims, batch, micro, seed */
    tern_params params;
    tern_net *net;
} small_model;

static void make_model(small_model *m, uint32_t batch, uint32_t micro) {
    *m = (small_model){.config = {.dims = golden_dims(), .batch = batch, .micro = micro, .seed = 3, .eval_tokens = 1}};
    MUST(tern_pool_create(2, &m->pool, err));
    MUST(tern_comm_create(&m->comm, err));
    MUST(tern_params_create(&m->config.dims, true, &m->params, err));
    fill_params(&m->params, 5);
    /* kernels whose gradients are float32, so that bounds can be narrow */
    const tern_net_params how = {.max_tokens = (size_t)micro * N_CTX, .weights = TERN_WEIGHTS_TERNARY, .cpu = "ref"};
    MUST(tern_net_create(&m->params, &how, m->pool, &m->net, err));
    assert_null(tern_net_quantize(m->net, TERN_WEIGHTS_TERNARY));
}

static void free_model(small_model *m) {
    tern_net_free(m->net);
    tern_params_free(&m->params);
    tern_comm_free(m->comm, TERN_OK);
    tern_pool_free(m->pool);
}

/* Gradients of step `step` of an objective; its losses and own figures. */
static tern_step_result take_gradients(small_model *m, const tern_objective *objective, uint64_t step) {
    tern_step_result result = {0};
    memset(m->params.grads, 0, m->params.n_values * sizeof(float));
    MUST(objective->gradients(objective->user, step, NULL, NULL, &result, err));
    return result;
}

static void update(small_model *m, const tern_objective *objective, uint64_t step, float lr) {
    tern_params_update(m->pool, &m->params,
                       &(tern_adam_step){.values = m->params.values,
                                         .m = m->params.m,
                                         .v = m->params.v,
                                         .grads = m->params.grads,
                                         .grad_scale = (float)(1 / objective->loss_divisor),
                                         .lr = lr,
                                         .t = step + 1,
                                         .adam = {0.9f, 0.95f, 1e-8f, 0}});
    assert_null(tern_net_quantize(m->net, TERN_WEIGHTS_TERNARY));
}

/* |a - b| / |b| */
static double relative_distance(const float *a, const float *b, size_t n) {
    double squares = 0, errors = 0;
    for (size_t i = 0; i < n; i++) {
        squares += pow((double)b[i], 2);
        errors += pow((double)a[i] - (double)b[i], 2);
    }
    return sqrt(errors / squares);
}

/* log p of token `target` behind hidden state `t` of the net's last forward pass, in double. */
static double log_probability(const small_model *m, size_t t, int32_t target) {
    const float *h = tern_net_hidden(m->net) + t * m->config.dims.hidden_size;
    const float *table = m->params.values + tern_param_embedding(&m->params)->offset;
    double logits[VOCAB], largest = -1e300, sum = 0;
    for (int v = 0; v < VOCAB; v++) {
        logits[v] = 0;
        for (uint32_t i = 0; i < m->config.dims.hidden_size; i++)
            logits[v] += (double)h[i] * (double)table[(size_t)v * m->config.dims.hidden_size + i];
        largest = logits[v] > largest ? logits[v] : largest;
    }
    for (int v = 0; v < VOCAB; v++)
        sum += exp(logits[v] - largest);
    return logits[target] - largest - log(sum);
}

/* ------------------------------------------------------------------------ shards */

static char shard_path[64];

static tern_shard_writer *begin_shard(tern_shard_kind kind) {
    tern_shard_writer *writer = NULL;
    const tern_shard_params params = {kind, VOCAB, BOS, EOS, 0};
    strcpy(shard_path, "/tmp/tern-tune-XXXXXX");
    int fd = mkstemp(shard_path);
    assert_true(fd >= 0);
    close(fd);
    MUST(tern_shard_writer_create(shard_path, &params, &writer, err));
    return writer;
}

/* BOS, the user's word, and an answer of n words, all of its tokens and its end learnt. */
static void add_turn(tern_shard_writer *writer, tern_split split, int32_t word, const int32_t *answer, size_t n) {
    int32_t ids[32] = {BOS, USER, word, END_OF_TURN, ASSISTANT};
    uint8_t mask[32] = {0};
    assert_true(n + 6 <= 32);
    for (size_t i = 0; i < n; i++)
        ids[5 + i] = answer[i];
    ids[5 + n] = END_OF_TURN;
    memset(mask + 5, 1, n + 1);
    MUST(tern_shard_writer_add(writer, split, ids, mask, n + 6, n, err));
}

static tern_shard *finish_shard(tern_shard_writer *writer) {
    tern_shard *shard = NULL;
    MUST(tern_shard_writer_finish(writer, NULL, err));
    MUST(tern_shard_open(shard_path, &shard, err));
    unlink(shard_path);
    return shard;
}

#endif
