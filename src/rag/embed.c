#include "rag/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

struct tern_embedder {
    tern_model *model;
    tern_session *session;
    const tern_kernels *kernels;
    uint32_t dims;
    float *hidden; /* [capacity, dims] */
    size_t capacity;
    double *sum; /* [dims] */
    float *mean; /* [dims] */
};

tern_status tern_embedder_create(tern_model *model, tern_embedder **embedder, tern_error *err) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    if (info.hidden_size > TERN_RAG_MAX_DIMS)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: vectors of %u values are more than this can search (%d)",
                         info.name, (unsigned)info.hidden_size, (int)TERN_RAG_MAX_DIMS);
    tern_embedder *made = calloc(1, sizeof *made);
    tern_session_params params = tern_session_defaults();
    params.kv_type = TERN_KV_Q8; /* always the same, or the vectors would not be */
    if (!made)
        return tern_fail_memory(err, "the embedder");
    made->model = model;
    made->dims = info.hidden_size;
    made->sum = tern_alloc_array(made->dims, sizeof *made->sum);
    made->mean = tern_alloc_array(made->dims, sizeof *made->mean);
    tern_status status = made->sum && made->mean ? TERN_OK : tern_fail_memory(err, "the embedder");
    if (!status)
        status = tern_kernels_choose(NULL, &made->kernels, err);
    if (!status)
        status = tern_session_create(model, &params, &made->session, err);
    if (status)
        tern_embedder_free(made);
    else
        *embedder = made;
    return status;
}

void tern_embedder_free(tern_embedder *embedder) {
    if (!embedder)
        return;
    tern_session_free(embedder->session);
    free(embedder->hidden);
    free(embedder->sum);
    free(embedder->mean);
    free(embedder);
}

uint32_t tern_embedder_dims(const tern_embedder *embedder) { return embedder->dims; }

const float *tern_embedder_vector(const tern_embedder *embedder) { return embedder->mean; }
const tern_kernels *tern_embedder_kernels(const tern_embedder *embedder) { return embedder->kernels; }

/* ids [n] -> embedder->mean, of length 1. The BOS, which all texts share, does not count. */
static tern_status mean_of(tern_embedder *e, const int32_t *ids, size_t n, tern_error *err) {
    size_t dims = e->dims, first = n > 1 && ids[0] == tern_tokenizer_bos(tern_model_tokenizer(e->model)), bytes;
    if (!tern_mul_size(n, dims * sizeof(float), &bytes) ||
        !tern_grow_array((void **)&e->hidden, &e->capacity, n, dims * sizeof(float)))
        return tern_fail_memory(err, "the hidden states");
    tern_status status = tern_session_truncate(e->session, 0, err);
    if (!status)
        status = tern_session_eval_hidden(e->session, ids, n, e->hidden, err);
    if (status)
        return status;
    for (size_t d = 0; d < dims; d++)
        e->sum[d] = 0;
    for (size_t t = first; t < n; t++)
        for (size_t d = 0; d < dims; d++)
            e->sum[d] += (double)e->hidden[t * dims + d];
    double squares = 0;
    for (size_t d = 0; d < dims; d++)
        squares += e->sum[d] * e->sum[d];
    if (!(squares > 0) || !isfinite(squares))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "the model's hidden states are no usable numbers: it cannot search");
    double length = sqrt(squares);
    for (size_t d = 0; d < dims; d++)
        e->mean[d] = (float)(e->sum[d] / length);
    return TERN_OK;
}

static tern_status embed(tern_embedder *e, const char *text, size_t n_bytes, tern_error *err) {
    int32_t *ids;
    size_t n, limit = tern_session_n_ctx(e->session);
    tern_status status = tern_tokenize(tern_model_tokenizer(e->model), text, n_bytes, TERN_TOKENIZE_BOS, &ids, &n, err);
    if (status)
        return status;
    status = n ? mean_of(e, ids, n < limit ? n : limit, err)
               : tern_fail(err, TERN_ERR_ARGUMENT, "a text without tokens has no vector");
    tern_free(ids);
    return status;
}

tern_status tern_embedder_run(tern_embedder *e, const char *text, size_t n_bytes, int8_t *bytes, float *scale,
                              tern_error *err) {
    int32_t sum;
    float steps;
    tern_status status = embed(e, text, n_bytes, err);
    if (status)
        return status;
    e->kernels->quantize_i8(e->mean, e->dims, e->dims, bytes, &steps, &sum);
    *scale = 1.0F / steps;
    return TERN_OK;
}

tern_status tern_embedder_fingerprint(tern_embedder *e, uint64_t *fingerprint, tern_error *err) {
    static const char text[] = "The Arctic tern flies from pole to pole and back, 70 000 km each year.";
    tern_status status = embed(e, text, sizeof text - 1, err);
    if (!status)
        *fingerprint = tern_hash_bytes(e->mean, e->dims * sizeof *e->mean);
    return status;
}

tern_status tern_embedder_token_ends(const tern_embedder *e, const char *text, size_t n_bytes, size_t **ends, size_t *n,
                                     tern_error *err) {
    const tern_tokenizer *tokenizer = tern_model_tokenizer(e->model);
    int32_t *ids;
    size_t at = 0, length;
    tern_status status = tern_tokenize(tokenizer, text, n_bytes, 0, &ids, n, err);
    if (status)
        return status;
    *ends = tern_alloc_array(*n + 1, sizeof **ends);
    for (size_t i = 0; i < *n && *ends; i++) {
        tern_tokenizer_token(tokenizer, ids[i], &length);
        (*ends)[i] = at += length;
    }
    tern_free(ids);
    if (!*ends)
        return tern_fail_memory(err, "a text's tokens");
    if (at == n_bytes)
        return TERN_OK;
    free(*ends);
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "the model's tokenizer does not keep a text's bytes: it cannot cut texts");
}
