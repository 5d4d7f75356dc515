/*
 * The network of a training run: BitNet b1.58 2B4T forward and backward over a batch of sequences. All memory is drawn
 * up by tern_net_create(); a step allocates nothing.
 */
#ifndef TERN_TRAIN_NET_H
#define TERN_TRAIN_NET_H

#include "train/ops.h"
#include "train/params.h"

typedef struct tern_batch {
    size_t n_tokens;
    const int32_t *inputs;  /* [n_tokens] */
    const int32_t *targets; /* [n_tokens] the next token; -1: no loss here */
    tern_sequences seqs;
} tern_batch;

/* Low-rank adapters (train/lora.h); NULL in a net without. */
struct tern_lora;

typedef struct tern_net tern_net;

/* Looks at what goes into the output projection of layer's attention (TERN_PARAM_O) or FFN (TERN_PARAM_DOWN): x [n,
 * cols] in front of its SubLN, whose gain [cols] is beside it. In the forward pass dy is NULL, in the backward pass the
 * gradient of the weighted loss by what the SubLN gives [n, cols]. */
typedef void (*tern_net_probe_fn)(void *user, uint32_t layer, int which, const float *x, const float *gain,
                                  const float *dy, size_t n);

typedef struct tern_net_params {
    size_t max_tokens; /* of one batch */
    tern_weight_mode weights;
    bool recompute;          /* keep each layer's input only */
    bool forward_only;       /* validation, reference model: no backward pass, memory of one layer */
    bool sparsity;           /* count in every forward pass for tern_net_sparsity() */
    struct tern_lora *lora;  /* the caller's; the base is frozen then: params has no gradients */
    tern_net_probe_fn probe; /* called in every pass; NULL: none */
    void *probe_user;
    const char *cpu; /* kernels; NULL: TERN_CPU, else the best */
    int n_threads;   /* of the pool, for tern_net_bytes() only; 0: all CPUs */
} tern_net_params;

/* Bytes that tern_net_create() will take, for the memory plan. */
uint64_t tern_net_bytes(const tern_dims *dims, const tern_net_params *how);
/* params (and pool) must outlive the net. */
tern_status tern_net_create(const tern_params *params, const tern_net_params *how, tern_pool *pool, tern_net **net,
                            tern_error *err);
/* The same over a loaded model, of which nothing is copied: the matrices are used where they lie, the embedding is read
 * as it is stored, a tile of rows at a time. It cannot be trained but for adapters (how->lora) beside it; without them
 * the net has to be forward_only. `weights` must be packed as t2r16: loaded with the tern_net_ternary() of the same
 * how->cpu. Needs no tern_net_quantize(). weights must outlive the net. With a probe alone it has a backward pass
 * that makes no gradients but those that the probe is shown (grads may be NULL). */
tern_status tern_net_create_frozen(const tern_weights *weights, const tern_net_params *how, tern_pool *pool,
                                   tern_net **net, tern_error *err);
uint64_t tern_net_frozen_bytes(const tern_dims *dims, const tern_net_params *how); /* besides the weights */
tern_status tern_net_ternary(const char *cpu, const tern_ternary **ternary, tern_error *err);
void tern_net_free(tern_net *net);

/* Make the products' matrices from params->values; after every change of those. `mode`: ternary/binary or, for the
 * full-precision beginning of a run, float. Returns NULL or the tensor whose values are not finite. */
const tern_param *tern_net_quantize(tern_net *net, tern_weight_mode mode);

/* Matrix TERN_PARAM_Q .. TERN_PARAM_DOWN of a layer, as the products see it. */
const tern_bit *tern_net_matrix(const tern_net *net, uint32_t layer, int which);

/* Forward pass up to the last norm; activations are kept for the functions below. batch->n_tokens <= max_tokens, every
 * sequence <= dims.n_ctx. */
void tern_net_forward(tern_net *net, const tern_batch *batch);
/* The result, [n_tokens, hidden]: multiplied with the embedding it gives the logits. */
const float *tern_net_hidden(const tern_net *net);
/* nll [n_tokens] of the forward pass just made; `exact` as in tern_op_head_loss(). */
void tern_net_losses(tern_net *net, const tern_batch *batch, bool exact, float *nll);

/* Called when the gradients of values [offset, offset + n) are complete, in this rank: they can be sent. */
typedef void (*tern_grads_ready_fn)(void *user, size_t offset, size_t n);

/* Gradients of sum_t weight[t] * (nll[t] + z_loss * lse[t]^2) are ADDED to `grads` (layout of params, or of the
 * adapters). nll [n_tokens] is set. `ready` may be NULL; it is called layer by layer, the last one first, and at the
 * end for embedding and output norm. Once for a forward pass: with `recompute` it takes what that left apart. */
void tern_net_backward(tern_net *net, const tern_batch *batch, const float *weight, float z_loss, float *grads,
                       float *nll, tern_grads_ready_fn ready, void *user);

/* Share of the int8 values in front of layer's down projection that were 0, and of gates <= 0: what the sparse decode
 * path saves. Of all forward passes since the last backward pass: of a whole validation. Needs
 * tern_net_params.sparsity. (A float model: values that are 0.) */
void tern_net_sparsity(const tern_net *net, uint32_t layer, double *zero_inputs, double *closed_gates);

#endif
