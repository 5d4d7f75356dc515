/* Several sessions in one pass over the weights (tern/tern.h). The model's forward pass takes tokens of different
 * sequences as it is, so a batch is only a matter of who stands where, and of undoing all when one part fails. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/draw.h"
#include "runtime/session.h"

/* A batch under way. */
typedef struct batch {
    tern_session *const *sessions; /* [n] */
    const int32_t *const *ids;     /* [n] of [n_ids[i]] */
    const size_t *n_ids;           /* [n] */
    size_t n;
    tern_engine *engine;
    size_t hidden_size;
    uint32_t pass;     /* tokens of one pass at most */
    tern_slot *slots;  /* [pass] */
    float *hidden;     /* [pass, hidden_size] */
    float *last;       /* [n, hidden_size] of each session's last token */
    size_t at, offset; /* the next token: ids[at][offset] */
} batch;

static bool all_different(const void *const *pointers, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (pointers[i] == pointers[j])
                return false;
    return true;
}

static tern_status check_sessions(tern_session *const *sessions, size_t n, tern_error *err) {
    if (n == 0 || n > INT32_MAX)
        return tern_fail(err, TERN_ERR_ARGUMENT, "batch: %zu sessions are impossible", n);
    for (size_t i = 0; i < n; i++)
        if (!sessions[i] || tern_session_engine(sessions[i]) != tern_session_engine(sessions[0]))
            return tern_fail(err, TERN_ERR_ARGUMENT, "batch: session %zu is %s: give sessions of one model", i,
                             sessions[i] ? "of another model" : "NULL");
    if (!all_different((const void *const *)sessions, n))
        return tern_fail(err, TERN_ERR_ARGUMENT, "batch: a session stands in it twice: give it all its tokens at once");
    return TERN_OK;
}

static uint32_t largest_chunk(tern_session *const *sessions, size_t n) {
    uint32_t chunk = 0;
    for (size_t i = 0; i < n; i++)
        chunk = tern_session_chunk(sessions[i]) > chunk ? tern_session_chunk(sessions[i]) : chunk;
    return chunk;
}

/* Room for a pass: what the largest session reserved anyway, or one token for each. */
static tern_status choose_pass(batch *b, tern_error *err) {
    uint32_t chunk = largest_chunk(b->sessions, b->n), n_ctx = 0;
    size_t total = 0;
    for (size_t i = 0; i < b->n; i++) {
        n_ctx = tern_session_n_ctx(b->sessions[i]) > n_ctx ? tern_session_n_ctx(b->sessions[i]) : n_ctx;
        total += b->n_ids[i]; /* each fits its context, so this cannot overflow */
    }
    b->pass = b->n > chunk ? (uint32_t)b->n : chunk;
    tern_status status = b->pass > chunk ? tern_engine_reserve(b->engine, b->pass, n_ctx, err) : TERN_OK;
    if (b->pass > total)
        b->pass = (uint32_t)total;
    return status;
}

static tern_status prepare(batch *b, tern_error *err) {
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < b->n; i++)
        status = b->n_ids[i] == 0
                     ? tern_fail(err, TERN_ERR_ARGUMENT, "batch: session %zu gets no token: leave it out", i)
                     : tern_session_prepare(b->sessions[i], b->ids[i], b->n_ids[i], err);
    if (!status)
        status = choose_pass(b, err);
    if (status)
        return status;
    size_t n_hidden, n_last;
    bool fits = tern_mul_size(b->pass, b->hidden_size, &n_hidden) && tern_mul_size(b->n, b->hidden_size, &n_last);
    b->slots = tern_alloc_array(b->pass, sizeof *b->slots);
    b->hidden = fits ? tern_alloc_array(n_hidden, sizeof *b->hidden) : NULL;
    b->last = fits ? tern_alloc_array(n_last, sizeof *b->last) : NULL;
    return b->slots && b->hidden && b->last ? TERN_OK : tern_fail_memory(err, "a batch");
}

/* One pass; keeps the states of last tokens. */
static tern_status run_pass(batch *b, tern_error *err) {
    static const atomic_bool never;
    uint32_t n = 0;
    size_t first = b->at, at = b->at, offset = b->offset;
    for (size_t i = 0; i < b->n; i++)
        if (tern_session_take_cancel(b->sessions[i]))
            return tern_fail(err, TERN_ERR_CANCELLED, "the evaluation was cancelled");
    while (at < b->n && n < b->pass) {
        size_t left = b->n_ids[at] - offset;
        uint32_t now = left < b->pass - n ? (uint32_t)left : b->pass - n;
        tern_session_slots(b->sessions[at], b->ids[at], offset, now, b->slots + n);
        n += now;
        offset += now;
        if (offset == b->n_ids[at])
            at++, offset = 0;
    }
    tern_status status = tern_forward(b->engine, b->slots, n, &never, &(tern_forward_output){.hidden = b->hidden}, err);
    size_t end = 0; /* of each session's tokens in this pass */
    for (size_t i = first; !status && i < at; i++) {
        end += b->n_ids[i] - (i == first ? b->offset : 0);
        memcpy(b->last + i * b->hidden_size, b->hidden + (end - 1) * b->hidden_size, b->hidden_size * sizeof(float));
    }
    b->at = at;
    b->offset = offset;
    return status;
}

tern_status tern_batch_eval(tern_session *const *sessions, const int32_t *const *ids, const size_t *n_ids, size_t n,
                            tern_error *err) {
    tern_status status = check_sessions(sessions, n, err);
    if (status)
        return status;
    batch b = {.sessions = sessions, .ids = ids, .n_ids = n_ids, .n = n, .engine = tern_session_engine(sessions[0])};
    b.hidden_size = b.engine->weights->dims.hidden_size;
    status = prepare(&b, err);
    while (!status && b.at < n)
        status = run_pass(&b, err);
    for (size_t i = 0; i < n; i++)
        if (status)
            tern_session_abandon(sessions[i]);
        else
            tern_session_commit(sessions[i], ids[i], n_ids[i], b.last + i * b.hidden_size);
    free(b.slots);
    free(b.hidden);
    free(b.last);
    return status;
}

/* ---------------------------------------------------------------- sampling */

static tern_status check_samplers(tern_session *const *sessions, tern_sampler *const *samplers, size_t n,
                                  tern_error *err) {
    tern_status status = check_sessions(sessions, n, err);
    for (size_t i = 0; !status && i < n; i++) {
        if (!samplers[i] || tern_sampler_vocab_size(samplers[i]) != tern_session_vocab_size(sessions[i]))
            status = tern_fail(err, TERN_ERR_ARGUMENT, "sampler %zu is %s: give one of the model's vocabulary", i,
                               samplers[i] ? "for a vocabulary of another size" : "NULL");
        else if (!tern_session_embedding(sessions[i]))
            status = tern_fail(err, TERN_ERR_ARGUMENT,
                               "session %zu has no logits to sample from: evaluate a token first", i);
    }
    if (!status && !all_different((const void *const *)samplers, n))
        status = tern_fail(err, TERN_ERR_ARGUMENT, "batch: a sampler stands in it twice: each session needs its own");
    return status;
}

/* candidates [n] for the last tokens of the sessions; hidden [n, hidden_size] and queries [n] are scratch */
static tern_status find_candidates(tern_session *const *sessions, tern_sampler *const *samplers, size_t n,
                                   float *hidden, tern_head_query *queries, tern_candidates *candidates,
                                   tern_error *err) {
    tern_engine *engine = tern_session_engine(sessions[0]);
    size_t hidden_size = engine->weights->dims.hidden_size;
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < n; i++) {
        memcpy(hidden + i * hidden_size, tern_session_embedding(sessions[i]), hidden_size * sizeof *hidden);
        status = tern_sampler_queries(samplers[i], NULL, 1, &queries[i], err);
    }
    /* no more at once than there is room for */
    uint32_t chunk = largest_chunk(sessions, n);
    for (size_t done = 0; !status && done < n; done += chunk) {
        uint32_t now = n - done < chunk ? (uint32_t)(n - done) : chunk;
        status =
            tern_engine_candidates(engine, hidden + done * hidden_size, now, queries + done, candidates + done, err);
    }
    return status;
}

tern_status tern_batch_sample(tern_session *const *sessions, tern_sampler *const *samplers, size_t n, int32_t *ids,
                              tern_error *err) {
    tern_status status = check_samplers(sessions, samplers, n, err);
    if (status)
        return status;
    tern_engine *engine = tern_session_engine(sessions[0]);
    size_t n_floats, hidden_size = engine->weights->dims.hidden_size;
    bool fits = tern_mul_size(n, hidden_size, &n_floats);
    float *hidden = fits ? tern_alloc_array(n_floats, sizeof *hidden) : NULL;
    tern_head_query *queries = tern_alloc_array(n, sizeof *queries);
    tern_candidates *candidates = tern_calloc_array(n, sizeof *candidates);
    int32_t *drawn = tern_alloc_array(n, sizeof *drawn);
    if (!hidden || !queries || !candidates || !drawn)
        status = tern_fail_memory(err, "a batch");
    if (!status)
        status = find_candidates(sessions, samplers, n, hidden, queries, candidates, err);
    for (size_t i = 0; !status && i < n; i++)
        status = tern_engine_draw(engine, hidden + i * hidden_size, samplers[i], &candidates[i], &drawn[i], err);
    if (!status)
        memcpy(ids, drawn, n * sizeof *ids);
    for (size_t i = 0; candidates && i < n; i++)
        tern_candidates_free(&candidates[i]);
    free(candidates);
    free(drawn);
    free(queries);
    free(hidden);
    return status;
}

tern_status tern_session_sample(tern_session *session, tern_sampler *sampler, int32_t *id, tern_error *err) {
    return tern_batch_sample(&session, &sampler, 1, id, err);
}
