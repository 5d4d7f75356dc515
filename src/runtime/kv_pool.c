#include "runtime/kv_pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "runtime/backend.h"

static uint32_t table_size(uint32_t n_blocks) {
    uint32_t size = 16;
    while (size < n_blocks && size < 1u << 31)
        size *= 2;
    return size;
}

tern_status tern_kv_pool_init(tern_kv_pool *pool, tern_backend *backend, const tern_dims *dims, tern_kv_type type,
                              uint32_t n_blocks, tern_error *err) {
    size_t n_bytes, n_table = table_size(n_blocks);
    *pool = (tern_kv_pool){.backend = backend,
                           .layout = tern_kv_layout_of(dims, type),
                           .n_blocks = n_blocks,
                           .n_free = n_blocks,
                           .table_mask = (uint32_t)n_table - 1,
                           .oldest = TERN_KV_NO_BLOCK,
                           .youngest = TERN_KV_NO_BLOCK};
    bool fits = tern_mul_size(n_blocks, pool->layout.block_bytes, &n_bytes);
    void *memory = NULL;
    tern_status status = fits ? backend->ops->alloc(backend, n_bytes, &memory, err) : TERN_ERR_MEMORY;
    pool->memory = memory;
    pool->entries = tern_calloc_array(n_blocks, sizeof *pool->entries);
    pool->free = tern_alloc_array(n_blocks, sizeof *pool->free);
    pool->table = tern_alloc_array(n_table, sizeof *pool->table);
    if (!pool->memory || !pool->entries || !pool->free || !pool->table) {
        tern_kv_pool_free(pool);
        if (status && status != TERN_ERR_MEMORY)
            return status;
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory for %zu MB of KV caches; a smaller budget or a smaller context needs less",
                         (size_t)n_blocks * tern_kv_layout_of(dims, type).block_bytes >> 20);
    }
    for (uint32_t i = 0; i < n_blocks; i++)
        pool->free[i] = n_blocks - 1 - i;
    memset(pool->table, 0xff, n_table * sizeof *pool->table); /* TERN_KV_NO_BLOCK */
    return TERN_OK;
}

void tern_kv_pool_free(tern_kv_pool *pool) {
    if (pool->memory)
        pool->backend->ops->release(pool->backend, pool->memory);
    free(pool->entries);
    free(pool->free);
    free(pool->table);
    *pool = (tern_kv_pool){0};
}

/* ------------------------------------------------------- by their tokens */

static uint64_t hash_of(const tern_kv_pool *pool, uint64_t scope, uint32_t parent, const int32_t *ids) {
    uint64_t before = parent == TERN_KV_NO_BLOCK ? scope : pool->entries[parent].hash;
    tern_hash hash;
    tern_hash_start(&hash);
    tern_hash_add(&hash, &before, sizeof before);
    tern_hash_add(&hash, ids, TERN_KV_BLOCK * sizeof *ids);
    return tern_hash_value(&hash);
}

static uint32_t find(const tern_kv_pool *pool, uint64_t hash, uint64_t scope, uint32_t parent, const int32_t *ids) {
    uint32_t block = pool->table[hash & pool->table_mask];
    while (block != TERN_KV_NO_BLOCK) {
        const tern_kv_entry *entry = &pool->entries[block];
        if (entry->hash == hash && entry->scope == scope && entry->parent == parent &&
            memcmp(entry->ids, ids, sizeof entry->ids) == 0)
            break;
        block = entry->next;
    }
    return block;
}

uint32_t tern_kv_pool_find(const tern_kv_pool *pool, uint64_t scope, uint32_t parent, const int32_t *ids) {
    return find(pool, hash_of(pool, scope, parent, ids), scope, parent, ids);
}

uint32_t tern_kv_pool_publish(tern_kv_pool *pool, uint64_t scope, uint32_t parent, const int32_t *ids, uint32_t block) {
    uint64_t hash = hash_of(pool, scope, parent, ids);
    uint32_t there = find(pool, hash, scope, parent, ids), *chain = &pool->table[hash & pool->table_mask];
    if (there != TERN_KV_NO_BLOCK)
        return there;
    tern_kv_entry *entry = &pool->entries[block];
    entry->published = true;
    entry->scope = scope;
    entry->parent = parent;
    entry->hash = hash;
    entry->next = *chain;
    memcpy(entry->ids, ids, sizeof entry->ids);
    *chain = block;
    return block;
}

static void unpublish(tern_kv_pool *pool, uint32_t block) {
    tern_kv_entry *entry = &pool->entries[block];
    uint32_t *at = &pool->table[entry->hash & pool->table_mask];
    while (*at != block)
        at = &pool->entries[*at].next;
    *at = entry->next;
    entry->published = false;
}

/* ---------------------------------------------------------- who holds them */

static void keep(tern_kv_pool *pool, uint32_t block) {
    tern_kv_entry *entry = &pool->entries[block];
    entry->older = pool->youngest;
    entry->younger = TERN_KV_NO_BLOCK;
    *(pool->youngest == TERN_KV_NO_BLOCK ? &pool->oldest : &pool->entries[pool->youngest].younger) = block;
    pool->youngest = block;
    pool->n_kept++;
}

static void unkeep(tern_kv_pool *pool, uint32_t block) {
    const tern_kv_entry *entry = &pool->entries[block];
    *(entry->older == TERN_KV_NO_BLOCK ? &pool->oldest : &pool->entries[entry->older].younger) = entry->younger;
    *(entry->younger == TERN_KV_NO_BLOCK ? &pool->youngest : &pool->entries[entry->younger].older) = entry->older;
    pool->n_kept--;
}

bool tern_kv_pool_take(tern_kv_pool *pool, uint32_t *block) {
    if (pool->n_free > 0) {
        *block = pool->free[--pool->n_free];
    } else if (pool->n_kept > 0) {
        *block = pool->oldest;
        unkeep(pool, *block);
        unpublish(pool, *block);
    } else {
        return false;
    }
    pool->entries[*block].n_holders = 1;
    return true;
}

void tern_kv_pool_hold(tern_kv_pool *pool, uint32_t block) {
    if (pool->entries[block].n_holders++ == 0)
        unkeep(pool, block);
}

void tern_kv_pool_drop(tern_kv_pool *pool, uint32_t block) {
    if (--pool->entries[block].n_holders > 0)
        return;
    if (pool->entries[block].published)
        keep(pool, block);
    else
        pool->free[pool->n_free++] = block;
}
