/* A trained tokenizer as Hugging Face's tokenizer.json. */
#ifndef TERN_TRAIN_BPE_JSON_H
#define TERN_TRAIN_BPE_JSON_H

#include "base/str.h"

typedef struct tern_bpe_merge {
    uint32_t left, right; /* ids */
} tern_bpe_merge;

typedef struct tern_bpe_vocab {
    const tern_view *tokens; /* [n_tokens] bytes, by id, without the special ones */
    size_t n_tokens;
    const tern_bpe_merge *merges; /* [n_merges], best first */
    size_t n_merges;
    const char *const *specials; /* [n_specials], ids from n_tokens on; the first one is BOS */
    size_t n_specials;
} tern_bpe_vocab;

/* Zero-terminated text, to be freed with free(). */
tern_status tern_bpe_json(const tern_bpe_vocab *vocab, char **json, size_t *n_bytes, tern_error *err);

#endif
