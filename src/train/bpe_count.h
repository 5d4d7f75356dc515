/* Counting pre-tokens: byte strings and how often they come. */
#ifndef TERN_TRAIN_BPE_COUNT_H
#define TERN_TRAIN_BPE_COUNT_H

#include "base/mem.h"
#include "train/bpe_train.h"

typedef struct tern_word {
    const char *bytes; /* in the map's arena; NULL: an empty slot */
    uint32_t size, hash;
    uint64_t count;
} tern_word;

/* Open addressing. Zero-initialised is empty. */
typedef struct tern_word_map {
    tern_arena arena;
    tern_word *slots; /* [n_slots], a power of two */
    size_t n_slots, n_words;
} tern_word_map;

/* The word's slot, new ones with count 0; NULL: no memory. size < 2^32. Valid until the next call. */
tern_word *tern_word_find(tern_word_map *map, const char *bytes, size_t size);
void tern_word_map_free(tern_word_map *map);

/* Count all texts of params on its threads -> words, and the result's n_bytes, n_pretokens and n_distinct. */
tern_status tern_bpe_count(const tern_bpe_params *params, tern_word_map *words, tern_bpe_result *result,
                           tern_error *err);

#endif
