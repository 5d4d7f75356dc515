/* The network: its memory, and the way through it. */
#include "train/net_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "model/scales.h"

/* Rows of a stored embedding that are decoded at a time: 10 MB of 2B4T's. */
enum { TILE_ROWS = 1024, ALIGNMENT = 64 };

/* ----------------------------------------------------------------- memory */

/* Drawn up twice: once to learn the size, with memory NULL, and once to give out the places. */
typedef struct plan {
    uint8_t *memory;
    uint64_t used;
    bool overflow;
} plan;

static void *take(plan *p, uint64_t count, uint64_t size) {
    uint64_t bytes, end, at = p->used;
    if (!tern_mul_u64(count, size, &bytes) || !tern_add_u64(at, bytes, &end) || end > UINT64_MAX / 2) {
        p->overflow = true;
        return NULL;
    }
    p->used = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p->memory ? p->memory + at : NULL;
}

static float *take_floats(plan *p, uint64_t n, uint64_t width) {
    uint64_t count = 0;
    p->overflow |= !tern_mul_u64(n, width, &count);
    return take(p, count, sizeof(float));
}

static void plan_act(plan *p, uint64_t n, uint64_t k, bool may_be_float, tern_act *act, void **memory) {
    uint64_t bytes = tern_q_pad(k);
    if (may_be_float && k * sizeof(float) > bytes)
        bytes = k * sizeof(float);
    act->ld = tern_q_pad(k);
    act->scale = take_floats(p, n, 1);
    act->sum = take(p, n, sizeof *act->sum);
    act->q = *memory = take(p, n, bytes);
}

static void plan_adapters(plan *p, const tern_net_params *how, uint64_t n, net_kept *kept) {
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
        kept->u[j] = how->lora && how->lora->targets >> j & 1 ? take_floats(p, n, how->lora->r) : NULL;
}

/* The buffers of net->kept: of each layer, or shared. */
static void plan_kept(plan *p, tern_net *net, uint64_t n) {
    const tern_dims *dims = &net->dims;
    uint64_t hidden = dims->hidden_size, kv = tern_kv_size(dims), ffn = dims->ffn_size;
    net_kept one = {0};
    for (uint32_t i = 0; i <= dims->n_layers; i++) {
        bool last = i == dims->n_layers, first = i == 0;
        if (first || (!last && !net->how.recompute && !net->how.forward_only)) {
            one.q = take_floats(p, n, tern_q_size(dims));
            one.k = take_floats(p, n, kv);
            one.v = take_floats(p, n, kv);
            one.attended = take_floats(p, n, tern_q_size(dims));
            one.lse = take_floats(p, n, dims->n_heads);
            one.mid = take_floats(p, n, hidden);
            one.gate = take_floats(p, n, ffn);
            one.up = take_floats(p, n, ffn);
        }
        if (first || !net->how.forward_only)
            one.x = take_floats(p, n, hidden);
        if (first || (!last && !net->how.forward_only))
            plan_adapters(p, &net->how, n, &one);
        if (p->memory)
            net->kept[i] = one;
    }
}

static void plan_backward(plan *p, tern_net *net, uint64_t n) {
    const tern_dims *dims = &net->dims;
    uint64_t hidden = dims->hidden_size, kv = tern_kv_size(dims), ffn = dims->ffn_size, q = tern_q_size(dims);
    net->dx = take_floats(p, n, hidden);
    net->dn = take_floats(p, n, hidden > q ? hidden : q);
    net->da = take_floats(p, n, hidden > q ? hidden : q);
    net->dq = take_floats(p, n, q);
    net->dk = take_floats(p, n, kv);
    net->dv = take_floats(p, n, kv);
    net->wide_dn = take_floats(p, n, ffn);
    net->dh = take_floats(p, n, ffn);
    net->unused_gain = take_floats(p, tern_widest(dims), 1);
}

static void plan_table(plan *p, tern_net *net, uint64_t n) {
    const tern_dims *dims = &net->dims;
    net_table *table = &net->table;
    /* no more rows than another matrix of that many columns has: the operations' scratch memory is made for those */
    uint32_t limit = dims->ffn_size < TILE_ROWS ? dims->ffn_size : TILE_ROWS;
    table->tile_rows = dims->vocab_size < limit ? dims->vocab_size : limit;
    table->tile = take_floats(p, table->tile_rows, dims->hidden_size);
    table->logits = take_floats(p, n, table->tile_rows);
    table->max = take(p, n, sizeof *table->max);
    table->sum = take(p, n, sizeof *table->sum);
    table->target = take_floats(p, n, 1);
}

static void plan_learnt(plan *p, tern_net *net, uint64_t n) {
    net_learnt *learnt = &net->learnt;
    learnt->index = take(p, n, sizeof *learnt->index);
    learnt->targets = take(p, n, sizeof *learnt->targets);
    learnt->weight = take_floats(p, n, 1);
    learnt->nll = take_floats(p, n, 1);
    learnt->y = take_floats(p, n, net->dims.hidden_size);
}

static void plan_bits(plan *p, tern_net *net) {
    const tern_dims *dims = &net->dims;
    for (uint32_t i = 0; i < dims->n_layers; i++)
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            tern_bit bit = {.mode = TERN_WEIGHTS_TERNARY};
            tern_linear_shape(dims, j, &bit.rows, &bit.cols);
            bit.packed = take(p, tern_bit_bytes(bit.rows, bit.cols), 1);
            if (p->memory)
                net->layers[i].bits[j] = bit;
        }
}

/* Everything that the net points at but its operations' scratch memory. `frozen`: the matrices are another's. */
static void plan_all(plan *p, tern_net *net, bool frozen) {
    const tern_dims *dims = &net->dims;
    uint64_t n = net->how.max_tokens, half = dims->head_dim / 2, n_layers = dims->n_layers;
    uint64_t narrow = dims->hidden_size > tern_q_size(dims) ? dims->hidden_size : tern_q_size(dims);
    net->layers = take(p, n_layers, sizeof *net->layers);
    net->kept = take(p, n_layers + 1, sizeof *net->kept);
    net->zeros = take(p, n_layers, sizeof *net->zeros);
    net->closed = take(p, n_layers, sizeof *net->closed);
    if (p->memory)
        memset(p->memory, 0, p->used);
    net->cos = take_floats(p, dims->n_ctx, half);
    net->sin = take_floats(p, dims->n_ctx, half);
    plan_act(p, n, narrow, !frozen, &net->narrow, &net->act_memory[0]);
    plan_act(p, n, dims->ffn_size, !frozen, &net->wide, &net->act_memory[1]);
    net->h = take_floats(p, n, dims->ffn_size);
    net->y = take_floats(p, n, dims->hidden_size);
    plan_learnt(p, net, n);
    plan_kept(p, net, n);
    if (!net->how.forward_only)
        plan_backward(p, net, n);
    if (frozen)
        plan_table(p, net, n);
    else
        plan_bits(p, net);
}

static uint64_t count_bytes(const tern_dims *dims, const tern_net_params *how, bool frozen) {
    tern_net draft = {.dims = *dims, .how = *how};
    plan p = {0};
    plan_all(&p, &draft, frozen);
    uint64_t scratch = tern_ops_scratch(dims, how->max_tokens, how->n_threads > 0 ? how->n_threads : tern_cpu_count());
    uint64_t sum;
    return p.overflow || !tern_add_u64(p.used, scratch, &sum) ? UINT64_MAX : sum;
}

uint64_t tern_net_bytes(const tern_dims *dims, const tern_net_params *how) { return count_bytes(dims, how, false); }

uint64_t tern_net_frozen_bytes(const tern_dims *dims, const tern_net_params *how) {
    return count_bytes(dims, how, true);
}

static tern_status make_memory(tern_net *net, bool frozen, tern_error *err) {
    plan p = {0};
    plan_all(&p, net, frozen);
    p.memory = net->memory = p.overflow || p.used > SIZE_MAX ? NULL : tern_aligned_alloc((size_t)p.used);
    p.used = 0;
    if (!p.memory)
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory: the network's activations need %llu MB for %zu tokens at a time; train with a "
                         "smaller micro-batch, shorter sequences or recompute",
                         (unsigned long long)(count_bytes(&net->dims, &net->how, frozen) / 1000000),
                         net->how.max_tokens);
    plan_all(&p, net, frozen);
    return TERN_OK;
}

/* ----------------------------------------------------------------- making */

static tern_status create(const tern_dims *dims, const tern_net_params *how, bool frozen, tern_pool *pool,
                          tern_net **out, tern_error *err) {
    if (how->max_tokens == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a network needs room for at least one token");
    tern_net *net = calloc(1, sizeof *net);
    if (!net)
        return tern_fail_memory(err, "the network");
    net->dims = *dims;
    net->how = *how;
    tern_status status = make_memory(net, frozen, err);
    if (!status)
        status = tern_ops_create(how->cpu, dims, how->max_tokens, pool, &net->ops, err);
    if (status) {
        tern_net_free(net);
        return status;
    }
    tern_rope_tables(dims, net->cos, net->sin);
    *out = net;
    return TERN_OK;
}

tern_status tern_net_create(const tern_params *params, const tern_net_params *how, tern_pool *pool, tern_net **out,
                            tern_error *err) {
    tern_status status = create(&params->dims, how, false, pool, out, err);
    if (status)
        return status;
    tern_net *net = *out;
    net->params = params;
    net->output_norm = params->values + tern_param_output_norm(params)->offset;
    for (uint32_t i = 0; i < net->dims.n_layers; i++)
        for (int j = 0; j < NET_GAINS; j++)
            net->layers[i].gains[j] = params->values + tern_param_of(params, i, TERN_PARAM_ATTN_NORM + j)->offset;
    return TERN_OK;
}

tern_status tern_net_ternary(const char *cpu, const tern_ternary **ternary, tern_error *err) {
    const tern_kernels *kernels;
    tern_status status = tern_kernels_choose(cpu, &kernels, err);
    for (int i = 0; !status && kernels->ternary[i]; i++)
        if (kernels->ternary[i]->packing == &tern_packing_t2r16) {
            *ternary = kernels->ternary[i];
            return TERN_OK;
        }
    return status ? status
                  : tern_fail(err, TERN_ERR_UNSUPPORTED, "kernels %s cannot read packing t2r16", kernels->name);
}

static tern_status borrow(tern_net *net, const tern_weights *weights, tern_error *err) {
    tern_status status = tern_scales_refuse(weights, "training", err);
    if (status)
        return status;
    for (uint32_t i = 0; i < net->dims.n_layers; i++) {
        const tern_layer *layer = &weights->layers[i];
        const float *const gains[NET_GAINS] = {layer->attn_norm, layer->attn_sub_norm, layer->ffn_norm,
                                               layer->ffn_sub_norm};
        memcpy(net->layers[i].gains, gains, sizeof gains);
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            const tern_linear *linear = &layer->linears[j];
            if (linear->layout != TERN_LAYOUT_GROUPS ||
                linear->unit_bytes != tern_group_bytes(&tern_packing_t2r16, linear->cols))
                return tern_fail(err, TERN_ERR_ARGUMENT, "training needs weights that are packed as t2r16");
            net->layers[i].bits[j] = (tern_bit){.rows = linear->rows,
                                                .cols = linear->cols,
                                                .mode = TERN_WEIGHTS_TERNARY,
                                                .scale = linear->scale,
                                                .packed = (uint8_t *)linear->packed}; /* only ever read */
        }
    }
    net->output_norm = weights->output_norm;
    net->table.embedding = weights->embedding;
    net->table.head = weights->head;
    return TERN_OK;
}

tern_status tern_net_create_frozen(const tern_weights *weights, const tern_net_params *how, tern_pool *pool,
                                   tern_net **out, tern_error *err) {
    tern_net *net;
    if (!how->forward_only && !how->lora && !how->probe)
        return tern_fail(err, TERN_ERR_ARGUMENT, "packed weights cannot be trained but for adapters beside them");
    tern_status status = create(&weights->dims, how, true, pool, &net, err);
    if (status)
        return status;
    status = borrow(net, weights, err);
    if (status)
        tern_net_free(net);
    else
        *out = net;
    return status;
}

void tern_net_free(tern_net *net) {
    if (!net)
        return;
    tern_ops_free(&net->ops);
    tern_aligned_free(net->memory);
    free(net);
}

/* ---------------------------------------------------------------- weights */

static void use_floats(tern_net *net, bool floats) {
    net->narrow.x = floats ? net->act_memory[0] : NULL;
    net->wide.x = floats ? net->act_memory[1] : NULL;
}

static bool quantize(tern_net *net, uint32_t layer, int which, tern_weight_mode mode) {
    const tern_param *param = tern_param_of(net->params, layer, which);
    const float *values = net->params->values + param->offset;
    if (which >= TERN_LINEARS_PER_LAYER)
        return tern_param_is_finite(param, net->params->values);
    tern_bit *bit = &net->layers[layer].bits[which];
    bit->mode = mode;
    tern_op_quantize_weights(&net->ops, values, bit);
    return mode == TERN_WEIGHTS_FLOAT ? tern_param_is_finite(param, net->params->values) : isfinite(bit->scale);
}

const tern_param *tern_net_quantize(tern_net *net, tern_weight_mode mode) {
    if (!net->params)
        return NULL;
    use_floats(net, mode == TERN_WEIGHTS_FLOAT);
    for (uint32_t i = 0; i < net->dims.n_layers; i++)
        for (int j = 0; j < TERN_PARAMS_PER_LAYER; j++)
            if (!quantize(net, i, j, mode))
                return tern_param_of(net->params, i, j);
    for (size_t i = net->params->n - 2; i < net->params->n; i++)
        if (!tern_param_is_finite(&net->params->list[i], net->params->values))
            return &net->params->list[i];
    return NULL;
}

const tern_bit *tern_net_matrix(const tern_net *net, uint32_t layer, int which) {
    return &net->layers[layer].bits[which];
}

/* ---------------------------------------------------------------- forward */

static void begin_count(tern_net *net, size_t n) {
    for (uint32_t i = 0; net->count_anew && i < net->dims.n_layers; i++) {
        atomic_store(&net->zeros[i], 0);
        atomic_store(&net->closed[i], 0);
    }
    net->n_counted = (net->count_anew ? 0 : net->n_counted) + (uint64_t)n * net->dims.ffn_size;
    net->count_anew = false;
}

void tern_net_forward(tern_net *net, const tern_batch *batch) {
    const tern_dims *dims = &net->dims;
    size_t n = batch->n_tokens;
    if (net->how.sparsity)
        begin_count(net, n);
    if (net->params)
        tern_op_embed(&net->ops, tern_net_embedding(net), batch->inputs, n, dims->hidden_size, net->kept[0].x);
    else
        tern_net_embed(net, batch, net->kept[0].x);
    for (uint32_t i = 0; i < dims->n_layers; i++) {
        tern_net_layer_inner(net, i, batch);
        tern_net_layer_down(net, i, n);
    }
    tern_op_final_norm(&net->ops, net->kept[dims->n_layers].x, net->output_norm, n, dims->hidden_size, dims->rms_eps,
                       net->y);
}

const float *tern_net_hidden(const tern_net *net) { return net->y; }

/* --------------------------------------------------------------- backward */

typedef struct span {
    size_t begin, end;
} span;

/* Of the gradients that a layer's backward pass completes. */
static span layer_gradients(const tern_net *net, uint32_t layer) {
    const tern_lora *lora = net->how.lora;
    if (!lora && !net->params)
        return (span){0, 0};
    const tern_param *list = lora ? lora->list : net->params->list;
    size_t n = lora ? lora->n : net->params->n, all = lora ? lora->n_values : net->params->n_values;
    size_t per_layer = lora ? lora->n / net->dims.n_layers : TERN_PARAMS_PER_LAYER, next = (layer + 1) * per_layer;
    return (span){list[layer * per_layer].offset, next < n ? list[next].offset : all};
}

void tern_net_backward(tern_net *net, const tern_batch *batch, const float *weight, float z_loss, float *grads,
                       float *nll, tern_grads_ready_fn ready, void *user) {
    const tern_dims *dims = &net->dims;
    const tern_params *params = net->how.lora ? NULL : net->params;
    size_t n = batch->n_tokens, hidden = dims->hidden_size;
    net->count_anew = true;
    tern_net_loss_backward(net, batch, weight, z_loss, params ? grads + tern_param_embedding(params)->offset : NULL,
                           nll);
    tern_net_copy(net, NULL, net->dx, n * hidden);
    tern_op_norm_backward(&net->ops, net->kept[dims->n_layers].x, net->output_norm, net->dn, n, hidden, dims->rms_eps,
                          net->dx, params ? grads + tern_param_output_norm(params)->offset : net->unused_gain);
    for (uint32_t i = dims->n_layers; i-- > 0;) {
        tern_net_layer_backward(net, i, batch, grads);
        span part = layer_gradients(net, i);
        if (ready && part.end > part.begin)
            ready(user, part.begin, part.end - part.begin);
    }
    if (!params)
        return;
    size_t offset = tern_param_embedding(params)->offset;
    tern_op_embed_backward(&net->ops, batch->inputs, net->dx, n, hidden, grads + offset);
    if (ready) /* and the last norm's, which lie behind */
        ready(user, offset, params->n_values - offset);
}

void tern_net_sparsity(const tern_net *net, uint32_t layer, double *zero_inputs, double *closed_gates) {
    double all = (double)net->n_counted;
    *zero_inputs = (double)atomic_load(&net->zeros[layer]) / all;
    *closed_gates = (double)atomic_load(&net->closed[layer]) / all;
}
