/* One GGUF file, with the key set and order of the official one (docs/FORMAT.md). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "format/gguf_write.h"
#include "model/keys.h"
#include "train/export_parts.h"

/* A GGUF being written. */
typedef struct gguf {
    tern_export_job *job;
    tern_gguf_writer *writer;
    const tern_codec *weights, *embedding;
    uint8_t *bytes; /* one tensor as it is stored, or a strip of rows of one */
    size_t n_bytes;
    float *row; /* [the widest] */
} gguf;

static tern_status find_types(gguf *g, tern_error *err) {
    const tern_export_params *how = g->job->how;
    bool is_float = how->mode == TERN_WEIGHTS_FLOAT;
    const char *weights = how->weight_type ? how->weight_type : is_float ? "F16" : "I2_S";
    const char *embedding = how->embedding_type ? how->embedding_type : "F16";
    g->weights = tern_keys_weight_type(weights);
    if (!g->weights || (is_float && g->weights->ternary))
        return tern_fail(err, TERN_ERR_ARGUMENT, "weight type '%s' is not one of %s", weights,
                         is_float ? "F16, BF16, F32" : tern_keys_weight_types);
    g->embedding = tern_keys_embedding_type(embedding);
    if (!g->embedding)
        return tern_fail(err, TERN_ERR_ARGUMENT, "embedding type '%s' is not one of %s", embedding,
                         tern_keys_embedding_types);
    return TERN_OK;
}

static const tern_codec *codec_of(const gguf *g, const tern_param *param) {
    return param->ternary ? g->weights : param->rows > 1 ? g->embedding : tern_codec_named("F32");
}

/* The name in a GGUF; the list is the layers' tensors in order, then embedding and last norm. */
static const char *name_of(const gguf *g, size_t index, char name[static 128]) {
    static const char *const names[TERN_PARAMS_PER_LAYER] = {
        [TERN_PARAM_Q] = "attn_q",
        [TERN_PARAM_K] = "attn_k",
        [TERN_PARAM_V] = "attn_v",
        [TERN_PARAM_O] = "attn_output",
        [TERN_PARAM_GATE] = "ffn_gate",
        [TERN_PARAM_UP] = "ffn_up",
        [TERN_PARAM_DOWN] = "ffn_down",
        [TERN_PARAM_ATTN_NORM] = "attn_norm",
        [TERN_PARAM_ATTN_SUB_NORM] = "attn_sub_norm",
        [TERN_PARAM_FFN_NORM] = "ffn_norm",
        [TERN_PARAM_FFN_SUB_NORM] = "ffn_sub_norm",
    };
    size_t n = g->job->params->n;
    if (index >= n - 2)
        return index == n - 2 ? "token_embd.weight" : "output_norm.weight";
    snprintf(name, 128, "blk.%zu.%s.weight", index / TERN_PARAMS_PER_LAYER, names[index % TERN_PARAMS_PER_LAYER]);
    return name;
}

static tern_status put_tensors(gguf *g, tern_error *err) {
    const tern_params *params = g->job->params;
    char name[128];
    for (size_t i = 0; i < params->n; i++) {
        const tern_param *param = &params->list[i];
        const tern_codec *codec = codec_of(g, param);
        uint64_t bytes;
        uint32_t row = tern_keys_row_multiple(codec);
        if (param->cols % row || !tern_codec_bytes(codec, param->rows, param->cols, &bytes) || bytes > SIZE_MAX)
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "%s has rows of %" PRIu32 " values; type %s needs a multiple of %" PRIu32
                             " (F16 takes any)",
                             param->name, param->cols, codec->name, row);
        tern_gguf_put_tensor(g->writer, name_of(g, i, name), codec->gguf_type, param->rows, param->cols,
                             param->rows == 1, bytes);
        g->n_bytes = bytes > g->n_bytes ? (size_t)bytes : g->n_bytes;
    }
    return TERN_OK;
}

/* Float rows: the values, or those that the network multiplies with. */
static tern_status write_rows(gguf *g, const tern_param *param, const tern_codec *codec, tern_error *err) {
    const float *values = g->job->params->values + param->offset;
    bool quantised = param->ternary && g->job->how->mode != TERN_WEIGHTS_FLOAT;
    float scale = 1;
    size_t row_bytes = param->cols / codec->block_values * codec->block_bytes;
    tern_status status = quantised ? tern_export_quantize(g->job, param, &scale, err) : TERN_OK;
    for (uint32_t row = 0; !status && row < param->rows; row++) {
        const int8_t *trits = g->job->trits + (size_t)row * param->cols;
        for (uint32_t i = 0; quantised && i < param->cols; i++)
            g->row[i] = (float)trits[i] * scale;
        codec->encode_row(quantised ? g->row : values + (size_t)row * param->cols, param->cols, g->bytes);
        status = tern_gguf_write_data(g->writer, g->bytes, row_bytes, err);
    }
    return status;
}

static tern_status write_trits(gguf *g, const tern_param *param, const tern_codec *codec, tern_error *err) {
    float scale;
    uint64_t bytes;
    tern_status status = tern_export_quantize(g->job, param, &scale, err);
    if (status)
        return status;
    tern_codec_bytes(codec, param->rows, param->cols, &bytes);
    codec->encode_trits(g->job->trits, param->rows, param->cols, scale, g->bytes);
    return tern_gguf_write_data(g->writer, g->bytes, (size_t)bytes, err);
}

static tern_status write_all(gguf *g, tern_error *err) {
    const tern_params *params = g->job->params;
    tern_keys_put_model(g->writer, g->job->how->name ? g->job->how->name : "tern", &params->dims);
    tern_keys_put_file_type(g->writer, g->weights);
    tern_status status =
        tern_keys_put_vocab(g->writer, g->job->tokenizer, params->dims.vocab_size, g->job->chat_template, err);
    tern_gguf_put_u32(g->writer, "general.quantization_version", 2);
    if (!status)
        status = put_tensors(g, err);
    if (!status)
        status = tern_gguf_begin_data(g->writer, err);
    if (!status && !(g->bytes = malloc(g->n_bytes)))
        status = tern_fail_memory(err, "a tensor");
    if (!status && !(g->row = tern_alloc_array(tern_widest(&params->dims), sizeof *g->row)))
        status = tern_fail_memory(err, "a row");
    for (size_t i = 0; !status && i < params->n; i++) {
        const tern_codec *codec = codec_of(g, &params->list[i]);
        status = (codec->ternary ? write_trits : write_rows)(g, &params->list[i], codec, err);
    }
    return status;
}

tern_status tern_export_gguf(tern_export_job *job, const char *path, tern_error *err) {
    gguf g = {.job = job};
    tern_status status = find_types(&g, err);
    if (!status)
        status = tern_gguf_writer_create(path, &g.writer, err);
    if (!status)
        status = write_all(&g, err);
    free(g.bytes);
    free(g.row);
    if (!status)
        return tern_gguf_writer_finish(g.writer, err);
    tern_gguf_writer_abort(g.writer);
    return status;
}
