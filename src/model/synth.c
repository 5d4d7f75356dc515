/* A random model of any shape as a GGUF file, for speed work and tests. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "model/keys.h"
#include "model/synth_parts.h"

/* ------------------------------------------------------------------ shapes */

#define DEFAULTS .rms_eps = 1e-5f, .weight_type = "I2_S", .embedding_type = "F16"

/* 2b4t is BitNet b1.58 2B4T (numerics.md section 1). 0.7b is the smallest model of the b1.58 paper (Ma et al. 2024);
 * the others are the Llama shapes of that size (Llama 3.2 3B, Llama 3 8B and 70B, Llama 2 13B), for the growth of the
 * cost. */
static const struct {
    const char *name;
    tern_synth_params params;
} shapes[] = {
    {"tiny", {1024, 512, 256, 768, 4, 4, 2, 500000.0f, .tied_embedding = true, DEFAULTS}},
    {"0.7b", {32256, 2048, 1536, 4096, 24, 12, 12, 10000.0f, .tied_embedding = true, DEFAULTS}},
    {"2b4t", {128256, 4096, 2560, 6912, 30, 20, 5, 500000.0f, .tied_embedding = true, DEFAULTS}},
    {"2b", {128256, 4096, 2560, 6912, 30, 20, 5, 500000.0f, .tied_embedding = true, DEFAULTS}},
    {"3b", {128256, 4096, 3072, 8192, 28, 24, 8, 500000.0f, .tied_embedding = true, DEFAULTS}},
    {"8b", {128256, 8192, 4096, 14336, 32, 32, 8, 500000.0f, .tied_embedding = false, DEFAULTS}},
    {"13b", {32256, 4096, 5120, 13824, 40, 40, 40, 10000.0f, .tied_embedding = false, DEFAULTS}},
    {"70b", {128256, 8192, 8192, 28672, 80, 64, 8, 500000.0f, .tied_embedding = false, DEFAULTS}},
};

tern_status tern_synth_shape(const char *name, tern_synth_params *params, tern_error *err) {
    char list[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (name && strcmp(shapes[i].name, name) == 0) {
            *params = shapes[i].params;
            return TERN_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", shapes[i].name);
    }
    return tern_fail(err, TERN_ERR_ARGUMENT, "no shape is called '%s'; there are %s", name ? name : "", list);
}

/* ------------------------------------------------------------------ checks */

static tern_status check_sizes(const tern_synth_params *p, tern_error *err) {
    const struct {
        const char *name;
        uint32_t value, least, most;
    } sizes[] = {
        {"vocabulary", p->vocab_size, 268, 1 << 24},
        {"context", p->n_ctx, 1, 1 << 24},
        {"hidden size", p->hidden_size, 32, 1 << 18},
        {"FFN size", p->ffn_size, 32, 1 << 18},
        {"layers", p->n_layers, 1, 4096},
        {"heads", p->n_heads, 1, 1 << 14},
        {"KV heads", p->n_kv_heads, 1, 1 << 14},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < sizes[i].least || sizes[i].value > sizes[i].most)
            return tern_fail(err, TERN_ERR_ARGUMENT, "%s %" PRIu32 ": must be %" PRIu32 " to %" PRIu32, sizes[i].name,
                             sizes[i].value, sizes[i].least, sizes[i].most);
    if (p->hidden_size % p->n_heads || p->hidden_size / p->n_heads % 2)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%" PRIu32 " heads do not divide the hidden size %" PRIu32 " into even parts", p->n_heads,
                         p->hidden_size);
    if (p->n_heads % p->n_kv_heads)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%" PRIu32 " heads cannot share %" PRIu32 " KV heads evenly",
                         p->n_heads, p->n_kv_heads);
    if (!(p->rms_eps > 0 && p->rms_eps < 1) || !(p->rope_theta >= 1 && isfinite(p->rope_theta)))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "RMS norm epsilon %g must be above 0 and below 1, RoPE theta %g at least 1",
                         (double)p->rms_eps, (double)p->rope_theta);
    if (p->llama && p->ffn_sparsity != 0)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "FFN sparsity is of squared ReLU; LLaMA's layout has SiLU, which makes no zeros");
    if (p->ffn_sparsity != 0 && !(p->ffn_sparsity >= 0.4f && p->ffn_sparsity <= 0.95f))
        return tern_fail(err, TERN_ERR_ARGUMENT, "FFN sparsity %g: must be 0.4 to 0.95, or 0 to leave it as it falls",
                         (double)p->ffn_sparsity);
    return TERN_OK;
}

/* -------------------------------------------------------------------- plan */

typedef struct tensor_list {
    tern_synth_tensor *tensors;
    size_t n, capacity;
    bool binary; /* the matrices */
    tern_status status;
    tern_error *err;
} tensor_list;

static void add(tensor_list *list, const tern_codec *codec, uint64_t rows, uint64_t cols, tern_synth_fill fill,
                double scale, double lean, const char *name) {
    if (list->status)
        return;
    tern_synth_tensor tensor = {.codec = codec,
                                .rows = rows,
                                .cols = cols,
                                .fill = fill,
                                .scale = (float)scale,
                                .binary = list->binary,
                                .lean = lean,
                                .stream = list->n};
    snprintf(tensor.name, sizeof tensor.name, "%s.weight", name);
    /* A ternary row that is no multiple of 128 could be written, but other programs' kernels give noise on it. */
    bool fits = !codec->ternary || cols % 128 == 0;
    if (!fits || !tern_codec_bytes(codec, rows, cols, &tensor.bytes))
        list->status = tern_fail(
            list->err, TERN_ERR_ARGUMENT, "%s: rows of %" PRIu64 " cannot be stored as %s; take a multiple of %" PRIu32,
            tensor.name, cols, codec->name, codec->ternary && codec->block_values < 128 ? 128 : codec->block_values);
    else if (!tern_grow_array((void **)&list->tensors, &list->capacity, list->n + 1, sizeof tensor))
        list->status = tern_fail_memory(list->err, "the list of tensors");
    else
        list->tensors[list->n++] = tensor;
}

static double scale_for(const tern_synth_params *p, double gain, double in) {
    return gain / sqrt(in * (p->binary ? 256 : 2 * TERN_SYNTH_SIGN_CHANCES) / 256);
}

/* One block, in the order of the official file. */
static void add_layer(tensor_list *list, const tern_synth_params *p, const tern_synth_design *design, uint32_t layer,
                      const tern_codec *weights, const tern_codec *f32) {
    uint64_t hidden = p->hidden_size, ffn = p->ffn_size, kv = hidden / p->n_heads * p->n_kv_heads;
    double in = scale_for(p, 1, (double)hidden), qk = scale_for(p, sqrt(2.5), (double)hidden); /* scores: sigma 2.5 */
    double o = scale_for(p, design->block_gain, (double)hidden), down = scale_for(p, design->block_gain, (double)ffn);
    const struct {
        const char *name;
        const tern_codec *codec;
        uint64_t rows, cols;
        tern_synth_fill fill;
        double scale, lean;
    } rows[] = {
        {"attn_norm", f32, 1, hidden, TERN_SYNTH_GAINS, 1, 0},
        {"ffn_gate", weights, ffn, hidden, TERN_SYNTH_TRITS, in, tern_synth_gate_lean(p, design, layer)},
        {"ffn_up", weights, ffn, hidden, TERN_SYNTH_TRITS, in, 0},
        {"ffn_down", weights, hidden, ffn, TERN_SYNTH_TRITS, down, 0},
        {"ffn_sub_norm", f32, 1, ffn, TERN_SYNTH_SPREAD, design->gain_spread, 0},
        {"attn_q", weights, hidden, hidden, TERN_SYNTH_TRITS, qk, 0},
        {"attn_k", weights, kv, hidden, TERN_SYNTH_TRITS, qk, 0},
        {"attn_v", weights, kv, hidden, TERN_SYNTH_TRITS, in, 0},
        {"attn_output", weights, hidden, hidden, TERN_SYNTH_TRITS, o, 0},
        {"ffn_norm", f32, 1, hidden, TERN_SYNTH_GAINS, 1, 0},
        {"attn_sub_norm", f32, 1, hidden, TERN_SYNTH_GAINS, 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[40];
        if (p->llama && strstr(rows[i].name, "sub_norm"))
            continue;
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer, rows[i].name);
        add(list, rows[i].codec, rows[i].rows, rows[i].cols, rows[i].fill, rows[i].scale, rows[i].lean, name);
    }
}

tern_status tern_synth_plan(const tern_synth_params *p, const tern_synth_design *design, tern_synth_tensor **tensors,
                            size_t *n_tensors, tern_error *err) {
    const tern_codec *weights = tern_keys_weight_type(p->weight_type);
    const tern_codec *embedding = tern_keys_embedding_type(p->embedding_type), *f32 = tern_codec_named("F32");
    if (!weights)
        return tern_fail(err, TERN_ERR_ARGUMENT, "weight type '%s' is not one of %s",
                         p->weight_type ? p->weight_type : "", tern_keys_weight_types);
    if (!embedding)
        return tern_fail(err, TERN_ERR_ARGUMENT, "embedding type '%s' is not one of %s",
                         p->embedding_type ? p->embedding_type : "", tern_keys_embedding_types);
    tensor_list list = {.binary = p->binary, .err = err};
    add(&list, embedding, p->vocab_size, p->hidden_size, TERN_SYNTH_EMBEDDING, 1, 0, "token_embd");
    for (uint32_t layer = 0; layer < p->n_layers; layer++)
        add_layer(&list, p, design, layer, weights, f32);
    /* logits of standard deviation 3: head rows have unit variance per channel */
    add(&list, f32, 1, p->hidden_size, TERN_SYNTH_GAINS, 3 / sqrt(p->hidden_size), 0, "output_norm");
    if (!p->tied_embedding)
        add(&list, embedding, p->vocab_size, p->hidden_size, TERN_SYNTH_HEAD, 1, 0, "output");
    if (list.status) {
        free(list.tensors);
        return list.status;
    }
    *tensors = list.tensors;
    *n_tensors = list.n;
    return TERN_OK;
}

/* ------------------------------------------------------------------- write */

/* The key set and order of the official file; `llama` files have the same ones under their own prefix. */
static tern_status put_keys(const tern_synth_params *p, tern_gguf_writer *writer, tern_error *err) {
    const char *arch = p->llama ? "llama" : "bitnet-b1.58";
    const struct {
        const char *end;
        uint32_t value;
    } sizes[] = {
        {"vocab_size", p->vocab_size},        {"context_length", p->n_ctx},
        {"embedding_length", p->hidden_size}, {"block_count", p->n_layers},
        {"feed_forward_length", p->ffn_size}, {"rope.dimension_count", p->hidden_size / p->n_heads},
        {"attention.head_count", p->n_heads}, {"attention.head_count_kv", p->n_kv_heads},
    };
    char name[64], key[64];
    snprintf(name, sizeof name, "synth-%" PRIu32 "x%" PRIu32 "-seed%" PRIu64, p->hidden_size, p->n_layers, p->seed);
    tern_gguf_put_string(writer, "general.architecture", arch);
    tern_gguf_put_string(writer, "general.name", name);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, sizes[i].end);
        tern_gguf_put_u32(writer, key, sizes[i].value);
    }
    tern_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", true);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    tern_gguf_put_f32(writer, key, p->rms_eps);
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    tern_gguf_put_f32(writer, key, p->rope_theta);
    tern_keys_put_file_type(writer, tern_keys_weight_type(p->weight_type));
    tern_status status = tern_synth_put_vocab(p, writer, err);
    tern_gguf_put_u32(writer, "general.quantization_version", 2);
    return status;
}

static tern_status write_model(const tern_synth_params *p, const tern_synth_tensor *tensors, size_t n_tensors,
                               tern_pool *pool, tern_gguf_writer *writer, tern_error *err) {
    tern_synth_progress progress = {.fn = p->progress, .user = p->progress_user};
    tern_status status = put_keys(p, writer, err);
    for (size_t i = 0; i < n_tensors; i++) {
        const tern_synth_tensor *tensor = &tensors[i];
        bool vector = tensor->fill == TERN_SYNTH_GAINS || tensor->fill == TERN_SYNTH_SPREAD;
        tern_gguf_put_tensor(writer, tensor->name, tensor->codec->gguf_type, tensor->rows, tensor->cols, vector,
                             tensor->bytes);
        progress.total += tensor->bytes;
    }
    if (!status)
        status = tern_gguf_begin_data(writer, err);
    for (size_t i = 0; !status && i < n_tensors; i++)
        status = tern_synth_write_tensor(&tensors[i], p->seed, pool, writer, &progress, err);
    return status;
}

tern_status tern_synth(const char *path, const tern_synth_params *params, tern_error *err) {
    tern_synth_design design;
    tern_synth_tensor *tensors = NULL;
    size_t n_tensors = 0;
    tern_pool *pool = NULL;
    tern_gguf_writer *writer = NULL;
    if (!path || !params)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_synth needs a path and parameters");
    tern_status status = check_sizes(params, err);
    if (!status)
        status = tern_synth_solve(params, &design, err);
    if (!status)
        status = tern_synth_plan(params, &design, &tensors, &n_tensors, err);
    if (!status)
        status = tern_pool_create(tern_cpu_count(), &pool, err);
    if (!status)
        status = tern_gguf_writer_create(path, &writer, err);
    if (!status)
        status = write_model(params, tensors, n_tensors, pool, writer, err);
    if (status)
        tern_gguf_writer_abort(writer);
    else
        status = tern_gguf_writer_finish(writer, err);
    tern_pool_free(pool);
    free(tensors);
    return status;
}
