/* What the golden tests share: reading golden files, and the arithmetic of comparing. Include once per program. */
#ifndef TERN_TESTS_GOLDEN_H
#define TERN_TESTS_GOLDEN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "tern/tern.h"

#define COMMITTED TERN_SOURCE_DIR "/tests/data/golden"
#define SHARED TERN_SOURCE_DIR "/../shared/reference" /* larger ones, if they are there */

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        tern_error ok_err = {0};                                                                                       \
        tern_error *err = &ok_err;                                                                                     \
        if ((call) != TERN_OK)                                                                                         \
            fail_msg("%s: %s", #call, ok_err.message);                                                                 \
    } while (0)

/* ---- a safetensors file, whole in memory ---- */

typedef struct golden_file {
    uint8_t *bytes;
    const uint8_t *data; /* behind the header */
    json_t *header;
} golden_file;

static inline golden_file golden_open(const char *path) {
    golden_file golden = {0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        fail_msg("cannot open %s", path);
    long size = ftell(file);
    rewind(file);
    golden.bytes = malloc((size_t)size);
    assert_non_null(golden.bytes);
    assert_int_equal(fread(golden.bytes, 1, (size_t)size, file), size);
    fclose(file);
    uint64_t n_header;
    memcpy(&n_header, golden.bytes, 8); /* the goldens are little-endian, and so are the machines tern runs on */
    golden.header = json_loadb((const char *)golden.bytes + 8, n_header, 0, NULL);
    assert_non_null(golden.header);
    golden.data = golden.bytes + 8 + n_header;
    return golden;
}

static inline void golden_close(golden_file *golden) {
    json_decref(golden->header);
    free(golden->bytes);
}

static inline bool golden_has(const golden_file *golden, const char *name) {
    return json_object_get(golden->header, name) != NULL;
}

/* The tensor's bytes, unaligned; *n is its number of elements (of 4 bytes each: I32 and F32 only). */
static inline const uint8_t *golden_find(const golden_file *golden, const char *name, size_t *n) {
    json_t *entry = json_object_get(golden->header, name);
    if (!entry)
        fail_msg("the golden file has no tensor %s", name);
    json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    *n = ((size_t)json_integer_value(json_array_get(offsets, 1)) - begin) / 4;
    return golden->data + begin;
}

/* A copy, for free(). */
static inline void *golden_copy(const golden_file *golden, const char *name, size_t *n) {
    const uint8_t *bytes = golden_find(golden, name, n);
    void *copy = malloc(*n * 4);
    assert_non_null(copy);
    memcpy(copy, bytes, *n * 4);
    return copy;
}

static inline json_t *golden_json(const char *path) {
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

/* A JSON array of integers -> ids [*n], for free(). */
static inline int32_t *golden_ids(const json_t *array, size_t *n) {
    *n = json_array_size(array);
    int32_t *ids = malloc(*n * sizeof *ids + 1);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

/* ---- running ---- */

static inline tern_model *golden_load(const char *path, const char *cpu, int n_threads) {
    tern_model_params params = tern_model_defaults();
    params.cpu = cpu;
    params.n_threads = n_threads;
    tern_model *model = NULL;
    OK(tern_model_load(path, &params, &model, err));
    return model;
}

static inline uint32_t golden_vocab(const tern_model *model) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    return info.vocab_size;
}

static inline tern_session *golden_session(tern_model *model, tern_kv_type kv_type, uint32_t chunk) {
    tern_session_params params = tern_session_defaults();
    params.kv_type = kv_type;
    params.chunk = chunk;
    tern_session *session = NULL;
    OK(tern_session_create(model, &params, &session, err));
    return session;
}

static inline size_t golden_argmax(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* -log p(id) under logits [n]. */
static inline double golden_nll(const float *logits, size_t n, int32_t id) {
    double max = logits[golden_argmax(logits, n)], sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return log(sum) + max - logits[id];
}

/* Perplexity of ids [n] without BOS, in windows of context - 1 tokens, each behind one BOS. */
static inline double golden_perplexity(tern_model *model, const int32_t *ids, size_t n, size_t context) {
    size_t vocab = golden_vocab(model), window = context - 1;
    float *logits = malloc(window * vocab * sizeof *logits);
    int32_t *input = malloc(window * sizeof *input);
    assert_true(logits && input);
    tern_session *session = golden_session(model, TERN_KV_F32, 0);
    double sum = 0;
    for (size_t start = 0; start < n; start += window) {
        size_t count = n - start < window ? n - start : window;
        input[0] = tern_tokenizer_bos(tern_model_tokenizer(model));
        memcpy(input + 1, ids + start, (count - 1) * sizeof *ids);
        OK(tern_session_truncate(session, 0, err));
        OK(tern_session_eval_logits(session, input, count, logits, err));
        for (size_t i = 0; i < count; i++)
            sum += golden_nll(logits + i * vocab, vocab, ids[start + i]);
    }
    tern_session_free(session);
    free(input);
    free(logits);
    return exp(sum / (double)n);
}

/* How far `got` is from `want`, both [n, vocab]. */
typedef struct golden_difference {
    double max, mean;    /* of |d| over everything */
    double cosine;       /* over everything */
    size_t argmax_equal; /* of n positions */
    size_t first_above;  /* position of the first |d| > 1e-4; n: none */
} golden_difference;

static inline golden_difference golden_compare(const float *got, const float *want, size_t n, size_t vocab) {
    golden_difference difference = {.first_above = n};
    double dot = 0, gg = 0, ww = 0;
    for (size_t i = 0; i < n * vocab; i++) {
        double d = fabs((double)got[i] - want[i]);
        if (!(d <= 1e-4) && difference.first_above == n)
            difference.first_above = i / vocab;
        if (!(d <= difference.max))
            difference.max = d; /* a NaN sticks */
        difference.mean += d / (double)(n * vocab);
        dot += (double)got[i] * want[i];
        gg += (double)got[i] * got[i];
        ww += (double)want[i] * want[i];
    }
    difference.cosine = dot / sqrt(gg * ww);
    for (size_t t = 0; t < n; t++)
        difference.argmax_equal += golden_argmax(got + t * vocab, vocab) == golden_argmax(want + t * vocab, vocab);
    return difference;
}

#endif
