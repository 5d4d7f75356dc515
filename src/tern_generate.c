/* tern_generate(): prompt in, sampled text out through a callback. */
#include <stdlib.h>

#include "base/clock.h"
#include "model_handle.h"
#include "runtime/stop.h"
#include "tokenizer/stream.h"

typedef struct generation {
    tern_session *session;
    const tern_generate_params *params;
    tern_text_fn on_text;
    void *user;
    tern_sampler *sampler;
    tern_stop *stop;
    tern_buffer pending; /* bytes of a character that is not complete yet */
    tern_buffer out;     /* text that may go out */
    bool refused;        /* the callback wants no more */
} generation;

tern_generate_params tern_generate_defaults(void) {
    return (tern_generate_params){.sampler = tern_sampler_defaults(), .max_tokens = -1};
}

/* Give what may go out to the callback. Once that has said no it is not called again: it may have lost what it
 * writes to. */
static void emit(generation *g, int32_t id) {
    if (g->on_text && !g->refused)
        g->refused = !g->on_text(g->user, g->out.size ? g->out.bytes : "", g->out.size, id);
    g->out.size = 0;
}

/* A token's text through UTF-8 completion and stop strings. True: a stop string is complete. */
static bool take_text(generation *g, int32_t id) {
    const tern_tokenizer *tokenizer = tern_session_tokenizer(g->session);
    if (tern_tokenizer_is_special(tokenizer, id) && !g->params->show_special)
        return false;
    size_t n_bytes, complete;
    const char *bytes = tern_tokenizer_token(tokenizer, id, &n_bytes);
    tern_buffer_append(&g->pending, bytes, n_bytes);
    if (g->pending.failed)
        return false;
    complete = tern_utf8_complete(g->pending.bytes, g->pending.size);
    bool stopped = tern_stop_feed(g->stop, g->pending.bytes, complete, &g->out);
    memmove(g->pending.bytes, g->pending.bytes + complete, g->pending.size - complete);
    g->pending.size -= complete;
    return stopped;
}

/* No more tokens: what was held back goes out as it is. */
static void flush(generation *g) {
    if (g->pending.size)
        tern_stop_feed(g->stop, g->pending.bytes, g->pending.size, &g->out);
    tern_stop_flush(g->stop, &g->out);
    if (g->out.size)
        emit(g, -1);
}

/* Cancelling and a full context end a generation without being failures. */
static tern_status as_reason(tern_status status, tern_stop_reason *reason) {
    if (status == TERN_ERR_CANCELLED)
        *reason = TERN_STOP_CANCELLED;
    else if (status == TERN_ERR_CONTEXT)
        *reason = TERN_STOP_CONTEXT;
    else
        return status;
    return TERN_OK;
}

/* One token: sample, show, evaluate. *done is set with a reason when it was the last. */
static tern_status step(generation *g, tern_generate_result *result, double start, bool *done, tern_error *err) {
    int32_t id;
    tern_status status = tern_sampler_sample(g->sampler, tern_session_logits(g->session), &id, err);
    if (!status)
        status = tern_sampler_accept(g->sampler, id, err);
    if (status)
        return status;
    *done = true;
    if (!g->params->ignore_end && tern_tokenizer_is_end(tern_session_tokenizer(g->session), id)) {
        result->reason = TERN_STOP_END;
        return TERN_OK;
    }
    result->n_generated++;
    bool stopped = take_text(g, id);
    if (g->pending.failed || g->out.failed)
        return tern_fail_memory(err, "the generated text");
    if (result->n_generated == 1)
        result->first_token_seconds = tern_seconds() - start;
    emit(g, id);
    if (stopped || g->refused) {
        result->reason = stopped ? TERN_STOP_STRING : TERN_STOP_CANCELLED;
        return TERN_OK;
    }
    if (g->params->max_tokens >= 0 && result->n_generated >= (uint64_t)g->params->max_tokens) {
        result->reason = TERN_STOP_LENGTH;
        return TERN_OK;
    }
    status = tern_session_eval(g->session, &id, 1, err);
    *done = status != TERN_OK;
    return as_reason(status, &result->reason);
}

static tern_status prefill(generation *g, const int32_t *ids, size_t n_ids, tern_generate_result *result,
                           tern_error *err) {
    tern_status status = tern_session_eval(g->session, ids, n_ids, err);
    if (status)
        return status;
    if (!tern_session_embedding(g->session))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "there is nothing to continue: the prompt is empty, and the session holds no token or was "
                         "truncated since its last one; give at least one token");
    result->n_prompt = n_ids;
    const int32_t *past = tern_session_tokens(g->session);
    for (uint32_t i = 0; !status && i < tern_session_n_past(g->session); i++)
        status = tern_sampler_accept(g->sampler, past[i], err);
    return status;
}

static tern_status run(generation *g, const int32_t *ids, size_t n_ids, tern_generate_result *result, tern_error *err) {
    double start = tern_seconds();
    tern_status status = prefill(g, ids, n_ids, result, err);
    result->prefill_seconds = tern_seconds() - start;
    if (status == TERN_ERR_CANCELLED)
        return as_reason(status, &result->reason);
    double decode_start = tern_seconds();
    bool done = g->params->max_tokens == 0;
    while (!status && !done)
        status = step(g, result, start, &done, err);
    if (!status)
        flush(g);
    if (!status && g->out.failed)
        status = tern_fail_memory(err, "the generated text");
    result->decode_seconds = tern_seconds() - decode_start;
    return status;
}

tern_status tern_generate_ids(tern_session *session, const int32_t *ids, size_t n_ids,
                              const tern_generate_params *params, tern_text_fn on_text, void *user,
                              tern_generate_result *result, tern_error *err) {
    const tern_generate_params defaults = tern_generate_defaults();
    generation g = {.session = session, .params = params ? params : &defaults, .on_text = on_text, .user = user};
    tern_generate_result local = {0};
    tern_status status = tern_sampler_create(&g.params->sampler, tern_session_vocab_size(session), &g.sampler, err);
    if (!status)
        status = tern_stop_create(g.params->stop, g.params->n_stop, &g.stop, err);
    if (!status)
        status = run(&g, ids, n_ids, &local, err);
    tern_sampler_free(g.sampler);
    tern_stop_free(g.stop);
    tern_buffer_free(&g.pending);
    tern_buffer_free(&g.out);
    if (!status && result)
        *result = local;
    return status;
}

tern_status tern_generate(tern_session *session, const char *text, size_t n_bytes, const tern_generate_params *params,
                          tern_text_fn on_text, void *user, tern_generate_result *result, tern_error *err) {
    int32_t *ids = NULL;
    size_t n_ids;
    unsigned flags = TERN_TOKENIZE_SPECIAL | (tern_session_n_past(session) == 0 ? TERN_TOKENIZE_BOS : 0);
    tern_status status = tern_tokenize(tern_session_tokenizer(session), text, n_bytes, flags, &ids, &n_ids, err);
    if (!status)
        status = tern_generate_ids(session, ids, n_ids, params, on_text, user, result, err);
    tern_free(ids);
    return status;
}
