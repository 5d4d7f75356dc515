/* The vocabulary: token bytes by id, id by bytes, and the merges by pair.
 * Built once while loading, immutable afterwards. */
#ifndef TERN_TOKENIZER_VOCAB_H
#define TERN_TOKENIZER_VOCAB_H

#include "base/str.h"

#define TERN_MAX_IDS (1u << 22)         /* an absurd vocabulary is refused above this */
#define TERN_MAX_VOCAB_BYTES (1u << 29) /* and above this many bytes of token text */
#define TERN_MAX_TOKEN_BYTES 1024       /* longest token: bounds the search for a special token at each position */
#define TERN_NO_MERGE UINT32_MAX

enum {
    TERN_KIND_HOLE = 0, /* no token has this id */
    TERN_KIND_NORMAL,
    TERN_KIND_CONTROL, /* a special token: found in text only when asked for */
    TERN_KIND_ADDED,   /* user-defined: always found in text, plain text in output */
    TERN_KIND_UNUSED,  /* padding of the vocabulary: decodes to its text, never produced */
};

typedef struct tern_token_span {
    uint32_t offset, size; /* in pool */
} tern_token_span;

/* By bytes: open addressing, linear probing. The first 8 bytes stand in the
 * slot, so that most look-ups touch one cache line. */
typedef struct tern_vocab_slot {
    uint64_t first8;
    int32_t id;
    uint32_t size; /* 0: empty */
} tern_vocab_slot;

typedef struct tern_merge_slot {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank; /* lower merges first */
    int32_t id;    /* the joined token */
} tern_merge_slot;

typedef struct tern_vocab {
    size_t n;   /* ids are 0 .. n-1, holes included */
    char *pool; /* bytes of all tokens */
    size_t pool_size, pool_capacity;
    tern_token_span *spans; /* [n] */
    uint8_t *kinds;         /* [n] */
    tern_vocab_slot *slots; /* [1 << (64 - slot_shift)] */
    unsigned slot_shift;
    tern_merge_slot *merges;
    unsigned merge_shift;
    uint32_t n_ranks;    /* ranks of merges are below this */
    int32_t last_joined; /* what the merge added last makes */
    size_t max_size;     /* bytes of the longest normal token */
    int32_t byte_ids[256];
} tern_vocab;

/* Room for ids 0 .. n-1. Every function that fails leaves a vocabulary that tern_vocab_free() accepts. `name` is the
 * file (or array) that messages speak of. */
tern_status tern_vocab_init(tern_vocab *vocab, const char *name, size_t n, tern_error *err);
void tern_vocab_free(tern_vocab *vocab);

tern_status tern_vocab_put(tern_vocab *vocab, const char *name, size_t id, int kind, tern_view bytes, tern_error *err);
/* The same for a token in GPT-2's byte-to-character alphabet. */
tern_status tern_vocab_put_encoded(tern_vocab *vocab, const char *name, size_t id, tern_view text, tern_error *err);
/* After all puts: the hash table over normal tokens and the 256 byte tokens. */
tern_status tern_vocab_index(tern_vocab *vocab, const char *name, tern_error *err);

/* Room for n merges, then one after another, best first; left and right in GPT-2's alphabet. */
tern_status tern_vocab_reserve_merges(tern_vocab *vocab, const char *name, size_t n, tern_error *err);
tern_status tern_vocab_add_merge(tern_vocab *vocab, const char *name, uint32_t rank, tern_view left, tern_view right,
                                 tern_error *err);
/* As tern_vocab_add_merge for "left right". */
tern_status tern_vocab_add_merge_line(tern_vocab *vocab, const char *name, uint32_t rank, tern_view line,
                                      tern_error *err);
/* tiktoken has no merges: any two tokens whose joined bytes are a token merge, and the joined token's rank counts. */
tern_status tern_vocab_derive_merges(tern_vocab *vocab, const char *name, tern_error *err);

/* The id of a normal token, -1 if there is none. size >= 1. */
int32_t tern_vocab_find(const tern_vocab *vocab, const char *bytes, size_t size);

static inline tern_view tern_vocab_bytes(const tern_vocab *vocab, size_t id) {
    return (tern_view){vocab->pool + vocab->spans[id].offset, vocab->spans[id].size};
}

/* The merge of two tokens, or an entry with rank TERN_NO_MERGE. */
static inline tern_merge_slot tern_vocab_merge(const tern_vocab *vocab, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t mask = (size_t)(UINT64_MAX >> vocab->merge_shift);
    for (size_t i = (size_t)(pair * 0x9e3779b97f4a7c15u >> vocab->merge_shift);; i = (i + 1) & mask) {
        tern_merge_slot slot = vocab->merges[i];
        if (slot.pair == pair)
            return slot;
        if (slot.pair == UINT64_MAX)
            return (tern_merge_slot){pair, TERN_NO_MERGE, -1};
    }
}

#endif
