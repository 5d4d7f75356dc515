#include "eval/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/pool.h"
#include "base/status.h"
#include "base/str.h"
#include "eval/perplexity.h"
#include "eval/template.h"

struct tern_scorer {
    const tern_model *model;
    const tern_tokenizer *tokenizer;
    tern_session *session;
    tern_pool *pool;
    bool reuse;
    size_t vocab_size, slice;
    float *logits;      /* [slice][vocab_size] */
    float *boundary;    /* [vocab_size] behind the last token of a context ... */
    size_t boundary_at; /* ... of so many tokens, which the session still holds; 0: none */
    double *losses;     /* [slice] */
    bool *greedy;       /* [slice] */
    tern_scorer_stats stats;
};

enum { MAX_SLICE = 512 };

tern_status tern_scorer_create(const tern_model *model, tern_session *session, bool reuse, tern_scorer **scorer,
                               tern_error *err) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    tern_scorer *s = calloc(1, sizeof *s);
    if (!s)
        return tern_fail_memory(err, "the logits");
    s->model = model;
    s->tokenizer = tern_model_tokenizer(model);
    s->session = session;
    s->reuse = reuse;
    s->vocab_size = info.vocab_size;
    s->slice = tern_logits_slice(info.vocab_size, MAX_SLICE);
    s->logits = tern_alloc_array(s->slice * s->vocab_size, sizeof *s->logits);
    s->boundary = tern_alloc_array(s->vocab_size, sizeof *s->boundary);
    s->losses = tern_alloc_array(s->slice, sizeof *s->losses);
    s->greedy = tern_alloc_array(s->slice, sizeof *s->greedy);
    tern_status status =
        s->logits && s->boundary && s->losses && s->greedy ? TERN_OK : tern_fail_memory(err, "the logits");
    if (!status)
        status = tern_pool_create(info.n_threads, &s->pool, err);
    if (!status)
        status = tern_session_truncate(session, 0, err);
    if (status)
        tern_scorer_free(s);
    else
        *scorer = s;
    return status;
}

void tern_scorer_free(tern_scorer *s) {
    if (!s)
        return;
    tern_pool_free(s->pool);
    free(s->logits);
    free(s->boundary);
    free(s->losses);
    free(s->greedy);
    free(s);
}

void tern_scorer_get_stats(const tern_scorer *s, tern_scorer_stats *stats) { *stats = s->stats; }

/* --------------------------------------------------------------------- encoding */

typedef struct encoded {
    int32_t *memory; /* freed with tern_free() */
    const int32_t *ids;
    size_t n, n_context; /* of them */
} encoded;

static tern_status encode(tern_scorer *s, const tern_eval_request *request, encoded *e, tern_error *err) {
    const unsigned flags = TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL;
    size_t length = strlen(request->context), end = tern_text_end(request->context, length);
    size_t keep = (size_t)tern_session_n_ctx(s->session) + 1; /* the last token is only scored */
    tern_buffer whole = {0};
    int32_t *context = NULL;
    tern_status status = TERN_OK;
    *e = (encoded){0};
    tern_buffer_append(&whole, request->context, length);
    if (!tern_buffer_text(&whole, request->continuation))
        status = tern_fail_memory(err, "a text");
    if (!status)
        status = tern_tokenize(s->tokenizer, whole.bytes, whole.size, flags, &e->memory, &e->n, err);
    if (!status)
        status = tern_tokenize(s->tokenizer, whole.bytes, end, flags, &context, &e->n_context, err);
    tern_free(context);
    tern_buffer_free(&whole);
    if (status)
        return status;
    e->ids = e->memory;
    if (e->n > keep) {
        size_t cut = e->n - keep;
        s->stats.n_truncated++;
        e->ids += cut;
        e->n = keep;
        e->n_context = e->n_context > cut ? e->n_context - cut : 0;
    }
    if (e->n_context == 0) /* nothing stands before the first token: it cannot be scored */
        e->n_context = 1;
    return TERN_OK;
}

/* Tokens that the session holds of ids [n], from the first on. */
static size_t count_common(const tern_scorer *s, const int32_t *ids, size_t n) {
    size_t n_past = tern_session_n_past(s->session), common = 0;
    const int32_t *past = tern_session_tokens(s->session);
    while (s->reuse && common < n && common < n_past && past[common] == ids[common])
        common++;
    return common;
}

/* ---------------------------------------------------------------------- scoring */

typedef struct rows {
    const float *logits;    /* [n][vocab_size] */
    const int32_t *targets; /* [n] */
    double *losses;
    bool *greedy;
    size_t vocab_size;
} rows;

static void score_row(void *context, size_t row, int worker) {
    const rows *r = context;
    const float *logits = r->logits + row * r->vocab_size;
    float largest = logits[0];
    (void)worker;
    for (size_t i = 1; i < r->vocab_size; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    r->losses[row] = tern_negative_log_likelihood(logits, r->vocab_size, r->targets[row]);
    r->greedy[row] = logits[r->targets[row]] >= largest;
}

static tern_status add_rows(tern_scorer *s, const float *logits, const int32_t *targets, size_t n, tern_score *score,
                            tern_error *err) {
    rows r = {logits, targets, s->losses, s->greedy, s->vocab_size};
    tern_pool_run(s->pool, n, score_row, &r);
    for (size_t i = 0; i < n; i++) {
        score->log_likelihood -= s->losses[i];
        score->greedy &= s->greedy[i];
    }
    if (!isfinite(score->log_likelihood))
        return tern_fail(err, TERN_ERR_FORMAT, "the model gives NaN or infinite logits; its weights are damaged");
    return TERN_OK;
}

/* What is before the context's end only has to be evaluated, behind it each token's logits score the next one. */
static tern_status score_one(tern_scorer *s, const encoded *e, tern_score *score, tern_error *err) {
    size_t n_inputs = e->n - 1, last = e->n_context - 1; /* `last` of the context gives the first logits */
    size_t common = count_common(s, e->ids, n_inputs), at = common < last ? common : last;
    *score = (tern_score){.greedy = true, .n_tokens = (uint32_t)(e->n - e->n_context)};
    tern_status status = TERN_OK;
    s->stats.n_tokens += n_inputs;
    if (s->boundary_at == e->n_context && common >= e->n_context) {
        status = add_rows(s, s->boundary, e->ids + e->n_context, 1, score, err);
        at = e->n_context;
    } else {
        s->boundary_at = 0;
    }
    if (!status)
        status = tern_session_truncate(s->session, (uint32_t)at, err);
    s->stats.n_evaluated += n_inputs - at;
    if (!status && at < last) {
        status = tern_session_eval(s->session, e->ids + at, last - at, err);
        at = last;
    }
    while (!status && at < n_inputs) {
        size_t n = n_inputs - at < s->slice ? n_inputs - at : s->slice;
        status = tern_session_eval_logits(s->session, e->ids + at, n, s->logits, err);
        if (!status)
            status = add_rows(s, s->logits, e->ids + at + 1, n, score, err);
        if (!status && at == last) {
            memcpy(s->boundary, s->logits, s->vocab_size * sizeof *s->boundary);
            s->boundary_at = e->n_context;
        }
        at += n;
    }
    if (status)
        s->boundary_at = 0;
    return status;
}

tern_status tern_scorer_score(tern_scorer *s, const tern_eval_request *requests, size_t n, tern_score *scores,
                              tern_error *err) {
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < n; i++) {
        encoded e;
        status = encode(s, &requests[i], &e, err);
        if (!status && e.n <= e.n_context)
            status = tern_fail(err, TERN_ERR_ARGUMENT, "a continuation that has no token of its own: '%.40s'",
                               requests[i].continuation);
        if (!status)
            status = score_one(s, &e, &scores[i], err);
        tern_free(e.memory);
    }
    return status;
}

/* ------------------------------------------------------------------- generating */

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    (void)id;
    return tern_buffer_append(user, text, n_bytes);
}

static tern_status encode_prompt(tern_scorer *s, const tern_generation *what, int32_t **ids, size_t *n,
                                 tern_error *err) {
    if (what->n_messages)
        return tern_chat_tokenize(s->tokenizer, what->messages, what->n_messages, true, TERN_TOKENIZE_BOS, ids, n, err);
    return tern_tokenize(s->tokenizer, what->context, strlen(what->context), TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL,
                         ids, n, err);
}

tern_status tern_scorer_generate(tern_scorer *s, const tern_generation *what, char **text, bool *cut, tern_error *err) {
    const int64_t max_tokens = what->max_tokens;
    int32_t *memory = NULL;
    size_t n = 0, room = tern_session_n_ctx(s->session);
    tern_generate_result result;
    tern_generate_params params = tern_generate_defaults();
    tern_buffer out = {0};
    params.sampler = (tern_sampler_params){.top_p = 1, .repeat_penalty = 1};
    params.max_tokens = max_tokens;
    params.stop = what->until;
    params.n_stop = what->n_until;
    if (max_tokens < 1 || (uint64_t)max_tokens >= room)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "up to %lld tokens are generated, but the context has %zu in all: --max-tokens N for fewer",
                         (long long)max_tokens, room);
    tern_status status = encode_prompt(s, what, &memory, &n, err);
    if (!status && n == 0) /* no text, and a model without BOS */
        status = tern_fail(err, TERN_ERR_FORMAT, "the prompt is empty");
    if (status) {
        tern_free(memory);
        return status;
    }
    const int32_t *ids = memory;
    if (n + (size_t)max_tokens > room) { /* its last part */
        ids += n - (room - (size_t)max_tokens);
        n = room - (size_t)max_tokens;
        s->stats.n_truncated++;
    }
    size_t common = count_common(s, ids, n - 1);
    s->boundary_at = 0;
    s->stats.n_tokens += n;
    s->stats.n_evaluated += n - common;
    status = tern_session_truncate(s->session, (uint32_t)common, err);
    if (!status)
        status = tern_generate_ids(s->session, ids + common, n - common, &params, on_text, &out, &result, err);
    if (!status && result.reason == TERN_STOP_CANCELLED)
        status = out.failed ? tern_fail_memory(err, "a text") : tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    tern_free(memory);
    *cut = !status && (result.reason == TERN_STOP_LENGTH || result.reason == TERN_STOP_CONTEXT);
    if (!status && !(*text = tern_buffer_take(&out, NULL)))
        status = tern_fail_memory(err, "a text");
    tern_buffer_free(&out);
    return status;
}

/* ----------------------------------------------------------------------- which */

tern_status tern_scorer_fingerprint(tern_scorer *s, uint64_t *fingerprint, tern_error *err) {
    tern_model_info info;
    tern_hash hash;
    int32_t ids[8];
    tern_model_get_info(s->model, &info);
    const uint64_t shape[] = {info.vocab_size, info.hidden_size, info.ffn_size, info.n_layers, info.n_params};
    for (size_t i = 0; i < 8; i++) /* spread over the vocabulary; special tokens are as good as others */
        ids[i] = (int32_t)((i * 2654435761u + 17) % info.vocab_size);
    s->boundary_at = 0;
    tern_status status = tern_session_truncate(s->session, 0, err);
    if (!status)
        status = tern_session_eval(s->session, ids, 8, err);
    const float *logits = status ? NULL : tern_session_logits(s->session);
    if (!status && !logits)
        status = tern_fail_memory(err, "the logits");
    if (status)
        return status;
    tern_hash_start(&hash);
    tern_hash_add(&hash, shape, sizeof shape);
    tern_hash_add(&hash, logits, s->vocab_size * sizeof *logits);
    *fingerprint = tern_hash_value(&hash);
    return tern_session_truncate(s->session, 0, err);
}
