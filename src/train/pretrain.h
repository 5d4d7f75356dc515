/*
 * Pre-training: a model from nothing, quantisation-aware (BitNet b1.58: 2B4T report section 3.1, training tips). One
 * call does all of it; a run that was stopped or killed goes on with the next call.
 */
#ifndef TERN_TRAIN_PRETRAIN_H
#define TERN_TRAIN_PRETRAIN_H

#include "train/data.h"
#include "train/loop.h"

/* What the run will take, for people; measured and counted before anything begins. */
typedef struct tern_pretrain_plan {
    tern_dims dims;              /* the vocabulary is known now */
    uint64_t n_params, n_matrix; /* all values; those of the matrices, the tied embedding counted once */
    uint64_t params_bytes,
        net_bytes;                  /* weights, gradients, moments; activations, packed matrices, scratch: a process */
    uint64_t available_bytes;       /* of memory, for each process of this machine; UINT64_MAX: not known */
    bool fits, recompute;           /* activations are computed again in the backward pass: less memory */
    uint64_t step_tokens, n_tokens; /* at most, of a step and of the run */
    double flops_per_token, peak_flops; /* peak: of all processes together, float32 */
    double step_seconds;                /* as a few small steps took; 0: not measured */
    int n_ranks, n_threads;             /* processes; threads of each */
    uint32_t micro;                     /* sequences at a time in each process */
    int n_stages;                       /* 2: with texts of their own */
    uint64_t switch_step;               /* the first step of the second one; n_steps: none */
    tern_shard_info data[2];            /* of each stage: what it trains on */
    size_t n_files[2];                  /* that this is in */
    double epochs[2];                   /* passes over it */
    tern_shard_info held_out;           /* of both */
} tern_pretrain_plan;

typedef struct tern_pretrain_result {
    bool first;               /* this is rank 0: the one that tells people */
    double validation;        /* of all that is held out, nats a token; NaN: nothing is */
    double bits_per_byte;     /* of the held-out text */
    uint64_t held_out_tokens; /* that were predicted */
} tern_pretrain_result;

typedef struct tern_pretrain_params {
    const tern_train_config *config;
    int n_threads; /* of each process; 0: all CPUs that it may run on */
    bool measure;  /* step_seconds of the plan */
    void *user;
    /* false: do not begin. Rank 0 only, as the next two. */
    bool (*on_plan)(void *user, const tern_pretrain_plan *plan);
    /* The model as it is after `step`, as a GGUF file, which is removed afterwards. */
    tern_status (*on_sample)(void *user, uint64_t step, const char *gguf, tern_error *err);
    void (*on_export)(void *user, const char *path); /* a file or folder that was written */
    tern_loop_hooks hooks;                           /* sample, finished and peak_flops are not used */
} tern_pretrain_params;

/* Exports config->out/model.gguf, master/ and, of ternary and binary models, packed/ at the end, of binary ones
 * model-b1.gguf, too. TERN_ERR_CANCELLED:
 * on_plan or hooks.go_on said so. Every process of an MPI run calls it: it makes the tern_comm itself. */
tern_status tern_pretrain(const tern_pretrain_params *params, tern_pretrain_result *result, tern_error *err);

#endif
