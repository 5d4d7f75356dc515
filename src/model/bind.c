/* Which tensors the model consists of, under both naming schemes, and what
 * shape each must have (numerics.md sections 5 and 6). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/layout.h"

/* Limits that no sane model reaches; they keep every later size computation far from overflow. */
enum { MAX_LAYERS = 4096, MAX_WIDTH = 1 << 20, MAX_VOCAB = 1 << 24, MAX_CTX = 1 << 24, MAX_HEADS = 1 << 14 };

typedef enum size_name { HIDDEN, QUERIES, KV, FFN } size_name;
enum { Q, K }; /* places in tern_layer.linears */

static const struct {
    const char *gguf, *hf;
    size_name rows, cols;
} linear_table[TERN_LINEARS_PER_LAYER] = {
    {"attn_q", "self_attn.q_proj", QUERIES, HIDDEN}, {"attn_k", "self_attn.k_proj", KV, HIDDEN},
    {"attn_v", "self_attn.v_proj", KV, HIDDEN},      {"attn_output", "self_attn.o_proj", HIDDEN, QUERIES},
    {"ffn_gate", "mlp.gate_proj", FFN, HIDDEN},      {"ffn_up", "mlp.up_proj", FFN, HIDDEN},
    {"ffn_down", "mlp.down_proj", HIDDEN, FFN},
};

static tern_status check_dims(const tern_checkpoint *checkpoint, tern_dims *dims, tern_error *err) {
    const tern_config *config = &checkpoint->config;
    const struct {
        const char *name;
        uint32_t value, limit;
    } sizes[] = {
        {"vocabulary size", config->vocab_size, MAX_VOCAB}, {"context length", config->n_ctx, MAX_CTX},
        {"hidden size", config->hidden_size, MAX_WIDTH},    {"FFN size", config->ffn_size, MAX_WIDTH},
        {"layer count", config->n_layers, MAX_LAYERS},      {"head count", config->n_heads, MAX_HEADS},
        {"KV head count", config->n_kv_heads, MAX_HEADS},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the %s is %s (%" PRIu32 "; 1 to %" PRIu32 " is possible)",
                             checkpoint->path, sizes[i].name, sizes[i].value ? "absurd" : "missing or zero",
                             sizes[i].value, sizes[i].limit);
    uint32_t head_dim = config->head_dim ? config->head_dim : config->hidden_size / config->n_heads;
    /* where the file states it, the heads need not make the hidden size: docs/PRUNE.md */
    if ((!config->head_dim && (uint64_t)head_dim * config->n_heads != config->hidden_size) || head_dim == 0 ||
        head_dim % 2 || (uint64_t)head_dim * config->n_heads > MAX_WIDTH)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: %" PRIu32 " heads of %" PRIu32 " do not make the hidden size %" PRIu32
                         " (heads must be even-sized)",
                         checkpoint->path, config->n_heads, head_dim, config->hidden_size);
    if (config->n_heads % config->n_kv_heads)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: %" PRIu32 " heads cannot share %" PRIu32 " KV heads evenly",
                         checkpoint->path, config->n_heads, config->n_kv_heads);
    if (!(config->rms_eps > 0 && config->rms_eps < 1))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: RMS norm epsilon is missing or impossible (%g)", checkpoint->path,
                         (double)config->rms_eps);
    if (!(config->rope_theta >= 1 && isfinite(config->rope_theta)))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: RoPE theta is missing or impossible (%g)", checkpoint->path,
                         (double)config->rope_theta);
    *dims = (tern_dims){.vocab_size = config->vocab_size,
                        .n_ctx = config->n_ctx,
                        .hidden_size = config->hidden_size,
                        .ffn_size = config->ffn_size,
                        .n_layers = config->n_layers,
                        .n_heads = config->n_heads,
                        .n_kv_heads = config->n_kv_heads,
                        .head_dim = head_dim,
                        .rms_eps = config->rms_eps,
                        .rope_theta = config->rope_theta,
                        .activation = config->activation,
                        .no_sub_norms = config->no_sub_norms};
    return TERN_OK;
}

static tern_status find(const tern_checkpoint *checkpoint, const char *name, uint64_t rows, uint64_t cols,
                        const tern_tensor **out, tern_error *err) {
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, name);
    if (!tensor)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s is missing", checkpoint->path, name);
    if (tensor->rows != rows || tensor->cols != cols || tensor->n_dims < 1 || tensor->n_dims > 2)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: tensor %s is [%" PRIu64 ", %" PRIu64 "], but the configuration wants [%" PRIu64
                         ", %" PRIu64 "]",
                         checkpoint->path, name, tensor->rows, tensor->cols, rows, cols);
    *out = tensor;
    return TERN_OK;
}

static tern_status wrong_type(const tern_checkpoint *checkpoint, const tern_tensor *tensor, const char *wanted,
                              tern_error *err) {
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: tensor %s has type %s; tern can use %s there", checkpoint->path,
                     tensor->name, tensor->type_name, wanted);
}

static const char *name_in_layer(const tern_checkpoint *checkpoint, char buffer[static 128], uint32_t layer,
                                 const char *gguf, const char *hf) {
    if (checkpoint->kind == TERN_CHECKPOINT_GGUF)
        snprintf(buffer, 128, "blk.%" PRIu32 ".%s.weight", layer, gguf);
    else
        snprintf(buffer, 128, "model.layers.%" PRIu32 ".%s.weight", layer, hf);
    return buffer;
}

static bool is_plain_float(tern_dtype type) {
    return type == TERN_TYPE_F32 || type == TERN_TYPE_F16 || type == TERN_TYPE_BF16;
}

const char *tern_linear_hf_name(int which) { return linear_table[which].hf; }

const char *tern_linear_gguf_name(char buffer[static 128], uint32_t layer, int which) {
    const tern_checkpoint gguf = {.kind = TERN_CHECKPOINT_GGUF};
    return name_in_layer(&gguf, buffer, layer, linear_table[which].gguf, NULL);
}

void tern_linear_shape(const tern_dims *dims, int which, uint32_t *rows, uint32_t *cols) {
    const uint32_t size[] = {
        [HIDDEN] = dims->hidden_size, [QUERIES] = tern_q_size(dims), [KV] = tern_kv_size(dims), [FFN] = dims->ffn_size};
    *rows = size[linear_table[which].rows];
    *cols = size[linear_table[which].cols];
}

static const struct {
    tern_dtype stored;
    tern_head_type head;
} head_types[] = {
    {TERN_TYPE_F32, TERN_HEAD_F32},   {TERN_TYPE_F16, TERN_HEAD_F16},   {TERN_TYPE_BF16, TERN_HEAD_BF16},
    {TERN_TYPE_Q8_0, TERN_HEAD_Q8_0}, {TERN_TYPE_Q4_0, TERN_HEAD_Q4_0}, {TERN_TYPE_Q6_K, TERN_HEAD_Q6_K},
};

static bool find_head_type(tern_dtype stored, tern_head_type *type) {
    for (size_t i = 0; i < sizeof head_types / sizeof *head_types; i++)
        if (head_types[i].stored == stored) {
            *type = head_types[i].head;
            return true;
        }
    return false;
}

/* A matrix of a model whose floats are kept: ternary, or multiplied as it is stored. */
static tern_status bind_kept(const tern_checkpoint *checkpoint, tern_linear *linear, tern_error *err) {
    const tern_codec *codec = tern_codec_of(linear->source->type);
    if (codec && codec->ternary)
        return TERN_OK;
    if (!find_head_type(linear->source->type, &linear->plain_type))
        return wrong_type(checkpoint, linear->source,
                          "F16, BF16, F32, Q8_0, Q6_K, Q4_0, TQ1_0, TQ2_0, I2_S and packed U8", err);
    linear->layout = TERN_LAYOUT_PLAIN;
    linear->n_units = linear->rows;
    linear->unit_bytes = (size_t)(linear->source->bytes / linear->rows);
    linear->scale = 1;
    return TERN_OK;
}

static tern_status bind_linear(const tern_checkpoint *checkpoint, const tern_dims *dims, uint32_t layer, int which,
                               tern_linear *linear, tern_error *err) {
    char name[128];
    name_in_layer(checkpoint, name, layer, linear_table[which].gguf, linear_table[which].hf);
    linear->index = layer * TERN_LINEARS_PER_LAYER + (uint32_t)which;
    tern_linear_shape(dims, which, &linear->rows, &linear->cols);
    if (checkpoint->layout_version)
        return tern_layout_bind(checkpoint, layer, which, linear, err);
    tern_status status = find(checkpoint, name, linear->rows, linear->cols, &linear->source, err);
    if (status)
        return status;
    if (checkpoint->config.interleaved_qk && (which == Q || which == K))
        linear->interleaved = dims->head_dim;
    if (checkpoint->config.keep_floats)
        return bind_kept(checkpoint, linear, err);
    const tern_codec *codec = tern_codec_of(linear->source->type);
    if (!codec || !(codec->ternary || is_plain_float(codec->type)))
        return wrong_type(checkpoint, linear->source, "I2_S, TQ1_0, TQ2_0, packed U8, F16, BF16 and F32", err);
    return TERN_OK;
}

static tern_status bind_embedding(const tern_checkpoint *checkpoint, const char *name, const tern_dims *dims,
                                  const tern_tensor **tensor, tern_head_type *type, tern_error *err) {
    tern_status status = find(checkpoint, name, dims->vocab_size, dims->hidden_size, tensor, err);
    if (status)
        return status;
    if (find_head_type((*tensor)->type, type))
        return TERN_OK;
    return wrong_type(checkpoint, *tensor, "F16, BF16, F32, Q8_0, Q6_K and Q4_0", err);
}

/* The head is tied to the embedding unless the file says otherwise: GGUF by an output.weight, Hugging Face by
 * tie_word_embeddings (a redundant lm_head.weight beside a true one is ignored). */
static tern_status bind_ends(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err) {
    bool gguf = checkpoint->kind == TERN_CHECKPOINT_GGUF;
    const char *head_name = gguf ? "output.weight" : "lm_head.weight";
    tern_status status = bind_embedding(checkpoint, gguf ? "token_embd.weight" : "model.embed_tokens.weight",
                                        &weights->dims, &weights->embedding, &weights->head_type, err);
    if (status)
        return status;
    int tied = checkpoint->config.tied_embedding;
    weights->tied = tied == 1 || (tied < 0 && !tern_checkpoint_find(checkpoint, head_name));
    weights->head = weights->embedding;
    if (!weights->tied)
        status = bind_embedding(checkpoint, head_name, &weights->dims, &weights->head, &weights->head_type, err);
    return status;
}

/* All matrices are ternary, or none is: those that share an input take it quantised, or as it is. */
static tern_status check_same_kind(const tern_checkpoint *checkpoint, tern_weights *weights, bool first,
                                   const tern_linear *linear, tern_error *err) {
    bool plain = linear->layout == TERN_LAYOUT_PLAIN;
    if (first)
        weights->plain = plain;
    if (plain == weights->plain)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s: tensor %s has type %s, others %s; models that are ternary in part are not supported",
                     checkpoint->path, linear->source->name, linear->source->type_name,
                     weights->layers[0].q.source->type_name);
}

tern_status tern_weights_bind(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err) {
    *weights = (tern_weights){.checkpoint = checkpoint};
    tern_status status = check_dims(checkpoint, &weights->dims, err);
    if (!status)
        status = bind_ends(checkpoint, weights, err);
    if (!status)
        status = tern_rope_bind(checkpoint, weights, err);
    if (status) {
        tern_weights_free(weights);
        return status;
    }
    const tern_dims *dims = &weights->dims;
    weights->layers = tern_calloc_array(dims->n_layers, sizeof *weights->layers);
    if (!weights->layers) {
        tern_weights_free(weights);
        return tern_fail_memory(err, "the list of layers");
    }
    uint64_t embedding = (uint64_t)dims->vocab_size * dims->hidden_size, n_weights = 0;
    weights->n_params = (weights->tied ? 1 : 2) * embedding + dims->hidden_size;
    for (uint32_t i = 0; !status && i < dims->n_layers; i++) {
        for (int j = 0; !status && j < TERN_LINEARS_PER_LAYER; j++) {
            tern_linear *linear = &weights->layers[i].linears[j];
            status = bind_linear(checkpoint, dims, i, j, linear, err);
            n_weights += (uint64_t)linear->rows * linear->cols;
            if (!status)
                status = check_same_kind(checkpoint, weights, i == 0 && j == 0, linear, err);
        }
        weights->n_params += 2 * (uint64_t)dims->hidden_size;
        if (!dims->no_sub_norms)
            weights->n_params += (uint64_t)tern_q_size(dims) + dims->ffn_size;
    }
    weights->n_ternary = weights->plain ? 0 : n_weights;
    weights->n_params += n_weights;
    if (!status && checkpoint->layout_version)
        status = tern_layout_scales(checkpoint, weights, err);
    if (status)
        tern_weights_free(weights);
    return status;
}

tern_status tern_weights_screen(const tern_checkpoint *checkpoint, const tern_screen_kernels *kernels, tern_pool *pool,
                                bool make, tern_weights *weights, tern_error *err) {
    bool found = false;
    if (!kernels || !tern_screen_pays(weights->head))
        return TERN_OK;
    tern_status status = tern_screen_from_file(checkpoint, weights->head, &weights->screen, &found, err);
    if (status || found || !make)
        return status;
    return tern_screen_build(checkpoint, weights->head, kernels, pool, &weights->screen, err);
}

void tern_weights_free(tern_weights *weights) {
    tern_screen_free(&weights->screen);
    free(weights->layers);
    free(weights->rope_divisors);
    tern_pages_free(&weights->pages);
    *weights = (tern_weights){0};
}

uint32_t tern_norm_size(const tern_dims *dims, tern_norm norm) {
    return norm == TERN_NORM_FFN_SUB    ? dims->ffn_size
           : norm == TERN_NORM_ATTN_SUB ? tern_q_size(dims)
                                        : dims->hidden_size;
}

const char *tern_norm_name(const tern_checkpoint *checkpoint, char buffer[static 128], uint32_t layer, tern_norm norm) {
    static const struct {
        const char *gguf, *hf;
    } names[] = {
        [TERN_NORM_ATTN] = {"attn_norm", "input_layernorm"},
        [TERN_NORM_ATTN_SUB] = {"attn_sub_norm", "self_attn.attn_sub_norm"},
        [TERN_NORM_FFN] = {"ffn_norm", "post_attention_layernorm"},
        [TERN_NORM_FFN_SUB] = {"ffn_sub_norm", "mlp.ffn_sub_norm"},
    };
    if (norm == TERN_NORM_OUTPUT)
        return checkpoint->kind == TERN_CHECKPOINT_GGUF ? "output_norm.weight" : "model.norm.weight";
    return name_in_layer(checkpoint, buffer, layer, names[norm].gguf, names[norm].hf);
}
