/* What the files of the network share (net.h). */
#ifndef TERN_TRAIN_NET_PARTS_H
#define TERN_TRAIN_NET_PARTS_H

#include <stdatomic.h>

#include "train/lora.h"
#include "train/net.h"

enum { NET_GAINS = TERN_PARAMS_PER_LAYER - TERN_PARAM_ATTN_NORM };

/* A layer's weights, wherever they are: of tern_params, or of a loaded model. */
typedef struct net_layer {
    tern_bit bits[TERN_LINEARS_PER_LAYER]; /* TERN_PARAM_Q .. TERN_PARAM_DOWN */
    const float *gains[NET_GAINS];         /* from TERN_PARAM_ATTN_NORM on */
} net_layer;

/* What a layer's forward pass leaves for its backward pass. The int8 inputs of the BitLinears are not among it: they
 * are made again from these, which costs a hundredth of the products and saves half the memory. */
typedef struct net_kept {
    float *x;                         /* [n, hidden] the layer's input */
    float *q, *k, *v;                 /* rotated; [n, q], [n, kv], [n, kv] (tern_q_size, tern_kv_size) */
    float *attended, *lse;            /* [n, q], [n, heads] */
    float *mid;                       /* [n, hidden] between attention and FFN */
    float *gate, *up;                 /* [n, ffn] */
    float *u[TERN_LINEARS_PER_LAYER]; /* [n, r] of the adapters; NULL: none */
} net_kept;

/* The head of a model whose embedding stays as it is stored: it is read in tiles of rows. */
typedef struct net_table {
    const tern_tensor *embedding, *head; /* NULL: the embedding is tern_params' */
    uint32_t tile_rows;
    float *tile;       /* [tile_rows, hidden] */
    float *logits;     /* [n, tile_rows] */
    double *max, *sum; /* [n] running, of exp(logit - max) */
    float *target;     /* [n] the target's logit */
} net_table;

/* What goes into the head, and what is wanted of it. */
typedef struct net_outputs {
    size_t n;
    const float *y;         /* [n, hidden] */
    const int32_t *targets; /* [n] */
    const float *weight;    /* [n]; backward only */
} net_outputs;

/* Room for those tokens that have a loss: of answers only, often less than half. */
typedef struct net_learnt {
    uint32_t *index;  /* [n] which ones */
    int32_t *targets; /* [n] */
    float *weight, *nll;
    float *y; /* [n, hidden] */
} net_learnt;

struct tern_net {
    tern_dims dims;
    tern_net_params how;
    const tern_params *params; /* NULL: a loaded model's weights */
    tern_ops ops;
    net_layer *layers; /* [n_layers] */
    net_kept *kept;    /* [n_layers + 1]; of the last one only x: what the last norm takes. Which of them share memory
                          is tern_net_create()'s choice */
    const float *output_norm;
    net_table table;
    net_learnt learnt;
    float *cos, *sin;      /* [n_ctx, head_dim / 2] */
    tern_act narrow, wide; /* the inputs of BitLinears from hidden or q size, from FFN size */
    void *act_memory[2];   /* theirs: int8 or, for a float model, float */
    float *h;              /* [n, ffn] relu(gate)^2 * up */
    float *y;              /* [n, hidden] behind the last norm */
    /* backward */
    float *dx, *dn, *da; /* [n, hidden]; dn and da also [n, q] */
    float *dq, *dk, *dv; /* [n, q], [n, kv] x 2 */
    float *wide_dn, *dh; /* [n, ffn] */
    float *unused_gain;  /* gradients of frozen gains go here */
    /* for tern_net_sparsity() */
    atomic_uint_fast64_t *zeros, *closed; /* [n_layers] */
    uint64_t n_counted;                   /* values of a layer that were looked at */
    bool count_anew;                      /* before the next forward pass: a backward pass came between */
    void *memory;                         /* all of the above */
};

/* Nothing of the model itself is trained: no gradients of its values are made. */
static inline bool tern_net_is_frozen(const tern_net *net) { return net->how.lora || !net->params; }

/* Of a net over tern_params. */
static inline const float *tern_net_embedding(const tern_net *net) {
    return net->params->values + tern_param_embedding(net->params)->offset;
}

/* net_head.c: the lookup of a stored embedding and the LM head that it is, as the operations of their names in ops.h.
 */
void tern_net_embed(const tern_net *net, const tern_batch *batch, float *x);
void tern_net_head_loss(const tern_net *net, const net_outputs *out, float *nll);
void tern_net_head_loss_backward(const tern_net *net, const net_outputs *out, float z_loss, float *nll, float *dh);

/* net_loss.c: net->dn = the gradient by net->y; the embedding's as the head is added to `de` (NULL: frozen). */
void tern_net_loss_backward(tern_net *net, const tern_batch *batch, const float *weight, float z_loss, float *de,
                            float *nll);

/* net_layer.c: layer i from kept[i].x to the int8 input of its down projection (net->wide, and net->h), and on to
 * kept[i + 1].x. */
void tern_net_layer_inner(tern_net *net, uint32_t i, const tern_batch *batch);
void tern_net_layer_down(tern_net *net, uint32_t i, size_t n);
/* net->h and net->wide again from what was kept. */
void tern_net_layer_again(tern_net *net, uint32_t i, size_t n);
/* net->dx, the gradient by kept[i + 1].x, becomes that by kept[i].x. */
void tern_net_layer_backward(tern_net *net, uint32_t i, const tern_batch *batch, float *grads);
/* to = 0, or = from [n]; on all threads. */
void tern_net_copy(const tern_net *net, const float *from, float *to, size_t n);

#endif
