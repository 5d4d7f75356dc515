#include "runtime/answer.h"

#include "tokenizer/stream.h"

tern_status tern_answer_init(tern_answer *answer, const tern_answer_params *params, tern_error *err) {
    *answer = (tern_answer){.params = *params};
    answer->params.stop = NULL;
    return tern_stop_create(params->stop, params->n_stop, &answer->stop, err);
}

void tern_answer_free(tern_answer *answer) {
    tern_stop_free(answer->stop);
    tern_buffer_free(&answer->pending);
    tern_buffer_free(&answer->text);
    *answer = (tern_answer){0};
}

void tern_answer_end(tern_answer *answer, tern_stop_reason reason) {
    answer->done = true;
    answer->reason = reason;
}

/* A token's text through UTF-8 completion and stop strings. True: a stop string is complete. */
static bool take_text(tern_answer *answer, int32_t id) {
    const tern_tokenizer *tokenizer = answer->params.tokenizer;
    if (tern_tokenizer_is_special(tokenizer, id) && !answer->params.show_special)
        return false;
    size_t n_bytes, complete;
    const char *bytes = tern_tokenizer_token(tokenizer, id, &n_bytes);
    tern_buffer *pending = &answer->pending;
    tern_buffer_append(pending, bytes, n_bytes);
    if (pending->failed)
        return false;
    complete = tern_utf8_complete(pending->bytes, pending->size);
    bool stopped = tern_stop_feed(answer->stop, pending->bytes, complete, &answer->text);
    memmove(pending->bytes, pending->bytes + complete, pending->size - complete);
    pending->size -= complete;
    return stopped;
}

static tern_status check(const tern_answer *answer, tern_error *err) {
    return answer->pending.failed || answer->text.failed ? tern_fail_memory(err, "the generated text") : TERN_OK;
}

tern_status tern_answer_take(tern_answer *answer, int32_t id, bool *shown, tern_error *err) {
    const tern_answer_params *params = &answer->params;
    *shown = params->ignore_end || !tern_tokenizer_is_end(params->tokenizer, id);
    if (!*shown) {
        tern_answer_end(answer, TERN_STOP_END);
        return TERN_OK;
    }
    answer->n_tokens++;
    if (take_text(answer, id))
        tern_answer_end(answer, TERN_STOP_STRING);
    else if (params->max_tokens >= 0 && answer->n_tokens >= (uint64_t)params->max_tokens)
        tern_answer_end(answer, TERN_STOP_LENGTH);
    return check(answer, err);
}

tern_status tern_answer_flush(tern_answer *answer, tern_error *err) {
    if (answer->pending.size)
        tern_stop_feed(answer->stop, answer->pending.bytes, answer->pending.size, &answer->text);
    answer->pending.size = 0;
    tern_stop_flush(answer->stop, &answer->text);
    return check(answer, err);
}
