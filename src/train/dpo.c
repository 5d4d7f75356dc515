#include "train/dpo.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

struct tern_dpo {
    tern_dpo_params params;
    tern_feed *feed;
    tern_rows rows;
    float *weight, *nll;              /* [micro * n_ctx] */
    double *logp;                     /* [micro] of the rows that have just gone forward */
    double *reference[TERN_N_SPLITS]; /* by document; NaN: not computed */
};

enum { ACCURACY, MARGIN, CHOSEN, REJECTED };

void tern_dpo_pair(const double logp[2], const double reference[2], double beta, double *loss, double *margin,
                   double *weight) {
    *margin = (logp[0] - reference[0]) - (logp[1] - reference[1]);
    double z = beta * *margin;
    *loss = z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z;
    *weight = beta * (z > 0 ? exp(-z) / (1 + exp(-z)) : 1 / (1 + exp(z))); /* beta sigmoid(-z) */
}

/* --------------------------------------------------------------- log-probabilities */

/* Forward pass of the rows that are loaded -> dpo->logp of each. The exact products: a pair's margin is a small
 * difference of large sums, and 0 to begin with. */
static void score(tern_dpo *dpo) {
    const tern_batch *batch = &dpo->rows.batch;
    tern_net_forward(dpo->params.net, batch);
    tern_net_losses(dpo->params.net, batch, true, dpo->nll);
    for (size_t i = 0; i < batch->seqs.n; i++) {
        dpo->logp[i] = 0;
        for (uint32_t t = batch->seqs.start[i]; t < batch->seqs.start[i + 1]; t++)
            if (batch->targets[t] >= 0)
                dpo->logp[i] -= (double)dpo->nll[t];
    }
}

static void report(const tern_dpo *dpo, uint64_t done, uint64_t total) {
    if (dpo->params.progress)
        dpo->params.progress(dpo->params.user, done, total);
}

static tern_status keep_reference(tern_dpo *dpo, tern_split split, tern_error *err) {
    score(dpo);
    for (size_t i = 0; i < dpo->rows.batch.seqs.n; i++) {
        if (!isfinite(dpo->logp[i]))
            return tern_fail(err, TERN_ERR_FORMAT,
                             "the log-probability of an answer of pair %" PRIu64
                             " is not finite with the model that training begins with: it is damaged",
                             dpo->rows.documents[i] / 2);
        dpo->reference[split][dpo->rows.documents[i]] = dpo->logp[i];
    }
    /* nothing is there yet that would have to be saved */
    if (dpo->params.go_on && !dpo->params.go_on(dpo->params.user))
        return tern_fail(err, TERN_ERR_CANCELLED, "stopped before the first step of this session");
    return TERN_OK;
}

/* All pairs of both splits through the reference model. Every rank computes all: which pairs it will train on changes
 * from epoch to epoch. */
static tern_status make_reference(tern_dpo *dpo, tern_error *err) {
    const tern_train_config *config = dpo->params.config;
    const tern_shard_info *info = tern_shard_describe(dpo->params.shard);
    uint64_t n_train = tern_feed_rows_per_epoch(dpo->feed), n_held_out = tern_feed_held_out_rows(dpo->feed);
    for (int split = 0; split < TERN_N_SPLITS; split++) {
        uint64_t n = info->n_documents[split];
        dpo->reference[split] = tern_alloc_array(n ? (size_t)n : 1, sizeof **dpo->reference);
        if (!dpo->reference[split])
            return tern_fail_memory(err, "the reference's log-probabilities");
        for (uint64_t i = 0; i < n; i++)
            dpo->reference[split][i] = NAN;
    }
    uint32_t n;
    for (uint64_t row = 0; row < n_train; row += n) {
        uint32_t first = (uint32_t)(row % config->batch), left = config->batch - first;
        n = left < config->micro ? left : config->micro;
        tern_status status = tern_feed_rows(dpo->feed, row / config->batch, first, n, &dpo->rows, err);
        if (!status)
            status = keep_reference(dpo, TERN_SPLIT_TRAIN, err);
        if (status)
            return status;
        report(dpo, row + n < n_train ? row + n : n_train, n_train + n_held_out);
    }
    for (uint64_t row = 0; row < n_held_out; row += config->micro) {
        tern_status status = tern_feed_held_out(dpo->feed, row, config->micro, &dpo->rows, err);
        if (!status)
            status = keep_reference(dpo, TERN_SPLIT_HELD_OUT, err);
        if (status)
            return status;
        report(dpo, n_train + (row + config->micro < n_held_out ? row + config->micro : n_held_out),
               n_train + n_held_out);
    }
    return TERN_OK;
}

/* ------------------------------------------------------------------------- creating */

static tern_status prepare(tern_dpo *dpo, tern_error *err) {
    const tern_train_config *config = dpo->params.config;
    size_t n_tokens = (size_t)config->micro * config->dims.n_ctx;
    if (tern_shard_describe(dpo->params.shard)->kind != TERN_SHARD_PAIRS)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: holds no preference pairs; make them with tern train data",
                         tern_shard_name(dpo->params.shard));
    if (config->batch % 2 || config->micro % 2 || config->micro == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "DPO: batch %" PRIu32 " and micro-batch %" PRIu32 " must be even: a pair takes two rows",
                         config->batch, config->micro);
    if (config->batch / 2 < (uint32_t)tern_comm_size(dpo->params.comm))
        return tern_fail(err, TERN_ERR_ARGUMENT, "a batch of %" PRIu32 " pairs is too small for %d processes",
                         config->batch / 2, tern_comm_size(dpo->params.comm));
    tern_status status =
        tern_feed_create(dpo->params.shard, config->dims.n_ctx, config->batch, config->seed, &dpo->feed, err);
    if (!status)
        status = tern_rows_create(config->micro, config->dims.n_ctx, &dpo->rows, err);
    if (status)
        return status;
    dpo->weight = tern_alloc_array(n_tokens, sizeof *dpo->weight);
    dpo->nll = tern_alloc_array(n_tokens, sizeof *dpo->nll);
    dpo->logp = tern_alloc_array(config->micro, sizeof *dpo->logp);
    if (!dpo->weight || !dpo->nll || !dpo->logp)
        return tern_fail_memory(err, "a batch's losses");
    return make_reference(dpo, err);
}

tern_status tern_dpo_create(const tern_dpo_params *params, tern_dpo **out, tern_error *err) {
    tern_dpo *dpo = calloc(1, sizeof *dpo);
    if (!dpo)
        return tern_fail_memory(err, "the objective");
    dpo->params = *params;
    tern_status status = prepare(dpo, err);
    if (status)
        tern_dpo_free(dpo);
    else
        *out = dpo;
    return status;
}

void tern_dpo_free(tern_dpo *dpo) {
    if (!dpo)
        return;
    tern_feed_free(dpo->feed);
    tern_rows_free(&dpo->rows);
    free(dpo->weight);
    free(dpo->nll);
    free(dpo->logp);
    for (int split = 0; split < TERN_N_SPLITS; split++)
        free(dpo->reference[split]);
    free(dpo);
}

uint64_t tern_dpo_steps_per_epoch(const tern_dpo *dpo) { return tern_feed_steps_per_epoch(dpo->feed); }

/* ------------------------------------------------------------------------- the loss */

/* The pairs of the rows that are loaded: their losses are added up, and their tokens' weights set.
 * What is not finite is the loop's to find: it knows step and tensor. */
static void compare(tern_dpo *dpo, tern_split split, tern_step_result *result) {
    const tern_batch *batch = &dpo->rows.batch;
    score(dpo);
    result->n_tokens += (double)batch->n_tokens;
    for (size_t i = 0; i + 1 < batch->seqs.n; i += 2) {
        const double reference[2] = {dpo->reference[split][dpo->rows.documents[i]],
                                     dpo->reference[split][dpo->rows.documents[i + 1]]};
        double loss, margin, weight;
        tern_dpo_pair(dpo->logp + i, reference, dpo->params.beta, &loss, &margin, &weight);
        for (size_t j = i; j < i + 2; j++)
            for (uint32_t t = batch->seqs.start[j]; t < batch->seqs.start[j + 1]; t++)
                dpo->weight[t] = batch->targets[t] < 0 ? 0 : (float)(j == i ? weight : -weight);
        result->loss_sum += loss;
        result->n_losses += 1;
        result->extra[ACCURACY] += margin > 0;
        result->extra[MARGIN] += margin;
        result->extra[CHOSEN] += dpo->logp[i];
        result->extra[REJECTED] += dpo->logp[i + 1];
    }
}

static tern_status gradients(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                             tern_step_result *result, tern_error *err) {
    tern_dpo *dpo = user;
    const tern_train_config *config = dpo->params.config;
    uint64_t rank = (uint64_t)tern_comm_rank(dpo->params.comm), size = (uint64_t)tern_comm_size(dpo->params.comm);
    uint64_t n_pairs = config->batch / 2;
    uint32_t first = (uint32_t)(n_pairs * rank / size * 2), end = (uint32_t)(n_pairs * (rank + 1) / size * 2);
    while (first < end) {
        uint32_t n = end - first < config->micro ? end - first : config->micro;
        bool last = first + n == end;
        tern_status status = tern_feed_rows(dpo->feed, step, first, n, &dpo->rows, err);
        if (status)
            return status;
        compare(dpo, TERN_SPLIT_TRAIN, result);
        tern_net_backward(dpo->params.net, &dpo->rows.batch, dpo->weight, 0, dpo->params.grads, dpo->nll,
                          last ? ready : NULL, ready_user);
        first += n;
    }
    return TERN_OK;
}

static tern_status validate(void *user, bool whole, tern_step_result *result, tern_error *err) {
    tern_dpo *dpo = user;
    const tern_train_config *config = dpo->params.config;
    uint64_t rank = (uint64_t)tern_comm_rank(dpo->params.comm), size = (uint64_t)tern_comm_size(dpo->params.comm);
    uint64_t n_rows = tern_feed_held_out_rows(dpo->feed), most = config->eval_tokens / config->dims.n_ctx / 2 * 2 + 2;
    n_rows = n_rows < most || whole || !config->eval_tokens ? n_rows : most;
    for (uint64_t first = 0, turn = 0; first < n_rows; first += config->micro, turn++) {
        if (turn % size != rank)
            continue;
        uint32_t n = n_rows - first < config->micro ? (uint32_t)(n_rows - first) : config->micro;
        tern_status status = tern_feed_held_out(dpo->feed, first, n, &dpo->rows, err);
        if (status)
            return status;
        compare(dpo, TERN_SPLIT_HELD_OUT, result);
    }
    return TERN_OK;
}

tern_objective tern_dpo_objective(tern_dpo *dpo) {
    return (tern_objective){
        .name = "dpo",
        .extra_names = {"accuracy", "margin", "logp_chosen", "logp_rejected"},
        .user = dpo,
        .gradients = gradients,
        .validate = tern_feed_held_out_rows(dpo->feed) > 0 ? validate : NULL,
        .loss_divisor = dpo->params.config->batch / 2.0,
        .data_hash = tern_shard_describe(dpo->params.shard)->hash,
    };
}
