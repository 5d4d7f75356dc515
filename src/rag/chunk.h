/* Cutting a text into chunks of so many tokens. */
#ifndef TERN_RAG_CHUNK_H
#define TERN_RAG_CHUNK_H

#include "base/status.h"

typedef struct tern_chunk {
    size_t offset, size;            /* in the text; no blanks at either end */
    uint32_t first_line, last_line; /* from 1 */
} tern_chunk;

/* text [n_bytes], valid UTF-8, whose token i ends before byte ends[i] [n_tokens] -> *chunks [*n_chunks], to be freed
 * with free(); NULL and 0 for a blank text. A chunk has at most max_tokens (at least 8) tokens. It ends, in its second
 * half, with a paragraph, else with a sentence, else with a line, else with a word, else with a character; the next one
 * begins at most overlap_tokens (at most half of max_tokens - 2) before that, with a sentence, a line or a word. */
tern_status tern_chunk_text(const char *text, size_t n_bytes, const size_t *ends, size_t n_tokens, size_t max_tokens,
                            size_t overlap_tokens, tern_chunk **chunks, size_t *n_chunks, tern_error *err);

/* Valid UTF-8 without zero bytes: text. */
bool tern_is_utf8_text(const char *text, size_t n_bytes);

#endif
