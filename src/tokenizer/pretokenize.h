/* Cutting text into pre-tokens, the pieces that merging never crosses. */
#ifndef TERN_TOKENIZER_PRETOKENIZE_H
#define TERN_TOKENIZER_PRETOKENIZE_H

#include "base/str.h"

/* The pre-tokeniser of Llama-3 (numerics.md section 7) and GPT-2, as their files write them. */
extern const char tern_llama3_pattern[];
extern const char tern_gpt2_pattern[];

/* The end of the pre-token of Llama-3 that begins at text[pos], pos < n_bytes. A byte that belongs to no valid UTF-8
 * character counts as a symbol that is neither letter, number nor space. Cost: linear over a whole text. */
size_t tern_llama3_pretoken(const uint8_t *text, size_t n_bytes, size_t pos);

/* Any other pattern, through PCRE2. */
typedef struct tern_pattern tern_pattern;

tern_status tern_pattern_create(const char *name, const char *source, size_t n_bytes, tern_pattern **pattern,
                                tern_error *err);
void tern_pattern_free(tern_pattern *pattern);
/* The regular expression; NULL for NULL. */
const char *tern_pattern_source(const tern_pattern *pattern);

/* One text being cut by a pattern. Text between matches is a pre-token too (Hugging Face's "Isolated"), and so is each
 * run of bytes that is no valid UTF-8. */
typedef struct tern_cutter {
    const tern_pattern *pattern; /* NULL: Llama-3's */
    const uint8_t *text;
    size_t n_bytes, pos;
    size_t valid_start, valid_end; /* the run of valid UTF-8 around pos */
    size_t match_start, match_end; /* the next match in it */
    struct pcre2_real_match_data_8 *match;
    struct pcre2_real_match_context_8 *context;
    struct pcre2_real_jit_stack_8 *stack;
} tern_cutter;

/* `cutter` must be freed also after a failure. A cutter may be opened again for another text without freeing. */
tern_status tern_cutter_open(tern_cutter *cutter, const tern_pattern *pattern, const char *text, size_t n_bytes,
                             tern_error *err);
/* The next pre-token [*start, *end); *start = *end = n_bytes at the end of the text. */
tern_status tern_cutter_next(tern_cutter *cutter, size_t *start, size_t *end, tern_error *err);
void tern_cutter_free(tern_cutter *cutter);

#endif
