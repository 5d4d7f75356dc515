/* An objective whose every number is known: row r of step s pulls each value towards target(s, r, i), the loss is half
 * the squared distance. Two "tensors", whose gradients become complete one after the other. */
#ifndef TERN_TESTS_TRAIN_QUADRATIC_H
#define TERN_TESTS_TRAIN_QUADRATIC_H

#include <math.h>
#include <stdlib.h>

#include "train/loop.h"

enum { N = 1000, SECOND = 400 }; /* values; where the second tensor begins */

typedef struct quadratic {
    float values[N], grads[N], m[N], v[N];
    uint32_t rows, first_row, n_rows; /* of a step; this rank's */
    uint64_t bad_loss_step, bad_gradient_step, bad_weight_step, fail_step, bad_sample_step, stop_after, kill_after;
    uint64_t changed_at; /* the step that changed() was last told */
    int n_finished, n_samples, n_progress, n_warnings, sure;
    char warning[512];
} quadratic;

static inline float quadratic_target(uint64_t step, uint32_t row, size_t i) {
    tern_rng rng;
    tern_rng_seed(&rng, step * 1000003 + row * 1009 + i);
    return 2 + (float)tern_rng_uniform(&rng);
}

static inline tern_status quadratic_gradients(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                                              tern_step_result *result, tern_error *err) {
    quadratic *q = user;
    if (step + 1 == q->fail_step)
        return tern_fail(err, TERN_ERR_IO, "row 3 cannot be read");
    for (uint32_t r = q->first_row; r < q->first_row + q->n_rows; r++)
        for (size_t i = 0; i < N; i++) {
            float distance = q->values[i] - quadratic_target(step, r, i);
            q->grads[i] += distance / N;
            result->loss_sum += 0.5 * distance * distance / N;
        }
    if (step + 1 == q->bad_gradient_step)
        q->grads[SECOND + 3] = NAN;
    if (step + 1 == q->bad_loss_step)
        result->loss_sum = HUGE_VAL;
    result->n_losses = q->n_rows;
    result->n_tokens = 10 * q->n_rows;
    result->extra[0] = 3 * q->n_rows;
    if (ready) {
        ready(ready_user, SECOND, N - SECOND);
        ready(ready_user, 0, SECOND);
    }
    return TERN_OK;
}

static inline tern_status quadratic_validate(void *user, bool whole, tern_step_result *result, tern_error *err) {
    const quadratic *q = user;
    (void)err;
    for (size_t i = 0; i < N && !q->first_row; i++)
        result->loss_sum += fabs(q->values[i] - 2.5) / N;
    result->n_losses = q->first_row ? 0 : 1;
    if (whole)
        result->loss_sum += 0;
    return TERN_OK;
}

static inline const char *quadratic_changed(void *user, uint64_t step) {
    quadratic *q = user;
    q->changed_at = step;
    return step && step == q->bad_weight_step ? "second" : NULL;
}

static inline void quadratic_sparsity(void *user, uint32_t layer, double *zero_inputs, double *closed_gates) {
    (void)user;
    *zero_inputs = 0.5 + layer / 8.0;
    *closed_gates = 0.25;
}

static inline void quadratic_update(void *user, tern_pool *pool, const tern_adam_step *step) {
    (void)user;
    tern_adam_update(pool, step, N, true);
}

static inline const char *quadratic_name(void *user, size_t index) {
    (void)user;
    return index < SECOND ? "first" : "second";
}

static inline bool quadratic_go_on(void *user) {
    const quadratic *q = user;
    return !q->stop_after || q->changed_at + 1 < q->stop_after;
}

static inline void quadratic_progress(void *user, const tern_loop_report *report) {
    quadratic *q = user;
    q->n_progress++;
    if (q->kill_after && report->step == q->kill_after)
        _Exit(9); /* as kill -9 would: nothing is written any more */
}

static inline tern_status quadratic_sample(void *user, uint64_t step, tern_error *err) {
    quadratic *q = user;
    q->n_samples++;
    return step == q->bad_sample_step ? tern_fail(err, TERN_ERR_IO, "no room") : TERN_OK;
}

static inline tern_status quadratic_finished(void *user, const tern_loop_report *last, tern_error *err) {
    (void)last, (void)err;
    ((quadratic *)user)->n_finished++;
    return TERN_OK;
}

static inline void quadratic_warn(void *user, const char *message) {
    quadratic *q = user;
    q->n_warnings++;
    snprintf(q->warning, sizeof q->warning, "%s", message);
}

/* Trains q from the beginning or from what is in config->out. */
static inline tern_status quadratic_run(quadratic *q, const tern_train_config *config, const tern_loop_hooks *how,
                                        uint64_t data_hash, tern_comm *comm, tern_error *err) {
    tern_pool *pool;
    if (tern_pool_create(2, &pool, err))
        return TERN_ERR_MEMORY;
    q->rows = config->batch;
    q->n_rows = config->batch / (uint32_t)tern_comm_size(comm);
    q->first_row = q->n_rows * (uint32_t)tern_comm_rank(comm);
    tern_objective objective = {.name = "quadratic",
                                .extra_names = {"threes"},
                                .user = q,
                                .gradients = quadratic_gradients,
                                .validate = quadratic_validate,
                                .changed = quadratic_changed,
                                .sparsity = quadratic_sparsity,
                                .n_layers = 2,
                                .flops_per_token = 1000,
                                .data_hash = data_hash};
    tern_trainable trainable = {.values = q->values,
                                .grads = q->grads,
                                .m = q->m,
                                .v = q->v,
                                .n = N,
                                .update = quadratic_update,
                                .name_of = quadratic_name};
    tern_loop_hooks hooks = how ? *how : (tern_loop_hooks){0};
    hooks.user = q;
    hooks.warn = quadratic_warn;
    hooks.progress = quadratic_progress;
    hooks.go_on = quadratic_go_on;
    hooks.sample = quadratic_sample;
    hooks.finished = quadratic_finished;
    hooks.peak_flops = 1e12;
    tern_status status = tern_train_loop(config, &objective, &trainable, comm, pool, &hooks, err);
    tern_pool_free(pool);
    return status;
}

/* A small run in `folder`. */
static inline tern_status quadratic_config(const char *folder, tern_train_config *config, tern_error *err) {
    tern_status status = tern_train_config_defaults(config, err);
    config->out = strdup(folder);
    config->batch = 4;
    config->micro = 1;
    config->schedule.n_steps = 40;
    config->schedule.warmup_steps = 5;
    config->schedule.lr[0] = config->schedule.lr[1] = 0.1f;
    config->adam.clip = 0.05f;
    config->eval_every = 10;
    config->save_every = 7;
    config->sample_every = 16;
    return status || config->out ? status : tern_fail_memory(err, folder);
}

#endif
