/* POST /tokenize and /detokenize, GET /tokenizer_info */
#include "server/endpoints.h"
#include "server/fields.h"
#include "server/messages.h"
#include "server/sampling.h"

static int write_ids(tern_exchange *x, const int32_t *ids, size_t n, tern_api_error *error) {
    tern_buffer body = {0};
    tern_buffer_text(&body, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++)
        tern_buffer_printf(&body, i ? ",%d" : "%d", (int)ids[i]);
    tern_buffer_printf(&body, "],\"count\":%zu,\"max_model_len\":%u}", n, x->server->n_ctx);
    return tern_reply_json(x, &body, error);
}

/* The text is "content" (llama-server), without a BOS unless "add_special" asks for one, or "prompt" (vLLM), with one
 * unless "add_special_tokens" does not: what their clients expect. Either flag goes with either name. */
static int tokenize_text(tern_exchange *x, tern_api_error *error) {
    const json_t *request = x->request, *text = tern_field(request, "content");
    const char *name = text ? "content" : "prompt";
    bool bos = !text, special = true;
    tern_error err;
    int32_t *ids;
    size_t n;
    if (!text)
        text = tern_field(request, name);
    if (!json_is_string(text))
        return text ? tern_api_fail(error, 400, name, "invalid_type", "'%s' must be a string, not %s", name,
                                    tern_json_type_name(text))
                    : tern_api_fail(error, 400, "content", "missing_field",
                                    "there is no text: 'content' (or 'prompt') must be a string, or 'messages' "
                                    "an array of them");
    if (tern_field_bool(request, "add_special", &bos, error) ||
        tern_field_bool(request, "add_special_tokens", &bos, error) ||
        tern_field_bool(request, "parse_special", &special, error))
        return error->status;
    if (tern_tokenize(x->server->tokenizer, json_string_value(text), json_string_length(text),
                      (bos ? TERN_TOKENIZE_BOS : 0u) | (special ? TERN_TOKENIZE_SPECIAL : 0u), &ids, &n, &err))
        return tern_api_fail_from(error, name, &err);
    int status = write_ids(x, ids, n, error);
    tern_free(ids);
    return status;
}

/* The prompt that a chat would make of its messages; longer than the context, too. */
static int tokenize_messages(tern_exchange *x, tern_api_error *error) {
    static const char *const others[] = {"content", "prompt", "add_special", "add_special_tokens", "parse_special"};
    tern_prompt prompt = {0};
    int status = tern_parse_messages(x, NULL, &prompt, error);
    for (size_t i = 0; i < sizeof others / sizeof *others && !status; i++)
        if (tern_field(x->request, others[i]))
            status = tern_api_fail(error, 400, others[i], "invalid_value",
                                   "'%s' is for texts, and cannot stand beside 'messages'", others[i]);
    if (!status)
        status = write_ids(x, prompt.ids, prompt.n_ids, error);
    tern_free(prompt.ids);
    return status;
}

int tern_endpoint_tokenize(tern_exchange *x, tern_api_error *error) {
    if (tern_check_fields(x, TERN_FIELDS_TOKENIZE, error) || tern_check_model(x, error))
        return error->status;
    return tern_field(x->request, "messages") ? tokenize_messages(x, error) : tokenize_text(x, error);
}

int tern_endpoint_detokenize(tern_exchange *x, tern_api_error *error) {
    const json_t *list = NULL;
    bool skip = false;
    int32_t *ids;
    char *text;
    size_t n, n_bytes;
    tern_error err;
    if (tern_check_fields(x, TERN_FIELDS_DETOKENIZE, error) || tern_check_model(x, error) ||
        tern_field_array(x->request, "tokens", &list, error) ||
        tern_field_bool(x->request, "skip_special_tokens", &skip, error))
        return error->status;
    if (!list)
        return tern_api_fail(error, 400, "tokens", "missing_field", "'tokens' must be an array of token ids");
    if (tern_json_ids(list, x->server->info.vocab_size, "tokens", &ids, &n, error))
        return error->status;
    tern_status failed = tern_detokenize(x->server->tokenizer, ids, n, skip, &text, &n_bytes, &err);
    tern_free(ids);
    if (failed)
        return tern_api_fail_from(error, "tokens", &err);
    tern_buffer body = {0};
    tern_buffer_text(&body, "{\"content\":");
    tern_json_write_string(&body, text, n_bytes);
    tern_buffer_text(&body, ",\"prompt\":");
    tern_json_write_string(&body, text, n_bytes);
    tern_buffer_text(&body, "}");
    tern_free(text);
    return tern_reply_json(x, &body, error);
}

/* ,"NAME":the text of a special token, or null */
static void write_special(tern_buffer *body, const tern_tokenizer *tokenizer, const char *name, int32_t id) {
    size_t n = 0;
    const char *text = tern_tokenizer_token(tokenizer, id, &n);
    tern_buffer_printf(body, ",\"%s\":", name);
    if (text)
        tern_json_write_string(body, text, n);
    else
        tern_buffer_text(body, "null");
}

/* What a client needs to have its texts tokenized here instead of having the tokenizer's files itself; vLLM's names. */
int tern_endpoint_tokenizer_info(tern_exchange *x, tern_api_error *error) {
    const tern_tokenizer *tokenizer = x->server->tokenizer;
    const char *template = tern_tokenizer_chat_template(tokenizer);
    tern_buffer body = {0};
    tern_buffer_text(&body, "{\"tokenizer_class\":\"tern\"");
    write_special(&body, tokenizer, "bos_token", tern_tokenizer_bos(tokenizer));
    write_special(&body, tokenizer, "eos_token", tern_tokenizer_eos(tokenizer));
    tern_buffer_printf(&body, ",\"vocab_size\":%zu,\"model_max_length\":%u,\"chat_template\":",
                       tern_tokenizer_vocab_size(tokenizer), x->server->n_ctx);
    if (template)
        tern_json_write_text(&body, template);
    else
        tern_buffer_text(&body, "null");
    tern_buffer_text(&body, "}");
    return tern_reply_json(x, &body, error);
}
