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
    double extra[4]; /* the objective's own figures, summed like loss_sum: DPO accuracy, margin, ... */
} tern_step_result;

typedef struct tern_objective {
    const char *name;
    const char *extra_names[4]; /* in the log; NULL: unused */
    void *user;
    /* Add the gradients of this rank's share of step `step` to params' grads. `last`: call `ready` for complete parts.
     */
    tern_status (*gradients)(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                             tern_step_result *result, tern_error *err);
    /* Validation: mean loss per token in nats (this rank's share is summed by the loop). NULL: none. */
    tern_status (*validate)(void *user, tern_step_result *result, tern_error *err);
    /* The values have changed: rebuild what depends on them. NULL or the name of a tensor that is not finite. */
    const char *(*changed)(void *user, uint64_t step);
    double loss_divisor; /* gradients are divided by this: tokens of a nominal batch (sum-reduced: fixed) */
} tern_objective;

typedef struct tern_loop_report {
    uint64_t step, n_steps, tokens;
    double loss, smoothed, validation;                                          /* NaN: not measured at this step */
    double lr, weight_decay, grad_norm, tokens_per_second, seconds_left, flops; /* achieved, of the whole step */
} tern_loop_report;

/* All may be NULL. */
typedef struct tern_loop_hooks {
    void *user;
    void (*progress)(void *user, const tern_loop_report *report);
    bool (*go_on)(void *user);                                         /* false: save and stop (Ctrl-C) */
    tern_status (*sample)(void *user, uint64_t step, tern_error *err); /* every sample_every steps, rank 0 */
    tern_status (*finished)(void *user, tern_error *err);              /* after the last step, rank 0 */
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

/* Runs (or goes on with) config's run until n_steps. The log is JSON lines in config->out/log.jsonl. A loss or gradient
 * that is not finite stops the run: the error says step and tensor, the last saved state stays. TERN_ERR_CANCELLED:
 * stopped by go_on, state saved. */
tern_status tern_train_loop(const tern_train_config *config, const tern_objective *objective,
                            const tern_trainable *trainable, tern_comm *comm, tern_pool *pool,
                            const tern_loop_hooks *hooks, tern_error *err);

#endif
