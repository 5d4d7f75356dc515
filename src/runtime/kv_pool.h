/*
 * A fixed number of KV blocks, shared by sequences.
 *
 * A block is used (so many sequences hold it), kept (none does, but what it holds can be found by its tokens) or free.
 * Whoever takes a block gets a free one or, if there is none, the kept one that was last used longest ago.
 *
 * What a block's keys and values are depends on all tokens up to its end. So a block is found by its own tokens and the
 * block in front of it (its parent), which in turn is found by its own: a tree of all beginnings that are there. A hash
 * finds the place, the tokens decide. Each scope has a tree of its own. A sequence that holds a block also holds all in
 * front of it, and gives them back from the end; so a kept block's parent is always younger than itself, and what is
 * dropped first is a leaf.
 *
 * Everything is allocated at the start. Belongs to one thread at a time.
 */
#ifndef TERN_RUNTIME_KV_POOL_H
#define TERN_RUNTIME_KV_POOL_H

#include "runtime/kv.h"

#define TERN_KV_NO_BLOCK UINT32_MAX

typedef struct tern_kv_entry {
    uint32_t n_holders; /* sequences */
    bool published;
    /* of a published block */
    uint64_t scope;
    uint32_t parent; /* TERN_KV_NO_BLOCK: it is a beginning */
    uint32_t next;   /* in its chain of the hash table */
    uint64_t hash;
    /* of a kept block: its neighbours in the order of last use */
    uint32_t older, younger;
    int32_t ids[TERN_KV_BLOCK];
} tern_kv_entry;

struct tern_kv_pool {
    tern_backend *backend;
    tern_kv_layout layout;
    uint8_t *memory;        /* [n_blocks][block_bytes], the backend's */
    tern_kv_entry *entries; /* [n_blocks] */
    uint32_t n_blocks, n_free, n_kept;
    uint32_t *free;            /* [n_blocks], n_free of them: the last one is taken first, its memory is in use */
    uint32_t *table;           /* [table_mask + 1] first block of each chain */
    uint32_t table_mask;       /* a power of two less 1 */
    uint32_t oldest, youngest; /* kept block */
};

/* n_blocks is at least 1. */
tern_status tern_kv_pool_init(tern_kv_pool *pool, tern_backend *backend, const tern_dims *dims, tern_kv_type type,
                              uint32_t n_blocks, tern_error *err);
/* Accepts what is zero. */
void tern_kv_pool_free(tern_kv_pool *pool);

/* A block for one holder, which may write it. False: all are used. */
bool tern_kv_pool_take(tern_kv_pool *pool, uint32_t *block);
/* Blocks that can be taken. */
static inline uint32_t tern_kv_pool_left(const tern_kv_pool *pool) { return pool->n_free + pool->n_kept; }
/* One holder more, also of a kept block; one less. */
void tern_kv_pool_hold(tern_kv_pool *pool, uint32_t block);
void tern_kv_pool_drop(tern_kv_pool *pool, uint32_t block);

/* The published block of `scope` that holds ids [TERN_KV_BLOCK] behind `parent`, else TERN_KV_NO_BLOCK. It gets no
 * holder. */
uint32_t tern_kv_pool_find(const tern_kv_pool *pool, uint64_t scope, uint32_t parent, const int32_t *ids);
/* From now on `block`, which holds ids behind `parent`, can be found. If there is such a block already, nothing is
 * changed. Returns the one that will be found. The caller holds both, and parent is published, in the same scope. */
uint32_t tern_kv_pool_publish(tern_kv_pool *pool, uint64_t scope, uint32_t parent, const int32_t *ids, uint32_t block);

static inline uint8_t *tern_kv_pool_at(const tern_kv_pool *pool, uint32_t block) {
    return pool->memory + block * pool->layout.block_bytes;
}
static inline uint32_t tern_kv_pool_index(const tern_kv_pool *pool, const uint8_t *memory) {
    return (uint32_t)((size_t)(memory - pool->memory) / pool->layout.block_bytes);
}

#endif
