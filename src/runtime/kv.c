#include "runtime/backend.h"
#include "runtime/kv_pool.h"

#include <stdlib.h>

#include "base/mem.h"

static size_t align64(size_t n) { return (n + 63) / 64 * 64; }

tern_kv_layout tern_kv_layout_of(const tern_dims *dims, tern_kv_type type) {
    static const size_t element_bytes[] = {[TERN_KV_F16] = 2, [TERN_KV_F32] = 4, [TERN_KV_Q8] = 1};
    tern_kv_layout layout = {
        .type = type, .n_kv_heads = dims->n_kv_heads, .head_dim = dims->head_dim, .element_bytes = element_bytes[type]};
    size_t channels = type == TERN_KV_Q8 ? tern_kv_pad(dims->head_dim) : dims->head_dim;
    size_t plane = align64(TERN_KV_BLOCK * channels * layout.element_bytes);
    size_t scales = type == TERN_KV_Q8 ? TERN_KV_BLOCK * sizeof(float) : 0;
    layout.values_at = plane;
    layout.key_scales_at = 2 * plane;
    layout.value_scales_at = 2 * plane + scales;
    layout.head_bytes = align64(2 * plane + 2 * scales);
    layout.layer_bytes = layout.head_bytes * dims->n_kv_heads;
    layout.block_bytes = layout.layer_bytes * dims->n_layers;
    return layout;
}

void tern_kv_init(tern_kv *kv, tern_backend *backend, const tern_dims *dims, tern_kv_type type) {
    *kv = (tern_kv){.backend = backend, .layout = tern_kv_layout_of(dims, type)};
}

void tern_kv_init_pooled(tern_kv *kv, tern_kv_pool *pool) {
    *kv = (tern_kv){.backend = pool->backend, .pool = pool, .layout = pool->layout};
}

size_t tern_kv_blocks_for(size_t n_positions) { return (n_positions + TERN_KV_BLOCK - 1) / TERN_KV_BLOCK; }

static tern_status take_block(tern_kv *kv, uint8_t **memory, tern_error *err) {
    uint32_t block;
    void *own = NULL;
    if (!kv->pool) {
        tern_status status = kv->backend->ops->alloc(kv->backend, kv->layout.block_bytes, &own, err);
        *memory = own;
        return status;
    }
    if (!tern_kv_pool_take(kv->pool, &block))
        return TERN_ERR_MEMORY; /* the caller says it */
    *memory = tern_kv_pool_at(kv->pool, block);
    return TERN_OK;
}

tern_status tern_kv_reserve(tern_kv *kv, size_t n_positions, tern_error *err) {
    size_t wanted = tern_kv_blocks_for(n_positions);
    if (!tern_grow_array((void **)&kv->blocks, &kv->capacity, wanted, sizeof *kv->blocks))
        return tern_fail_memory(err, "the KV cache");
    while (kv->n_blocks < wanted) {
        uint8_t *block = NULL;
        tern_status status = take_block(kv, &block, err);
        if (status == TERN_ERR_MEMORY)
            return tern_fail(err, TERN_ERR_MEMORY,
                             "out of memory for the KV cache (%zu MB for %zu tokens; there is room for %zu); a smaller "
                             "context or --kv-type q8 needs less",
                             wanted * kv->layout.block_bytes >> 20, n_positions, kv->n_blocks * TERN_KV_BLOCK);
        if (status)
            return status;
        kv->blocks[kv->n_blocks++] = block;
    }
    return TERN_OK;
}

/* From the end, so that a pool's blocks that others build upon are given back last. */
void tern_kv_shrink(tern_kv *kv, size_t n_positions) {
    size_t kept = tern_kv_blocks_for(n_positions);
    while (kv->n_blocks > kept) {
        uint8_t *block = kv->blocks[--kv->n_blocks];
        if (kv->pool)
            tern_kv_pool_drop(kv->pool, tern_kv_pool_index(kv->pool, block));
        else
            kv->backend->ops->release(kv->backend, block);
    }
    if (kv->n_published > kept)
        kv->n_published = kept;
}

/* The block that this one goes on from. */
static uint32_t parent_of(const tern_kv *kv, size_t block) {
    return block == 0 ? TERN_KV_NO_BLOCK : tern_kv_pool_index(kv->pool, kv->blocks[block - 1]);
}

size_t tern_kv_match(tern_kv *kv, const int32_t *ids, size_t n_ids) {
    size_t most = n_ids / TERN_KV_BLOCK;
    if (!kv->pool || !tern_grow_array((void **)&kv->blocks, &kv->capacity, most, sizeof *kv->blocks))
        return 0;
    while (kv->n_blocks < most) {
        uint32_t block =
            tern_kv_pool_find(kv->pool, kv->scope, parent_of(kv, kv->n_blocks), ids + kv->n_blocks * TERN_KV_BLOCK);
        if (block == TERN_KV_NO_BLOCK)
            break;
        tern_kv_pool_hold(kv->pool, block);
        kv->blocks[kv->n_blocks++] = tern_kv_pool_at(kv->pool, block);
    }
    kv->n_published = kv->n_blocks;
    return kv->n_blocks * TERN_KV_BLOCK;
}

void tern_kv_publish(tern_kv *kv, const int32_t *ids, size_t n_positions) {
    for (; kv->pool && kv->n_published < n_positions / TERN_KV_BLOCK; kv->n_published++) {
        size_t i = kv->n_published;
        uint32_t own = tern_kv_pool_index(kv->pool, kv->blocks[i]);
        uint32_t shown = tern_kv_pool_publish(kv->pool, kv->scope, parent_of(kv, i), ids + i * TERN_KV_BLOCK, own);
        if (shown == own)
            continue;
        tern_kv_pool_hold(kv->pool, shown);
        tern_kv_pool_drop(kv->pool, own);
        kv->blocks[i] = tern_kv_pool_at(kv->pool, shown);
    }
}

void tern_kv_free(tern_kv *kv) {
    tern_kv_shrink(kv, 0);
    free(kv->blocks);
    *kv = (tern_kv){0};
}

tern_kv_part tern_kv_at(const tern_kv *kv, size_t block, uint32_t layer, uint32_t kv_head) {
    const tern_kv_layout *layout = &kv->layout;
    uint8_t *at = kv->blocks[block] + layer * layout->layer_bytes + kv_head * layout->head_bytes;
    tern_kv_part part = {.keys = at, .values = at + layout->values_at};
    if (layout->type == TERN_KV_Q8) {
        part.key_scales = (float *)(at + layout->key_scales_at);
        part.value_scales = (float *)(at + layout->value_scales_at);
    }
    return part;
}
