#include "tokenizer/trie.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/internal.h"

typedef struct entry {
    tern_view bytes;
    int32_t id;
} entry;

static int compare(const void *a, const void *b) {
    const entry *x = a, *y = b;
    int order = memcmp(x->bytes.bytes, y->bytes.bytes, x->bytes.size < y->bytes.size ? x->bytes.size : y->bytes.size);
    if (order)
        return order;
    if (x->bytes.size != y->bytes.size)
        return x->bytes.size < y->bytes.size ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static size_t common_prefix(tern_view a, tern_view b) {
    size_t n = 0;
    while (n < a.size && n < b.size && a.bytes[n] == b.bytes[n])
        n++;
    return n;
}

/* Entries in order: each opens a node for every byte that it does not share with the one before. With nodes NULL they
 * are only counted. */
static size_t lay_out(const entry *entries, size_t n, tern_trie *trie) {
    size_t n_nodes = 0;
    uint32_t open[TERN_MAX_TOKEN_BYTES + 1]; /* by depth: the node that is not closed yet */
    size_t n_open = 0;
    for (size_t i = 0; i < n; i++) {
        tern_view bytes = entries[i].bytes;
        size_t shared = i ? common_prefix(entries[i - 1].bytes, bytes) : 0;
        if (trie->nodes)
            while (n_open > shared)
                trie->nodes[open[n_open--]].next = (uint32_t)n_nodes;
        for (size_t depth = shared + 1; depth <= bytes.size; depth++, n_nodes++) {
            if (!trie->nodes)
                continue;
            trie->nodes[n_nodes] =
                (tern_trie_node){.ids = (uint32_t)i, .depth = (uint16_t)depth, .byte = (uint8_t)bytes.bytes[depth - 1]};
            open[++n_open] = (uint32_t)n_nodes;
        }
        if (trie->ids)
            trie->ids[i] = entries[i].id;
    }
    while (trie->nodes && n_open > 0)
        trie->nodes[open[n_open--]].next = (uint32_t)n_nodes;
    if (trie->nodes)
        trie->nodes[n_nodes] = (tern_trie_node){.next = (uint32_t)n_nodes, .ids = (uint32_t)n};
    return n_nodes;
}

static bool is_text(const tern_vocab *vocab, size_t id) {
    return (vocab->kinds[id] == TERN_KIND_NORMAL || vocab->kinds[id] == TERN_KIND_ADDED) && vocab->spans[id].size > 0 &&
           vocab->spans[id].size <= TERN_MAX_TOKEN_BYTES;
}

bool tern_tokenizer_is_text(const tern_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && (size_t)id < tokenizer->vocab.n && is_text(&tokenizer->vocab, (size_t)id);
}

static tern_trie *build(const tern_vocab *vocab) {
    tern_trie *trie = calloc(1, sizeof *trie);
    entry *entries = tern_alloc_array(vocab->n, sizeof *entries);
    size_t n = 0;
    for (size_t id = 0; trie && entries && id < vocab->n; id++)
        if (is_text(vocab, id)) {
            entries[n++] = (entry){tern_vocab_bytes(vocab, id), (int32_t)id};
            if (trie->depth < vocab->spans[id].size)
                trie->depth = vocab->spans[id].size;
        }
    if (n)
        qsort(entries, n, sizeof *entries, compare);
    if (trie && entries) {
        trie->n_ids = n;
        trie->n_nodes = lay_out(entries, n, trie);
        trie->nodes = tern_alloc_array(trie->n_nodes + 1, sizeof *trie->nodes);
        trie->ids = tern_alloc_array(n, sizeof *trie->ids);
    }
    if (!trie || !entries || !trie->nodes || !trie->ids) {
        tern_trie_free(trie);
        free(entries);
        return NULL;
    }
    lay_out(entries, n, trie);
    free(entries);
    return trie;
}

void tern_trie_free(tern_trie *trie) {
    if (!trie)
        return;
    free(trie->nodes);
    free(trie->ids);
    free(trie);
}

/* Whoever comes at the same time builds one, too; the first that is ready stays. */
const tern_trie *tern_tokenizer_trie(const tern_tokenizer *tokenizer) {
    _Atomic(tern_trie *) *place = (_Atomic(tern_trie *) *)&tokenizer->trie;
    tern_trie *trie = atomic_load_explicit(place, memory_order_acquire), *none = NULL;
    if (trie)
        return trie;
    trie = build(&tokenizer->vocab);
    if (trie && !atomic_compare_exchange_strong(place, &none, trie)) {
        tern_trie_free(trie);
        trie = none;
    }
    return trie;
}
