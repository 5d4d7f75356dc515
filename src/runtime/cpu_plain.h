/*
 * Linear layers of floats on the CPU: y = W x with W as it is stored (TERN_LAYOUT_PLAIN: F32, F16, BF16, Q8_0, Q4_0 or
 * Q6_K) and activations that nothing rounds.
 *
 * The LM head's kernels do it: their order of operations is part of their contract (kernels/kernels.h), so these
 * models, too, give the same bits for every split of their work, number of threads and instruction set.
 */
#ifndef TERN_RUNTIME_CPU_PLAIN_H
#define TERN_RUNTIME_CPU_PLAIN_H

#include "model/weights.h"

/* out[i] = act(gate[i]) * up[i], i < n; out may be gate. */
typedef void tern_gate_fn(const float *gate, const float *up, size_t n, float *out);

static inline tern_gate_fn *tern_gate_of(const tern_kernels *kernels, tern_activation activation) {
    return activation == TERN_SILU ? kernels->silu_mul : kernels->relu2_mul;
}

typedef struct tern_cpu_plain {
    const tern_weights *weights;
    const tern_kernels *kernels;
    tern_pool *pool;
    uint32_t max_batch;
    float *normed;  /* [max_batch, widest input] */
    const float *x; /* [n, size], the input of the next products: `normed` or the caller's */
} tern_cpu_plain;

void tern_cpu_plain_init(tern_cpu_plain *plain, const tern_weights *weights, const tern_kernels *kernels,
                         tern_pool *pool);
void tern_cpu_plain_free(tern_cpu_plain *plain);
tern_status tern_cpu_plain_reserve(tern_cpu_plain *plain, uint32_t max_batch, tern_error *err);

/* norm_quantize, linear, linear_add and gated of runtime/backend.h for plain matrices. */
void tern_cpu_plain_input(tern_cpu_plain *plain, const float *x, const float *gain, uint32_t size, uint32_t n);
void tern_cpu_plain_run(tern_cpu_plain *plain, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                        uint32_t n);
void tern_cpu_plain_add(tern_cpu_plain *plain, const tern_linear *linear, float *x, uint32_t n);
void tern_cpu_plain_gated(tern_cpu_plain *plain, const tern_linear *gate, const tern_linear *up, float *out,
                          uint32_t n);

#endif
