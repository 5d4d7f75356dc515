#include "train/sft.h"

#include <stdlib.h>

#include "base/mem.h"

struct tern_sft {
    tern_sft_params params;
    tern_feed *feed;
    tern_rows rows;
    float *weight; /* [micro * n_ctx] 1 where there is a target, else 0 */
    float *nll;    /* [micro * n_ctx] */
    double divisor;
};

/* Losses of an average batch: all targets of an epoch over its rows. */
static tern_status count_losses(tern_sft *sft, tern_error *err) {
    const tern_train_config *config = sft->params.config;
    uint64_t n_rows = tern_feed_rows_per_epoch(sft->feed), n_losses = 0;
    if (tern_shard_describe(sft->params.shard)->kind == TERN_SHARD_TEXT) {
        sft->divisor = (double)config->batch * config->dims.n_ctx; /* rows are about full */
        return TERN_OK;
    }
    const tern_shard_info *info = tern_shard_describe(sft->params.shard);
    int32_t *ids = tern_alloc_array((size_t)tern_shard_longest(sft->params.shard), sizeof *ids);
    if (!ids)
        return tern_fail_memory(err, "a document");
    tern_status status = TERN_OK;
    for (uint64_t i = 0; !status && i < info->n_documents[TERN_SPLIT_TRAIN]; i++) {
        const uint8_t *mask;
        size_t n;
        status = tern_shard_document(sft->params.shard, TERN_SPLIT_TRAIN, i, ids, &mask, &n, err);
        for (size_t j = 1; !status && j < n && j <= config->dims.n_ctx; j++) /* target j stands behind input j - 1 */
            n_losses += mask[j] != 0;
    }
    free(ids);
    sft->divisor = n_rows ? (double)n_losses / (double)n_rows * config->batch : 0;
    if (!status && !(sft->divisor > 0))
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: no answer lies within %u tokens of a conversation's beginning",
                           tern_shard_name(sft->params.shard), config->dims.n_ctx);
    return status;
}

static tern_status prepare(tern_sft *sft, tern_error *err) {
    const tern_train_config *config = sft->params.config;
    size_t n_tokens = (size_t)config->micro * config->dims.n_ctx;
    if (tern_shard_describe(sft->params.shard)->kind == TERN_SHARD_PAIRS)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: holds preference pairs, which are for tern train dpo",
                         tern_shard_name(sft->params.shard));
    if (config->batch < (uint32_t)tern_comm_size(sft->params.comm))
        return tern_fail(err, TERN_ERR_ARGUMENT, "a batch of %u rows is too small for %d processes", config->batch,
                         tern_comm_size(sft->params.comm));
    tern_status status =
        tern_feed_create(sft->params.shard, config->dims.n_ctx, config->batch, config->seed, &sft->feed, err);
    if (!status)
        status = tern_rows_create(config->micro, config->dims.n_ctx, &sft->rows, err);
    if (!status)
        status = count_losses(sft, err);
    if (status)
        return status;
    sft->weight = tern_alloc_array(n_tokens, sizeof *sft->weight);
    sft->nll = tern_alloc_array(n_tokens, sizeof *sft->nll);
    return sft->weight && sft->nll ? TERN_OK : tern_fail_memory(err, "a batch's losses");
}

tern_status tern_sft_create(const tern_sft_params *params, tern_sft **out, tern_error *err) {
    tern_sft *sft = calloc(1, sizeof *sft);
    if (!sft)
        return tern_fail_memory(err, "the objective");
    sft->params = *params;
    tern_status status = prepare(sft, err);
    if (status)
        tern_sft_free(sft);
    else
        *out = sft;
    return status;
}

void tern_sft_free(tern_sft *sft) {
    if (!sft)
        return;
    tern_feed_free(sft->feed);
    tern_rows_free(&sft->rows);
    free(sft->weight);
    free(sft->nll);
    free(sft);
}

uint64_t tern_sft_steps_per_epoch(const tern_sft *sft) { return tern_feed_steps_per_epoch(sft->feed); }

/* The losses of the rows that have just gone forward. */
static void add_losses(const tern_sft *sft, tern_step_result *result) {
    for (size_t t = 0; t < sft->rows.batch.n_tokens; t++)
        if (sft->rows.batch.targets[t] >= 0)
            result->loss_sum += (double)sft->nll[t];
    result->n_losses += (double)sft->rows.n_losses;
    result->n_tokens += (double)sft->rows.batch.n_tokens;
}

static tern_status gradients(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                             tern_step_result *result, tern_error *err) {
    tern_sft *sft = user;
    const tern_train_config *config = sft->params.config;
    uint64_t rank = (uint64_t)tern_comm_rank(sft->params.comm), size = (uint64_t)tern_comm_size(sft->params.comm);
    uint32_t first = (uint32_t)(config->batch * rank / size), end = (uint32_t)(config->batch * (rank + 1) / size);
    while (first < end) {
        uint32_t n = end - first < config->micro ? end - first : config->micro;
        bool last = first + n == end;
        tern_status status = tern_feed_rows(sft->feed, step, first, n, &sft->rows, err);
        if (status)
            return status;
        for (size_t t = 0; t < sft->rows.batch.n_tokens; t++)
            sft->weight[t] = sft->rows.batch.targets[t] >= 0 ? 1 : 0;
        tern_net_forward(sft->params.net, &sft->rows.batch);
        tern_net_backward(sft->params.net, &sft->rows.batch, sft->weight, config->z_loss, sft->params.grads, sft->nll,
                          last ? ready : NULL, ready_user);
        add_losses(sft, result);
        first += n;
    }
    return TERN_OK;
}

/* Micro-batches of the held-out rows go round the ranks, until eval_tokens (0: all) are through. */
static tern_status validate(void *user, bool whole, tern_step_result *result, tern_error *err) {
    tern_sft *sft = user;
    const tern_train_config *config = sft->params.config;
    uint64_t rank = (uint64_t)tern_comm_rank(sft->params.comm), size = (uint64_t)tern_comm_size(sft->params.comm);
    uint64_t n_rows = tern_feed_held_out_rows(sft->feed), most = config->eval_tokens / config->dims.n_ctx + 1;
    n_rows = n_rows < most || whole || !config->eval_tokens ? n_rows : most;
    for (uint64_t first = 0, turn = 0; first < n_rows; first += config->micro, turn++) {
        if (turn % size != rank)
            continue;
        uint32_t n = n_rows - first < config->micro ? (uint32_t)(n_rows - first) : config->micro;
        tern_status status = tern_feed_held_out(sft->feed, first, n, &sft->rows, err);
        if (status)
            return status;
        tern_net_forward(sft->params.net, &sft->rows.batch);
        tern_net_losses(sft->params.net, &sft->rows.batch, true, sft->nll);
        add_losses(sft, result);
    }
    return TERN_OK;
}

tern_objective tern_sft_objective(tern_sft *sft) {
    bool has_held_out = tern_feed_held_out_rows(sft->feed) > 0;
    return (tern_objective){.name = "sft",
                            .user = sft,
                            .gradients = gradients,
                            .validate = has_held_out ? validate : NULL,
                            .loss_divisor = sft->divisor,
                            .data_hash = tern_shard_describe(sft->params.shard)->hash};
}
