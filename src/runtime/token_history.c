#include "runtime/token_history.h"

#include <stdlib.h>

#include "base/mem.h"

bool tern_token_history_init(tern_token_history *history, size_t vocab_size, int32_t window) {
    history->window = window;
    history->counts = tern_calloc_array(vocab_size, sizeof *history->counts);
    history->seen = tern_alloc_array(vocab_size, sizeof *history->seen);
    history->where = tern_alloc_array(vocab_size, sizeof *history->where);
    return history->counts && history->seen && history->where;
}

void tern_token_history_free(tern_token_history *history) {
    free(history->ring);
    free(history->counts);
    free(history->seen);
    free(history->where);
}

static void count_token(tern_token_history *h, int32_t id) {
    if (h->counts[id]++ == 0) {
        h->where[id] = (uint32_t)h->n_seen;
        h->seen[h->n_seen++] = id;
    }
}

static void discount_token(tern_token_history *h, int32_t id) {
    if (--h->counts[id] == 0) {
        int32_t last = h->seen[--h->n_seen];
        h->seen[h->where[id]] = last;
        h->where[last] = h->where[id];
    }
}

bool tern_token_history_add(tern_token_history *h, int32_t id) {
    if (h->window >= 0 && h->ring_size < (size_t)h->window) {
        if (!tern_grow_array((void **)&h->ring, &h->ring_capacity, h->ring_size + 1, sizeof *h->ring))
            return false;
        h->ring[h->ring_size++] = id;
    } else if (h->window >= 0) {
        discount_token(h, h->ring[h->oldest]);
        h->ring[h->oldest] = id;
        h->oldest = (h->oldest + 1) % h->ring_size;
    }
    count_token(h, id);
    return true;
}
