/*
 * What a training run is told: one JSON file, read once, checked whole, and stored with every checkpoint.
 * docs/TRAINING.md lists the keys; an unknown one is an error.
 */
#ifndef TERN_TRAIN_CONFIG_H
#define TERN_TRAIN_CONFIG_H

#include "base/str.h"
#include "model/weights.h"

/* How the matrices of the BitLinears enter the products (BitNet b1.58, Ma et al. 2024; BitNet, Wang et al. 2023). */
typedef enum tern_weight_mode {
    TERN_WEIGHTS_TERNARY, /* T = clip(round(W / gamma), -1, 1), gamma = max(mean|W|, 1e-5); int8 activations */
    TERN_WEIGHTS_BINARY,  /* T = sign(W - mean W) (0 counts as +1), gamma = mean|W|; int8 activations */
    TERN_WEIGHTS_FLOAT,   /* W itself, and float activations: the full-precision twin */
} tern_weight_mode;

typedef enum tern_decay_shape { TERN_DECAY_LINEAR, TERN_DECAY_COSINE } tern_decay_shape;

/* Learning rate and weight decay over a run of n_steps (2B4T report section 3.1; training tips, section "Training
 * tricks"): warm-up, then stage 1 up to switch_at * n_steps, then stage 2 with its own peak. Each stage follows one
 * curve over the WHOLE run, eta_k * f(t / n_steps), so that only the peak changes at the switch. */
typedef struct tern_schedule {
    uint64_t n_steps, warmup_steps;
    double switch_at; /* 0 .. 1; 1: one stage */
    float lr[2];      /* peaks of the stages */
    float weight_decay[2];
    tern_decay_shape shape; /* of the learning rate, and of stage 1's weight decay where decay_follows */
    bool decay_follows;     /* weight decay follows a cosine with that peak in stage 1, as 2B4T's; else constant */
    float final_fraction;   /* of the peak, at the end */
} tern_schedule;

typedef struct tern_adam {
    float beta1, beta2, eps, clip; /* clip: of the global gradient norm; 0: none */
} tern_adam;

typedef struct tern_paths {
    char **list; /* [n], owned, and each of them */
    size_t n;
} tern_paths;

typedef struct tern_train_config {
    tern_dims dims; /* n_ctx: the longest sequence */
    tern_weight_mode weights;
    uint64_t fp_steps;      /* of the run's beginning, in full precision (20-30% help, docs/TRAINING.md) */
    char *tokenizer;        /* path of tokenizer.json; owned */
    tern_paths data;        /* shard files, made by `tern train data` */
    tern_paths data_stage2; /* likewise, of the steps from schedule.switch_at on; none: `data` all the way */
    char *out;              /* folder of the run: state, log, exports; owned */
    uint32_t batch;         /* sequences of n_ctx tokens in one optimiser step, over all ranks */
    uint32_t micro;         /* sequences that go through the network at a time; never 0 once it is read */
    uint64_t seed;
    tern_schedule schedule;
    tern_adam adam;
    float z_loss;   /* coefficient of mean(logsumexp^2); 0: none */
    bool recompute; /* activation checkpointing: keep only each layer's input, run its forward pass again in backward */
    uint64_t eval_every, eval_tokens, save_every, sample_every; /* steps; 0: never (save: at the end) */
    char *sample_prompt;                                        /* owned */
} tern_train_config;

/* What holds without a configuration file; owns nothing but may be freed. */
tern_status tern_train_config_defaults(tern_train_config *config, tern_error *err);
/* Defaults, then the file's keys. Relative paths are relative to the file's folder. dims.vocab_size may be 0: the
 * data's. On success free with tern_train_config_free(). One error line names file, key and what is allowed. */
tern_status tern_train_config_read(const char *path, tern_train_config *config, tern_error *err);
/* The same from the text that tern_train_config_text() made; relative paths stay as they are. */
tern_status tern_train_config_parse(const char *text, const char *where, tern_train_config *config, tern_error *err);
void tern_train_config_free(tern_train_config *config);
/* The whole of it as JSON text (freed with free()); reading it again gives the same run. NULL: no memory. */
char *tern_train_config_text(const tern_train_config *config);
/* Whether a run whose stored configuration is `text` can go on with this one: every key that the numbers depend on
 * must be the same. The error names the first one that is not, and both values; `where` stands in front. */
tern_status tern_train_config_check_same(const tern_train_config *config, const char *text, const char *where,
                                         tern_error *err);

/* The same of the keys alone that lay out its weights: these cannot change, whatever somebody accepts. */
tern_status tern_train_config_check_shape(const tern_train_config *config, const char *text, const char *where,
                                          tern_error *err);

/* Whether the run's tokens can be counted, each of two stages with texts of its own has steps, and some of the steps
 * are made with the weights' own mode, behind the full-precision ones at the beginning: the last validation would else
 * be that of another model than the one that is stored. Reading checks it; to be asked again where n_steps was changed.
 * `where` stands in front of the error. */
tern_status tern_train_config_check_steps(const tern_train_config *config, const char *where, tern_error *err);

/* One line about the key-th key for people: name, JSON default, what is allowed, what it does. False: no more. */
typedef struct tern_config_key {
    const char *name, *help;
    char preset[48], allowed[64];
} tern_config_key;
bool tern_train_config_key(size_t index, tern_config_key *key);

/* Append a copy of `path`. False: no memory. */
bool tern_paths_add(tern_paths *paths, const char *path);

/* The first step of stage 2; n_steps or more: there is none. */
uint64_t tern_schedule_switch(const tern_schedule *schedule);
/* At step 0 <= t < n_steps. */
float tern_schedule_lr(const tern_schedule *schedule, uint64_t step);
float tern_schedule_weight_decay(const tern_schedule *schedule, uint64_t step);

#endif
