#include "server/fields.h"

#include <string.h>

enum {
    CHAT = TERN_FIELDS_CHAT,
    TEXT = TERN_FIELDS_COMPLETION,
    BOTH = CHAT | TEXT,
    EMBEDDING = TERN_FIELDS_EMBEDDING,
    TOKENIZE = TERN_FIELDS_TOKENIZE,
    DETOKENIZE = TERN_FIELDS_DETOKENIZE,
    ALL = 31,
    MAX_IGNORED = 8,      /* names that the log tells */
    MAX_IGNORED_NAME = 64 /* bytes of each */
};

/* Looked at, or known to say nothing about the answer. */
static const struct {
    const char *name;
    unsigned where;
} known[] = {
    {"model", ALL},
    {"user", ALL},
    {"messages", CHAT | TOKENIZE},
    {"prompt", TEXT | TOKENIZE},
    {"input", EMBEDDING},
    {"content", TOKENIZE},
    {"tokens", DETOKENIZE},
    {"n", BOTH},
    {"best_of", BOTH},
    {"stream", BOTH},
    {"stream_options", BOTH},
    {"max_tokens", BOTH},
    {"max_completion_tokens", CHAT},
    {"temperature", BOTH},
    {"top_p", BOTH},
    {"top_k", BOTH},
    {"min_p", BOTH},
    {"frequency_penalty", BOTH},
    {"presence_penalty", BOTH},
    {"repeat_penalty", BOTH},
    {"repetition_penalty", BOTH},
    {"seed", BOTH},
    {"stop", BOTH},
    {"logit_bias", BOTH},
    {"ignore_eos", BOTH},
    {"logprobs", BOTH},
    {"top_logprobs", CHAT},
    {"echo", TEXT},
    {"suffix", TEXT},
    {"grammar", BOTH},
    {"guided_grammar", BOTH},
    {"guided_json", BOTH},
    {"guided_choice", BOTH},
    {"json_schema", BOTH},
    {"structured_outputs", BOTH},
    {"response_format", BOTH},
    {"tools", CHAT},
    {"tool_choice", CHAT},
    {"parallel_tool_calls", CHAT},
    {"encoding_format", EMBEDDING},
    {"dimensions", EMBEDDING},
    {"add_special", TOKENIZE},
    {"add_special_tokens", TOKENIZE},
    {"parse_special", TOKENIZE},
    {"skip_special_tokens", DETOKENIZE},
    {"metadata", BOTH},
    {"store", BOTH},
    {"service_tier", BOTH},
    {"safety_identifier", BOTH},
    {"prompt_cache_key", BOTH},
    {"prediction", CHAT},
    {"cache_prompt", BOTH},
    {"priority", BOTH},
    {"request_id", BOTH},
    {"guided_decoding_backend", BOTH},
};

/* Names of OpenAI's API, vLLM's and llama-server's, with the value that asks for nothing; `instead` may be NULL. */
static const struct {
    const char *name;
    unsigned where;
    double neutral;
    const char *instead;
} refused[] = {
    {"audio", CHAT, 0, NULL},
    {"functions", CHAT, 0, "tools"},
    {"function_call", CHAT, 0, "tool_choice"},
    {"web_search_options", CHAT, 0, NULL},
    {"chat_template", CHAT | TOKENIZE, 0, NULL},
    {"continue_final_message", CHAT | TOKENIZE, 0, NULL},
    {"add_generation_prompt", CHAT | TOKENIZE, 1, NULL},
    {"documents", CHAT, 0, NULL},
    {"echo", CHAT, 0, NULL},
    {"prompt_embeds", TEXT, 0, NULL},
    {"n_predict", BOTH, -1, "max_tokens"},
    {"min_tokens", BOTH, 0, NULL},
    {"stop_token_ids", BOTH, 0, "stop"},
    {"bad_words", BOTH, 0, "logit_bias"},
    {"allowed_token_ids", BOTH, 0, "logit_bias"},
    {"use_beam_search", BOTH, 0, NULL},
    {"length_penalty", BOTH, 1, NULL},
    {"truncate_prompt_tokens", BOTH | EMBEDDING, 0, NULL},
    {"prompt_logprobs", BOTH, 0, "echo with logprobs of /v1/completions"},
    {"logits_processors", BOTH, 0, NULL},
    {"guided_regex", BOTH, 0, "grammar"},
    {"mirostat", BOTH, 0, NULL},
    {"typical_p", BOTH, 1, NULL},
    {"tfs_z", BOTH, 1, NULL},
    {"dynatemp_range", BOTH, 0, NULL},
    {"xtc_probability", BOTH, 0, NULL},
    {"dry_multiplier", BOTH, 0, NULL},
    {"lora", BOTH, 0, NULL},
    {"with_pieces", TOKENIZE, 0, NULL},
    {"return_token_strs", TOKENIZE, 0, NULL},
    {"tools", TOKENIZE, 0, NULL},
};

/* It asks for nothing: empty, off, or the number that changes nothing. */
static bool is_neutral(const json_t *value, double neutral) {
    switch (json_typeof(value)) {
    case JSON_NULL:
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        return json_is_true(value) == (neutral > 0);
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    default:
        return json_number_value(value) == neutral;
    }
}

static bool is_known(const char *name, unsigned where) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].where & where && strcmp(known[i].name, name) == 0)
            return true;
    return false;
}

/* For the log, which must not grow with what a client sends. */
static void note_ignored(tern_exchange *x, const char *name) {
    size_t length = strlen(name);
    if (x->n_ignored++ >= MAX_IGNORED)
        return;
    tern_buffer_text(&x->ignored, x->ignored.size ? "," : "");
    tern_json_write_string(&x->ignored, name, length < MAX_IGNORED_NAME ? length : MAX_IGNORED_NAME);
}

static int check_field(tern_exchange *x, unsigned where, const char *name, const json_t *value, tern_api_error *error) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (!(refused[i].where & where) || strcmp(refused[i].name, name) != 0)
            continue;
        const char *instead = refused[i].instead;
        if (is_neutral(value, refused[i].neutral))
            return 0;
        return tern_api_fail(error, 400, name, "unsupported_value",
                             "'%s' is not supported, and to ignore it would change the answer%s%s", name,
                             instead ? "; use " : "", instead ? instead : "");
    }
    if (!json_is_null(value) && !is_known(name, where))
        note_ignored(x, name);
    return 0;
}

int tern_check_fields(tern_exchange *x, unsigned where, tern_api_error *error) {
    const char *name;
    json_t *value;
    json_object_foreach(x->request, name, value) {
        if (check_field(x, where, name, value, error))
            return error->status;
    }
    return 0;
}
