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

/* ----------------------------------------------------------------- learning */

/* Text with its taint. */
typedef struct rendering {
    tern_buffer text, taint;
} rendering;

static void free_rendering(rendering *r) {
    tern_buffer_free(&r->text);
    tern_buffer_free(&r->taint);
}

/* Append the tokens of r's text from byte `from` on. `answer`: learnt, up to the token that ends it. */
static tern_status append_part(const tern_tokenizer *tokenizer, const rendering *r, size_t from, bool answer,
                               tern_chat_lesson *lesson, tern_error *err) {
    tern_text_span *spans = NULL;
    size_t n_spans = 0, n_ids = 0;
    int32_t *ids = NULL;
    unsigned bos = lesson->n == 0 ? TERN_TOKENIZE_BOS : 0;
    if (r->text.size == from)
        return TERN_OK;
    tern_status status = make_spans(r->taint.bytes + from, r->text.size - from, &spans, &n_spans, err);
    if (status == TERN_OK)
        status = tern_tokenize_spans(tokenizer, r->text.bytes + from, r->text.size - from, TERN_TOKENIZE_SPECIAL | bos,
                                     spans, n_spans, &ids, &n_ids, err);
    free(spans);
    if (status)
        return status;
    size_t n = lesson->n + n_ids;
    int32_t *all_ids = n_ids ? realloc(lesson->ids, n * sizeof *all_ids) : lesson->ids;
    if (all_ids)
        lesson->ids = all_ids;
    uint8_t *mask = n_ids ? realloc(lesson->mask, n) : lesson->mask;
    if (mask)
        lesson->mask = mask;
    if (n_ids && (!all_ids || !mask)) {
        free(ids);
        return tern_fail_memory(err, "the conversation's tokens");
    }
    for (size_t i = 0; i < n_ids; i++) {
        lesson->ids[lesson->n] = ids[i];
        lesson->mask[lesson->n++] = answer;
        answer = answer && !tern_tokenizer_is_end(tokenizer, ids[i]);
    }
    free(ids);
    return TERN_OK;
}

/* Message `index` is an answer: what stands between byte `done` of the text so far and it, then it; *done moves on. */
static tern_status append_answer(const tern_tokenizer *tokenizer, const tern_message *messages, size_t index,
                                 bool learn, size_t *done, tern_chat_lesson *lesson, tern_error *err) {
    rendering prompt = {0}, whole = {0};
    tern_status status = render(tokenizer, messages, index, true, &prompt.text, &prompt.taint, err);
    if (!status)
        status = render(tokenizer, messages, index + 1, false, &whole.text, &whole.taint, err);
    size_t size = prompt.text.size;
    if (!status &&
        (*done > size || whole.text.size < size || (size && memcmp(whole.text.bytes, prompt.text.bytes, size) != 0)))
        status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                           "the chat template does not put an answer behind its generation prompt: it cannot be said "
                           "which tokens are the answer");
    if (!status)
        status = append_part(tokenizer, &prompt, *done, false, lesson, err);
    if (!status)
        status = append_part(tokenizer, &whole, size, learn, lesson, err);
    for (size_t i = size; !status && learn && i < whole.taint.size; i++)
        lesson->answer_bytes += whole.taint.bytes[i] != 0;
    *done = whole.text.size;
    free_rendering(&prompt);
    free_rendering(&whole);
    return status;
}

tern_status tern_chat_learn(const tern_tokenizer *tokenizer, const tern_message *messages, size_t n_messages,
                            bool last_only, tern_chat_lesson *lesson, tern_error *err) {
    size_t last = n_messages, done = 0;
    tern_status status = TERN_OK;
    *lesson = (tern_chat_lesson){0};
    for (size_t i = 0; i < n_messages; i++)
        if (strcmp(messages[i].role, "assistant") == 0)
            last = i;
    for (size_t i = 0; !status && i < n_messages; i++)
        if (strcmp(messages[i].role, "assistant") == 0)
            status = append_answer(tokenizer, messages, i, !last_only || i == last, &done, lesson, err);
    if (status)
        tern_chat_lesson_free(lesson);
    return status;
}

void tern_chat_lesson_free(tern_chat_lesson *lesson) {
    free(lesson->ids);
    free(lesson->mask);
    *lesson = (tern_chat_lesson){0};
}
