/*
 * The KV cache of one sequence: a list of blocks of TERN_KV_BLOCK positions, so
 * that memory grows with use, and blocks can be shared between sequences.
 *
 * The blocks are the backend's memory, one by one, or come from a pool (runtime/kv_pool.h) of a fixed size. In a pool a
 * block that is full can be published: other sequences that begin with the same tokens then find it there. Published
 * blocks are never written again; the block at a sequence's end is always its own.
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

typedef struct tern_kv_pool tern_kv_pool;

typedef struct tern_kv {
    tern_backend *backend; /* whose memory the blocks are */
    tern_kv_pool *pool;    /* they come from; NULL: none */
    tern_kv_layout layout;
    uint8_t **blocks; /* [n_blocks] */
    size_t n_blocks, capacity;
    uint64_t scope;     /* within which blocks are shared */
    size_t n_published; /* the first blocks, which the pool shows to other sequences */
} tern_kv;

/* One layer's and head's part of a block. Scales are NULL but for int8. */
typedef struct tern_kv_part {
    uint8_t *keys, *values;           /* in the layout's element */
    float *key_scales, *value_scales; /* [TERN_KV_BLOCK] */
} tern_kv_part;

tern_kv_layout tern_kv_layout_of(const tern_dims *dims, tern_kv_type type);
void tern_kv_init(tern_kv *kv, tern_backend *backend, const tern_dims *dims, tern_kv_type type);
/* The same with blocks from a pool, which must outlive it. */
void tern_kv_init_pooled(tern_kv *kv, tern_kv_pool *pool);
/* Make room for positions [0, n_positions). TERN_ERR_MEMORY also when the pool has no more blocks; what was taken until
 * then stays. */
tern_status tern_kv_reserve(tern_kv *kv, size_t n_positions, tern_error *err);
/* Give back the blocks that hold only positions >= n_positions. */
void tern_kv_shrink(tern_kv *kv, size_t n_positions);
void tern_kv_free(tern_kv *kv);
size_t tern_kv_blocks_for(size_t n_positions);

/* Take over the blocks that the pool shows for the longest beginning of ids [n_ids], whole blocks only, into an empty
 * cache. Returns the positions that are there now: nothing of them has to be evaluated. */
size_t tern_kv_match(tern_kv *kv, const int32_t *ids, size_t n_ids);
/* Show other sequences the blocks of positions [0, n_positions), whole blocks only, which hold what ids evaluate to. A
 * block that the pool already shows is replaced by that one. Does nothing without a pool. */
void tern_kv_publish(tern_kv *kv, const int32_t *ids, size_t n_positions);

tern_kv_part tern_kv_at(const tern_kv *kv, size_t block, uint32_t layer, uint32_t kv_head);

#endif
