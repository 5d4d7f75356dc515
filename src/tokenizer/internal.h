/* What the files of this room share. */
#ifndef TERN_TOKENIZER_INTERNAL_H
#define TERN_TOKENIZER_INTERNAL_H

#include <stdatomic.h>

#include "tokenizer/pretokenize.h"
#include "tokenizer/template.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"
#include "tokenizer/vocab.h"

struct tern_tokenizer {
    tern_vocab vocab;
    tern_pattern *pattern;  /* NULL: Llama-3's, by hand */
    bool ignore_merges;     /* a pre-token that is a token is taken as it is */
    int add_bos;            /* 1, 0; -1 while loading: yes if there is a BOS */
    int32_t bos_id, eos_id; /* -1: none */
    int32_t end_ids[2];     /* <|eot_id|>, <|end_of_text|>, or -1 */
    int32_t *added;         /* [n_added] ids of control and user-defined tokens, sorted by their bytes */
    size_t n_added;
    size_t added_from[257]; /* added[added_from[b] .. added_from[b + 1]) begin with byte b */
    tern_template *template;
    _Atomic(tern_trie *) trie;     /* NULL until somebody asks for it */
    char no_chat[TERN_ERROR_SIZE]; /* why the model's own template cannot be used; empty: it can */
};

/* An empty tokenizer with room for ids 0 .. n-1. */
tern_status tern_tokenizer_new(const char *name, size_t n, tern_tokenizer **tokenizer, tern_error *err);
/* The last step of every loader: vocabulary and merges are in place. Sorts the special tokens, looks for BOS and EOS,
 * sets the default template. */
tern_status tern_tokenizer_finish(tern_tokenizer *tokenizer, const char *name, tern_error *err);

/* A part of a text that came from outside (a message's content); sorted, not overlapping. */
typedef struct tern_text_span {
    size_t start, end;
} tern_text_span;

/* As tern_tokenize, but control tokens are found only where the match lies wholly outside `plain` [n_plain]. */
tern_status tern_tokenize_spans(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags,
                                const tern_text_span *plain, size_t n_plain, int32_t **ids, size_t *n_ids,
                                tern_error *err);

#endif
