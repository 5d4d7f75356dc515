/* Rotary embedding, the KV cache's writes, and attention on the CPU. */
#ifndef TERN_RUNTIME_CPU_ATTENTION_H
#define TERN_RUNTIME_CPU_ATTENTION_H

#include "runtime/backend.h"

/* One worker's, for the g query heads that share a KV head. */
typedef struct tern_attention_scratch {
    float *scores;   /* [g][n_positions] */
    float *sums;     /* [g] */
    float *q8_scale; /* [g] */
    int8_t *q8;      /* [g][head_dim] */
} tern_attention_scratch;

/* What depends on the context length; grows, never shrinks. */
typedef struct tern_attention_tables {
    uint32_t n_positions;
    float *cos, *sin;                /* [n_positions][head_dim / 2] */
    tern_attention_scratch *scratch; /* [threads] */
} tern_attention_tables;

typedef struct tern_cpu_attention {
    const tern_dims *dims;
    const tern_kernels *kernels;
    tern_pool *pool;
    tern_attention_tables tables;
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
