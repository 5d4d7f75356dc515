/*
 * Several texts at once: one pass over the model's weights brings every one of them a token further.
 *
 *     ./batch [MODEL [PROMPT ...]]
 */
#include <stdio.h>
#include <string.h>

#include <tern/tern.h>

enum { MAX_TEXTS = 16, N_TOKENS = 24 };

typedef struct batch {
    size_t n;
    tern_session *sessions[MAX_TEXTS];
    tern_sampler *samplers[MAX_TEXTS];
    int32_t *prompts[MAX_TEXTS]; /* [n_ids], tern_free() */
    const int32_t *ids[MAX_TEXTS];
    size_t n_ids[MAX_TEXTS];
    int32_t drawn[MAX_TEXTS];
} batch;

static tern_status add(batch *b, tern_model *model, const char *prompt, tern_error *err) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    tern_sampler_params params = tern_sampler_defaults();
    params.seed = b->n;
    size_t i = b->n++;
    tern_status status = tern_session_create(model, NULL, &b->sessions[i], err);
    if (!status)
        status = tern_sampler_create(&params, info.vocab_size, &b->samplers[i], err);
    if (!status)
        status = tern_tokenize(tern_model_tokenizer(model), prompt, strlen(prompt), TERN_TOKENIZE_BOS, &b->prompts[i],
                               &b->n_ids[i], err);
    b->ids[i] = b->prompts[i];
    return status;
}

/* Prompts first, all together; then a token for each text in every step. */
static tern_status generate(batch *b, tern_error *err) {
    tern_status status = TERN_OK;
    for (int step = 0; !status && step < N_TOKENS; step++) {
        status = tern_batch_eval(b->sessions, b->ids, b->n_ids, b->n, err);
        if (!status)
            status = tern_batch_sample(b->sessions, b->samplers, b->n, b->drawn, err);
        for (size_t i = 0; !status && i < b->n; i++) {
            status = tern_sampler_accept(b->samplers[i], b->drawn[i], err);
            b->ids[i] = &b->drawn[i];
            b->n_ids[i] = 1;
        }
    }
    return status ? status : tern_batch_eval(b->sessions, b->ids, b->n_ids, b->n, err);
}

static tern_status print(const batch *b, const tern_model *model, tern_error *err) {
    for (size_t i = 0; i < b->n; i++) {
        char *text;
        size_t n_bytes;
        const tern_session *session = b->sessions[i];
        tern_status status = tern_detokenize(tern_model_tokenizer(model), tern_session_tokens(session),
                                             tern_session_n_past(session), true, &text, &n_bytes, err);
        if (status)
            return status;
        printf("%zu: %s\n", i + 1, text);
        tern_free(text);
    }
    return TERN_OK;
}

int main(int argc, char **argv) {
    static const char *const examples[] = {"Once upon a time", "The cat", "Tom and Mia went to the park", "One day,"};
    tern_error err;
    tern_model *model = NULL;
    batch b = {0};
    tern_status status = tern_model_load(argc > 1 ? argv[1] : NULL, NULL, &model, &err);
    for (int i = 0; !status && i < MAX_TEXTS && i < (argc > 2 ? argc - 2 : 4); i++)
        status = add(&b, model, argc > 2 ? argv[i + 2] : examples[i], &err);
    if (!status)
        status = generate(&b, &err);
    if (!status)
        status = print(&b, model, &err);
    if (status)
        fprintf(stderr, "batch: %s\n", err.message);
    for (size_t i = 0; i < b.n; i++) {
        tern_session_free(b.sessions[i]);
        tern_sampler_free(b.samplers[i]);
        tern_free(b.prompts[i]);
    }
    tern_model_free(model);
    return status ? 1 : 0;
}
