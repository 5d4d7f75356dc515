#include "eval/perplexity.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"

enum { SLICE_BYTES = 64 << 20, SLICE_STEP = 64 };

size_t tern_logits_slice(size_t vocab_size, size_t most) {
    size_t fit = SLICE_BYTES / (vocab_size * sizeof(float));
    if (fit > SLICE_STEP)
        fit -= fit % SLICE_STEP; /* whole tiles for the kernels */
    return fit > most ? most : fit ? fit : 1;
}

double tern_negative_log_likelihood(const float *logits, size_t n, int32_t id) {
    float largest = logits[0];
    for (size_t i = 1; i < n; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)largest);
    return log(sum) + ((double)largest - (double)logits[id]);
}

typedef struct slice {
    const float *logits;    /* [n][vocab_size] */
    const int32_t *targets; /* [n] */
    double *losses;         /* [n] */
    size_t vocab_size;
} slice;

static void score_row(void *context, size_t row, int worker) {
    const slice *s = context;
    (void)worker;
    s->losses[row] = tern_negative_log_likelihood(s->logits + row * s->vocab_size, s->vocab_size, s->targets[row]);
}

typedef struct run {
    tern_session *session;
    tern_pool *pool;
    size_t vocab_size, slice;
    float *logits;   /* [slice][vocab_size] */
    double *losses;  /* [slice] */
    int32_t *inputs; /* [n_window] */
    tern_progress_fn progress;
    void *progress_user;
    uint64_t total, done; /* tokens */
    double sum;
} run;

/* Tokens [n] behind one BOS, n < n_window: input i is what stands before token i. */
static tern_status score_window(run *r, int32_t bos, const int32_t *tokens, size_t n, tern_error *err) {
    r->inputs[0] = bos;
    memcpy(r->inputs + 1, tokens, (n - 1) * sizeof *tokens);
    tern_status status = tern_session_truncate(r->session, 0, err);
    for (size_t at = 0; !status && at < n; at += r->slice) {
        size_t count = n - at < r->slice ? n - at : r->slice;
        status = tern_session_eval_logits(r->session, r->inputs + at, count, r->logits, err);
        if (status)
            break;
        slice s = {r->logits, tokens + at, r->losses, r->vocab_size};
        tern_pool_run(r->pool, count, score_row, &s);
        for (size_t i = 0; i < count; i++)
            r->sum += r->losses[i];
        r->done += count;
        if (!isfinite(r->sum))
            status = tern_fail(err, TERN_ERR_FORMAT,
                               "the model gives NaN or infinite logits within tokens %" PRIu64 " to %" PRIu64
                               " of the text; its weights are damaged",
                               r->done - count, r->done);
        else if (r->progress && !r->progress(r->progress_user, r->done, r->total))
            status = tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    return status;
}

static tern_status score_all(run *r, int32_t bos, const int32_t *tokens, size_t n_tokens, uint32_t n_window,
                             int n_threads, tern_error *err) {
    r->total = n_tokens;
    r->slice = tern_logits_slice(r->vocab_size, n_window);
    size_t bytes;
    r->logits = tern_mul_size(r->slice, r->vocab_size, &bytes) ? tern_alloc_array(bytes, sizeof *r->logits) : NULL;
    r->losses = tern_alloc_array(r->slice, sizeof *r->losses);
    r->inputs = tern_alloc_array(n_window, sizeof *r->inputs);
    tern_status status = r->logits && r->losses && r->inputs ? TERN_OK : tern_fail_memory(err, "the logits");
    if (!status)
        status = tern_pool_create(n_threads, &r->pool, err);
    for (size_t at = 0; !status && at < n_tokens; at += n_window - 1) {
        size_t left = n_tokens - at;
        status = score_window(r, bos, tokens + at, left < n_window - 1 ? left : n_window - 1, err);
    }
    tern_pool_free(r->pool);
    free(r->inputs);
    free(r->losses);
    free(r->logits);
    return status;
}

tern_status tern_perplexity(const tern_model *model, tern_session *session, const char *text, size_t n_bytes,
                            uint32_t n_window, tern_progress_fn progress, void *progress_user,
                            tern_perplexity_result *result, tern_error *err) {
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    int32_t bos = tern_tokenizer_bos(tokenizer);
    if (bos < 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "the tokenizer has no BOS token, which every window begins with");
    if (n_window < 2 || n_window > tern_session_n_ctx(session))
        return tern_fail(err, TERN_ERR_ARGUMENT, "a window of %" PRIu32 " tokens: must be 2 to %" PRIu32, n_window,
                         tern_session_n_ctx(session));
    int32_t *tokens = NULL;
    size_t n_tokens = 0;
    tern_status status = tern_tokenize(tokenizer, text, n_bytes, 0, &tokens, &n_tokens, err);
    if (status)
        return status;
    tern_model_info info;
    tern_model_get_info(model, &info);
    run r = {.session = session, .vocab_size = info.vocab_size, .progress = progress, .progress_user = progress_user};
    if (n_tokens == 0)
        status = tern_fail(err, TERN_ERR_ARGUMENT, "the text is empty; there is nothing to measure");
    else
        status = score_all(&r, bos, tokens, n_tokens, n_window, info.n_threads, err);
    tern_free(tokens);
    if (status)
        return status;
    double mean = r.sum / (double)n_tokens;
    *result = (tern_perplexity_result){n_tokens, n_bytes, mean, exp(mean), r.sum / log(2) / (double)n_bytes};
    return TERN_OK;
}
