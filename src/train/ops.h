/*
 * The operations of a training step, in forward/backward pairs, each on all threads of the pool. No allocation: what
 * an operation needs besides its arguments is in tern_ops.scratch.
 *
 * Matrices are row-major float32, tokens are rows: x [n, dim]. "dx" is the gradient of the loss by x. A backward
 * function says for every gradient whether it sets (=) or adds (+=).
 *
 * FORWARD IS INFERENCE'S ARITHMETIC: RMSNorm, int8 quantisation, ternary product, dequantisation, RoPE and squared ReLU
 * are the kernels that inference runs (kernels/kernels.h), bit for bit. Backward goes straight through both quantisers
 * (training tips, section 2): with the operands of the forward pass, dx = dy W~ and dW = dy^T x~.
 *
 * RESULTS DO NOT DEPEND ON THE NUMBER OF THREADS: every output element is summed by one task in a fixed order.
 */
#ifndef TERN_TRAIN_OPS_H
#define TERN_TRAIN_OPS_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "train/config.h"
#include "train/gemm.h"

struct tern_row_math; /* train/ops_rows.h */

typedef struct tern_ops {
    tern_pool *pool;
    const tern_kernels *kernels; /* this CPU's rung */
    const tern_ternary *ternary; /* of that rung: packing t2r16 */
    const tern_gemm *gemm;       /* this CPU's float products */
    const struct tern_row_math *rows;
    size_t max_tokens;

    /* One block of memory and its parts, each 64-byte aligned: of tern_gemm_run(), of each worker, and of all. */
    void *scratch;
    size_t scratch_bytes;
    uint8_t *gemm_scratch, *worker_scratch;
    size_t worker_bytes; /* of one worker */
    float *shared;
    size_t n_shared;
} tern_ops;

/* Bytes that tern_ops_create() takes for a pool of that many threads; SIZE_MAX if they do not fit. */
size_t tern_ops_scratch(const tern_dims *dims, size_t max_tokens, int threads);

/* Choose kernels (name NULL: TERN_CPU, else the best) and reserve scratch for up to max_tokens tokens of a model of
 * these dimensions. */
tern_status tern_ops_create(const char *cpu, const tern_dims *dims, size_t max_tokens, tern_pool *pool, tern_ops *ops,
                            tern_error *err);
void tern_ops_free(tern_ops *ops); /* not the pool */

/* ------------------------------------------------------------------------------------------------ BitLinear */

/* A matrix as the products see it. */
typedef struct tern_bit {
    uint32_t rows, cols; /* [out, in] */
    tern_weight_mode mode;
    float scale;         /* gamma; float: 1 */
    uint8_t *packed;     /* ternary, binary: [tern_n_groups(rows)][tern_group_bytes()] of t2r16, the caller's memory */
    const float *values; /* float: W [rows, cols] */
} tern_bit;

/* Bytes of tern_bit.packed. */
size_t tern_bit_bytes(uint32_t rows, uint32_t cols);
/* w [rows, cols] -> bit->packed and ->scale (or ->values = w) as bit->mode says. Once per optimiser step. NaN or
 * infinity gives a scale that is not finite. */
void tern_op_quantize_weights(const tern_ops *ops, const float *w, tern_bit *bit);
/* What it does for binary weights (for ternary ones: format/codec.h): mean W and gamma = mean|W| of w [n], and the
 * values +-1 of rows for that mean. */
void tern_binary_scale(const float *w, size_t n, float *mean, float *scale);
void tern_binarize(const float *w, size_t n, float mean, int8_t *trits);

/* The input of a BitLinear as the products see it: int8 (x~ = q / scale) or, for a float model, x itself. */
typedef struct tern_act {
    int8_t *q;    /* [n, ld], zeros behind k */
    size_t ld;    /* tern_q_pad(k) */
    float *scale; /* [n]: s = 127 / max|x| */
    int32_t *sum; /* [n] */
    float *x;     /* [n, k]; NULL unless the model is a float one, then the others are unused */
} tern_act;

/* act = quantize(rms_norm(x, gain)), x [n, k]. */
void tern_op_norm(const tern_ops *ops, const float *x, const float *gain, size_t n, size_t k, float eps,
                  const tern_act *act);
/* dx (+=) and dgain (+=) from dy = the gradient by the normalised (straight through: quantised) vector [n, k]. */
void tern_op_norm_backward(const tern_ops *ops, const float *x, const float *gain, const float *dy, size_t n, size_t k,
                           float eps, float *dx, float *dgain);

/* y [n, rows] = x~ W~^T, or y += if `add`. */
void tern_op_linear(const tern_ops *ops, const tern_bit *bit, const tern_act *act, size_t n, float *y, bool add);
/* dx [n, cols] = dy W~, or += if `add` (dx NULL: not wanted); dw [rows, cols] += dy^T x~ (dw NULL: frozen). */
void tern_op_linear_backward(const tern_ops *ops, const tern_bit *bit, const tern_act *act, const float *dy, size_t n,
                             float *dx, bool add, float *dw);

/* LoRA (Hu et al. 2021) beside a BitLinear: y += (alpha / r) B (A x~), A [r, cols], B [rows, r]; u [n, r] = A x~ is
 * kept for the backward pass. dx +=, da +=, db +=. */
void tern_op_lora(const tern_ops *ops, const float *a, const float *b, uint32_t rows, uint32_t cols, uint32_t r,
                  float alpha_over_r, const tern_act *act, size_t n, float *u, float *y);
void tern_op_lora_backward(const tern_ops *ops, const float *a, const float *b, uint32_t rows, uint32_t cols,
                           uint32_t r, float alpha_over_r, const tern_act *act, const float *u, const float *dy,
                           size_t n, float *dx, float *da, float *db);

/* ------------------------------------------------------------------------------------------------ attention */

/* Sequences of a batch: sequence i is the tokens [start[i], start[i + 1]); positions begin at 0 in each one, and
 * attention stays inside. start [n + 1], start[0] = 0. */
typedef struct tern_sequences {
    const uint32_t *start;
    size_t n;
} tern_sequences;

/* Rotate q [n, heads * head_dim] and k in place by their positions; `inverse`: by minus the angle (the backward
 * pass). cos, sin [n_ctx][head_dim / 2] as inference computes them. */
void tern_op_rope(const tern_ops *ops, const tern_sequences *seqs, const tern_dims *dims, const float *cos,
                  const float *sin, bool inverse, float *q, float *k);
/* The tables: angle = position * theta^(-2i / head_dim), exactly as inference's (runtime/engine.c). */
void tern_rope_tables(const tern_dims *dims, float *cos, float *sin);

/* Causal grouped-query attention, softmax(q k^T / sqrt(head_dim)) v -> out [n, heads * head_dim]; lse [n, heads] keeps
 * log-sum-exp of the scaled scores for the backward pass (FlashAttention, Dao et al. 2022: P is recomputed). */
void tern_op_attention(const tern_ops *ops, const tern_sequences *seqs, const tern_dims *dims, const float *q,
                       const float *k, const float *v, float *out, float *lse);
/* dq, dk, dv (=) */
void tern_op_attention_backward(const tern_ops *ops, const tern_sequences *seqs, const tern_dims *dims, const float *q,
                                const float *k, const float *v, const float *out, const float *lse, const float *dout,
                                float *dq, float *dk, float *dv);

/* ------------------------------------------------------------------------------------------------ the rest */

/* h = relu(gate)^2 * up, all [n, k]. */
void tern_op_relu2(const tern_ops *ops, const float *gate, const float *up, size_t n, size_t k, float *h);
/* dgate = dh * up * 2 relu(gate), dup = dh * relu(gate)^2; dgate may be dh. */
void tern_op_relu2_backward(const tern_ops *ops, const float *gate, const float *up, const float *dh, size_t n,
                            size_t k, float *dgate, float *dup);

/* x [n, k] = rows of table [vocab, k]; ids are in range. Backward: dtable (+=), rows that come twice in order. */
void tern_op_embed(const tern_ops *ops, const float *table, const int32_t *ids, size_t n, size_t k, float *x);
void tern_op_embed_backward(const tern_ops *ops, const int32_t *ids, const float *dx, size_t n, size_t k,
                            float *dtable);

/* The last norm, without quantisation: y = rms_norm(x, gain). Its backward is tern_op_norm_backward(). */
void tern_op_final_norm(const tern_ops *ops, const float *x, const float *gain, size_t n, size_t k, float eps,
                        float *y);

/* Cross entropy with the LM head, in chunks of tokens: the logits [n, vocab] never exist as a whole.
 * nll[t] = logsumexp(E h_t) - (E h_t)[target_t]; a target of -1 has no loss (nll 0). `exact`: the products in float32
 * (validation), else as fast as tern_gemm allows. */
void tern_op_head_loss(const tern_ops *ops, const float *h, const float *e, const int32_t *targets, size_t n, size_t k,
                       size_t vocab, bool exact, float *nll);
/* The same, and the gradients of sum_t weight[t] * (nll[t] + z_loss * logsumexp_t^2): dh (=), de (+=, NULL: frozen).
 * weight may be negative (DPO) or 0. */
void tern_op_head_loss_backward(const tern_ops *ops, const float *h, const float *e, const int32_t *targets,
                                const float *weight, float z_loss, size_t n, size_t k, size_t vocab, float *nll,
                                float *dh, float *de);

#endif
