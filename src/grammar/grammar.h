/* A compiled grammar. Its public functions are declared in tern/tern.h; what samplers do with it is in matcher.h. */
#ifndef TERN_GRAMMAR_GRAMMAR_H
#define TERN_GRAMMAR_GRAMMAR_H

#include "grammar/network.h"
#include "tokenizer/trie.h"

struct tern_grammar {
    tern_network net;
    const tern_tokenizer *tokenizer; /* the caller's, as long as the grammar lives */
    const tern_trie *trie;           /* its */
    int32_t ends[4];                 /* [n_ends] tokens that end a text */
    size_t n_ends;
};

#endif
