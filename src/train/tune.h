/*
 * Training that begins with a model there is: supervised fine-tuning, DPO, going on with pre-training, and adapters.
 * From the files' names to the exported model; src/cli/train_*.c put options and a progress bar around it.
 */
#ifndef TERN_TRAIN_TUNE_H
#define TERN_TRAIN_TUNE_H

#include "train/loop.h"
#include "train/plan.h"

typedef enum tern_tune_kind {
    TERN_TUNE_SFT,      /* all weights, CHAT shards */
    TERN_TUNE_DPO,      /* all weights, PAIRS */
    TERN_TUNE_CONTINUE, /* all weights, TEXT */
    TERN_TUNE_LORA,     /* adapters on a frozen ternary model; the objective is that of the shards */
    TERN_TUNE_MERGE,    /* adapters of a float master, merged and ternarised again (train/merge.h); likewise */
} tern_tune_kind;

/* The model as it is after `step`, in files that are removed afterwards. */
typedef struct tern_tune_sample {
    uint64_t step;
    const char *model;   /* a GGUF file; LORA: the model that the run began with */
    const char *adapter; /* LORA: a folder; NULL: none */
    const char *prompt;
    bool chat; /* it learns conversations: the prompt is a user's message */
} tern_tune_sample;

typedef struct tern_tune_params {
    tern_tune_kind kind;
    const char *model;         /* folder of a run's state, or a float master: HF folder or GGUF; LORA: any model */
    const char *const *shards; /* [n_shards], made by `tern train data` with the model's tokenizer; one sequence */
    size_t n_shards;
    const char *out;       /* folder of the run: state, log, and at the end the model or adapter */
    const char *tokenizer; /* tokenizer.json that the shard was made with; NULL: the model's own, where it has one */
    /* 0 (or below 0): a default that the kind or the model sets */
    uint32_t n_ctx, batch, micro;
    uint64_t n_steps; /* 0: by epochs */
    double epochs;
    float lr, final_fraction, weight_decay, clip, z_loss;
    uint64_t warmup_steps;
    bool recompute;
    uint64_t seed, eval_every, save_every;
    uint64_t eval_tokens;      /* of a validation; 0: all */
    uint64_t sample_every;     /* steps; 0: no samples */
    const char *sample_prompt; /* NULL: one that fits the shard's kind */
    double beta;               /* DPO */
    uint32_t rank;             /* adapters: r, alpha, targets (bits TERN_PARAM_Q .. TERN_PARAM_DOWN) */
    float alpha;
    unsigned targets;
    /* begin with this adapter (a PEFT folder), whose rank, alpha and targets then count; NULL: a fresh one */
    const char *adapter;
    bool plan_only; /* the plan is told, and nothing is trained */
    int n_threads;
    const char *cpu;       /* kernels */
    tern_loop_hooks hooks; /* finished: called after the export; sample is not used */
    /* All may be NULL. */
    void *user;
    void (*on_plan)(void *user, const tern_plan *plan, const tern_train_config *config); /* before it is taken */
    void (*on_reference)(void *user, uint64_t done, uint64_t total); /* DPO: rows of the reference pass */
    void (*on_export)(void *user, const char *path);                 /* a file or folder that was written */
    tern_status (*on_sample)(void *user, const tern_tune_sample *sample, tern_error *err); /* rank 0 only */
} tern_tune_params;

/* All that, or one line of error. A run that was interrupted goes on when called again with the same parameters. */
tern_status tern_tune(const tern_tune_params *params, tern_error *err);

#endif
