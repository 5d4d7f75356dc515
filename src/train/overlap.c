#include "train/overlap.h"

#include <stdlib.h>

#include "base/mem.h"

static bool is_word(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static uint64_t scramble(uint64_t x) { /* splitmix64 (Steele et al. 2014) */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* A walk over the runs: the hashes of the last words. */
typedef struct runs {
    const uint8_t *at, *end;
    uint64_t words[TERN_OVERLAP_WORDS];
    size_t n;
} runs;

/* The hash of the next run, never 0; 0: no more. */
static uint64_t next_run(runs *r) {
    while (r->at < r->end) {
        uint64_t word = 0;
        for (; r->at < r->end && !is_word(*r->at); r->at++)
            ;
        if (r->at == r->end)
            return 0;
        for (; r->at < r->end && is_word(*r->at); r->at++)
            word =
                (word ^ (*r->at >= 'A' && *r->at <= 'Z' ? *r->at | 32u : *r->at)) * 0x100000001b3u + 1; /* FNV-like */
        r->words[r->n++ % TERN_OVERLAP_WORDS] = scramble(word);
        if (r->n < TERN_OVERLAP_WORDS)
            continue;
        uint64_t hash = 0;
        for (size_t i = 0; i < TERN_OVERLAP_WORDS; i++)
            hash = (hash ^ r->words[(r->n + i) % TERN_OVERLAP_WORDS]) * 0x9e3779b97f4a7c15u;
        hash = scramble(hash);
        return hash ? hash : 1;
    }
    return 0;
}

static size_t slot_of(const tern_overlap *overlap, uint64_t hash) {
    size_t at = hash & (overlap->n_slots - 1);
    while (overlap->slots[at] && overlap->slots[at] != hash)
        at = (at + 1) & (overlap->n_slots - 1);
    return at;
}

static bool grow(tern_overlap *overlap) {
    tern_overlap larger = {.n_slots = overlap->n_slots ? 2 * overlap->n_slots : 1 << 10, .n = overlap->n};
    larger.slots = tern_calloc_array(larger.n_slots, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < overlap->n_slots; i++)
        if (overlap->slots[i])
            larger.slots[slot_of(&larger, overlap->slots[i])] = overlap->slots[i];
    free(overlap->slots);
    *overlap = larger;
    return true;
}

bool tern_overlap_add(tern_overlap *overlap, tern_view text) {
    runs r = {.at = (const uint8_t *)text.bytes, .end = (const uint8_t *)text.bytes + text.size};
    for (uint64_t hash; (hash = next_run(&r));) {
        if (2 * overlap->n >= overlap->n_slots && !grow(overlap))
            return false;
        uint64_t *slot = &overlap->slots[slot_of(overlap, hash)];
        overlap->n += !*slot;
        *slot = hash;
    }
    return true;
}

bool tern_overlap_has(const tern_overlap *overlap, tern_view text) {
    runs r = {.at = (const uint8_t *)text.bytes, .end = (const uint8_t *)text.bytes + text.size};
    if (!overlap->n)
        return false;
    for (uint64_t hash; (hash = next_run(&r));)
        if (overlap->slots[slot_of(overlap, hash)])
            return true;
    return false;
}

void tern_overlap_free(tern_overlap *overlap) {
    free(overlap->slots);
    *overlap = (tern_overlap){0};
}
