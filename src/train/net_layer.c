/* One block of 2B4T, forward and backward (docs/MODEL.md). */
#include <string.h>

#include "train/net_parts.h"

enum { COPY_BLOCK = 1 << 14 };

static const float *gain(const tern_net *net, uint32_t layer, int which) {
    return net->layers[layer].gains[which - TERN_PARAM_ATTN_NORM];
}

/* ----------------------------------------------------------------- copies */

typedef struct copy_job {
    const float *from;
    float *to;
    size_t n;
} copy_job;

static void copy_task(void *context, size_t task, int worker) {
    (void)worker;
    const copy_job *job = context;
    size_t begin = task * COPY_BLOCK, n = job->n - begin < COPY_BLOCK ? job->n - begin : COPY_BLOCK;
    if (job->from)
        memcpy(job->to + begin, job->from + begin, n * sizeof(float));
    else
        memset(job->to + begin, 0, n * sizeof(float));
}

void tern_net_copy(const tern_net *net, const float *from, float *to, size_t n) {
    copy_job job = {from, to, n};
    tern_pool_run(net->ops.pool, (n + COPY_BLOCK - 1) / COPY_BLOCK, copy_task, &job);
}

/* -------------------------------------------------- BitLinear and adapter */

static bool adapter(const tern_net *net, uint32_t layer, int which, const float **a, const float **b) {
    const tern_lora *lora = net->how.lora;
    return lora && tern_lora_find(lora, lora->values, layer, which, a, b);
}

static void linear(const tern_net *net, uint32_t layer, int which, const tern_act *act, size_t n, float *y, bool add) {
    const tern_bit *bit = &net->layers[layer].bits[which];
    const tern_lora *lora = net->how.lora;
    const float *a, *b;
    tern_op_linear(&net->ops, bit, act, n, y, add);
    if (adapter(net, layer, which, &a, &b))
        tern_op_lora(&net->ops, a, b, bit->rows, bit->cols, lora->r, lora->alpha / (float)lora->r, act, n,
                     net->kept[layer].u[which], y);
}

/* dx = dy W~ (+ the adapter's), or += if `add`; the gradients of what is trained += into `grads`. */
static void linear_backward(const tern_net *net, uint32_t layer, int which, const tern_act *act, const float *dy,
                            size_t n, float *dx, bool add, float *grads) {
    const tern_bit *bit = &net->layers[layer].bits[which];
    const tern_lora *lora = net->how.lora;
    float *dw = tern_net_is_frozen(net) ? NULL : grads + tern_param_of(net->params, layer, which)->offset;
    const float *a, *b;
    tern_op_linear_backward(&net->ops, bit, act, dy, n, dx, add, dw);
    if (adapter(net, layer, which, &a, &b))
        tern_op_lora_backward(&net->ops, a, b, bit->rows, bit->cols, lora->r, lora->alpha / (float)lora->r, act,
                              net->kept[layer].u[which], dy, n, dx, grads + (a - lora->values),
                              grads + (b - lora->values));
}

static float *gain_gradient(const tern_net *net, uint32_t layer, int which, float *grads) {
    return tern_net_is_frozen(net) ? net->unused_gain : grads + tern_param_of(net->params, layer, which)->offset;
}

static void probe(const tern_net *net, uint32_t layer, int which, const float *x, const float *dy, size_t n) {
    int norm = which == TERN_PARAM_O ? TERN_PARAM_ATTN_SUB_NORM : TERN_PARAM_FFN_SUB_NORM;
    if (net->how.probe)
        net->how.probe(net->how.probe_user, layer, which, x, gain(net, layer, norm), dy, n);
}

/* --------------------------------------------------------------- sparsity */

enum { COUNT_BLOCK = 16 }; /* tokens of a task */

typedef struct count_job {
    tern_net *net;
    uint32_t layer;
    size_t n;
} count_job;

static void count_task(void *context, size_t task, int worker) {
    (void)worker;
    const count_job *job = context;
    tern_net *net = job->net;
    size_t k = net->dims.ffn_size, end = (task + 1) * COUNT_BLOCK < job->n ? (task + 1) * COUNT_BLOCK : job->n;
    for (size_t t = task * COUNT_BLOCK; t < end; t++) {
        const float *gates = net->kept[job->layer].gate + t * k;
        const float *x = net->wide.x ? net->wide.x + t * k : NULL;
        const int8_t *q = net->wide.q + (x ? 0 : t * net->wide.ld);
        uint32_t zeros = 0, closed = 0;
        for (size_t i = 0; i < k; i++) {
            zeros += x ? x[i] == 0 : q[i] == 0;
            closed += gates[i] <= 0;
        }
        atomic_fetch_add_explicit(&net->zeros[job->layer], zeros, memory_order_relaxed);
        atomic_fetch_add_explicit(&net->closed[job->layer], closed, memory_order_relaxed);
    }
}

static void count(tern_net *net, uint32_t layer, size_t n) {
    count_job job = {net, layer, n};
    tern_pool_run(net->ops.pool, (n + COUNT_BLOCK - 1) / COUNT_BLOCK, count_task, &job);
}

/* ---------------------------------------------------------------- forward */

void tern_net_layer_again(tern_net *net, uint32_t i, size_t n) {
    const net_kept *kept = &net->kept[i];
    const tern_dims *dims = &net->dims;
    tern_op_relu2(&net->ops, kept->gate, kept->up, n, dims->ffn_size, net->h);
    tern_op_norm(&net->ops, net->h, gain(net, i, TERN_PARAM_FFN_SUB_NORM), n, dims->ffn_size, dims->rms_eps,
                 &net->wide);
}

void tern_net_layer_inner(tern_net *net, uint32_t i, const tern_batch *batch) {
    const tern_ops *ops = &net->ops;
    const tern_dims *dims = &net->dims;
    const net_kept *kept = &net->kept[i];
    size_t n = batch->n_tokens, hidden = dims->hidden_size;

    tern_op_norm(ops, kept->x, gain(net, i, TERN_PARAM_ATTN_NORM), n, hidden, dims->rms_eps, &net->narrow);
    linear(net, i, TERN_PARAM_Q, &net->narrow, n, kept->q, false);
    linear(net, i, TERN_PARAM_K, &net->narrow, n, kept->k, false);
    linear(net, i, TERN_PARAM_V, &net->narrow, n, kept->v, false);
    tern_op_rope(ops, &batch->seqs, dims, net->cos, net->sin, false, kept->q, kept->k);
    tern_op_attention(ops, &batch->seqs, dims, kept->q, kept->k, kept->v, kept->attended, kept->lse);
    tern_op_norm(ops, kept->attended, gain(net, i, TERN_PARAM_ATTN_SUB_NORM), n, tern_q_size(dims), dims->rms_eps,
                 &net->narrow);
    tern_net_copy(net, kept->x, kept->mid, n * hidden);
    linear(net, i, TERN_PARAM_O, &net->narrow, n, kept->mid, true);

    tern_op_norm(ops, kept->mid, gain(net, i, TERN_PARAM_FFN_NORM), n, hidden, dims->rms_eps, &net->narrow);
    linear(net, i, TERN_PARAM_GATE, &net->narrow, n, kept->gate, false);
    linear(net, i, TERN_PARAM_UP, &net->narrow, n, kept->up, false);
    tern_net_layer_again(net, i, n);
}

void tern_net_layer_down(tern_net *net, uint32_t i, size_t n) {
    if (net->how.sparsity)
        count(net, i, n);
    probe(net, i, TERN_PARAM_O, net->kept[i].attended, NULL, n);
    probe(net, i, TERN_PARAM_DOWN, net->h, NULL, n);
    tern_net_copy(net, net->kept[i].mid, net->kept[i + 1].x, n * net->dims.hidden_size);
    linear(net, i, TERN_PARAM_DOWN, &net->wide, n, net->kept[i + 1].x, true);
}

/* --------------------------------------------------------------- backward */

/* net->dx: the gradient by the layer's output becomes that by kept->mid. */
static void ffn_backward(tern_net *net, uint32_t i, size_t n, float *grads) {
    const tern_ops *ops = &net->ops;
    const tern_dims *dims = &net->dims;
    const net_kept *kept = &net->kept[i];
    size_t hidden = dims->hidden_size, ffn = dims->ffn_size;
    float eps = dims->rms_eps;

    linear_backward(net, i, TERN_PARAM_DOWN, &net->wide, net->dx, n, net->wide_dn, false, grads);
    probe(net, i, TERN_PARAM_DOWN, net->h, net->wide_dn, n);
    tern_net_copy(net, NULL, net->dh, n * ffn);
    tern_op_norm_backward(ops, net->h, gain(net, i, TERN_PARAM_FFN_SUB_NORM), net->wide_dn, n, ffn, eps, net->dh,
                          gain_gradient(net, i, TERN_PARAM_FFN_SUB_NORM, grads));
    tern_op_relu2_backward(ops, kept->gate, kept->up, net->dh, n, ffn, net->dh, net->wide_dn);

    const float *dgate = net->dh, *dup = net->wide_dn;
    tern_op_norm(ops, kept->mid, gain(net, i, TERN_PARAM_FFN_NORM), n, hidden, eps, &net->narrow);
    linear_backward(net, i, TERN_PARAM_GATE, &net->narrow, dgate, n, net->dn, false, grads);
    linear_backward(net, i, TERN_PARAM_UP, &net->narrow, dup, n, net->dn, true, grads);
    tern_op_norm_backward(ops, kept->mid, gain(net, i, TERN_PARAM_FFN_NORM), net->dn, n, hidden, eps, net->dx,
                          gain_gradient(net, i, TERN_PARAM_FFN_NORM, grads));
}

/* net->dx: the gradient by kept->mid becomes that by kept->x. */
static void attention_backward(tern_net *net, uint32_t i, const tern_batch *batch, float *grads) {
    const tern_ops *ops = &net->ops;
    const tern_dims *dims = &net->dims;
    const net_kept *kept = &net->kept[i];
    size_t n = batch->n_tokens, hidden = dims->hidden_size, q = tern_q_size(dims);
    float eps = dims->rms_eps;

    tern_op_norm(ops, kept->attended, gain(net, i, TERN_PARAM_ATTN_SUB_NORM), n, q, eps, &net->narrow);
    linear_backward(net, i, TERN_PARAM_O, &net->narrow, net->dx, n, net->dn, false, grads);
    probe(net, i, TERN_PARAM_O, kept->attended, net->dn, n);
    tern_net_copy(net, NULL, net->da, n * q);
    tern_op_norm_backward(ops, kept->attended, gain(net, i, TERN_PARAM_ATTN_SUB_NORM), net->dn, n, q, eps, net->da,
                          gain_gradient(net, i, TERN_PARAM_ATTN_SUB_NORM, grads));
    tern_op_attention_backward(ops, &batch->seqs, dims, kept->q, kept->k, kept->v, kept->attended, kept->lse, net->da,
                               net->dq, net->dk, net->dv);
    tern_op_rope(ops, &batch->seqs, dims, net->cos, net->sin, true, net->dq, net->dk);

    tern_op_norm(ops, kept->x, gain(net, i, TERN_PARAM_ATTN_NORM), n, hidden, eps, &net->narrow);
    linear_backward(net, i, TERN_PARAM_Q, &net->narrow, net->dq, n, net->dn, false, grads);
    linear_backward(net, i, TERN_PARAM_K, &net->narrow, net->dk, n, net->dn, true, grads);
    linear_backward(net, i, TERN_PARAM_V, &net->narrow, net->dv, n, net->dn, true, grads);
    tern_op_norm_backward(ops, kept->x, gain(net, i, TERN_PARAM_ATTN_NORM), net->dn, n, hidden, eps, net->dx,
                          gain_gradient(net, i, TERN_PARAM_ATTN_NORM, grads));
}

void tern_net_layer_backward(tern_net *net, uint32_t i, const tern_batch *batch, float *grads) {
    if (net->how.recompute)
        tern_net_layer_inner(net, i, batch);
    else
        tern_net_layer_again(net, i, batch->n_tokens);
    ffn_backward(net, i, batch->n_tokens, grads);
    attention_backward(net, i, batch, grads);
}
