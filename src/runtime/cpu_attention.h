/* Rotary embedding, the KV cache's writes, and attention on the CPU. */
#ifndef TERN_RUNTIME_CPU_ATTENTION_H
#define TERN_RUNTIME_CPU_ATTENTION_H

#include <stdatomic.h>

#include "runtime/backend.h"

/* The running softmax of some queries (kernels/attention.h). */
typedef struct tern_attention_state {
    float *max, *sum; /* [queries] */
    float *out;       /* [queries][head_dim] */
} tern_attention_state;

/* One worker's, for a tile of `queries`: the heads of one KV head, of some tokens of one sequence. */
typedef struct tern_attention_scratch {
    float *memory;
    float *scores;                     /* [queries][TERN_KEY_SPLIT] */
    tern_attention_state state, split; /* of all splits so far, and of the next one */
    float *q;                          /* [queries][head_dim] */
    float *q_scale;                    /* [queries], of q8 */
    int32_t *q_sum;                    /* [queries] */
    int8_t *q8;                        /* [queries][tern_kv_pad(head_dim)] */
} tern_attention_scratch;

/* What depends on the context length; grows, never shrinks. */
typedef struct tern_attention_tables {
    uint32_t n_positions, n_rotations; /* the angles of n_rotations positions are there */
    float *cos, *sin;                  /* [n_positions][head_dim / 2] */
    float *splits;                     /* states of single splits, for batches of few tokens */
} tern_attention_tables;

typedef struct tern_cpu_attention {
    const tern_dims *dims;
    const tern_kernels *kernels;
    tern_pool *pool;
    tern_attention_tables tables;
    tern_attention_scratch *scratch; /* [threads] */
    atomic_uint *pending;            /* splits that are not done, of each token and KV head of a small batch */
} tern_cpu_attention;

void tern_cpu_attention_init(tern_cpu_attention *attention, const tern_dims *dims, const tern_kernels *kernels,
                             tern_pool *pool);
tern_status tern_cpu_attention_reserve(tern_cpu_attention *attention, uint32_t n_ctx, tern_error *err);
void tern_cpu_attention_free(tern_cpu_attention *attention);

/* As in backend.h. */
void tern_cpu_rope_store(tern_cpu_attention *attention, const tern_slot *slots, uint32_t n, uint32_t layer, float *q,
                         float *k, const float *v);
void tern_cpu_attention_run(tern_cpu_attention *attention, const tern_slot *slots, uint32_t n, uint32_t layer,
                            const float *q, float *out);

#endif
