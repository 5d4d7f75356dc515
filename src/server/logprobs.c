#include "server/logprobs.h"

#include "server/json.h"

/* A token's text; as OpenAI writes it, "bytes:\xe2\x82", if it is no whole UTF-8: then tokens stay distinct. */
static void write_token(tern_buffer *out, const tern_tokenizer *tokenizer, int32_t id) {
    size_t n = 0;
    const char *bytes = tern_tokenizer_token(tokenizer, id, &n);
    bool whole = true;
    for (size_t i = 0, length; i < n && whole; i += length)
        whole = (length = tern_utf8_length(bytes + i, n - i)) > 0;
    if (whole) {
        tern_json_write_string(out, bytes ? bytes : "", n);
        return;
    }
    tern_buffer_text(out, "\"bytes:");
    for (size_t i = 0; i < n; i++)
        tern_buffer_printf(out, "\\\\x%02x", (unsigned char)bytes[i]);
    tern_buffer_text(out, "\"");
}

static size_t count_characters(const tern_tokenizer *tokenizer, int32_t id) {
    size_t n, count = 0;
    const char *bytes = tern_tokenizer_token(tokenizer, id, &n);
    if (!bytes || tern_tokenizer_is_special(tokenizer, id)) /* which are not part of the text */
        return 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return count;
}

static void note_failure(tern_logprob_log *log) {
    log->failed |= log->tokens.failed || log->values.failed || log->tops.failed || log->offsets.failed;
}

void tern_logprob_add_completion(tern_logprob_log *log, const tern_tokenizer *tokenizer,
                                 const tern_request_event *event) {
    const char *comma = log->n ? "," : "";
    bool first = event->logprob != event->logprob; /* NaN: the first token of a prompt has none */
    tern_buffer_text(&log->tokens, comma);
    write_token(&log->tokens, tokenizer, event->id);
    tern_buffer_text(&log->values, comma);
    tern_json_write_float(&log->values, event->logprob);
    tern_buffer_printf(&log->offsets, "%s%zu", comma, log->offset);
    tern_buffer_text(&log->tops, comma);
    tern_buffer_text(&log->tops, first ? "null" : "{");
    bool listed = first;
    for (size_t i = 0; i < event->n_top && !first; i++) {
        tern_buffer_text(&log->tops, i ? "," : "");
        write_token(&log->tops, tokenizer, event->top[i].id);
        tern_buffer_text(&log->tops, ":");
        tern_json_write_float(&log->tops, event->top[i].logprob);
        listed |= event->top[i].id == event->id;
    }
    if (!listed) { /* the token that was taken always stands among them */
        tern_buffer_text(&log->tops, event->n_top ? "," : "");
        write_token(&log->tops, tokenizer, event->id);
        tern_buffer_text(&log->tops, ":");
        tern_json_write_float(&log->tops, event->logprob);
    }
    tern_buffer_text(&log->tops, first ? "" : "}");
    log->offset += count_characters(tokenizer, event->id);
    log->n++;
    note_failure(log);
}

static void drain(tern_buffer *from, tern_buffer *out) {
    tern_buffer_append(out, from->bytes ? from->bytes : "", from->size);
    from->size = 0;
}

void tern_logprob_write_completion(tern_logprob_log *log, tern_buffer *out) {
    tern_buffer_text(out, "{\"tokens\":[");
    drain(&log->tokens, out);
    tern_buffer_text(out, "],\"token_logprobs\":[");
    drain(&log->values, out);
    tern_buffer_text(out, "],\"top_logprobs\":[");
    drain(&log->tops, out);
    tern_buffer_text(out, "],\"text_offset\":[");
    drain(&log->offsets, out);
    tern_buffer_text(out, "]}");
    log->n = 0;
}

/* "token":...,"logprob":...,"bytes":[...] */
static void write_chat_token(tern_buffer *out, const tern_tokenizer *tokenizer, int32_t id, float logprob) {
    size_t n = 0;
    const char *bytes = tern_tokenizer_token(tokenizer, id, &n);
    tern_buffer_text(out, "\"token\":");
    write_token(out, tokenizer, id);
    tern_buffer_text(out, ",\"logprob\":");
    tern_json_write_float(out, logprob);
    tern_buffer_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++)
        tern_buffer_printf(out, i ? ",%u" : "%u", (unsigned char)bytes[i]);
    tern_buffer_text(out, "]");
}

void tern_logprob_add_chat(tern_logprob_log *log, const tern_tokenizer *tokenizer, const tern_request_event *event) {
    tern_buffer_text(&log->tokens, log->n ? ",{" : "{");
    write_chat_token(&log->tokens, tokenizer, event->id, event->logprob);
    tern_buffer_text(&log->tokens, ",\"top_logprobs\":[");
    for (size_t i = 0; i < event->n_top; i++) {
        tern_buffer_text(&log->tokens, i ? ",{" : "{");
        write_chat_token(&log->tokens, tokenizer, event->top[i].id, event->top[i].logprob);
        tern_buffer_text(&log->tokens, "}");
    }
    tern_buffer_text(&log->tokens, "]}");
    log->n++;
    note_failure(log);
}

void tern_logprob_write_chat(tern_logprob_log *log, tern_buffer *out) {
    tern_buffer_text(out, "{\"content\":[");
    drain(&log->tokens, out);
    tern_buffer_text(out, "],\"refusal\":null}");
    log->n = 0;
}

void tern_logprob_free(tern_logprob_log *log) {
    tern_buffer_free(&log->tokens);
    tern_buffer_free(&log->values);
    tern_buffer_free(&log->tops);
    tern_buffer_free(&log->offsets);
}
