/* Log-likelihoods and greedy texts of a model, with what stood in the context before used again. */
#ifndef TERN_EVAL_SCORE_H
#define TERN_EVAL_SCORE_H

#include "eval/items.h"

typedef struct tern_scorer tern_scorer;

typedef struct tern_score {
    double log_likelihood; /* sum over the continuation's tokens of ln p */
    bool greedy;           /* each of them was the most probable one */
    uint32_t n_tokens;     /* of the continuation */
} tern_score;

typedef struct tern_scorer_stats {
    uint64_t n_tokens, n_evaluated; /* of all contexts and continuations; of these what went through the model */
    uint64_t n_truncated;           /* requests that were longer than the context and lost their beginning */
} tern_scorer_stats;

/* The session belongs to the caller, outlives the scorer, and forgets what it held. `reuse`: keep what a request has in
 * common with the one before it; the scores are the same, bit by bit, without. */
tern_status tern_scorer_create(const tern_model *model, tern_session *session, bool reuse, tern_scorer **scorer,
                               tern_error *err);
void tern_scorer_free(tern_scorer *scorer);

/* ln p of each request's continuation. Context and continuation are encoded together, behind a BOS if the model has
 * one, and cut where the context alone ends; white space at the context's end goes to the continuation. Of what is
 * longer than the model's context the last part is taken. -> scores [n]. */
tern_status tern_scorer_score(tern_scorer *scorer, const tern_eval_request *requests, size_t n, tern_score *scores,
                              tern_error *err);

/* What greedy decoding goes on with, at most max_tokens, until one of the stop strings [n_until] -> *text, freed with
 * free(). *cut: it did not end by itself, but because there was no room for more. */
typedef struct tern_generation {
    const char *context;          /* the text, or ... */
    const tern_message *messages; /* [n_messages] in the model's chat template, the model to answer */
    size_t n_messages;
    int64_t max_tokens;
    const char *const *until;
    size_t n_until;
} tern_generation;
tern_status tern_scorer_generate(tern_scorer *scorer, const tern_generation *what, char **text, bool *cut,
                                 tern_error *err);

void tern_scorer_get_stats(const tern_scorer *scorer, tern_scorer_stats *stats);

/* A number that says which model computes how: of its shape and of the logits behind a few tokens. */
tern_status tern_scorer_fingerprint(tern_scorer *scorer, uint64_t *fingerprint, tern_error *err);

#endif
