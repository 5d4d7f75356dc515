#include "runtime/backend.h"

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

tern_status tern_kv_reserve(tern_kv *kv, size_t n_positions, tern_error *err) {
    size_t wanted = (n_positions + TERN_KV_BLOCK - 1) / TERN_KV_BLOCK;
    if (!tern_grow_array((void **)&kv->blocks, &kv->capacity, wanted, sizeof *kv->blocks))
        return tern_fail_memory(err, "the KV cache");
    while (kv->n_blocks < wanted) {
        uint8_t *block = kv->backend->ops->alloc(kv->backend, kv->layout.block_bytes);
        if (!block)
            return tern_fail(err, TERN_ERR_MEMORY,
                             "out of memory for the KV cache (%zu MB for %zu tokens); a smaller context or "
                             "--kv-type q8 needs less",
                             wanted * kv->layout.block_bytes >> 20, n_positions);
        kv->blocks[kv->n_blocks++] = block;
    }
    return TERN_OK;
}

void tern_kv_shrink(tern_kv *kv, size_t n_positions) {
    size_t kept = (n_positions + TERN_KV_BLOCK - 1) / TERN_KV_BLOCK;
    while (kv->n_blocks > kept)
        kv->backend->ops->release(kv->backend, kv->blocks[--kv->n_blocks]);
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
