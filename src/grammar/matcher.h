/* A text of a grammar as it is being made, token by token: which tokens may come next? One for each sampler. */
#ifndef TERN_GRAMMAR_MATCHER_H
#define TERN_GRAMMAR_MATCHER_H

#include "tern/tern.h"

typedef struct tern_matcher tern_matcher;

/* For samplers of `vocab_size` ids; those beyond the tokenizer's are never allowed. At the beginning of a text. The
 * grammar must outlive it. */
tern_status tern_matcher_create(const tern_grammar *grammar, size_t vocab_size, tern_matcher **matcher,
                                tern_error *err);
void tern_matcher_free(tern_matcher *matcher);

/* Whether the token may come next: its own bytes are all that is looked at. End tokens may where the text may end, and
 * behind an end token nothing but another one. */
tern_status tern_matcher_allows(tern_matcher *matcher, int32_t id, bool *allowed, tern_error *err);

/* All of them at once: bit id % 64 of word id / 64 of *mask [(vocab_size + 63) / 64], valid until the next call;
 * *n_allowed of them. Takes as many steps as the vocabulary's trie has nodes at most, and far fewer where little is
 * allowed; masks are kept, so that a state which comes back costs nothing. TERN_ERR_UNSUPPORTED if there is none. */
tern_status tern_matcher_mask(tern_matcher *matcher, const uint64_t **mask, size_t *n_allowed, tern_error *err);
/* tern_matcher_mask() has the answer at hand. */
bool tern_matcher_has_mask(const tern_matcher *matcher);

/* The token is the next one. TERN_ERR_ARGUMENT, with nothing changed, if it is not allowed. */
tern_status tern_matcher_accept(tern_matcher *matcher, int32_t id, tern_error *err);

/* For tests: bytes stepped over so far, and those of them whose step had to be worked out. */
void tern_matcher_counts(const tern_matcher *matcher, uint64_t *n_steps, uint64_t *n_made);

#endif
