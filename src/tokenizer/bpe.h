/* Byte pair encoding of one pre-token. */
#ifndef TERN_TOKENIZER_BPE_H
#define TERN_TOKENIZER_BPE_H

#include "tokenizer/vocab.h"

/* Growing ids and the scratch memory of merging; belongs to one call. Zero-initialised is empty. */
typedef struct tern_bpe {
    int32_t *ids;
    size_t n_ids, capacity;
    struct tern_bpe_long *scratch; /* of long pre-tokens, or NULL */
    struct tern_bpe_memo *memo;    /* recent multi-token pre-tokens, or NULL */
} tern_bpe;

/* Append the ids of the pre-token bytes [size >= 1]: the token itself if `whole` and the vocabulary has it, else the
 * lowest-ranked pair is merged, leftmost first, until no two neighbours merge. O(size log size). False: no memory. */
bool tern_bpe_append(tern_bpe *bpe, const tern_vocab *vocab, bool whole, const char *bytes, size_t size);
/* The same for any size by another method, which pays for long pre-tokens (bpe_long.c). */
bool tern_bpe_append_long(tern_bpe *bpe, const tern_vocab *vocab, const char *bytes, size_t size);
void tern_bpe_long_free(struct tern_bpe_long *scratch);
bool tern_bpe_push(tern_bpe *bpe, int32_t id);
/* Worth it for texts of more than some kilobytes; the result is the same without. */
void tern_bpe_remember(tern_bpe *bpe);
void tern_bpe_free(tern_bpe *bpe);

#endif
