/* The vocabulary as a trie of bytes: which tokens can a text go on with? Walked whole by grammars (src/grammar), so it
 * lies as it is walked: in preorder, in one array. */
#ifndef TERN_TOKENIZER_TRIE_H
#define TERN_TOKENIZER_TRIE_H

#include "tern/tern.h"

typedef struct tern_trie_node {
    uint32_t next;  /* the first node that is not below this one */
    uint32_t ids;   /* ids [ids, those of the next node in the array) end here */
    uint16_t depth; /* bytes that lead here, at least 1 */
    uint8_t byte;   /* the last of them */
} tern_trie_node;

typedef struct tern_trie {
    tern_trie_node *nodes;        /* [n_nodes + 1], the last one closes the ids of the one before */
    int32_t *ids;                 /* tokens that are text: no special ones, no padding */
    size_t n_nodes, n_ids, depth; /* depth: bytes of the longest token */
} tern_trie;

/* Made when first asked for and then the tokenizer's; from any thread. NULL: no memory. */
const tern_trie *tern_tokenizer_trie(const tern_tokenizer *tokenizer);
/* The token is in the trie: neither special nor padding nor out of range. */
bool tern_tokenizer_is_text(const tern_tokenizer *tokenizer, int32_t id);
void tern_trie_free(tern_trie *trie);

#endif
