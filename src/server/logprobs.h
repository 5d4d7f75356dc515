/* Tokens and their probabilities in the two shapes that OpenAI has for them. */
#ifndef TERN_SERVER_LOGPROBS_H
#define TERN_SERVER_LOGPROBS_H

#include "base/str.h"

/* What was collected since the last tern_logprob_write_*(). Zero-initialised is empty. */
typedef struct tern_logprob_log {
    tern_buffer tokens, values, tops, offsets; /* elements of JSON arrays; a chat's are whole objects, in tokens */
    size_t n;
    size_t offset; /* characters of text so far */
    bool failed;   /* an append had no memory */
} tern_logprob_log;

/* For /v1/completions: parallel arrays. */
void tern_logprob_add_completion(tern_logprob_log *log, const tern_tokenizer *tokenizer,
                                 const tern_request_event *event);
/* {"tokens":[...],...}; the log is empty afterwards. */
void tern_logprob_write_completion(tern_logprob_log *log, tern_buffer *out);

/* For /v1/chat/completions: one object a token. */
void tern_logprob_add_chat(tern_logprob_log *log, const tern_tokenizer *tokenizer, const tern_request_event *event);
/* {"content":[...]} */
void tern_logprob_write_chat(tern_logprob_log *log, tern_buffer *out);

void tern_logprob_free(tern_logprob_log *log);

#endif
