#include "train/loop.h"

#include <inttypes.h>
#include <math.h>

#include "base/clock.h"
#include "train/loop_parts.h"

/* What is summed over the ranks after each step, in one message. */
enum { SUM_LOSS, SUM_LOSSES, SUM_TOKENS, SUM_STOP, SUM_EXTRA, N_SUMS = SUM_EXTRA + 4 };

/* ------------------------------------------------------------------- a step */

enum { ZERO_BLOCK = 1 << 16 };

static void zero_task(void *context, size_t task, int worker) {
    (void)worker;
    const tern_trainable *t = context;
    size_t begin = task * ZERO_BLOCK, left = t->n - begin;
    memset(t->grads + begin, 0, (left < ZERO_BLOCK ? left : ZERO_BLOCK) * sizeof(float));
}

static void on_ready(void *user, size_t offset, size_t n) {
    tern_run *run = user;
    run->n_sent += n;
    tern_comm_start_sum(run->comm, run->trainable->grads + offset, n);
}

/* This step's gradients, summed over the ranks, and what else is. */
static tern_status gather(tern_run *run, double sums[N_SUMS], tern_error *err) {
    const tern_trainable *t = run->trainable;
    const tern_objective *objective = run->objective;
    tern_step_result result = {0};
    bool alone = tern_comm_size(run->comm) == 1;
    tern_pool_run(run->pool, (t->n + ZERO_BLOCK - 1) / ZERO_BLOCK, zero_task, (void *)t);
    run->n_sent = 0;
    tern_status status =
        objective->gradients(objective->user, run->step, alone ? NULL : on_ready, alone ? NULL : run, &result, err);
    if (status)
        return status;
    if (!run->n_sent) /* an objective that does not say when */
        tern_comm_start_sum(run->comm, t->grads, t->n);
    sums[SUM_LOSS] = result.loss_sum;
    sums[SUM_LOSSES] = result.n_losses;
    sums[SUM_TOKENS] = result.n_tokens;
    sums[SUM_STOP] = run->hooks->go_on && !run->hooks->go_on(run->hooks->user);
    for (int i = 0; i < 4; i++)
        sums[SUM_EXTRA + i] = result.extra[i];
    status = tern_comm_wait(run->comm, err);
    return status ? status : tern_comm_sum_double(run->comm, sums, N_SUMS, err);
}

static const char *bad_tensor(const tern_run *run, const float *array) {
    for (size_t i = 0; i < run->trainable->n; i++)
        if (!isfinite(array[i]))
            return run->trainable->name_of(run->trainable->user, i);
    return "none";
}

/* All ranks see the same sums and come here together. */
static tern_status not_finite(const tern_run *run, const char *what, const char *tensor, tern_error *err) {
    char kept[64] = "No state was saved yet";
    if (run->saved_step)
        snprintf(kept, sizeof kept, "The state of step %" PRIu64 " is kept", run->saved_step);
    tern_fail(err, TERN_ERR_ARGUMENT,
              "step %" PRIu64 ": the %s is not finite; the first tensor with such a value: %s. %s in %s; a lower "
              "\"lr\" or \"clip\" may help%s",
              run->step + 1, what, tensor, kept, run->config->out, run->saved_step ? ", with --accept-changes" : "");
    return tern_comm_agree(run->comm, TERN_ERR_ARGUMENT, err);
}

/* One optimiser step; the report has its figures. */
static tern_status make_step(tern_run *run, double sums[N_SUMS], tern_loop_report *report, tern_error *err) {
    const tern_trainable *t = run->trainable;
    const tern_schedule *schedule = &run->config->schedule;
    tern_status status = gather(run, sums, err);
    if (status)
        return status;
    double divisor = run->objective->loss_divisor > 0 ? run->objective->loss_divisor : sums[SUM_LOSSES];
    double scale = divisor > 0 ? 1 / divisor : 0; /* a step without any loss: zero gradients */
    report->loss = sums[SUM_LOSSES] > 0 ? sums[SUM_LOSS] / sums[SUM_LOSSES] : 0;
    report->grad_norm = tern_grad_norm(run->pool, t->grads, t->n, scale);
    if (!isfinite(report->grad_norm))
        return not_finite(run, isfinite(sums[SUM_LOSS]) ? "gradient" : "loss", bad_tensor(run, t->grads), err);
    if (!isfinite(sums[SUM_LOSS]))
        return not_finite(run, "loss", "no gradient", err);
    double clip = run->config->adam.clip;
    if (clip > 0 && report->grad_norm > clip)
        scale *= clip / report->grad_norm;
    report->lr = tern_schedule_lr(schedule, run->step);
    report->weight_decay = tern_schedule_weight_decay(schedule, run->step);
    tern_adam_step step = {.values = t->values,
                           .m = t->m,
                           .v = t->v,
                           .grads = t->grads,
                           .grad_scale = (float)scale,
                           .lr = (float)report->lr,
                           .weight_decay = (float)report->weight_decay,
                           .t = run->step + 1,
                           .adam = run->config->adam};
    t->update(t->user, run->pool, &step);
    const char *bad = run->objective->changed(run->objective->user, run->step + 1);
    if (bad)
        return not_finite(run, "weight", bad, err);
    run->step++;
    run->tokens += (uint64_t)sums[SUM_TOKENS];
    return TERN_OK;
}

/* --------------------------------------------------------------- validation */

static tern_status validate(tern_run *run, bool whole, double *loss, tern_error *err) {
    tern_step_result result = {0};
    *loss = NAN;
    if (!run->objective->validate)
        return TERN_OK;
    tern_status status = run->objective->validate(run->objective->user, whole, &result, err);
    if (status)
        return status;
    double sums[] = {result.loss_sum, result.n_losses};
    status = tern_comm_sum_double(run->comm, sums, 2, err);
    if (status || sums[1] <= 0)
        return status; /* nothing is held out */
    *loss = sums[0] / sums[1];
    return TERN_OK;
}

static bool due(uint64_t every, uint64_t step) { return every && step % every == 0; }

/* ---------------------------------------------------------------------- log */

typedef struct sparsity_list {
    const tern_objective *objective;
    bool gates;
} sparsity_list;

static double sparsity_of(void *user, size_t layer) {
    const sparsity_list *list = user;
    double zeros = 0, closed = 0;
    list->objective->sparsity(list->objective->user, (uint32_t)layer, &zeros, &closed);
    return list->gates ? closed : zeros;
}

static tern_status log_step(tern_run *run, const double sums[N_SUMS], const tern_loop_report *report, double seconds,
                            tern_error *err) {
    tern_train_log *log = &run->log;
    const tern_objective *objective = run->objective;
    tern_train_log_whole(log, "step", report->step);
    tern_train_log_real(log, "loss", report->loss);
    tern_train_log_real(log, "lr", report->lr);
    tern_train_log_real(log, "weight_decay", report->weight_decay);
    tern_train_log_real(log, "grad_norm", report->grad_norm);
    tern_train_log_whole(log, "tokens", report->tokens);
    for (int i = 0; i < 4 && objective->extra_names[i]; i++)
        tern_train_log_real(log, objective->extra_names[i],
                            sums[SUM_LOSSES] > 0 ? sums[SUM_EXTRA + i] / sums[SUM_LOSSES] : 0);
    tern_train_log_real(log, "validation", report->validation);
    if (isfinite(report->validation) && objective->sparsity) {
        sparsity_list list = {objective, false};
        tern_train_log_list(log, "ffn_zeros", objective->n_layers, sparsity_of, &list);
        list.gates = true;
        tern_train_log_list(log, "closed_gates", objective->n_layers, sparsity_of, &list);
    }
    tern_train_log_real(log, "seconds", seconds);
    tern_train_log_real(log, "tokens_per_second", report->tokens_per_second);
    if (report->flops > 0)
        tern_train_log_real(log, "flops", report->flops);
    if (report->flops > 0 && run->hooks->peak_flops > 0)
        tern_train_log_real(log, "peak_share", report->flops / run->hooks->peak_flops);
    return tern_train_log_end(log, err);
}

/* ------------------------------------------------------------------ the loop */

/* The mean of the losses so far, old ones fading: what people look at. */
static double smooth(double before, double loss, uint64_t n) {
    const double fade = n < 9 ? (double)n / (double)(n + 1) : 0.9;
    return n ? fade * before + (1 - fade) * loss : loss;
}

/* No sample is worth a run. */
static void sample(const tern_run *run) {
    const tern_loop_hooks *hooks = run->hooks;
    tern_error problem = {0};
    tern_status status = hooks->sample(hooks->user, run->step, &problem);
    if (!status || status == TERN_ERR_CANCELLED || !hooks->warn)
        return;
    tern_error_prefix(&problem, "no sample of step %" PRIu64, run->step);
    hooks->warn(hooks->user, problem.message);
}

/* What belongs to the step that was just made: validation, log, state, sample. */
static tern_status after_step(tern_run *run, const double sums[N_SUMS], double seconds, bool stop,
                              tern_loop_report *report, tern_error *err) {
    const tern_train_config *config = run->config;
    const tern_loop_hooks *hooks = run->hooks;
    bool last = run->step == config->schedule.n_steps;
    tern_status status = TERN_OK;
    if (last || due(config->eval_every, run->step))
        status = validate(run, last, &report->validation, err);
    if (!status && run->first)
        status = log_step(run, sums, report, seconds, err);
    status = tern_comm_agree(run->comm, status, err);
    if (!status && (last || stop || due(config->save_every, run->step)))
        status = tern_run_save(run, err);
    if (!status && run->first && hooks->sample && due(config->sample_every, run->step))
        sample(run);
    if (!status && run->first && hooks->progress)
        hooks->progress(hooks->user, report);
    return status;
}

static tern_status run_steps(tern_run *run, tern_loop_report *report, tern_error *err) {
    const uint64_t n_steps = run->config->schedule.n_steps, begun = run->step;
    double begin = tern_seconds(), started = begin;
    while (run->step < n_steps) {
        double sums[N_SUMS];
        tern_loop_report now = {.n_steps = n_steps, .validation = NAN};
        tern_status status = make_step(run, sums, &now, err);
        if (status)
            return status;
        double end = tern_seconds(), seconds = end - begin;
        run->seconds += seconds;
        now.step = run->step;
        now.tokens = run->tokens;
        now.smoothed = smooth(report->smoothed, now.loss, run->step - begun - 1);
        now.tokens_per_second = sums[SUM_TOKENS] / seconds;
        now.flops = now.tokens_per_second * run->objective->flops_per_token;
        now.seconds_left = (end - started) / (double)(run->step - begun) * (double)(n_steps - run->step);
        bool stop = sums[SUM_STOP] > 0;
        *report = now;
        status = after_step(run, sums, seconds, stop, report, err);
        if (status)
            return status;
        if (stop && run->step < n_steps) {
            tern_fail(err, TERN_ERR_CANCELLED, "stopped after step %" PRIu64 " of %" PRIu64 "; the state is saved",
                      run->step, n_steps);
            return tern_comm_agree(run->comm, TERN_ERR_CANCELLED, err);
        }
        begin = tern_seconds();
    }
    return TERN_OK;
}

tern_status tern_train_loop(const tern_train_config *config, const tern_objective *objective,
                            const tern_trainable *trainable, tern_comm *comm, tern_pool *pool,
                            const tern_loop_hooks *hooks, tern_error *err) {
    static const tern_loop_hooks none = {0};
    tern_run run = {.config = config,
                    .objective = objective,
                    .trainable = trainable,
                    .comm = comm,
                    .pool = pool,
                    .hooks = hooks ? hooks : &none};
    tern_loop_report report = {.n_steps = config->schedule.n_steps, .loss = NAN, .validation = NAN};
    tern_status status = tern_run_begin(&run, err);
    if (!status) {
        const char *bad = objective->changed(objective->user, run.step);
        if (bad)
            status = not_finite(&run, "weight", bad, err);
    }
    if (!status && run.step == config->schedule.n_steps) { /* all done before: only the end once more */
        report.step = run.step;
        report.tokens = run.tokens;
        status = validate(&run, true, &report.validation, err);
    } else if (!status) {
        status = run_steps(&run, &report, err);
    }
    if (!status) {
        if (run.first && run.hooks->finished)
            status = run.hooks->finished(run.hooks->user, &report, err);
        status = tern_comm_agree(comm, status, err);
    }
    tern_run_end(&run);
    return status;
}
