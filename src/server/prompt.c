#include "server/prompt.h"

#include <stdlib.h>

#include "server/sampling.h"

static bool is_list_of_ids(const json_t *value) {
    return json_is_array(value) && json_array_size(value) && json_is_integer(json_array_get(value, 0));
}

int tern_count_prompts(const tern_exchange *x, const char *name, size_t *n, tern_api_error *error) {
    const json_t *value = tern_field(x->request, name);
    if (!value)
        return tern_api_fail(error, 400, name, "missing_field", "'%s' is missing", name);
    if (json_is_string(value) || is_list_of_ids(value)) {
        *n = 1;
        return 0;
    }
    if (!json_is_array(value))
        return tern_api_fail(error, 400, name, "invalid_type",
                             "'%s' must be a string, an array of strings, an array of token ids or an array of those, "
                             "not %s",
                             name, tern_json_type_name(value));
    *n = json_array_size(value);
    if (*n == 0)
        return tern_api_fail(error, 400, name, "invalid_value", "'%s' is an empty array", name);
    return 0;
}

static int tokenize(tern_job *job, const char *name, const json_t *value, tern_prompt *prompt, tern_api_error *error) {
    const tern_tokenizer *tokenizer = job->exchange->server->tokenizer;
    tern_error err;
    if (tern_tokenize(tokenizer, json_string_value(value), json_string_length(value),
                      TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, &prompt->ids, &prompt->n_ids, &err))
        return tern_api_fail_from(error, name, &err);
    if (!job->echo)
        return 0;
    prompt->n_text = json_string_length(value);
    prompt->text = malloc(prompt->n_text + 1);
    if (!prompt->text)
        return tern_api_fail_memory(error);
    memcpy(prompt->text, json_string_value(value), prompt->n_text + 1);
    return 0;
}

static int parse_one(tern_job *job, const char *name, const json_t *value, tern_prompt *prompt, tern_api_error *error) {
    const tern_server *server = job->exchange->server;
    tern_error err;
    if (json_is_string(value)) {
        if (tokenize(job, name, value, prompt, error))
            return error->status;
    } else if (json_is_array(value)) {
        if (tern_json_ids(value, server->info.vocab_size, name, &prompt->ids, &prompt->n_ids, error))
            return error->status;
        if (job->echo &&
            tern_detokenize(server->tokenizer, prompt->ids, prompt->n_ids, true, &prompt->text, &prompt->n_text, &err))
            return tern_api_fail_from(error, name, &err);
    } else {
        return tern_api_fail(error, 400, name, "invalid_type", "'%s' holds %s, which is no prompt", name,
                             tern_json_type_name(value));
    }
    return tern_check_prompt(job->exchange, prompt, name, error);
}

int tern_parse_prompts(tern_job *job, const char *name, tern_api_error *error) {
    const json_t *value = tern_field(job->exchange->request, name);
    bool single = json_is_string(value) || is_list_of_ids(value);
    for (size_t i = 0; i < job->n_prompts; i++)
        if (parse_one(job, name, single ? value : json_array_get(value, i), &job->prompts[i], error))
            return error->status;
    return 0;
}
