/*
 * How alike are two sentences? The cosine of the last token's hidden states.
 *
 *     ./embed [SENTENCE SENTENCE [MODEL]]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tern/tern.h>

/* Hidden state of the sentence's last token, a copy of [*size] floats for the caller to free; NULL on failure. */
static float *embed(tern_model *model, const char *sentence, size_t *size, tern_error *err) {
    tern_session *session = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    float *copy = NULL;
    tern_model_info info;
    tern_model_get_info(model, &info);
    *size = info.hidden_size;

    tern_status status = tern_session_create(model, NULL, &session, err);
    if (!status)
        status = tern_tokenize(tern_model_tokenizer(model), sentence, strlen(sentence), TERN_TOKENIZE_BOS, &ids, &n_ids,
                               err);
    if (!status)
        status = tern_session_eval(session, ids, n_ids, err);
    const float *hidden = status ? NULL : tern_session_embedding(session);
    if (hidden && (copy = malloc(*size * sizeof *copy)))
        memcpy(copy, hidden, *size * sizeof *copy);
    else if (!status)
        snprintf(err->message, sizeof err->message, "out of memory");
    tern_free(ids);
    tern_session_free(session);
    return copy;
}

int main(int argc, char **argv) {
    const char *first = argc > 2 ? argv[1] : "The dog ran to the park.";
    const char *second = argc > 2 ? argv[2] : "A puppy runs in the garden.";
    tern_error err;
    tern_model *model = NULL;
    size_t size = 0;
    if (tern_model_load(argc > 3 ? argv[3] : NULL, NULL, &model, &err))
        return fprintf(stderr, "embed: %s\n", err.message), 1;
    float *a = embed(model, first, &size, &err), *b = a ? embed(model, second, &size, &err) : NULL;
    tern_model_free(model);
    if (!b) {
        fprintf(stderr, "embed: %s\n", err.message);
        free(a);
        return 1;
    }
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < size; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    free(a);
    free(b);
    printf("%.4f\n", dot / sqrt(aa * bb));
    return 0;
}
