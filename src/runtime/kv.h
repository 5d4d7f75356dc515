/*
 * The KV cache of one sequence: a list of blocks of TERN_KV_BLOCK positions, so
 * that memory grows with use, and blocks can later be shared between sequences.
 *
 * A block holds, for each layer and KV head, the keys and the values of that
 * many positions in the layouts of kernels/attention.h and, for the int8 type,
 * a float32 scale per key and per value.
 */
#ifndef TERN_RUNTIME_KV_H
#define TERN_RUNTIME_KV_H

#include "kernels/attention.h"
#include "model/weights.h"

enum { TERN_KV_BLOCK = TERN_KEY_BLOCK };

typedef struct tern_backend tern_backend; /* runtime/backend.h */

typedef struct tern_kv_layout {
    tern_kv_type type;
    uint32_t n_kv_heads, head_dim;
    size_t element_bytes;
    size_t values_at, key_scales_at, value_scales_at; /* byte offsets inside one head's part; keys at 0 */
    size_t head_bytes, layer_bytes, block_bytes;
} tern_kv_layout;

typedef struct tern_kv {
    tern_backend *backend; /* whose memory the blocks are */
    tern_kv_layout layout;
    uint8_t **blocks; /* [n_blocks] */
    size_t n_blocks, capacity;
} tern_kv;

/* One layer's and head's part of a block. Scales are NULL but for int8. */
typedef struct tern_kv_part {
    uint8_t *keys, *values;           /* in the layout's element */
    float *key_scales, *value_scales; /* [TERN_KV_BLOCK] */
} tern_kv_part;

tern_kv_layout tern_kv_layout_of(const tern_dims *dims, tern_kv_type type);
void tern_kv_init(tern_kv *kv, tern_backend *backend, const tern_dims *dims, tern_kv_type type);
/* Make room for positions [0, n_positions). */
tern_status tern_kv_reserve(tern_kv *kv, size_t n_positions, tern_error *err);
/* Give back the blocks that hold only positions >= n_positions. */
void tern_kv_shrink(tern_kv *kv, size_t n_positions);
void tern_kv_free(tern_kv *kv);
tern_kv_part tern_kv_at(const tern_kv *kv, size_t block, uint32_t layer, uint32_t kv_head);

#endif
