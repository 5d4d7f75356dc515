/*
 * The training loop, the same for all objectives: batches in, gradients, clipping, AdamW, log, validation, checkpoints,
 * samples. An objective says how a step's gradients come about.
 */
#ifndef TERN_TRAIN_LOOP_H
#define TERN_TRAIN_LOOP_H

#include "train/comm.h"
#include "train/data.h"
#include "train/optim.h"
#include "train/state.h"

typedef struct tern_step_result {
    double loss_sum; /* over this rank's losses (nats) */
    double n_losses; /* what divides it for the log */
    double n_tokens; /* that went through the network: throughput */
    double extra[4]; /* the objective's own figures, summed and divided like loss_sum: DPO accuracy, margin, ... */
} tern_step_result;

typedef struct tern_objective {
    const char *name;
    const char *extra_names[4]; /* in the log, in front of the NULLs */
    void *user;
    /* Add the gradients of this rank's share of step `step` to the trainable's grads, which are 0, and call `ready`,
     * if it is not NULL, for every part that is complete: all of them or none at all, from the calling thread, in the
     * same order on every rank. *result is 0. */
    tern_status (*gradients)(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                             tern_step_result *result, tern_error *err);
    /* This rank's share of the validation: config's eval_tokens, or `whole`: all of the held-out data. NULL: none. */
    tern_status (*validate)(void *user, bool whole, tern_step_result *result, tern_error *err);
    /* The values have changed, and step `step` is the next: rebuild what depends on them. NULL or the name of a tensor
     * that is not finite. */
    const char *(*changed)(void *user, uint64_t step);
    /* Shares of zeros in front of a layer's down projection and of closed gates, as of the last validation; NULL:
     * not logged. Goes into the log with every validation. */
    void (*sparsity)(void *user, uint32_t layer, double *zero_inputs, double *closed_gates);
    uint32_t n_layers;      /* for that */
    double loss_divisor;    /* gradients are divided by this (SFT: tokens of a nominal batch); 0: by all n_losses */
    double flops_per_token; /* forward and backward; 0: not known */
    uint64_t data_hash;     /* of what it is trained on: a run goes on with the same data only */
} tern_objective;

typedef struct tern_loop_report {
    uint64_t step, n_steps, tokens;
    double loss, smoothed, validation;                                          /* NaN: not measured at this step */
    double lr, weight_decay, grad_norm, tokens_per_second, seconds_left, flops; /* achieved, of the whole step */
} tern_loop_report;

/* What the command wants, and what it wants to know. All may be 0 or NULL. The functions are called on rank 0 only,
 * but for go_on, which every rank may end. */
typedef struct tern_loop_hooks {
    void *user;
    void (*warn)(void *user, const char *message);
    void (*progress)(void *user, const tern_loop_report *report);
    bool (*go_on)(void *user); /* false: save and stop (Ctrl-C) */
    tern_status (*sample)(void *user, uint64_t step,
                          tern_error *err); /* every sample_every steps; a failure is a warning */
    tern_status (*finished)(void *user, const tern_loop_report *last, tern_error *err); /* after the last step */
    bool restart;        /* forget the states and the log that are there */
    bool accept_changes; /* go on although the configuration has changed */
    double peak_flops;   /* what this machine can do at most, over all ranks: for the log */
} tern_loop_hooks;

/* Values that are trained, as flat arrays (params' or the adapters'). */
typedef struct tern_trainable {
    float *values, *grads, *m, *v;
    size_t n;
    /* one optimiser step over them, with each part's decay */
    void (*update)(void *user, tern_pool *pool, const tern_adam_step *step);
    /* the name of the tensor that value `index` belongs to */
    const char *(*name_of)(void *user, size_t index);
    void *user;
} tern_trainable;

/* Runs config's run until n_steps, from the state in config->out if there is one (train/state.h). The log is JSON lines
 * in config->out/log.jsonl, one a step; what a run that goes on writes are the lines that an unbroken one would have
 * written, times aside. A loss, gradient or weight that is not finite stops the run: the error says step and tensor,
 * the last saved state stays. TERN_ERR_CANCELLED: stopped by go_on, state saved. On all ranks together. */
tern_status tern_train_loop(const tern_train_config *config, const tern_objective *objective,
                            const tern_trainable *trainable, tern_comm *comm, tern_pool *pool,
                            const tern_loop_hooks *hooks, tern_error *err);

#endif
