/*
 * Linear layers on the CPU. BitLinear: the quantised input of the next products, and the products themselves, split
 * over the pool. Those of plain weights (cpu_plain.h) do the same with floats.
 *
 * One token reads of the FFN only what counts: rows of `up` whose gate is positive (squared ReLU makes the others
 * zero) and columns of `down` whose int8 activation is not zero. Both are exact, so the result has the same bits as
 * reading everything. What is left out is known only per token, so several tokens at once read all. SiLU makes nothing
 * zero: all rows of `up` are read.
 */
#ifndef TERN_RUNTIME_CPU_LINEAR_H
#define TERN_RUNTIME_CPU_LINEAR_H

#include "model/weights.h"
#include "runtime/backend.h"
#include "runtime/cpu_adapter.h"
#include "runtime/cpu_plain.h"
#include "runtime/cpu_slabs.h"

/* What single-token steps have read of the FFN so far. */
typedef struct tern_ffn_counts {
    uint64_t up_read, up_total;     /* rows */
    uint64_t down_read, down_total; /* columns */
} tern_ffn_counts;

typedef struct tern_linear_scratch tern_linear_scratch; /* of one worker */

typedef struct tern_cpu_linear {
    const tern_weights *weights;
    const tern_kernels *kernels;
    tern_pool *pool;
    bool dense; /* read all of up and down, always */
    /* what depends on the batch size; grows, never shrinks */
    uint32_t max_batch;
    size_t acc_size;              /* int32 values of a worker */
    tern_linear_scratch *workers; /* [threads] */
    int8_t *q;                    /* [max_batch][widest tern_q_pad], the quantised input */
    float *q_scale;               /* [max_batch] s: 127 / absmax, or of int4 sqrt(7) / absmean */
    int32_t *q_sum;               /* [max_batch] */
    tern_cpu_slabs slabs;         /* of weights that have matrices in slabs */
    tern_cpu_adapter adapter;     /* of weights that have one */
    tern_cpu_plain plain;         /* used, instead of all the above, by plain weights */
} tern_cpu_linear;

void tern_cpu_linear_init(tern_cpu_linear *linear, const tern_weights *weights, const tern_kernels *kernels,
                          tern_pool *pool);
void tern_cpu_linear_free(tern_cpu_linear *linear);
tern_status tern_cpu_linear_reserve(tern_cpu_linear *linear, uint32_t max_batch, tern_error *err);

/* The operations of runtime/backend.h with these names; gain may be NULL. */
void tern_cpu_norm_quantize(tern_cpu_linear *cpu, const float *x, const float *gain, uint32_t size, uint32_t n,
                            tern_rounding rounding);
void tern_cpu_linear_run(tern_cpu_linear *cpu, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                         uint32_t n);
void tern_cpu_linear_add(tern_cpu_linear *cpu, const tern_linear *linear, float *x, uint32_t n);
void tern_cpu_gated(tern_cpu_linear *cpu, const tern_linear *gate, const tern_linear *up, float *out, uint32_t n);

tern_ffn_counts tern_cpu_ffn_counts(const tern_cpu_linear *cpu);

#endif
