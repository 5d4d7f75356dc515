#include "classify.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ANSWER = 4 * MAX_SUMMARY + 60 }; /* tokens: of a byte each at worst */

static const char schema[] = "{\"type\":\"object\",\"required\":[\"severity\",\"summary\"],"
                             "\"additionalProperties\":false,\"properties\":{"
                             "\"severity\":{\"enum\":[\"info\",\"warning\",\"error\",\"critical\"]},"
                             "\"summary\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":60}}}";

static const char instruction[] =
    "You watch a log. Of the line you are given, say how severe it is (info, warning, error or critical) and what "
    "happened, in a few words. Answer with JSON: {\"severity\": ..., \"summary\": ...}";

tern_status classifier_create(classifier *c, const char *path, int n_threads, tern_error *err) {
    *c = (classifier){0};
    tern_model_params params = tern_model_defaults();
    params.n_threads = n_threads;
    tern_status status = tern_model_load(path, &params, &c->model, err);
    if (!status)
        status = tern_session_create(c->model, NULL, &c->session, err);
    if (!status)
        status = tern_grammar_from_schema(tern_model_tokenizer(c->model), schema, &c->grammar, err);
    if (status)
        classifier_free(c);
    else
        c->n_ctx = tern_session_n_ctx(c->session);
    return status;
}

void classifier_free(classifier *c) {
    tern_session_free(c->session);
    tern_grammar_free(c->grammar);
    tern_model_free(c->model);
    *c = (classifier){0};
}

/* The conversation, with as much of the line as leaves room for the answer. */
static tern_status make_prompt(const classifier *c, const char *line, int32_t **ids, size_t *n_ids, tern_error *err) {
    char text[MAX_SUMMARY * 40];
    snprintf(text, sizeof text, "%s", line);
    for (size_t n = strlen(text);; n /= 2) {
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80) /* no character in two */
            n--;
        text[n] = 0;
        tern_message messages[] = {{"system", instruction}, {"user", text}};
        tern_status status =
            tern_chat_tokenize(tern_model_tokenizer(c->model), messages, 2, true, TERN_TOKENIZE_BOS, ids, n_ids, err);
        if (status || n == 0 || *n_ids + MAX_ANSWER <= c->n_ctx)
            return status;
        tern_free(*ids);
    }
}

typedef struct answer {
    char text[4 * MAX_ANSWER];
    size_t n;
} answer;

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    answer *a = user;
    (void)id;
    if (n_bytes >= sizeof a->text - a->n)
        return false;
    memcpy(a->text + a->n, text, n_bytes);
    a->n += n_bytes;
    return true;
}

/* Greedy, so that a line always gets the same answer; what the session has of the prompt already is kept. */
static tern_status generate(classifier *c, const int32_t *ids, size_t n_ids, answer *a, tern_error *err) {
    const int32_t *held = tern_session_tokens(c->session);
    uint32_t n_held = tern_session_n_past(c->session), n_same = 0;
    while (n_same < n_held && n_same + 1 < n_ids && held[n_same] == ids[n_same])
        n_same++;
    tern_generate_params params = tern_generate_defaults();
    params.sampler.temperature = 0;
    params.sampler.grammar = c->grammar;
    params.max_tokens = MAX_ANSWER;
    tern_status status = tern_session_truncate(c->session, n_same, err);
    if (!status)
        status = tern_generate_ids(c->session, ids + n_same, n_ids - n_same, &params, on_text, a, NULL, err);
    return status;
}

tern_status classifier_ask(classifier *c, const char *line, severity *found, char summary[4 * MAX_SUMMARY + 1],
                           tern_error *err) {
    int32_t *ids;
    size_t n_ids;
    answer a = {.n = 0};
    tern_status status = make_prompt(c, line, &ids, &n_ids, err);
    if (status)
        return status;
    status = generate(c, ids, n_ids, &a, err);
    tern_free(ids);
    if (status)
        return status;
    json_t *object = json_loadb(a.text, a.n, 0, NULL);
    const char *name = json_string_value(json_object_get(object, "severity"));
    const char *said = json_string_value(json_object_get(object, "summary"));
    if (!name || !said) { /* the context ended in the middle of it */
        json_decref(object);
        snprintf(err->message, sizeof err->message, "the model's answer is cut off: %.60s", a.text);
        return err->status = TERN_ERR_CONTEXT;
    }
    for (severity s = SEVERITY_INFO; s <= SEVERITY_CRITICAL; s++)
        if (strcmp(name, severity_names[s]) == 0)
            *found = s;
    snprintf(summary, 4 * MAX_SUMMARY + 1, "%s", said);
    json_decref(object);
    return TERN_OK;
}
