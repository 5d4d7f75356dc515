/*
 * tern_generate(): prompt in, sampled text out through a callback.
 *
 * A step evaluates the token that was taken last and, behind it, tokens that are guessed to follow (runtime/lookup.h),
 * all in one pass over the weights. Then tokens are sampled one after the other, from the logits behind the evaluated
 * ones, as long as each is the one that was guessed: only then stands what comes next in the right place. So every
 * token is drawn from exactly the logits, with exactly the random numbers, that it has without guesses; a wrong guess
 * costs time, never correctness. (Leviathan et al. 2023 accept by a ratio of probabilities, because their guesses are
 * samples, too; ours are certain ones, for which their rule comes down to this.)
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "model_handle.h"
#include "runtime/answer.h"
#include "runtime/draw.h"
#include "runtime/lookup.h"

/* With the token in front of them eight: the kernels for few tokens take so many at once, and more cost more than a
 * likely guess brings (docs/SPEED.md). */
enum { DEFAULT_DRAFT = 7, MAX_DRAFT = 64 };

typedef struct generation {
    tern_session *session;
    const tern_generate_params *params;
    tern_text_fn on_text;
    void *user;
    tern_sampler *sampler;
    tern_answer answer;
    bool refused; /* the callback wants no more */
    tern_generate_result *result;
    double start;

    int32_t id; /* the token that was taken last; not evaluated yet */

    tern_lookup *lookup; /* NULL: no guesses */
    uint32_t max_draft;
    int32_t *ids;                /* [1 + max_draft] of a step */
    float *hidden;               /* [1 + max_draft, hidden] */
    tern_head_query *queries;    /* [1 + max_draft] */
    tern_candidates *candidates; /* [1 + max_draft] */
} generation;

tern_generate_params tern_generate_defaults(void) {
    return (tern_generate_params){.sampler = tern_sampler_defaults(), .max_tokens = -1, .draft = -1};
}

/* Give what may go out to the callback. Once that has said no it is not called again: it may have lost what it
 * writes to. */
static void emit(generation *g, int32_t id) {
    tern_buffer *text = &g->answer.text;
    if (g->on_text && !g->refused)
        g->refused = !g->on_text(g->user, text->size ? text->bytes : "", text->size, id);
    text->size = 0;
}

/* No more tokens: what was held back goes out as it is. */
static tern_status flush(generation *g, tern_error *err) {
    tern_status status = tern_answer_flush(&g->answer, err);
    if (!status && g->answer.text.size)
        emit(g, -1);
    return status;
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

/* The next token, behind hidden [hidden_size] with these candidates: sample it, show it, see whether it is the last. */
static tern_status take(generation *g, const float *hidden, tern_candidates *candidates, tern_error *err) {
    bool shown;
    tern_status status = tern_engine_draw(tern_session_engine(g->session), hidden, g->sampler, candidates, &g->id, err);
    if (!status)
        status = tern_sampler_accept(g->sampler, g->id, err);
    if (status)
        return status;
    status = tern_answer_take(&g->answer, g->id, &shown, err);
    if (status || !shown)
        return status;
    if (g->answer.n_tokens == 1)
        g->result->first_token_seconds = tern_seconds() - g->start;
    emit(g, g->id);
    if (g->refused && !(g->answer.done && g->answer.reason == TERN_STOP_STRING))
        tern_answer_end(&g->answer, TERN_STOP_CANCELLED);
    if (g->lookup)
        tern_lookup_append(g->lookup, g->id, true);
    return TERN_OK;
}

/* Candidates for hidden [n], which follow upon what was taken and then upon ahead [n - 1] in turn. */
static tern_status find_candidates(generation *g, const float *hidden, const int32_t *ahead, uint32_t n,
                                   tern_error *err) {
    tern_status status = tern_sampler_queries(g->sampler, ahead, n, g->queries, err);
    return status ? status
                  : tern_engine_candidates(tern_session_engine(g->session), hidden, n, g->queries, g->candidates, err);
}

/* Guesses of what follows g->id, into g->ids behind it. */
static uint32_t guess(generation *g) {
    uint32_t room = tern_session_n_ctx(g->session) - tern_session_n_past(g->session);
    uint32_t limit = room > 0 ? room - 1 : 0;
    uint64_t left = g->params->max_tokens < 0 ? UINT64_MAX : (uint64_t)g->params->max_tokens - g->answer.n_tokens;
    if (left - 1 < limit) /* a step brings one token more than are guessed right */
        limit = (uint32_t)(left - 1);
    return g->lookup ? tern_lookup_draft(g->lookup, limit, g->ids + 1) : 0;
}

/* Sample behind ids [0], [1], ... [n_draft] as long as the guesses are right. *kept: how many ids are part of the text.
 */
static tern_status check_guesses(generation *g, uint32_t n_draft, uint32_t *kept, tern_error *err) {
    size_t hidden_size = tern_session_engine(g->session)->weights->dims.hidden_size;
    tern_status status = TERN_OK;
    *kept = 1;
    while (!status) {
        status = take(g, g->hidden + (*kept - 1) * hidden_size, &g->candidates[*kept - 1], err);
        if (status || g->answer.done || *kept > n_draft || g->id != g->ids[*kept])
            break;
        if (tern_session_take_cancel(g->session)) { /* where without guesses the next evaluation would see it */
            tern_answer_end(&g->answer, TERN_STOP_CANCELLED);
            break;
        }
        (*kept)++;
    }
    return status;
}

/* One pass through the model, and the tokens that it brings. */
static tern_status step(generation *g, tern_error *err) {
    double start = tern_seconds();
    uint32_t n_past = tern_session_n_past(g->session), n_draft = guess(g), kept;
    g->ids[0] = g->id;
    tern_status status = tern_session_eval_hidden(g->session, g->ids, n_draft + 1, g->hidden, err);
    if (status) {
        g->answer.done = true;
        return as_reason(status, &g->answer.reason);
    }
    status = find_candidates(g, g->hidden, g->ids + 1, n_draft + 1, err);
    if (g->lookup && g->params->draft < 0)
        tern_lookup_timed(g->lookup, n_draft + 1, tern_seconds() - start);
    kept = 1;
    if (!status)
        status = check_guesses(g, n_draft, &kept, err);
    if (kept <= n_draft)
        tern_session_rewind(g->session, n_past + kept,
                            g->hidden +
                                (kept - 1) * (size_t)tern_session_engine(g->session)->weights->dims.hidden_size);
    g->result->n_steps++;
    g->result->n_drafted += n_draft;
    g->result->n_accepted += kept - 1;
    return status;
}

static tern_status prefill(generation *g, const int32_t *ids, size_t n_ids, tern_error *err) {
    tern_status status = tern_session_eval(g->session, ids, n_ids, err);
    if (status)
        return status;
    if (!tern_session_embedding(g->session))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "there is nothing to continue: the prompt is empty, and the session holds no token or was "
                         "truncated since its last one; give at least one token");
    g->result->n_prompt = n_ids;
    const int32_t *past = tern_session_tokens(g->session);
    for (uint32_t i = 0; !status && i < tern_session_n_past(g->session); i++) {
        status = tern_sampler_accept(g->sampler, past[i], err);
        if (g->lookup)
            tern_lookup_append(g->lookup, past[i], false);
    }
    return status;
}

static tern_status run(generation *g, const int32_t *ids, size_t n_ids, tern_error *err) {
    g->start = tern_seconds();
    tern_status status = prefill(g, ids, n_ids, err);
    g->result->prefill_seconds = tern_seconds() - g->start;
    if (status == TERN_ERR_CANCELLED)
        return as_reason(status, &g->answer.reason);
    double decode_start = tern_seconds();
    g->answer.done = g->params->max_tokens == 0;
    if (!status && !g->answer.done)
        status = find_candidates(g, tern_session_embedding(g->session), NULL, 1, err);
    if (!status && !g->answer.done)
        status = take(g, tern_session_embedding(g->session), &g->candidates[0], err);
    while (!status && !g->answer.done)
        status = step(g, err);
    if (!status)
        status = flush(g, err);
    g->result->decode_seconds = tern_seconds() - decode_start;
    return status;
}

static tern_status choose_draft(generation *g, tern_error *err) {
    int32_t wanted = g->params->draft < 0 ? DEFAULT_DRAFT : g->params->draft;
    uint32_t chunk = tern_session_chunk(g->session); /* what the engine has room for at once */
    if (g->params->draft < -1 || wanted > MAX_DRAFT)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a draft of %d tokens is impossible (0 to %d, or -1 for the default)",
                         (int)g->params->draft, MAX_DRAFT);
    g->max_draft = (uint32_t)wanted < chunk ? (uint32_t)wanted : chunk - 1;
    return TERN_OK;
}

static tern_status prepare(generation *g, tern_error *err) {
    const tern_answer_params answer = {.tokenizer = tern_session_tokenizer(g->session),
                                       .max_tokens = g->params->max_tokens,
                                       .stop = g->params->stop,
                                       .n_stop = g->params->n_stop,
                                       .ignore_end = g->params->ignore_end,
                                       .show_special = g->params->show_special};
    tern_status status =
        tern_sampler_create(&g->params->sampler, tern_session_vocab_size(g->session), &g->sampler, err);
    if (!status)
        status = tern_answer_init(&g->answer, &answer, err);
    if (!status)
        status = choose_draft(g, err);
    if (!status && g->max_draft > 0) /* the last token of a full context is taken, but not evaluated */
        status = tern_lookup_create((size_t)tern_session_n_ctx(g->session) + 1, g->max_draft, g->params->draft < 0,
                                    &g->lookup, err);
    if (status)
        return status;
    size_t n = g->max_draft + 1, hidden_size = tern_session_engine(g->session)->weights->dims.hidden_size;
    g->ids = tern_alloc_array(n, sizeof *g->ids);
    g->hidden = tern_alloc_array(n * hidden_size, sizeof *g->hidden);
    g->queries = tern_alloc_array(n, sizeof *g->queries);
    g->candidates = tern_calloc_array(n, sizeof *g->candidates);
    return g->ids && g->hidden && g->queries && g->candidates ? TERN_OK : tern_fail_memory(err, "a generation");
}

static void release(generation *g) {
    for (size_t i = 0; g->candidates && i <= g->max_draft; i++)
        tern_candidates_free(&g->candidates[i]);
    free(g->candidates);
    free(g->queries);
    free(g->hidden);
    free(g->ids);
    tern_lookup_free(g->lookup);
    tern_sampler_free(g->sampler);
    tern_answer_free(&g->answer);
}

tern_status tern_generate_ids(tern_session *session, const int32_t *ids, size_t n_ids,
                              const tern_generate_params *params, tern_text_fn on_text, void *user,
                              tern_generate_result *result, tern_error *err) {
    const tern_generate_params defaults = tern_generate_defaults();
    tern_generate_result local = {0};
    generation g = {
        .session = session, .params = params ? params : &defaults, .on_text = on_text, .user = user, .result = &local};
    tern_status status = prepare(&g, err);
    if (!status)
        status = run(&g, ids, n_ids, err);
    local.reason = g.answer.reason;
    local.n_generated = g.answer.n_tokens;
    release(&g);
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
