/* From tokens that were sampled to the text that a reader gets, and when that ends: whole UTF-8 characters, nothing
 * that may turn out to belong to a stop string, a limit, the end token. For everything that generates. */
#ifndef TERN_RUNTIME_ANSWER_H
#define TERN_RUNTIME_ANSWER_H

#include "runtime/stop.h"

typedef struct tern_answer_params {
    const tern_tokenizer *tokenizer;
    int64_t max_tokens; /* -1: no limit */
    const char *const *stop;
    size_t n_stop;
    bool ignore_end, show_special;
} tern_answer_params;

typedef struct tern_answer {
    tern_answer_params params; /* without stop, which is compiled */
    tern_stop *stop;
    tern_buffer pending; /* bytes of a character that is not complete yet */
    tern_buffer text;    /* what can be shown now; whoever has shown it sets its size to 0 */
    uint64_t n_tokens;   /* of the answer; the end token is none of them */
    bool done;
    tern_stop_reason reason; /* when done */
} tern_answer;

/* Zero-initialised is empty. Copies the stop strings; the tokenizer must outlive it. */
tern_status tern_answer_init(tern_answer *answer, const tern_answer_params *params, tern_error *err);
void tern_answer_free(tern_answer *answer);

/* The next token. *shown: it is part of the answer, and answer->text is what can be shown with it, perhaps nothing;
 * false for the end token. Says in answer->done whether it was the last. */
tern_status tern_answer_take(tern_answer *answer, int32_t id, bool *shown, tern_error *err);
/* There will be no more tokens: what was held back goes to answer->text as it is. */
tern_status tern_answer_flush(tern_answer *answer, tern_error *err);
void tern_answer_end(tern_answer *answer, tern_stop_reason reason);

#endif
