/*
 * What a device must be able to do to run the model: the operations that
 * forward.c is written in. The CPU backend is cpu_backend.c.
 *
 * A linear layer is a BitLinear, or (weights->plain) a product with floats: y = W x.
 *
 * A BitLinear includes what an adapter adds to it (tern_linear.low_rank, model/adapter.h).
 *
 * All float pointers in these calls are the backend's memory, from alloc(); but gains point into weights->memory, of
 * which a backend with memory of its own has a copy at the same offsets.
 * A batch is n tokens that may belong to different sequences; every operation
 * treats its tokens independently, in an order of arithmetic that does not
 * depend on n, so any split of work into batches gives the same bits.
 */
#ifndef TERN_RUNTIME_BACKEND_H
#define TERN_RUNTIME_BACKEND_H

#include "runtime/head.h"
#include "runtime/kv.h"

/* Where each token of a batch stands. */
typedef struct tern_slot {
    int32_t id; /* token */
    uint32_t position;
    tern_kv *kv; /* its sequence; room for `position` is reserved */
} tern_slot;

/* How the input of BitLinears is rounded, per token. */
typedef enum tern_rounding {
    TERN_ROUND_INT8,      /* quantize_i8 of kernels/kernels.h */
    TERN_ROUND_INT4,      /* BitNet a4.8 (runtime/cpu_round.h): -8 .. 7, by absmean */
    TERN_ROUND_INT8_HALF, /* BitNet a4.8: int8, and zero where |x| is not among the larger half */
} tern_rounding;

typedef struct tern_backend_ops {
    const char *name;
    void (*free)(tern_backend *backend);

    /* bytes in the backend's memory, aligned to 64. TERN_ERR_MEMORY: none left, of which the caller says what for.
     * Activations and KV blocks live there. */
    tern_status (*alloc)(tern_backend *backend, size_t n_bytes, void **memory, tern_error *err);
    void (*release)(tern_backend *backend, void *memory);
    /* Scratch for batches of up to max_batch tokens and contexts of up to n_ctx positions. */
    tern_status (*reserve)(tern_backend *backend, uint32_t max_batch, uint32_t n_ctx, tern_error *err);

    /* Around the operations of a forward pass; all three NULL: a backend that needs none. begin: these slots come next,
     * in the activations of this generation (tern_activations). *done: what embed() and all layers do for them is under
     * way already, and not asked for. layers_end: else it has been asked for now. end: nothing more comes; the first
     * failure of the pass, whose results are then rubbish. Operations in between may still be under way on a device
     * when they return, but those that write to host memory. */
    tern_status (*begin)(tern_backend *backend, const tern_slot *slots, uint32_t n, uint64_t activations, bool *done,
                         tern_error *err);
    void (*layers_end)(tern_backend *backend);
    tern_status (*end)(tern_backend *backend, tern_error *err);

    /* x [n, hidden] = embedding rows of the slots' ids */
    void (*embed)(tern_backend *backend, const tern_slot *slots, uint32_t n, float *x);
    /* out [n, size] = RMSNorm(x; gain); out may be x */
    void (*norm)(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n, float *out);
    /* RMSNorm (gain NULL: none), then quantisation per token, kept by the backend as the input of the next linear()
     * calls. x must stay as it is until they have been made: plain matrices take the floats, and a device may do all of
     * it there. */
    void (*norm_quantize)(tern_backend *backend, const float *x, const float *gain, uint32_t size, uint32_t n,
                          tern_rounding rounding);
    /* out[i] [n, rows of linear i] = linear layer i of that input, for n_linears that share it */
    void (*linear)(tern_backend *backend, const tern_linear *const *linears, float *const *out, uint32_t n_linears,
                   uint32_t n);
    /* x [n, rows] += linear layer of that input */
    void (*linear_add)(tern_backend *backend, const tern_linear *linear, float *x, uint32_t n);
    /* out [n, ffn] = relu(gate)^2 * up, 0 where the gate is not positive, or silu(gate) * up (dims.activation); both
     * linear layers of that input */
    void (*gated)(tern_backend *backend, const tern_linear *gate, const tern_linear *up, float *out, uint32_t n);
    /* Rotate q [n, q] (tern_q_size) and k [n, kv] by the slots' positions, then store k and v [n, kv] in the slots'
     * caches */
    void (*rope_store)(tern_backend *backend, const tern_slot *slots, uint32_t n, uint32_t layer, float *q, float *k,
                       const float *v);
    /* out [n, q] = causal attention of q over each slot's cache, positions 0 .. its own */
    void (*attention)(tern_backend *backend, const tern_slot *slots, uint32_t n, uint32_t layer, const float *q,
                      float *out);
    /* logits [n, vocab] in host memory = head . x [n, hidden] */
    tern_status (*logits)(tern_backend *backend, const float *x, uint32_t n, float *logits, tern_error *err);
    /* Candidates for x [n, hidden] (runtime/head.h), in host memory */
    tern_status (*candidates)(tern_backend *backend, const float *x, uint32_t n, const tern_head_query *queries,
                              tern_candidates *out, tern_error *err);
    /* What single-token steps have read so far */
    void (*stats)(tern_backend *backend, tern_model_stats *stats);
    /* n_floats from the backend's memory to host memory, and back. Failures: end(), and what reads them. */
    void (*to_host)(tern_backend *backend, const float *from, size_t n_floats, float *host);
    void (*from_host)(tern_backend *backend, const float *host, size_t n_floats, float *to);
} tern_backend_ops;

/* Each backend's state begins with this. */
struct tern_backend {
    const tern_backend_ops *ops;
};

/* dense_ffn: read all of up and down for every token. */
tern_status tern_cpu_backend_create(const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool,
                                    bool dense_ffn, tern_backend **backend, tern_error *err);

#endif
