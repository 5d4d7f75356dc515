/* Messages -> text or ids, through the chat template. */
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/internal.h"

static tern_view token_or_none(const tern_tokenizer *tokenizer, int32_t id) {
    tern_view token = {0};
    token.bytes = tern_tokenizer_token(tokenizer, id, &token.size);
    return token;
}

static tern_status render(const tern_tokenizer *tokenizer, const tern_message *messages, size_t n_messages,
                          bool generation_prompt, tern_buffer *text, tern_buffer *taint, tern_error *err) {
    if (tokenizer->no_chat[0])
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s", tokenizer->no_chat);
    tern_template_input input = {messages, n_messages, generation_prompt, token_or_none(tokenizer, tokenizer->bos_id),
                                 token_or_none(tokenizer, tokenizer->eos_id)};
    return tern_template_render(tokenizer->template, &input, text, taint, err);
}

tern_status tern_chat_render(const tern_tokenizer *tokenizer, const tern_message *messages, size_t n_messages,
                             bool generation_prompt, char **text, size_t *n_bytes, tern_error *err) {
    if (!tokenizer || (!messages && n_messages) || !text || !n_bytes)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_chat_render: a NULL argument");
    tern_buffer rendered, taint;
    tern_status status = render(tokenizer, messages, n_messages, generation_prompt, &rendered, &taint, err);
    if (status)
        return status;
    tern_buffer_free(&taint);
    char *taken = tern_buffer_take(&rendered, n_bytes);
    if (!taken)
        return tern_fail_memory(err, "the chat text");
    *text = taken;
    return TERN_OK;
}

/* The runs of 1 in taint [n] as spans. */
static tern_status make_spans(const char *taint, size_t n, tern_text_span **spans, size_t *n_spans, tern_error *err) {
    size_t capacity = 0;
    *spans = NULL;
    *n_spans = 0;
    for (size_t i = 0, start; i < n; i++) {
        if (!taint[i])
            continue;
        for (start = i; i < n && taint[i]; i++)
            ;
        if (!tern_grow_array((void **)spans, &capacity, *n_spans + 1, sizeof **spans))
            return tern_fail_memory(err, "the chat text");
        (*spans)[(*n_spans)++] = (tern_text_span){start, i};
    }
    return TERN_OK;
}

tern_status tern_chat_tokenize(const tern_tokenizer *tokenizer, const tern_message *messages, size_t n_messages,
                               bool generation_prompt, unsigned flags, int32_t **ids, size_t *n_ids, tern_error *err) {
    if (!tokenizer || (!messages && n_messages) || !ids || !n_ids)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_chat_tokenize: a NULL argument");
    tern_buffer text, taint;
    tern_status status = render(tokenizer, messages, n_messages, generation_prompt, &text, &taint, err);
    if (status)
        return status;
    tern_text_span *spans = NULL;
    size_t n_spans = 0;
    if (!(flags & TERN_TOKENIZE_SPECIAL))
        status = make_spans(taint.bytes, taint.size, &spans, &n_spans, err);
    if (status == TERN_OK)
        status = tern_tokenize_spans(tokenizer, text.bytes, text.size, flags | TERN_TOKENIZE_SPECIAL, spans, n_spans,
                                     ids, n_ids, err);
    free(spans);
    tern_buffer_free(&text);
    tern_buffer_free(&taint);
    return status;
}
