/* The prompt that asks a question with the chunks that were found. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "rag/rag.h"

static const char instructions[] =
    "Answer the question from the numbered passages below. Behind each sentence, put "
    "the number of the passage that it is "
    "from, like [1]. If the passages do not hold the answer, say only: " TERN_RAG_NO_ANSWER;

/* The question with the first n hits, as a message's text; NULL: no memory. */
static char *message_of(const char *question, const tern_rag_hits *hits, size_t n) {
    tern_buffer text = {0};
    for (size_t i = 0; i < n; i++)
        tern_buffer_printf(&text, "[%zu] %s:%u-%u\n%s\n\n", i + 1, hits->hits[i].path,
                           (unsigned)hits->hits[i].first_line, (unsigned)hits->hits[i].last_line, hits->hits[i].text);
    tern_buffer_printf(&text, "Question: %s", question);
    return tern_buffer_take(&text, NULL);
}

/* Without TERN_TOKENIZE_SPECIAL, what looks like a special token in a message is plain text. */
static tern_status render(const tern_tokenizer *tokenizer, const char *question, const tern_rag_hits *hits, size_t n,
                          int32_t **ids, size_t *n_ids, tern_error *err) {
    char *text = message_of(question, hits, n);
    if (!text)
        return tern_fail_memory(err, "the prompt");
    const tern_message messages[] = {{"system", instructions}, {"user", text}};
    tern_status status = tern_chat_tokenize(tokenizer, messages, 2, true, TERN_TOKENIZE_BOS, ids, n_ids, err);
    free(text);
    return status;
}

tern_status tern_rag_prompt(const tern_tokenizer *tokenizer, const char *question, const tern_rag_hits *hits,
                            size_t limit, size_t *n_used, int32_t **ids, size_t *n_ids, tern_error *err) {
    for (size_t n = hits->n;; n--) {
        tern_status status = render(tokenizer, question, hits, n, ids, n_ids, err);
        if (status)
            return status;
        if (*n_ids <= limit) {
            *n_used = n;
            return TERN_OK;
        }
        tern_free(*ids);
        *ids = NULL;
        if (n == 0)
            return tern_fail(
                err, TERN_ERR_CONTEXT,
                "the question makes a prompt of %zu tokens, but there is room for %zu: ask a shorter one, or "
                "give a larger context",
                *n_ids, limit);
    }
}
