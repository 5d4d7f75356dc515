#include "runtime/row_cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { WAYS = 4 };
#define NO_ROW UINT32_MAX

/* A row may be in any of the ways of its set. Whoever finds a set taken reads the file: nobody waits. */
typedef struct set {
    atomic_bool taken;
    uint8_t next; /* way that the next new row goes to */
    uint32_t rows[WAYS];
} set;

struct tern_row_cache {
    const tern_screen *screen;
    size_t row_bytes, n_sets;
    set *sets;      /* [n_sets] */
    uint8_t *bytes; /* [n_sets][WAYS][row_bytes] */
};

tern_row_cache *tern_row_cache_create(const tern_screen *screen, size_t n_bytes) {
    tern_row_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    cache->screen = screen;
    cache->row_bytes = screen->row_bytes;
    cache->n_sets = n_bytes / WAYS / cache->row_bytes + 1;
    cache->sets = tern_alloc_array(cache->n_sets, sizeof *cache->sets);
    cache->bytes = tern_alloc_array(cache->n_sets * WAYS, cache->row_bytes);
    if (!cache->sets || !cache->bytes) {
        tern_row_cache_free(cache);
        return NULL;
    }
    for (size_t i = 0; i < cache->n_sets; i++) {
        atomic_init(&cache->sets[i].taken, false);
        cache->sets[i].next = 0;
        for (size_t way = 0; way < WAYS; way++)
            cache->sets[i].rows[way] = NO_ROW;
    }
    return cache;
}

void tern_row_cache_free(tern_row_cache *cache) {
    if (!cache)
        return;
    free(cache->sets);
    free(cache->bytes);
    free(cache);
}

static bool take(set *s) { return !atomic_exchange_explicit(&s->taken, true, memory_order_acquire); }
static void give_back(set *s) { atomic_store_explicit(&s->taken, false, memory_order_release); }

static uint8_t *bytes_of(const tern_row_cache *cache, size_t index, size_t way) {
    return cache->bytes + (index * WAYS + way) * cache->row_bytes;
}

bool tern_row_cache_read(tern_row_cache *cache, uint32_t row, void *buffer) {
    size_t index = row % cache->n_sets;
    set *s = &cache->sets[index];
    bool found = false;
    if (take(s)) {
        for (size_t way = 0; !found && way < WAYS; way++)
            if (s->rows[way] == row) {
                memcpy(buffer, bytes_of(cache, index, way), cache->row_bytes);
                found = true;
            }
        give_back(s);
    }
    if (found)
        return true;
    if (!tern_checkpoint_read(cache->screen->checkpoint, cache->screen->head, (uint64_t)row * cache->row_bytes,
                              cache->row_bytes, buffer))
        return false;
    if (take(s)) {
        memcpy(bytes_of(cache, index, s->next), buffer, cache->row_bytes);
        s->rows[s->next] = row;
        s->next = (uint8_t)((s->next + 1) % WAYS);
        give_back(s);
    }
    return true;
}
