/* What the commands share that train a model there is: tern train sft, dpo, continue, lora. */
#ifndef TERN_CLI_TRAIN_TUNE_H
#define TERN_CLI_TRAIN_TUNE_H

#include "cli/command.h"
#include "train/tune.h"

typedef struct tern_tune_options {
    const char *out, *tokenizer, *sample_prompt;
    int64_t steps, batch, micro, n_ctx, warmup, seed, eval_every, eval_tokens, save_every, sample_every, threads;
    double epochs, lr, final_lr, weight_decay, clip;
    bool recompute, restart, accept_changes, plan_only;
} tern_tune_options;

/* What is 0 is the kind's own default (train/tune.c). */
#define TERN_TUNE_OPTIONS_DEFAULT                                                                                      \
    { .seed = 1, .eval_every = 100, .eval_tokens = 65536, .save_every = 100, .clip = 1 }

extern const tern_option tern_tune_option_table[];     /* the optimisation */
extern const tern_option tern_tune_run_option_table[]; /* the run: folder, saving, threads */

/* Run `params`, of which the kind's own fields are set, with these options on MODEL and SHARD. The exit status. */
int tern_cli_tune(const tern_tune_options *options, const char *command, const char *const *operands, size_t n_operands,
                  tern_tune_params *params);

#endif
