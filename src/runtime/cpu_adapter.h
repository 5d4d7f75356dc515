/*
 * What a LoRA adapter adds to the products of BitLinears (model/adapter.h), on the CPU: out += scale * B (A x~).
 *
 * The LM head's kernels do it: their order of operations is part of their contract (kernels/kernels.h), so a model with
 * an adapter, too, gives the same bits for every split of its work, number of threads and instruction set.
 */
#ifndef TERN_RUNTIME_CPU_ADAPTER_H
#define TERN_RUNTIME_CPU_ADAPTER_H

#include "model/adapter.h"

/* The quantised input of the BitLinears: x~ = q / scale. */
typedef struct tern_quantised {
    const int8_t *q;    /* [n, tern_q_pad(size)] */
    const float *scale; /* [n] */
} tern_quantised;

typedef struct tern_cpu_adapter {
    uint32_t rank; /* the largest; 0: no adapter, nothing is held */
    uint32_t max_batch;
    float *x;  /* [max_batch, widest input] x~ */
    float *u;  /* [TERN_LINEARS_AT_ONCE][max_batch, rank] scale * A x~ */
    float *up; /* [max_batch, ffn] for callers: `up` apart from `gate` */
} tern_cpu_adapter;

enum { TERN_LINEARS_AT_ONCE = 3 };

/* All zero if no BitLinear of the weights is adapted. False: no memory; *adapter is then empty. */
bool tern_cpu_adapter_create(const tern_weights *weights, uint32_t max_batch, tern_cpu_adapter *adapter);
void tern_cpu_adapter_free(tern_cpu_adapter *adapter);

/* out[i] [n, rows of linear i] += the adapter's product, for those of n_linears <= TERN_LINEARS_AT_ONCE, which share
 * the input, that have one. */
void tern_cpu_adapter_add(const tern_cpu_adapter *adapter, const tern_kernels *kernels, tern_pool *pool,
                          const tern_quantised *input, const tern_linear *const *linears, float *const *out,
                          uint32_t n_linears, uint32_t n);

#endif
