/* Any ternary model that tern loads -> a Hugging Face folder with packed matrices (docs/FORMAT.md). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/folder.h"
#include "base/half.h"
#include "base/mem.h"
#include "format/codecs.h"
#include "format/safetensors_write.h"
#include "model/card.h"
#include "model/convert_parts.h"
#include "model/vocab.h"

/* What may stand in such a folder; those from FIRST_COPIED on only if the source is a folder that has them. */
static const char *const file_names[] = {
    "config.json",
    "model.safetensors",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "added_tokens.json",
    "LICENSE",
    "special_tokens_map.json",
};
enum { N_FILES = sizeof file_names / sizeof *file_names, FIRST_COPIED = 5, MAX_BYTES = 256 << 20 };

typedef struct folder_job {
    const tern_folder_params *params;
    const tern_checkpoint *checkpoint;
    tern_weights *weights;
    const char *path;         /* of the new folder, under its temporary name */
    const tern_codec *floats; /* the type of all that is no matrix */
    tern_safetensors_writer *writer;
    uint64_t done_bytes, total_bytes;
} folder_job;

/* ------------------------------------------------------------------- types */

/* What is known of all values so far. */
typedef struct fit {
    bool exact, finite; /* each is a bf16; none becomes infinite as one */
} fit;

static void look(fit *seen, const float *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float rounded = tern_bf16_to_f32(tern_f32_to_bf16(values[i]));
        seen->exact &= rounded == values[i];
        seen->finite &= isfinite(rounded) != 0;
    }
}

/* The norm's values, for free(). */
static tern_status load_norm(const folder_job *job, uint32_t layer, tern_norm norm, float **values, uint32_t *n,
                             tern_error *err) {
    *n = tern_norm_size(&job->weights->dims, norm);
    *values = tern_alloc_array(*n, sizeof **values);
    if (!*values)
        return tern_fail_memory(err, "a norm");
    tern_status status = tern_norm_load(job->checkpoint, layer, norm, *n, *values, err);
    if (status) {
        free(*values);
        *values = NULL;
    }
    return status;
}

static tern_status check_norm(const folder_job *job, uint32_t layer, tern_norm norm, fit *seen, tern_error *err) {
    float *values;
    uint32_t n;
    tern_status status = load_norm(job, layer, norm, &values, &n, err);
    if (!status)
        look(seen, values, n);
    free(values);
    return status;
}

static const tern_norm layer_norms[] = {TERN_NORM_ATTN, TERN_NORM_ATTN_SUB, TERN_NORM_FFN, TERN_NORM_FFN_SUB};
enum { N_LAYER_NORMS = sizeof layer_norms / sizeof *layer_norms };

typedef struct layer_task {
    folder_job *job;
    tern_layer *layer;
    uint8_t **bytes; /* of the matrices; NULL: their scales only */
    tern_status status[TERN_LINEARS_PER_LAYER];
    tern_error errors[TERN_LINEARS_PER_LAYER];
} layer_task;

static void run_matrix(void *context, size_t which, int worker) {
    (void)worker;
    layer_task *task = context;
    tern_linear *linear = &task->layer->linears[which];
    const tern_checkpoint *checkpoint = task->job->checkpoint;
    tern_error *err = &task->errors[which];
    if (!task->bytes) {
        task->status[which] = tern_linear_find_scale(checkpoint, linear, err);
    } else {
        task->status[which] = linear->stored ? tern_check_linear(linear, err) : TERN_OK;
        if (!task->status[which])
            task->status[which] =
                tern_encode_linear(checkpoint, tern_codec_of(TERN_TYPE_HF_PACKED), linear, task->bytes[which], err);
    }
    tern_checkpoint_release(checkpoint, linear->source);
}

/* All matrices of a layer, on all threads. */
static tern_status run_layer(folder_job *job, uint32_t layer, uint8_t **bytes, tern_error *err) {
    layer_task task = {.job = job, .layer = &job->weights->layers[layer], .bytes = bytes};
    tern_pool_run(job->params->pool, TERN_LINEARS_PER_LAYER, run_matrix, &task);
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++)
        if (task.status[i]) {
            tern_fail(err, task.status[i], "%s", task.errors[i].message);
            tern_error_prefix(err, "%s", job->checkpoint->path);
            return task.status[i];
        }
    return TERN_OK;
}

/* Embedding or head; what is not finite is an error. */
static tern_status check_floats(const folder_job *job, const tern_tensor *tensor, fit *seen, tern_error *err) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    size_t n = (size_t)tensor->cols;
    float *values = tern_alloc_array(n, sizeof *values);
    tern_status status = values ? TERN_OK : tern_fail_memory(err, tensor->name);
    for (uint64_t row = 0; !status && row < tensor->rows; row++) {
        codec->decode_row(tensor, row, values);
        bool finite = true;
        for (size_t i = 0; i < n; i++)
            finite &= isfinite(values[i]);
        if (!finite)
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite, in row %" PRIu64,
                               job->checkpoint->path, tensor->name, row);
        look(seen, values, n);
        convert_release_read(job->checkpoint, tensor, row);
    }
    free(values);
    tern_checkpoint_release(job->checkpoint, tensor);
    return status;
}

/* Where it is not said: bf16, as in the published folders, if it holds every scale, norm and row of the embedding; else
 * F32 for all: readers take one type throughout. */
static tern_status choose_type(folder_job *job, tern_error *err) {
    tern_weights *weights = job->weights;
    fit seen = {true, true};
    tern_status status = check_norm(job, 0, TERN_NORM_OUTPUT, &seen, err);
    for (uint32_t i = 0; !status && i < weights->dims.n_layers; i++) {
        for (int j = 0; !status && j < N_LAYER_NORMS; j++)
            status = check_norm(job, i, layer_norms[j], &seen, err);
        if (!status)
            status = run_layer(job, i, NULL, err);
        for (int j = 0; !status && j < TERN_LINEARS_PER_LAYER; j++)
            look(&seen, &weights->layers[i].linears[j].scale, 1);
    }
    if (!status)
        status = check_floats(job, weights->embedding, &seen, err);
    if (!status && !weights->tied)
        status = check_floats(job, weights->head, &seen, err);
    if (status)
        return status;
    job->floats =
        job->params->floats ? job->params->floats : tern_codec_of(seen.exact ? TERN_TYPE_BF16 : TERN_TYPE_F32);
    if (job->floats->type == TERN_TYPE_BF16 && !seen.finite)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: holds a value that is too large for bf16; F32 takes it",
                         job->checkpoint->path);
    return TERN_OK;
}

/* ----------------------------------------------------------------- weights */

static void put(folder_job *job, const char *name, const char *type, uint64_t rows, uint64_t cols) {
    const uint64_t shape[] = {rows, cols};
    bool vector = rows == 0;
    uint64_t size = strcmp(type, "U8") == 0 ? 1 : strcmp(type, "F32") == 0 ? 4 : 2;
    tern_safetensors_put_tensor(job->writer, name, type, vector ? shape + 1 : shape, vector ? 1 : 2);
    job->total_bytes += (vector ? 1 : rows) * cols * size;
}

static void put_norm(folder_job *job, uint32_t layer, tern_norm norm) {
    const tern_checkpoint folder = {.kind = TERN_CHECKPOINT_HF};
    char name[128];
    put(job, tern_norm_name(&folder, name, layer, norm), job->floats->name, 0,
        tern_norm_size(&job->weights->dims, norm));
}

static tern_status put_tensors(folder_job *job, tern_error *err) {
    const tern_weights *weights = job->weights;
    char name[160];
    for (uint32_t i = 0; i < weights->dims.n_layers; i++) {
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            const tern_linear *linear = &weights->layers[i].linears[j];
            snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s.weight", i, tern_linear_hf_name(j));
            if (linear->rows % 4)
                return tern_fail(err, TERN_ERR_UNSUPPORTED,
                                 "%s: %s has %" PRIu32 " rows; the packed form takes four at a time (I2_S takes any)",
                                 job->checkpoint->path, name, linear->rows);
            put(job, name, "U8", linear->rows / 4, linear->cols);
            snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s.weight_scale", i, tern_linear_hf_name(j));
            put(job, name, job->floats->name, 0, 1);
        }
        for (int j = 0; j < N_LAYER_NORMS; j++)
            put_norm(job, i, layer_norms[j]);
    }
    put(job, "model.embed_tokens.weight", job->floats->name, weights->embedding->rows, weights->embedding->cols);
    put_norm(job, 0, TERN_NORM_OUTPUT);
    if (!weights->tied)
        put(job, "lm_head.weight", job->floats->name, weights->head->rows, weights->head->cols);
    return tern_safetensors_begin_data(job->writer, err);
}

static tern_status write_bytes(folder_job *job, const void *bytes, size_t n_bytes, tern_error *err) {
    const tern_folder_params *params = job->params;
    tern_status status = tern_safetensors_write_data(job->writer, bytes, n_bytes, err);
    job->done_bytes += n_bytes;
    if (!status && params->progress && !params->progress(params->progress_user, job->done_bytes, job->total_bytes))
        status = tern_fail(err, TERN_ERR_CANCELLED, "the conversion was cancelled");
    return status;
}

static tern_status write_values(folder_job *job, const float *values, size_t n, tern_error *err) {
    const tern_codec *codec = job->floats;
    uint8_t *bytes = tern_alloc_array(n, codec->block_bytes);
    if (!bytes)
        return tern_fail_memory(err, "a norm");
    codec->encode_row(values, n, bytes);
    tern_status status = write_bytes(job, bytes, n * codec->block_bytes, err);
    free(bytes);
    return status;
}

static tern_status write_norm(folder_job *job, uint32_t layer, tern_norm norm, tern_error *err) {
    float *values;
    uint32_t n;
    tern_status status = load_norm(job, layer, norm, &values, &n, err);
    if (!status)
        status = write_values(job, values, n, err);
    free(values);
    return status;
}

/* memory: room for all matrices of a layer. */
static tern_status write_layer(folder_job *job, uint32_t layer, uint8_t *memory, tern_error *err) {
    const tern_layer *weights = &job->weights->layers[layer];
    uint8_t *bytes[TERN_LINEARS_PER_LAYER];
    size_t sizes[TERN_LINEARS_PER_LAYER];
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++) {
        sizes[i] = (size_t)weights->linears[i].rows / 4 * weights->linears[i].cols;
        bytes[i] = memory;
        memory += sizes[i];
    }
    tern_status status = run_layer(job, layer, bytes, err);
    for (int i = 0; !status && i < TERN_LINEARS_PER_LAYER; i++) {
        status = write_bytes(job, bytes[i], sizes[i], err);
        if (!status)
            status = write_values(job, &weights->linears[i].scale, 1, err);
    }
    for (int i = 0; !status && i < N_LAYER_NORMS; i++)
        status = write_norm(job, layer, layer_norms[i], err);
    return status;
}

static tern_status write_floats(folder_job *job, const tern_tensor *tensor, tern_error *err) {
    const tern_codec *source = tern_codec_of(tensor->type), *codec = job->floats;
    size_t n = (size_t)tensor->cols;
    float *values = tern_alloc_array(n, sizeof *values);
    uint8_t *bytes = tern_alloc_array(n, codec->block_bytes);
    tern_status status = values && bytes ? TERN_OK : tern_fail_memory(err, tensor->name);
    for (uint64_t row = 0; !status && row < tensor->rows; row++) {
        source->decode_row(tensor, row, values);
        codec->encode_row(values, n, bytes);
        status = write_bytes(job, bytes, n * codec->block_bytes, err);
        convert_release_read(job->checkpoint, tensor, row);
    }
    tern_checkpoint_release(job->checkpoint, tensor);
    free(bytes);
    free(values);
    return status;
}

static tern_status write_tensors(folder_job *job, tern_error *err) {
    const tern_weights *weights = job->weights;
    size_t layer_bytes = 0;
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++)
        layer_bytes += (size_t)weights->layers[0].linears[i].rows / 4 * weights->layers[0].linears[i].cols;
    uint8_t *memory = tern_alloc_array(layer_bytes, 1);
    tern_status status = memory ? put_tensors(job, err) : tern_fail_memory(err, "packing a layer");
    for (uint32_t i = 0; !status && i < weights->dims.n_layers; i++)
        status = write_layer(job, i, memory, err);
    free(memory);
    if (!status)
        status = write_floats(job, weights->embedding, err);
    if (!status)
        status = write_norm(job, 0, TERN_NORM_OUTPUT, err);
    if (!status && !weights->tied)
        status = write_floats(job, weights->head, err);
    return status;
}

static tern_status write_weights(folder_job *job, tern_error *err) {
    char *path = tern_folder_path(job->path, "model.safetensors");
    tern_status status =
        path ? tern_safetensors_writer_create(path, &job->writer, err) : tern_fail_memory(err, "model.safetensors");
    free(path);
    if (!status)
        status = write_tensors(job, err);
    if (!status)
        return tern_safetensors_writer_finish(job->writer, err);
    tern_safetensors_writer_abort(job->writer);
    return status;
}

/* ------------------------------------------------------- the rest of a folder */

static tern_status make_tokenizer(const folder_job *job, const tern_tokenizer *tokenizer, tern_error *err) {
    tern_vocab_export vocab;
    char *text = NULL;
    size_t n_bytes = 0;
    tern_status status = tern_tokenizer_export(tokenizer, &vocab, err);
    if (status)
        return status;
    status = tern_vocab_export_json(&vocab, &text, &n_bytes, err);
    tern_vocab_export_free(&vocab);
    if (status)
        tern_error_prefix(err, "%s", job->checkpoint->path);
    else
        status = tern_folder_write(job->path, "tokenizer.json", text, n_bytes, err);
    free(text);
    return status;
}

/* A file of the old folder, if the model is one and has it. */
static tern_status copy(const folder_job *job, const char *name, bool *copied, tern_error *err) {
    *copied = false;
    if (job->checkpoint->kind != TERN_CHECKPOINT_HF)
        return TERN_OK;
    return tern_folder_copy(job->checkpoint->path, job->path, name, MAX_BYTES, copied, err);
}

static tern_status write_texts(const folder_job *job, const tern_tokenizer *tokenizer, const char *dtype,
                               tern_error *err) {
    tern_hf_card card = tern_card_of(&job->weights->dims, tokenizer);
    card.tied = job->weights->tied;
    card.weights = TERN_HF_PACKED;
    card.dtype = dtype;
    card.chat_template = tern_vocab_template(job->checkpoint);
    bool copied;
    tern_status status = job->checkpoint->kind == TERN_CHECKPOINT_HF
                             ? tern_hf_write_packed_config(job->checkpoint->path, job->path, dtype, err)
                             : tern_hf_write_config(job->path, &card, err);
    if (!status)
        status = copy(job, "generation_config.json", &copied, err);
    if (!status && !copied)
        status = tern_hf_write_generation_config(job->path, &card, err);
    if (!status)
        status = copy(job, "tokenizer_config.json", &copied, err);
    if (!status && !copied)
        status = tern_hf_write_tokenizer_config(job->path, &card, err);
    if (!status)
        status = copy(job, "tokenizer.json", &copied, err);
    if (!status && !copied)
        status = make_tokenizer(job, tokenizer, err);
    for (int i = FIRST_COPIED; !status && i < N_FILES; i++)
        status = copy(job, file_names[i], &copied, err);
    return status;
}

static tern_status write_folder(folder_job *job, tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    bool narrow = job->floats->type == TERN_TYPE_BF16;
    tern_status status = tern_vocab_from_checkpoint(job->checkpoint, &tokenizer, err);
    if (!status)
        status = write_texts(job, tokenizer, narrow ? "bfloat16" : "float32", err);
    tern_tokenizer_free(tokenizer);
    return status ? status : write_weights(job, err);
}

static tern_status check_model(const tern_checkpoint *checkpoint, const tern_weights *weights, tern_error *err) {
    if (weights->dims.no_sub_norms || weights->rope_divisors || weights->dims.activation != TERN_RELU2)
        return tern_fail(
            err, TERN_ERR_UNSUPPORTED,
            "%s: is of the LLaMA layout; folders can be made of BitNet models only. Take tern, I2_S, TQ1_0 "
            "or TQ2_0",
            checkpoint->path);
    return TERN_OK;
}

tern_status tern_convert_folder(const tern_checkpoint *checkpoint, tern_weights *weights, const char *out,
                                const tern_folder_params *params, tern_error *err) {
    tern_staging staging;
    folder_job job = {.params = params, .checkpoint = checkpoint, .weights = weights};
    tern_status status = check_model(checkpoint, weights, err);
    if (!status)
        status = choose_type(&job, err);
    if (!status)
        status = tern_staging_begin(out, file_names, N_FILES, &staging, err);
    if (status)
        return status;
    job.path = staging.temporary;
    status = write_folder(&job, err);
    if (!status)
        return tern_staging_commit(&staging, file_names, N_FILES, err);
    tern_staging_abort(&staging, file_names, N_FILES);
    return status;
}
