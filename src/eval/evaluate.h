/* A task over a model: every record asked, its scores added to the results. */
#ifndef TERN_EVAL_EVALUATE_H
#define TERN_EVAL_EVALUATE_H

#include "eval/items.h"
#include "eval/results.h"
#include "eval/score.h"

typedef struct tern_eval_params {
    size_t limit;           /* only the first so many records */
    size_t shard, n_shards; /* only those with index % n_shards == shard */
    bool chat;              /* generation: the prompt is a conversation, in the model's chat template ... */
    bool one_message;       /* ... of one message, in which the examples are, too */
    int64_t max_tokens;     /* of generation; 0: as the task says */
    uint64_t seed;          /* of the examples */
    const char *settings;   /* what else makes up the configuration: context, KV cache */
    const char *model_name;
    uint64_t fingerprint;      /* of the model */
    tern_progress_fn progress; /* counts records of this run */
    void *progress_user;
} tern_eval_params;

/* How many records this run has to do, of those that are not done already. */
size_t tern_evaluate_left(const tern_dataset *dataset, const tern_eval_params *params, const tern_tally *tally);
/* Take the task up in the results, or what was done of it before. */
tern_status tern_evaluate_begin(const tern_dataset *dataset, const tern_eval_params *params, tern_results *results,
                                tern_tally **tally, tern_error *err);
/* Do what is left. TERN_ERR_CANCELLED: what was done until then is in the results. */
tern_status tern_evaluate(const tern_dataset *dataset, const tern_eval_params *params, tern_scorer *scorer,
                          tern_results *results, tern_tally *tally, tern_error *err);

#endif
