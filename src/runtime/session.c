#include "runtime/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* 128 tokens amortise reading the weights well past the point where arithmetic is the limit, and their int8
 * activations (128 x 6912) still fit a 1 MB L2 cache. */
enum { DEFAULT_CHUNK = 128, MAX_CHUNK = 4096 };

struct tern_session {
    tern_engine *engine;
    const tern_tokenizer *tokenizer;
    uint32_t n_ctx, chunk, n_past;
    tern_kv kv;
    int32_t *tokens;   /* [n_ctx], n_past of them valid */
    tern_slot *slots;  /* [chunk] */
    float *hidden;     /* [hidden] of the last token */
    float *new_hidden; /* [hidden] of an evaluation that may still fail */
    float *logits;     /* [vocab] */
    bool has_hidden, has_logits;
    atomic_bool cancel;
};

tern_session_params tern_session_defaults(void) { return (tern_session_params){.kv_type = TERN_KV_Q8}; }

tern_status tern_session_complete(const tern_dims *dims, tern_session_params *params, tern_error *err) {
    if (params->n_ctx == 0)
        params->n_ctx = dims->n_ctx;
    if (params->n_ctx > dims->n_ctx)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "a context of %u tokens is more than the model was made for; use at most %u", params->n_ctx,
                         dims->n_ctx);
    if (params->chunk == 0)
        params->chunk = DEFAULT_CHUNK;
    if (params->chunk > MAX_CHUNK)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a chunk of %u tokens is too much (1 to %d)", params->chunk,
                         MAX_CHUNK);
    if (params->chunk > params->n_ctx)
        params->chunk = params->n_ctx;
    if (params->kv_type != TERN_KV_F16 && params->kv_type != TERN_KV_F32 && params->kv_type != TERN_KV_Q8)
        return tern_fail(err, TERN_ERR_ARGUMENT, "unknown KV cache type %d", (int)params->kv_type);
    return TERN_OK;
}

tern_status tern_session_open(tern_engine *engine, const tern_tokenizer *tokenizer, const tern_session_params *given,
                              tern_session **out, tern_error *err) {
    const tern_dims *dims = &engine->weights->dims;
    tern_session_params params = given ? *given : tern_session_defaults();
    tern_status status = tern_session_complete(dims, &params, err);
    if (!status)
        status = tern_engine_reserve(engine, params.chunk, params.n_ctx, err);
    if (status)
        return status;
    tern_session *session = calloc(1, sizeof *session);
    if (!session)
        return tern_fail_memory(err, "a session");
    session->engine = engine;
    session->tokenizer = tokenizer;
    session->n_ctx = params.n_ctx;
    session->chunk = params.chunk;
    tern_kv_init(&session->kv, engine->backend, dims, params.kv_type);
    session->tokens = tern_alloc_array(params.n_ctx, sizeof *session->tokens);
    session->slots = tern_alloc_array(params.chunk, sizeof *session->slots);
    session->hidden = tern_alloc_array(dims->hidden_size, sizeof *session->hidden);
    session->new_hidden = tern_alloc_array(dims->hidden_size, sizeof *session->new_hidden);
    session->logits = tern_alloc_array(dims->vocab_size, sizeof *session->logits);
    if (!session->tokens || !session->slots || !session->hidden || !session->new_hidden || !session->logits) {
        tern_session_free(session);
        return tern_fail_memory(err, "a session");
    }
    *out = session;
    return TERN_OK;
}

void tern_session_free(tern_session *session) {
    if (!session)
        return;
    tern_kv_free(&session->kv);
    free(session->tokens);
    free(session->slots);
    free(session->hidden);
    free(session->new_hidden);
    free(session->logits);
    free(session);
}

uint32_t tern_session_n_ctx(const tern_session *session) { return session->n_ctx; }
uint32_t tern_session_n_past(const tern_session *session) { return session->n_past; }
const int32_t *tern_session_tokens(const tern_session *session) { return session->tokens; }
tern_engine *tern_session_engine(const tern_session *session) { return session->engine; }
uint32_t tern_session_chunk(const tern_session *session) { return session->chunk; }
const tern_tokenizer *tern_session_tokenizer(const tern_session *session) { return session->tokenizer; }
size_t tern_session_vocab_size(const tern_session *session) { return session->engine->weights->dims.vocab_size; }

uint64_t tern_session_kv_bytes(const tern_session *session) {
    return session->kv.n_blocks * session->kv.layout.block_bytes;
}

tern_status tern_session_truncate(tern_session *session, uint32_t n_past, tern_error *err) {
    if (n_past > session->n_past)
        return tern_fail(err, TERN_ERR_ARGUMENT, "cannot keep %u tokens of a session that holds %u", n_past,
                         session->n_past);
    if (n_past < session->n_past)
        session->has_hidden = session->has_logits = false;
    session->n_past = n_past;
    tern_kv_shrink(&session->kv, n_past);
    return TERN_OK;
}

static tern_status check_ids(const tern_session *session, const int32_t *ids, size_t n_ids, tern_error *err) {
    uint32_t vocab_size = session->engine->weights->dims.vocab_size;
    if (n_ids > session->n_ctx - session->n_past)
        return tern_fail(err, TERN_ERR_CONTEXT,
                         "the context is full: %zu more tokens do not fit behind %u of %u; use a larger context or "
                         "shorter text",
                         n_ids, session->n_past, session->n_ctx);
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocab_size)
            return tern_fail(err, TERN_ERR_ARGUMENT, "token id %d is outside the vocabulary (0 to %u)", ids[i],
                             vocab_size - 1);
    return TERN_OK;
}

tern_status tern_session_prepare(tern_session *session, const int32_t *ids, size_t n_ids, tern_error *err) {
    tern_status status = check_ids(session, ids, n_ids, err);
    return status ? status : tern_kv_reserve(&session->kv, session->n_past + n_ids, err);
}

void tern_session_slots(tern_session *session, const int32_t *ids, size_t first, uint32_t n, tern_slot *slots) {
    uint32_t position = session->n_past + (uint32_t)first;
    for (uint32_t i = 0; i < n; i++)
        slots[i] = (tern_slot){.id = ids[first + i], .position = position + i, .kv = &session->kv};
}

static void set_hidden(tern_session *session, const float *hidden) {
    memcpy(session->hidden, hidden, session->engine->weights->dims.hidden_size * sizeof *hidden);
    session->has_hidden = true;
    session->has_logits = false;
}

void tern_session_commit(tern_session *session, const int32_t *ids, size_t n_ids, const float *hidden) {
    set_hidden(session, hidden);
    memcpy(session->tokens + session->n_past, ids, n_ids * sizeof *ids);
    session->n_past += (uint32_t)n_ids;
}

void tern_session_abandon(tern_session *session) { tern_kv_shrink(&session->kv, session->n_past); }

bool tern_session_take_cancel(tern_session *session) { return atomic_exchange(&session->cancel, false); }

/* tern_session_eval with all that can be asked for; NULL: not wanted. */
static tern_status eval(tern_session *session, const int32_t *ids, size_t n_ids, float *logits, float *hidden,
                        tern_error *err) {
    const tern_dims *dims = &session->engine->weights->dims;
    if (n_ids == 0)
        return TERN_OK;
    tern_status status = tern_session_prepare(session, ids, n_ids, err);
    for (size_t done = 0; !status && done < n_ids;) {
        uint32_t n = n_ids - done < session->chunk ? (uint32_t)(n_ids - done) : session->chunk;
        tern_forward_output output = {
            .logits = logits ? logits + done * dims->vocab_size : NULL,
            .hidden = hidden ? hidden + done * dims->hidden_size : NULL,
            .last_hidden = done + n == n_ids ? session->new_hidden : NULL,
        };
        tern_session_slots(session, ids, done, n, session->slots);
        status = tern_forward(session->engine, session->slots, n, &session->cancel, &output, err);
        done += n;
    }
    if (status == TERN_ERR_CANCELLED) /* the wish is met; after any other failure it is still there */
        tern_session_take_cancel(session);
    if (status)
        tern_session_abandon(session);
    else
        tern_session_commit(session, ids, n_ids, session->new_hidden);
    return status;
}

tern_status tern_session_eval(tern_session *session, const int32_t *ids, size_t n_ids, tern_error *err) {
    return eval(session, ids, n_ids, NULL, NULL, err);
}

tern_status tern_session_eval_logits(tern_session *session, const int32_t *ids, size_t n_ids, float *logits,
                                     tern_error *err) {
    return eval(session, ids, n_ids, logits, NULL, err);
}

tern_status tern_session_eval_hidden(tern_session *session, const int32_t *ids, size_t n_ids, float *hidden,
                                     tern_error *err) {
    return eval(session, ids, n_ids, NULL, hidden, err);
}

void tern_session_rewind(tern_session *session, uint32_t n_past, const float *hidden) {
    session->n_past = n_past;
    tern_session_abandon(session);
    set_hidden(session, hidden);
}

const float *tern_session_embedding(tern_session *session) { return session->has_hidden ? session->hidden : NULL; }

const float *tern_session_logits(tern_session *session) {
    if (!session->has_hidden)
        return NULL;
    if (!session->has_logits && tern_engine_logits(session->engine, session->hidden, 1, session->logits, NULL))
        return NULL;
    session->has_logits = true;
    return session->logits;
}

void tern_session_cancel(tern_session *session) { atomic_store(&session->cancel, true); }
