/* A request: checked and copied when it is handed in, told of its steps and its end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "runtime/scheduler_parts.h"

/* ------------------------------------------------------------- submission */

static tern_status check_prompt(const tern_scheduler *s, const tern_request_params *p, tern_error *err) {
    uint32_t vocab_size = s->engine->weights->dims.vocab_size;
    if (!p->ids || p->n_ids == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a request needs at least one token");
    /* The last token that is drawn is not evaluated, so that one more than the context's may be there. */
    if (p->n_ids > s->params.n_ctx)
        return tern_fail(err, TERN_ERR_CONTEXT,
                         "the prompt of %zu tokens does not fit into the context of %u; use shorter text or a larger "
                         "context",
                         p->n_ids, s->params.n_ctx);
    for (size_t i = 0; i < p->n_ids; i++)
        if (p->ids[i] < 0 || (uint32_t)p->ids[i] >= vocab_size)
            return tern_fail(err, TERN_ERR_ARGUMENT, "token id %d is outside the vocabulary (0 to %u)", p->ids[i],
                             vocab_size - 1);
    return TERN_OK;
}

static tern_status check(const tern_scheduler *s, const tern_request_params *p, tern_error *err) {
    tern_status status = check_prompt(s, p, err);
    if (status)
        return status;
    if (p->max_tokens < -1)
        return tern_fail(err, TERN_ERR_ARGUMENT, "max tokens %lld: must be -1 (no limit), 0 or more",
                         (long long)p->max_tokens);
    if (p->embedding && p->max_tokens != 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "an embedding is of a prompt alone: max tokens must be 0");
    if (p->n_top > s->engine->weights->dims.vocab_size)
        return tern_fail(err, TERN_ERR_ARGUMENT, "the %u most probable tokens are more than there are (%u)", p->n_top,
                         s->engine->weights->dims.vocab_size);
    if (!(p->deadline_seconds >= 0))
        return tern_fail(err, TERN_ERR_ARGUMENT, "a deadline of %g seconds is impossible", p->deadline_seconds);
    return TERN_OK;
}

static void release(tern_request *r) {
    tern_kv_free(&r->kv);
    tern_sampler_free(r->sampler);
    tern_answer_free(&r->answer);
    free(r->tokens);
    free(r->sum);
    free(r->embedding);
    free(r->top);
    free(r);
}

/* Tokens that a request may come to: all of a full context and the one that is drawn behind it. */
static size_t capacity_of(const tern_scheduler *s, const tern_request_params *p) {
    size_t most = (size_t)s->params.n_ctx + 1;
    if (p->max_tokens >= 0 && (uint64_t)p->max_tokens < most - p->n_ids)
        return p->n_ids + (size_t)p->max_tokens;
    return most;
}

static tern_status copy(tern_request *r, const tern_request_params *p, tern_error *err) {
    const tern_scheduler *s = r->scheduler;
    const tern_dims *dims = &s->engine->weights->dims;
    r->capacity = capacity_of(s, p);
    r->tokens = tern_alloc_array(r->capacity, sizeof *r->tokens);
    r->sum = p->embedding ? tern_calloc_array(dims->hidden_size, sizeof *r->sum) : NULL;
    r->embedding = p->embedding ? tern_calloc_array(dims->hidden_size, sizeof *r->embedding) : NULL;
    r->top = p->n_top ? tern_alloc_array(p->n_top, sizeof *r->top) : NULL;
    if (!r->tokens || (p->embedding && (!r->sum || !r->embedding)) || (p->n_top && !r->top))
        return tern_fail_memory(err, "a request");
    memcpy(r->tokens, p->ids, p->n_ids * sizeof *p->ids);
    r->n_prompt = r->n_tokens = p->n_ids;
    return TERN_OK;
}

static tern_status prepare(tern_request *r, const tern_request_params *p, tern_error *err) {
    const tern_scheduler *s = r->scheduler;
    const tern_answer_params answer = {.tokenizer = s->tokenizer,
                                       .max_tokens = p->max_tokens,
                                       .stop = p->stop,
                                       .n_stop = p->n_stop,
                                       .ignore_end = p->ignore_end,
                                       .show_special = p->show_special};
    tern_status status = copy(r, p, err);
    if (!status)
        status = tern_answer_init(&r->answer, &answer, err);
    if (!status && p->max_tokens != 0)
        status = tern_sampler_create(&p->sampler, s->engine->weights->dims.vocab_size, &r->sampler, err);
    for (size_t i = 0; !status && r->sampler && i < p->n_ids; i++)
        status = tern_sampler_accept(r->sampler, p->ids[i], err);
    return status;
}

/* With the lock held. */
static tern_status check_queue(tern_scheduler *s, tern_error *err) {
    if (s->n_there < (uint64_t)s->params.max_running + s->params.max_waiting)
        return TERN_OK;
    s->stats.n_refused++;
    return tern_fail(err, TERN_ERR_BUSY, "%llu requests are running or waiting, and no more may wait: try again later",
                     (unsigned long long)s->n_there);
}

static tern_status hand_over(tern_scheduler *s, tern_request *r, tern_request **request, tern_error *err) {
    pthread_mutex_lock(&s->lock);
    tern_status status = check_queue(s, err);
    if (!status) {
        r->number = s->n_submitted++;
        s->n_there++;
        s->stats.n_waiting++;
        *s->incoming_end = r;
        s->incoming_end = &r->next;
        if (request) /* before its callbacks can be called */
            *request = r;
        pthread_cond_signal(&s->submitted);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

tern_status tern_scheduler_submit(tern_scheduler *s, const tern_request_params *params, tern_request **request,
                                  tern_error *err) {
    double now = tern_seconds();
    pthread_mutex_lock(&s->lock); /* to refuse is cheap */
    tern_status status = check_queue(s, err);
    pthread_mutex_unlock(&s->lock);
    if (!status)
        status = check(s, params, err);
    if (status)
        return status;
    tern_request *r = calloc(1, sizeof *r);
    if (!r)
        return tern_fail_memory(err, "a request");
    r->scheduler = s;
    r->submitted = now;
    r->deadline = params->deadline_seconds > 0 ? now + params->deadline_seconds : INFINITY;
    r->params = *params;
    r->params.ids = NULL;
    r->params.stop = NULL;
    r->params.sampler = (tern_sampler_params){0};
    r->result.queue_seconds = r->result.first_token_seconds = NAN;
    tern_kv_init_pooled(&r->kv, &s->pool);
    r->kv.scope = params->cache_scope;
    status = prepare(r, params, err);
    if (!status)
        status = hand_over(s, r, request, err);
    if (status)
        release(r);
    return status;
}

void tern_request_cancel(tern_request *request) { atomic_store(&request->cancel, true); }

/* -------------------------------------------------------------- the reader */

void tern_request_end(tern_request *r, tern_stop_reason reason) {
    r->over = true;
    tern_answer_end(&r->answer, reason);
}

void tern_request_fail(tern_request *r, const tern_error *err) {
    r->over = true;
    r->result.status = err->status;
    r->result.err = *err;
}

void tern_request_tell(tern_request *r, const tern_request_event *event) {
    if (!r->params.on_event || r->refused || r->params.on_event(r->params.user, event))
        return;
    r->refused = r->over = true;
    if (!(r->answer.done && r->answer.reason == TERN_STOP_STRING))
        tern_answer_end(&r->answer, TERN_STOP_CANCELLED);
}

static void flush(tern_request *r) {
    tern_error err = {0};
    if (tern_answer_flush(&r->answer, &err)) {
        tern_request_fail(r, &err);
        return;
    }
    const tern_buffer *text = &r->answer.text;
    if (text->size)
        tern_request_tell(r,
                          &(tern_request_event){.text = text->bytes, .n_bytes = text->size, .id = -1, .logprob = NAN});
}

/* The mean of the states, of length 1. */
static void give_embedding(tern_request *r) {
    size_t n = r->scheduler->engine->weights->dims.hidden_size;
    double squares = 0;
    tern_error err;
    for (size_t i = 0; i < n; i++)
        squares += r->sum[i] * r->sum[i];
    if (!(squares > 0) || !isfinite(squares)) { /* a NaN is not larger, either */
        tern_fail(&err, TERN_ERR_FORMAT,
                  "the model gave NaN, infinite or no hidden states at all: its weights are damaged, or the file is");
        tern_request_fail(r, &err);
        return;
    }
    for (size_t i = 0; i < n; i++)
        r->embedding[i] = (float)(r->sum[i] / sqrt(squares));
    r->result.embedding = r->embedding;
}

static void count_end(tern_scheduler *s, const tern_request *r) {
    tern_scheduler_stats *stats = &s->stats;
    uint64_t *counter = &stats->n_finished;
    if (r->result.status)
        counter = &stats->n_failed;
    else if (r->result.reason == TERN_STOP_CANCELLED)
        counter = &stats->n_cancelled;
    pthread_mutex_lock(&s->lock);
    ++*counter;
    s->n_there--;
    pthread_mutex_unlock(&s->lock);
}

void tern_request_finish(tern_request *r) {
    tern_scheduler *s = r->scheduler;
    tern_request_result *result = &r->result;
    if (!result->status)
        flush(r);
    if (!result->status && r->sum && r->answer.reason != TERN_STOP_CANCELLED)
        give_embedding(r);
    tern_kv_free(&r->kv);
    result->reason = r->answer.reason;
    result->n_prompt = r->n_prompt;
    result->n_generated = r->answer.n_tokens;
    result->total_seconds = tern_seconds() - r->submitted;
    if (isnan(result->queue_seconds))
        result->queue_seconds = result->total_seconds;
    count_end(s, r);
    tern_scheduler_publish(s);
    if (r->params.on_done)
        r->params.on_done(r->params.user, result);
    release(r);
}
