/* How often each id stands in the last `window` tokens; one enters and leaves in constant time. */
#ifndef TERN_RUNTIME_TOKEN_HISTORY_H
#define TERN_RUNTIME_TOKEN_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tern_token_history {
    int32_t window; /* -1: all tokens */
    int32_t *ring;  /* [ring_size], grows up to the window; not used if the window is unlimited */
    size_t ring_size, ring_capacity, oldest;
    uint32_t *counts; /* [vocab_size] */
    int32_t *seen;    /* [n_seen] the ids whose count is not 0, in any order */
    uint32_t *where;  /* [vocab_size] their places in seen */
    size_t n_seen;
} tern_token_history;

/* `history` is all zeros before; window not 0. False without memory: then, too, it is to be freed. */
bool tern_token_history_init(tern_token_history *history, size_t vocab_size, int32_t window);
/* Also of one that is all zeros. */
void tern_token_history_free(tern_token_history *history);
/* id: 0 to vocab_size - 1. False without memory, and nothing has changed. */
bool tern_token_history_add(tern_token_history *history, int32_t id);

#endif
