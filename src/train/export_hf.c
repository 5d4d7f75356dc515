/* A Hugging Face folder as the 2B4T repositories have it: bf16 masters, or packed (numerics: docs/FORMAT.md). */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/half.h"
#include "base/mem.h"
#include "format/codecs.h"
#include "format/safetensors_write.h"
#include "model/card.h"
#include "train/export_parts.h"

static const char *const file_names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json"};
enum { N_FILES = sizeof file_names / sizeof *file_names, MAX_TOKENIZER = 256 << 20 };

/* What the folder says of the model. */
static tern_hf_card make_card(const tern_export_job *job) {
    tern_hf_card card = tern_card_of(&job->params->dims, job->tokenizer);
    card.tied = true;
    card.weights = job->how->kind == TERN_EXPORT_HF_PACKED ? TERN_HF_PACKED
                   : job->how->mode != TERN_WEIGHTS_FLOAT  ? TERN_HF_MASTERS
                                                           : TERN_HF_FLOATS;
    card.dtype = "bfloat16";
    card.chat_template = job->chat_template;
    return card;
}

static tern_status copy_tokenizer(const tern_export_job *job, const char *folder, tern_error *err) {
    char *text;
    size_t n_bytes;
    tern_status status = tern_read_regular(job->how->tokenizer_json, MAX_TOKENIZER, &text, &n_bytes, err);
    if (status)
        return status;
    status = tern_folder_write(folder, "tokenizer.json", text, n_bytes, err);
    free(text);
    return status;
}

/* ----------------------------------------------------------------- weights */

static bool is_packed(const tern_export_job *job, const tern_param *param) {
    return param->ternary && job->how->kind == TERN_EXPORT_HF_PACKED;
}

static const char *scale_name(const tern_param *param, char name[static 128]) {
    snprintf(name, 128, "%s_scale", param->name);
    return name;
}

static tern_status put_tensors(const tern_export_job *job, tern_safetensors_writer *writer, tern_error *err) {
    static const uint64_t one = 1;
    char name[128];
    for (size_t i = 0; i < job->params->n; i++) {
        const tern_param *param = &job->params->list[i];
        bool packed = is_packed(job, param);
        if (packed && param->rows % 4)
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "%s has %u rows; the packed form takes four at a time: export the master, or a GGUF",
                             param->name, param->rows);
        const uint64_t shape[] = {packed ? param->rows / 4 : param->rows, param->cols};
        bool vector = param->rows == 1;
        tern_safetensors_put_tensor(writer, param->name, packed ? "U8" : "BF16", vector ? shape + 1 : shape,
                                    vector ? 1 : 2);
        if (packed)
            tern_safetensors_put_tensor(writer, scale_name(param, name), "BF16", &one, 1);
    }
    return tern_safetensors_begin_data(writer, err);
}

static tern_status write_packed(tern_export_job *job, const tern_param *param, uint8_t *bytes,
                                tern_safetensors_writer *writer, tern_error *err) {
    float scale;
    tern_status status = tern_export_quantize(job, param, &scale, err);
    if (status)
        return status;
    uint16_t stored = tern_f32_to_bf16(scale);
    tern_hf_packed_encode(job->trits, param->rows, param->cols, bytes);
    status = tern_safetensors_write_data(writer, bytes, (size_t)param->rows / 4 * param->cols, err);
    return status ? status : tern_safetensors_write_data(writer, &stored, sizeof stored, err);
}

/* Masters as they are; binary ones as what they stand for, since a reader would make ternary values of the masters. */
static tern_status write_values(tern_export_job *job, const tern_param *param, uint8_t *bytes,
                                tern_safetensors_writer *writer, tern_error *err) {
    const float *values = job->params->values + param->offset;
    size_t n = (size_t)param->rows * param->cols;
    bool binary = param->ternary && job->how->mode == TERN_WEIGHTS_BINARY;
    float scale = 1;
    tern_status status = binary ? tern_export_quantize(job, param, &scale, err) : TERN_OK;
    for (size_t i = 0; !status && i < n; i++)
        tern_store_u16(bytes + 2 * i, tern_f32_to_bf16(binary ? (float)job->trits[i] * scale : values[i]));
    return status ? status : tern_safetensors_write_data(writer, bytes, 2 * n, err);
}

static tern_status write_tensors(tern_export_job *job, tern_safetensors_writer *writer, tern_error *err) {
    size_t most = 0;
    for (size_t i = 0; i < job->params->n; i++) {
        size_t n = (size_t)job->params->list[i].rows * job->params->list[i].cols;
        most = n > most ? n : most;
    }
    uint8_t *bytes = tern_alloc_array(most, 2);
    tern_status status = bytes ? put_tensors(job, writer, err) : tern_fail_memory(err, "a tensor");
    for (size_t i = 0; !status && i < job->params->n; i++) {
        const tern_param *param = &job->params->list[i];
        status = (is_packed(job, param) ? write_packed : write_values)(job, param, bytes, writer, err);
    }
    free(bytes);
    return status;
}

static tern_status write_weights(tern_export_job *job, const char *folder, tern_error *err) {
    tern_safetensors_writer *writer = NULL;
    char *path = tern_folder_path(folder, "model.safetensors");
    tern_status status =
        path ? tern_safetensors_writer_create(path, &writer, err) : tern_fail_memory(err, "model.safetensors");
    free(path);
    if (!status)
        status = write_tensors(job, writer, err);
    if (!status)
        return tern_safetensors_writer_finish(writer, err);
    tern_safetensors_writer_abort(writer);
    return status;
}

tern_status tern_export_hf_check(const char *path, tern_error *err) {
    return tern_staging_check(path, file_names, N_FILES, err);
}

tern_status tern_export_hf(tern_export_job *job, const char *path, tern_error *err) {
    tern_staging staging;
    tern_status status = tern_staging_begin(path, file_names, N_FILES, &staging, err);
    if (status)
        return status;
    const char *folder = staging.temporary;
    const tern_hf_card card = make_card(job);
    status = tern_hf_write_config(folder, &card, err);
    if (!status)
        status = tern_hf_write_generation_config(folder, &card, err);
    if (!status)
        status = tern_hf_write_tokenizer_config(folder, &card, err);
    if (!status)
        status = copy_tokenizer(job, folder, err);
    if (!status)
        status = write_weights(job, folder, err);
    if (!status)
        return tern_staging_commit(&staging, file_names, N_FILES, err);
    tern_staging_abort(&staging, file_names, N_FILES);
    return status;
}
