/* The parameters' layout, their beginning, and how they come out of a checkpoint. */
#include "train/params.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"

/* Tensors begin at multiples of this many values: a cache line, the widest vector. */
enum { ALIGN_VALUES = 16 };

static const double embedding_deviation = 0.02; /* common practice: the papers do not say */

typedef enum width { ONE, HIDDEN, QUERIES, KV, FFN } width;

static const struct {
    const char *name;
    width rows, cols;
} layer_tensors[TERN_PARAMS_PER_LAYER] = {
    [TERN_PARAM_Q] = {"self_attn.q_proj", QUERIES, HIDDEN},
    [TERN_PARAM_K] = {"self_attn.k_proj", KV, HIDDEN},
    [TERN_PARAM_V] = {"self_attn.v_proj", KV, HIDDEN},
    [TERN_PARAM_O] = {"self_attn.o_proj", HIDDEN, QUERIES},
    [TERN_PARAM_GATE] = {"mlp.gate_proj", FFN, HIDDEN},
    [TERN_PARAM_UP] = {"mlp.up_proj", FFN, HIDDEN},
    [TERN_PARAM_DOWN] = {"mlp.down_proj", HIDDEN, FFN},
    [TERN_PARAM_ATTN_NORM] = {"input_layernorm", ONE, HIDDEN},
    [TERN_PARAM_ATTN_SUB_NORM] = {"self_attn.attn_sub_norm", ONE, QUERIES},
    [TERN_PARAM_FFN_NORM] = {"post_attention_layernorm", ONE, HIDDEN},
    [TERN_PARAM_FFN_SUB_NORM] = {"mlp.ffn_sub_norm", ONE, FFN},
};

/* ----------------------------------------------------------------- layout */

/* The next tensor of the list; its values follow those before. False if sizes overflow. */
static bool add(tern_params *params, uint32_t rows, uint32_t cols, bool ternary) {
    tern_param *param = &params->list[params->n++];
    uint64_t n_values = ((uint64_t)rows * cols + ALIGN_VALUES - 1) / ALIGN_VALUES * ALIGN_VALUES, sum;
    param->rows = rows;
    param->cols = cols;
    param->offset = params->n_values;
    param->ternary = ternary;
    param->decay = rows > 1;
    if (!tern_add_u64(params->n_values, n_values, &sum) || sum > SIZE_MAX / sizeof(float))
        return false;
    params->n_values = (size_t)sum;
    return true;
}

static bool lay_out(tern_params *params) {
    const tern_dims *dims = &params->dims;
    const uint32_t size[] = {[ONE] = 1,
                             [HIDDEN] = dims->hidden_size,
                             [QUERIES] = tern_q_size(dims),
                             [KV] = tern_kv_size(dims),
                             [FFN] = dims->ffn_size};
    bool ok = true;
    for (uint32_t i = 0; i < dims->n_layers; i++)
        for (int j = 0; j < TERN_PARAMS_PER_LAYER; j++) {
            tern_param *param = &params->list[params->n];
            snprintf(param->name, sizeof param->name, "model.layers.%" PRIu32 ".%s.weight", i, layer_tensors[j].name);
            ok = ok &&
                 add(params, size[layer_tensors[j].rows], size[layer_tensors[j].cols], layer_tensors[j].rows != ONE);
        }
    snprintf(params->list[params->n].name, sizeof params->list->name, "model.embed_tokens.weight");
    ok = ok && add(params, dims->vocab_size, dims->hidden_size, false);
    snprintf(params->list[params->n].name, sizeof params->list->name, "model.norm.weight");
    return ok && add(params, 1, dims->hidden_size, false);
}

static float *zeros(size_t n) {
    float *values = tern_aligned_alloc(n * sizeof *values);
    if (values)
        memset(values, 0, n * sizeof *values);
    return values;
}

tern_status tern_params_create(const tern_dims *dims, bool trainable, tern_params *params, tern_error *err) {
    *params = (tern_params){.dims = *dims};
    params->list = tern_calloc_array((size_t)dims->n_layers * TERN_PARAMS_PER_LAYER + 2, sizeof *params->list);
    if (!params->list)
        return tern_fail_memory(err, "the list of parameters");
    if (!lay_out(params)) {
        tern_params_free(params);
        return tern_fail(err, TERN_ERR_ARGUMENT, "a model of these dimensions has too many parameters");
    }
    size_t n_values = params->n_values;
    params->values = zeros(n_values);
    if (trainable && params->values) {
        params->grads = zeros(n_values);
        params->m = params->grads ? zeros(n_values) : NULL;
        params->v = params->m ? zeros(n_values) : NULL;
    }
    if (params->values && (!trainable || params->v))
        return TERN_OK;
    tern_params_free(params);
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory: %zu parameters need %zu MB%s", n_values,
                     n_values / 1000000 * (trainable ? 16 : 4), trainable ? " with gradients and moments" : "");
}

void tern_params_free(tern_params *params) {
    free(params->list);
    tern_aligned_free(params->values);
    tern_aligned_free(params->grads);
    tern_aligned_free(params->m);
    tern_aligned_free(params->v);
    *params = (tern_params){0};
}

/* -------------------------------------------------------------- beginning */

/* Each tensor draws from a generator of its own, so that it does not change when another one's size does. */
static void draw(tern_params *params, size_t index, uint64_t seed, double deviation) {
    const tern_param *param = &params->list[index];
    float *values = params->values + param->offset;
    size_t n = (size_t)param->rows * param->cols;
    tern_rng rng;
    tern_rng_seed(&rng, seed + 0x9e3779b97f4a7c15u * (index + 1));
    for (size_t i = 0; i < n; i++)
        values[i] = param->rows == 1 ? 1.0f : (float)(deviation * tern_rng_normal(&rng));
}

void tern_params_init(tern_params *params, uint64_t seed) {
    /* A BitLinear's product keeps the variance of its input. GPT-2's 0.02, less for what adds to the residual stream,
     * cost a tenth of the loss in tern-tiny's first 300 steps: Adam's steps are then large beside the weights, which
     * flip back and forth. */
    for (size_t i = 0; i < params->n; i++)
        draw(params, i, seed, params->list[i].ternary ? 1 / sqrt(params->list[i].cols) : embedding_deviation);
}

/* ------------------------------------------------------------ checkpoints */

static bool is_float(tern_dtype type) {
    return type == TERN_TYPE_F32 || type == TERN_TYPE_F16 || type == TERN_TYPE_BF16;
}

/* Nothing but 0 and one magnitude: ternary values that were written as floats. */
static bool is_ternary(const float *values, size_t n) {
    float found = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(values[i]);
        if (magnitude != 0 && found != 0 && magnitude != found)
            return false;
        found = magnitude != 0 ? magnitude : found;
    }
    return found != 0;
}

static tern_status load_tensor(const tern_checkpoint *checkpoint, const tern_tensor *tensor, tern_params *params,
                               const tern_param *param, tern_error *err) {
    float *values = params->values + param->offset;
    if (!is_float(tensor->type))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: %s has type %s, which is no master weight; train from float weights (F32, BF16, F16), "
                         "such as the bf16 folder of the model",
                         checkpoint->path, tensor->name, tensor->type_name);
    for (uint64_t row = 0; row < tensor->rows; row++)
        tern_codec_of(tensor->type)->decode_row(tensor, row, values + row * tensor->cols);
    tern_checkpoint_release(checkpoint, tensor);
    /* only in a GGUF: inference reads such a one as ternary too (model/load.c) */
    if (param->ternary && checkpoint->kind == TERN_CHECKPOINT_GGUF &&
        is_ternary(values, (size_t)param->rows * param->cols))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: %s holds ternary values, though as floats; they are no master weights to train from",
                         checkpoint->path, tensor->name);
    return TERN_OK;
}

static bool same_shape(const tern_dims *a, const tern_dims *b) {
    return a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size && a->ffn_size == b->ffn_size &&
           a->n_layers == b->n_layers && a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads &&
           a->head_dim == b->head_dim;
}

tern_status tern_params_check_layout(const tern_weights *weights, tern_error *err) {
    if (!weights->dims.no_sub_norms && weights->dims.activation == TERN_RELU2 && !weights->dims.rope_divisors)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s: is a model of the LLaMA layout (SiLU, no SubLN); tern trains BitNet b1.58 models only",
                     weights->checkpoint->path);
}

static tern_status check_model(const tern_weights *weights, const tern_params *params, tern_error *err) {
    const tern_dims *a = &weights->dims, *b = &params->dims;
    const char *path = weights->checkpoint->path;
    tern_status status = tern_params_check_layout(weights, err);
    if (status)
        return status;
    if (!same_shape(a, b))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: has vocabulary %" PRIu32 ", hidden size %" PRIu32 ", FFN %" PRIu32 ", %" PRIu32
                         " layers, %" PRIu32 "/%" PRIu32 " heads; the run wants %" PRIu32 ", %" PRIu32 ", %" PRIu32
                         ", %" PRIu32 ", %" PRIu32 "/%" PRIu32,
                         path, a->vocab_size, a->hidden_size, a->ffn_size, a->n_layers, a->n_heads, a->n_kv_heads,
                         b->vocab_size, b->hidden_size, b->ffn_size, b->n_layers, b->n_heads, b->n_kv_heads);
    if (a->rms_eps != b->rms_eps || a->rope_theta != b->rope_theta)
        return tern_fail(
            err, TERN_ERR_ARGUMENT,
            "%s: has RMS epsilon %g and RoPE theta %g; the run wants %g and %g: it would train another model", path,
            (double)a->rms_eps, (double)a->rope_theta, (double)b->rms_eps, (double)b->rope_theta);
    if (!weights->tied)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: has an LM head of its own; tern trains models whose head is the embedding", path);
    return TERN_OK;
}

static tern_status load_layer(const tern_weights *weights, uint32_t layer, tern_params *params, tern_error *err) {
    static const struct {
        int param;
        tern_norm norm;
    } norms[] = {{TERN_PARAM_ATTN_NORM, TERN_NORM_ATTN},
                 {TERN_PARAM_ATTN_SUB_NORM, TERN_NORM_ATTN_SUB},
                 {TERN_PARAM_FFN_NORM, TERN_NORM_FFN},
                 {TERN_PARAM_FFN_SUB_NORM, TERN_NORM_FFN_SUB}};
    const tern_checkpoint *checkpoint = weights->checkpoint;
    tern_status status = TERN_OK;
    for (int j = 0; !status && j < TERN_LINEARS_PER_LAYER; j++) /* TERN_PARAM_Q .. are in tern_layer's order */
        status = load_tensor(checkpoint, weights->layers[layer].linears[j].source, params,
                             tern_param_of(params, layer, j), err);
    for (size_t j = 0; !status && j < sizeof norms / sizeof *norms; j++) {
        const tern_param *param = tern_param_of(params, layer, norms[j].param);
        status = tern_norm_load(checkpoint, layer, norms[j].norm, param->cols, params->values + param->offset, err);
    }
    return status;
}

static tern_status load_all(const tern_weights *weights, tern_params *params, tern_error *err) {
    tern_status status = check_model(weights, params, err);
    for (uint32_t i = 0; !status && i < params->dims.n_layers; i++)
        status = load_layer(weights, i, params, err);
    if (!status)
        status = load_tensor(weights->checkpoint, weights->embedding, params, tern_param_embedding(params), err);
    const tern_param *norm = tern_param_output_norm(params);
    if (!status)
        status =
            tern_norm_load(weights->checkpoint, 0, TERN_NORM_OUTPUT, norm->cols, params->values + norm->offset, err);
    const tern_param *bad = status ? NULL : tern_params_find_bad(params, params->values);
    return bad ? tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite; the file is damaged",
                           weights->checkpoint->path, bad->name)
               : status;
}

tern_status tern_params_load(const tern_checkpoint *checkpoint, tern_params *params, tern_error *err) {
    tern_weights weights;
    tern_status status = tern_weights_bind(checkpoint, &weights, err);
    if (status)
        return status;
    status = load_all(&weights, params, err);
    tern_weights_free(&weights);
    return status;
}

/* ----------------------------------------------------------------- checks */

/* NaN and infinity are the values whose exponent is all ones; no branch, so that it runs at the speed of memory. */
static bool all_finite(const float *values, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (uint32_t)((tern_bits_from_f32(values[i]) & 0x7f800000) == 0x7f800000);
    return !bad;
}

const tern_param *tern_params_find_bad(const tern_params *params, const float *array) {
    for (size_t i = 0; i < params->n; i++)
        if (!tern_param_is_finite(&params->list[i], array))
            return &params->list[i];
    return NULL;
}

bool tern_param_is_finite(const tern_param *param, const float *array) {
    return all_finite(array + param->offset, (size_t)param->rows * param->cols);
}
