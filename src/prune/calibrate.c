/* The calibration text through the network, in windows like those of `tern perplexity`. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/vocab.h"
#include "prune/parts.h"

enum { LEAST_TOKENS = 64 };

/* A batch of windows: a BOS, then tokens of the text; each predicts the next one. */
typedef struct window_batch {
    int32_t inputs[TERN_PRUNE_BATCH], targets[TERN_PRUNE_BATCH];
    float weight[TERN_PRUNE_BATCH], nll[TERN_PRUNE_BATCH];
    uint32_t starts[TERN_PRUNE_BATCH + 1];
    tern_batch batch;
} window_batch;

/* From token `at` of the text on, at most to token `end`; returns where the next one begins. */
static size_t fill(const tern_pruner *pruner, int32_t bos, size_t at, size_t end, window_batch *b) {
    uint32_t n = 0;
    size_t n_seqs = 0;
    while (at < end && n + pruner->n_window <= TERN_PRUNE_BATCH) {
        uint32_t size = end - at < pruner->n_window - 1 ? (uint32_t)(end - at) : pruner->n_window - 1;
        b->starts[n_seqs++] = n;
        for (uint32_t i = 0; i <= size; i++, n++) {
            b->inputs[n] = i ? pruner->ids[at + i - 1] : bos;
            b->targets[n] = i < size ? pruner->ids[at + i] : -1;
            b->weight[n] = i < size ? 1 : 0;
        }
        at += size;
    }
    b->starts[n_seqs] = n;
    b->batch = (tern_batch){n, b->inputs, b->targets, {b->starts, n_seqs}};
    return at;
}

tern_status tern_prune_run(tern_pruner *pruner, size_t max_tokens, bool gradients, tern_progress_fn progress,
                           void *user, tern_error *err) {
    size_t end = max_tokens && max_tokens < pruner->n_ids ? max_tokens : pruner->n_ids;
    window_batch *b = malloc(sizeof *b);
    tern_status status = b ? TERN_OK : tern_fail_memory(err, "the calibration");
    pruner->n_run = 0;
    for (size_t at = 0; !status && at < end;) {
        at = fill(pruner, pruner->bos, at, end, b);
        pruner->seqs = &b->batch.seqs;
        tern_net_forward(pruner->net, &b->batch);
        if (gradients)
            tern_net_backward(pruner->net, &b->batch, b->weight, 0, NULL, b->nll, NULL, NULL);
        pruner->n_run += b->batch.n_tokens;
        if (progress && !progress(user, at, end))
            status = tern_fail(err, TERN_ERR_CANCELLED, "the calibration was cancelled");
    }
    pruner->seqs = NULL;
    free(b);
    return status;
}

static tern_status tokenize(tern_pruner *pruner, const tern_prune_calibration *how, tern_error *err) {
    tern_tokenizer *tokenizer;
    tern_status status = tern_vocab_from_checkpoint(pruner->checkpoint, &tokenizer, err);
    if (status)
        return status;
    pruner->bos = tern_tokenizer_bos(tokenizer);
    if (pruner->bos < 0)
        pruner->bos = tern_tokenizer_eos(tokenizer);
    int32_t *ids = NULL;
    size_t n = 0;
    status = tern_tokenize(tokenizer, how->text, how->n_bytes, 0, &ids, &n, err);
    tern_tokenizer_free(tokenizer);
    if (status)
        return status;
    if (how->max_tokens && n > how->max_tokens)
        n = how->max_tokens;
    pruner->ids = ids;
    pruner->n_ids = n;
    if (n < LEAST_TOKENS)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "the text to calibrate with is too short: %zu tokens, %d are the least", n, LEAST_TOKENS);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= pruner->weights.dims.vocab_size)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the tokenizer gives token %d, the model has %u",
                             pruner->checkpoint->path, ids[i], pruner->weights.dims.vocab_size);
    return pruner->bos >= 0
               ? TERN_OK
               : tern_fail(err, TERN_ERR_FORMAT, "%s: the tokenizer has neither BOS nor EOS", pruner->checkpoint->path);
}

tern_status tern_pruner_calibrate(tern_pruner *pruner, const tern_prune_calibration *how, tern_error *err) {
    if (pruner->net)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: was calibrated already", pruner->checkpoint->path);
    tern_status status = tokenize(pruner, how, err);
    if (!status)
        status = tern_prune_make_net(pruner, how->gradients, err);
    pruner->pass = PRUNE_SCORES;
    pruner->gradients = how->gradients;
    if (!status)
        status = tern_prune_run(pruner, 0, how->gradients, how->progress, how->progress_user, err);
    pruner->n_seen = pruner->n_run;
    return status ? status : tern_prune_make_activation(pruner, err);
}

size_t tern_pruner_tokens(const tern_pruner *pruner) { return pruner->n_ids; }
