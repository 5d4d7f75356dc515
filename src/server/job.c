#include "server/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/limits.h"
#include "server/sse.h"

int tern_job_create(tern_exchange *x, const tern_job_ops *ops, size_t n_prompts, size_t n, tern_api_error *error) {
    const tern_server_config *config = &x->server->config;
    size_t n_choices;
    if (!tern_mul_size(n_prompts, n, &n_choices) || n_choices > config->max_choices)
        return tern_api_fail(error, 400, NULL, "too_many_choices",
                             "%zu prompts with %zu answers each are more than the %u of a request that this server "
                             "allows; send several requests",
                             n_prompts, n, config->max_choices);
    tern_job *job = calloc(1, sizeof *job);
    if (!job)
        return tern_api_fail_memory(error);
    job->exchange = x;
    job->ops = ops;
    job->n_prompts = n_prompts;
    job->n_choices = n_choices;
    job->n = n;
    job->prompts = tern_calloc_array(n_prompts, sizeof *job->prompts);
    job->choices = tern_calloc_array(n_choices, sizeof *job->choices);
    if (!job->prompts || !job->choices) {
        tern_job_free(job);
        return tern_api_fail_memory(error);
    }
    for (size_t i = 0; i < n_choices; i++) {
        job->choices[i].job = job;
        job->choices[i].index = i;
        job->choices[i].prompt = &job->prompts[i / n];
    }
    snprintf(job->id, sizeof job->id, "%s%s", ops->prefix, x->id);
    job->params.cache_scope = x->key;
    job->deadline = tern_seconds() + config->timeout;
    job->queue_seconds = -1;
    x->job = job;
    return 0;
}

void tern_job_free(tern_job *job) {
    if (!job)
        return;
    for (size_t i = 0; job->prompts && i < job->n_prompts; i++) {
        tern_free(job->prompts[i].ids);
        tern_free(job->prompts[i].text);
    }
    for (size_t i = 0; job->choices && i < job->n_choices; i++) {
        tern_buffer_free(&job->choices[i].text);
        tern_logprob_free(&job->choices[i].log);
        free(job->choices[i].embedding);
    }
    free(job->prompts);
    free(job->choices);
    free(job->bias);
    free(job->stop);
    free(job->tool_text);
    json_decref(job->tools);
    tern_grammar_free(job->grammar);
    free(job);
}

void tern_job_cancel(tern_job *job) {
    for (size_t i = 0; i < job->n_submitted; i++)
        if (job->choices[i].request)
            tern_request_cancel(job->choices[i].request);
}

static void give_up(tern_job *job) {
    tern_job_cancel(job);
    tern_exchange_wake(job->exchange);
}

static bool hopeless(const tern_job *job) { return job->error.status || job->exchange->lost; }

bool tern_job_over(const tern_job *job) {
    return job->n_running == 0 && (job->n_submitted == job->n_choices || hopeless(job));
}

static void measure_token(tern_choice *choice) {
    tern_exchange *x = choice->job->exchange;
    double now = tern_seconds();
    if (choice->last_token == 0)
        tern_metrics_observe(&x->server->metrics.first_token, now - x->arrived);
    else
        tern_metrics_observe(&x->server->metrics.inter_token, now - choice->last_token);
    choice->last_token = now;
}

static bool on_event(void *user, const tern_request_event *event) {
    tern_choice *choice = user;
    tern_job *job = choice->job;
    tern_exchange *x = job->exchange;
    pthread_mutex_lock(&x->mutex);
    if (hopeless(job)) {
        pthread_mutex_unlock(&x->mutex);
        return false;
    }
    if (!event->prompt && event->id >= 0) {
        if (!job->has_tokens)
            job->first_token_seconds = tern_seconds() - x->arrived;
        job->has_tokens = true;
        measure_token(choice);
    }
    job->ops->event(choice, event);
    if (x->out.failed || choice->text.failed || choice->log.failed) {
        tern_api_fail_memory(&job->error);
        give_up(job);
    } else if (x->out.size - x->out_read > TERN_MAX_UNREAD) {
        x->lost = true;
        atomic_fetch_add(&x->server->metrics.slow_readers, 1);
        give_up(job);
    } else if (x->out.size > x->out_read) {
        x->written = tern_seconds();
        tern_exchange_wake(x);
    }
    bool go_on = !hopeless(job);
    pthread_mutex_unlock(&x->mutex);
    return go_on;
}

/* At the deadline there is what is there: an answer that is cut, like one of too many tokens. What is no answer
 * without being whole is none. */
static bool may_be_cut(const tern_job *job) {
    return job->has_tokens && !job->params.prompt_logprobs && !job->params.embedding;
}

static void fail_late(tern_job *job) {
    tern_api_fail(&job->error, 408, NULL, "request_timeout",
                  "the answer took longer than the %g seconds that this server allows (--timeout); ask for less, or "
                  "when it has less to do",
                  job->exchange->server->config.timeout);
    job->error.is_final = true;
    tern_job_cancel(job);
}

/* Why there is no whole answer; the first choice's reason is the job's. */
static void take_failure(tern_choice *choice, const tern_request_result *result) {
    tern_job *job = choice->job;
    bool cancelled = result->reason == TERN_STOP_CANCELLED || result->status == TERN_ERR_CANCELLED;
    if (hopeless(job) || (result->status == TERN_OK && !cancelled))
        return;
    if (result->timed_out && may_be_cut(job)) {
        choice->is_cut = true;
        return;
    }
    if (result->timed_out) {
        fail_late(job);
        return;
    }
    if (cancelled)
        tern_api_fail(&job->error, 503, NULL, "cancelled", "the server cancelled the request");
    else if (result->err.status == TERN_ERR_FORMAT) /* the model's, for the request was taken */
        tern_api_fail(&job->error, 500, NULL, "model_damaged", "%s", result->err.message);
    else
        tern_api_fail_from(&job->error, NULL, &result->err);
    tern_job_cancel(job);
}

static void take_embedding(tern_choice *choice, const tern_request_result *result) {
    size_t n = choice->job->exchange->server->info.hidden_size;
    if (!choice->job->params.embedding || hopeless(choice->job))
        return;
    choice->embedding = result->embedding ? tern_alloc_array(n, sizeof *choice->embedding) : NULL;
    if (choice->embedding)
        memcpy(choice->embedding, result->embedding, n * sizeof *choice->embedding);
    else
        tern_api_fail_memory(&choice->job->error);
}

/* Seconds that an answer takes, once it is begun: a mean over the last ones. */
static void measure_answer(tern_server *server, const tern_request_result *result) {
    bool whole = result->status == TERN_OK && (result->reason != TERN_STOP_CANCELLED || result->timed_out);
    double us = (result->total_seconds - result->queue_seconds) * 1e6;
    double mean = (double)atomic_load(&server->answer_us);
    if (whole && us > 0) /* only the scheduler's thread writes it */
        atomic_store(&server->answer_us, (uint64_t)(mean > 0 ? mean + (us - mean) / 8 : us) + 1);
}

/* How long a full queue takes, as far as one can tell. */
static int retry_after(const tern_server *server) {
    enum { LONGEST = 60 };
    const tern_scheduler_params *params = &server->config.scheduler;
    double seconds = (double)atomic_load(&server->answer_us) * 1e-6 * params->max_waiting / params->max_running;
    return seconds < LONGEST ? (int)ceil(seconds > 1 ? seconds : 1) : LONGEST;
}

static void on_done(void *user, const tern_request_result *result) {
    tern_choice *choice = user;
    tern_job *job = choice->job;
    tern_exchange *x = job->exchange;
    pthread_mutex_lock(&x->mutex);
    choice->request = NULL;
    choice->reason = result->reason;
    choice->n_generated = result->n_generated;
    if (result->n_cached > choice->prompt->n_cached)
        choice->prompt->n_cached = result->n_cached;
    measure_answer(x->server, result);
    if (choice->index == 0)
        job->queue_seconds = result->queue_seconds;
    take_failure(choice, result);
    take_embedding(choice, result);
    job->n_running--;
    job->n_done++;
    if (job->stream && !hopeless(job))
        job->ops->choice_end(choice);
    tern_exchange_wake(x); /* it may be over, or there is room for another one */
    tern_exchange_release(x);
}

/* The deadline is over. What was not handed in stays empty. */
static void drop_rest(tern_job *job) {
    if (!may_be_cut(job)) {
        fail_late(job);
        return;
    }
    while (job->n_submitted < job->n_choices) {
        tern_choice *choice = &job->choices[job->n_submitted++];
        choice->is_cut = true;
        choice->reason = TERN_STOP_CANCELLED;
        job->n_done++;
        if (job->stream)
            job->ops->choice_end(choice);
    }
}

void tern_job_pump(tern_job *job) {
    tern_exchange *x = job->exchange;
    while (!hopeless(job) && job->n_submitted < job->n_choices && job->n_running < TERN_JOB_WINDOW) {
        tern_choice *choice = &job->choices[job->n_submitted];
        tern_request_params params = job->params;
        tern_error err;
        params.deadline_seconds = job->deadline - tern_seconds();
        if (params.deadline_seconds <= 0) {
            drop_rest(job);
            return;
        }
        params.ids = choice->prompt->ids;
        params.n_ids = choice->prompt->n_ids;
        params.sampler.seed += choice->index;
        params.on_event = on_event;
        params.on_done = on_done;
        params.user = choice;
        tern_status status = tern_scheduler_submit(x->server->scheduler, &params, &choice->request, &err);
        if (status == TERN_ERR_BUSY && job->n_running)
            return; /* one of ours will make room */
        if (status) {
            choice->request = NULL;
            tern_api_fail_from(&job->error, "prompt", &err);
            if (status == TERN_ERR_BUSY)
                job->error.retry_after = retry_after(x->server);
            tern_job_cancel(job);
            return;
        }
        job->n_submitted++;
        job->n_running++;
        x->references++;
    }
}

void tern_job_settle(tern_job *job) {
    tern_exchange *x = job->exchange;
    if (job->ended || !tern_job_over(job) || x->lost)
        return;
    job->ended = true;
    if (!job->error.status) {
        job->ops->stream_end(job);
        return;
    }
    tern_sse_begin(&x->out);
    tern_api_error_write(&job->error, &x->out);
    tern_sse_end(&x->out);
    tern_sse_done(&x->out);
}

const char *tern_finish_reason(tern_stop_reason reason) {
    return reason == TERN_STOP_END || reason == TERN_STOP_STRING ? "stop" : "length";
}

void tern_choice_write_reason(const tern_choice *choice, const char *reason, tern_buffer *out) {
    tern_buffer_text(out, ",\"finish_reason\":");
    if (reason)
        tern_json_write_text(out, reason);
    else
        tern_buffer_text(out, "null");
    if (reason && choice->is_cut)
        tern_buffer_text(out, ",\"stop_reason\":\"timeout\"");
}

void tern_job_write_usage(const tern_job *job, tern_buffer *out) {
    unsigned long long prompt = 0, cached = 0, generated = 0;
    for (size_t i = 0; i < job->n_prompts; i++) {
        prompt += job->prompts[i].n_ids;
        cached += job->prompts[i].n_cached;
    }
    for (size_t i = 0; i < job->n_choices; i++)
        generated += job->choices[i].n_generated;
    tern_buffer_printf(out,
                       "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                       "\"prompt_tokens_details\":{\"cached_tokens\":%llu}}",
                       prompt, generated, prompt + generated, cached);
}

void tern_job_write_head(const tern_job *job, const char *object, tern_buffer *out) {
    const tern_exchange *x = job->exchange;
    tern_buffer_printf(out, "\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", job->id, object,
                       (long long)x->created);
    tern_json_write_text(out, x->server->model_name);
    tern_buffer_printf(out, ",\"system_fingerprint\":\"tern-%s\"", TERN_VERSION);
}
