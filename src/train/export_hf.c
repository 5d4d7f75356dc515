/* A Hugging Face folder as the 2B4T repositories have it: bf16 masters, or packed (numerics: docs/FORMAT.md). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/mem.h"
#include "format/codecs.h"
#include "format/safetensors_write.h"
#include "train/export_parts.h"

static const char *const file_names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json"};
enum { N_FILES = sizeof file_names / sizeof *file_names, MAX_TOKENIZER = 256 << 20 };

/* path/name, for free(). */
static char *join(const char *folder, const char *name) {
    tern_buffer path = {0};
    tern_buffer_printf(&path, "%s/%s", folder, name);
    return tern_buffer_take(&path, NULL);
}

static tern_status write_text(const char *folder, const char *name, const char *text, size_t n_bytes, tern_error *err) {
    tern_writer writer;
    char *path = join(folder, name);
    tern_status status = path ? tern_writer_open(path, &writer, err) : tern_fail_memory(err, name);
    free(path);
    if (status)
        return status;
    fwrite(text, 1, n_bytes, writer.file);
    return tern_writer_commit(&writer, err); /* sees every error */
}

/* Takes over `json`; NULL: it could not be made. */
static tern_status write_json(const char *folder, const char *name, json_t *json, tern_error *err) {
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    tern_status status = text ? write_text(folder, name, text, strlen(text), err) : tern_fail_memory(err, name);
    free(text);
    json_decref(json);
    return status;
}

/* ----------------------------------------------------------- configuration */

/* 1e-05 and not 9.99999975e-06: the shortest decimal that gives the same float. */
static double shortest(float value) {
    char text[32];
    int digits = 5;
    do
        snprintf(text, sizeof text, "%.*g", ++digits, (double)value);
    while (strtof(text, NULL) != value && digits < 9);
    return strtod(text, NULL);
}

static json_t *id_or_null(int32_t id) { return id >= 0 ? json_integer(id) : json_null(); }

static json_t *make_config(const tern_export_job *job) {
    const tern_dims *d = &job->params->dims;
    json_t *json = json_pack("{s:[s], s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:f, s:s, s:f, s:I, s:I, s:I, s:I, s:f}",
                             "architectures", "BitNetForCausalLM", /* */
                             "bos_token_id", id_or_null(tern_tokenizer_bos(job->tokenizer)), "eos_token_id",
                             id_or_null(tern_tokenizer_eos(job->tokenizer)), "hidden_act", "relu2", "hidden_size",
                             (json_int_t)d->hidden_size, "intermediate_size", (json_int_t)d->ffn_size,
                             "max_position_embeddings", (json_int_t)d->n_ctx, "vocab_size", (json_int_t)d->vocab_size,
                             "initializer_range", 0.02, "model_type", "bitnet", "rms_norm_eps", shortest(d->rms_eps),
                             "num_attention_heads", (json_int_t)d->n_heads, "num_hidden_layers",
                             (json_int_t)d->n_layers, "num_key_value_heads", (json_int_t)d->n_kv_heads, "head_dim",
                             (json_int_t)d->head_dim, "rope_theta", shortest(d->rope_theta));
    if (!json)
        return NULL;
    json_object_set_new(json, "tie_word_embeddings", json_true());
    json_object_set_new(json, "torch_dtype", json_string("bfloat16"));
    json_object_set_new(json, "use_cache", json_true());
    if (job->how->mode != TERN_WEIGHTS_FLOAT)
        json_object_set_new(json, "quantization_config",
                            json_pack("{s:s, s:s, s:s}", "quant_method", "bitnet", "linear_class", "autobitlinear",
                                      "quantization_mode",
                                      job->how->kind == TERN_EXPORT_HF_PACKED ? "offline" : "online"));
    return json;
}

static json_t *make_generation_config(const tern_export_job *job) {
    json_t *ends = json_array();
    int32_t eos = tern_tokenizer_eos(job->tokenizer), eot = tern_tokenizer_find_special(job->tokenizer, "<|eot_id|>");
    if (eos >= 0)
        json_array_append_new(ends, json_integer(eos));
    if (eot >= 0 && eot != eos)
        json_array_append_new(ends, json_integer(eot));
    return json_pack("{s:o, s:o, s:b, s:I}", "bos_token_id", id_or_null(tern_tokenizer_bos(job->tokenizer)),
                     "eos_token_id", ends, "do_sample", 1, "max_length", (json_int_t)job->params->dims.n_ctx);
}

static json_t *token_text(const tern_export_job *job, int32_t id) {
    size_t n;
    const char *text = id >= 0 ? tern_tokenizer_token(job->tokenizer, id, &n) : NULL;
    return text ? json_stringn(text, n) : json_null();
}

static json_t *make_tokenizer_config(const tern_export_job *job) {
    int32_t bos = tern_tokenizer_bos(job->tokenizer), eos = tern_tokenizer_eos(job->tokenizer);
    return json_pack("{s:o, s:o, s:o, s:s, s:b, s:I, s:[s, s], s:s}", "bos_token", token_text(job, bos), "eos_token",
                     token_text(job, eos), "pad_token", token_text(job, eos), "chat_template", job->chat_template,
                     "clean_up_tokenization_spaces", 0, "model_max_length", (json_int_t)job->params->dims.n_ctx,
                     "model_input_names", "input_ids", "attention_mask", "tokenizer_class", "PreTrainedTokenizerFast");
}

static tern_status copy_tokenizer(const tern_export_job *job, const char *folder, tern_error *err) {
    char *text;
    size_t n_bytes;
    tern_status status = tern_read_regular(job->how->tokenizer_json, MAX_TOKENIZER, &text, &n_bytes, err);
    if (status)
        return status;
    status = write_text(folder, "tokenizer.json", text, n_bytes, err);
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
    char *path = join(folder, "model.safetensors");
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

tern_status tern_export_hf(tern_export_job *job, const char *path, tern_error *err) {
    tern_staging staging;
    tern_status status = tern_staging_begin(path, file_names, N_FILES, &staging, err);
    if (status)
        return status;
    const char *folder = staging.temporary;
    status = write_json(folder, "config.json", make_config(job), err);
    if (!status)
        status = write_json(folder, "generation_config.json", make_generation_config(job), err);
    if (!status)
        status = write_json(folder, "tokenizer_config.json", make_tokenizer_config(job), err);
    if (!status)
        status = copy_tokenizer(job, folder, err);
    if (!status)
        status = write_weights(job, folder, err);
    if (!status)
        return tern_staging_commit(&staging, file_names, N_FILES, err);
    tern_staging_abort(&staging, file_names, N_FILES);
    return status;
}
