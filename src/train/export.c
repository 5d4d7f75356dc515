/* What is common to all exported forms: the tokenizer, and the matrices as the network sees them. */
#include "train/export.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/vocab.h"
#include "train/export_parts.h"

/* tern_absmean() takes a tensor of a file; it writes a row's values to a buffer. */
static tern_status ternarize(tern_export_job *job, const tern_param *param, float *scale, tern_error *err) {
    const float *values = job->params->values + param->offset;
    size_t n = (size_t)param->rows * param->cols;
    const tern_tensor tensor = {.name = param->name,
                                .type_name = "F32",
                                .type = TERN_TYPE_F32,
                                .n_dims = 2,
                                .shape = {param->rows, param->cols},
                                .rows = param->rows,
                                .cols = param->cols,
                                .data = (const uint8_t *)values,
                                .bytes = n * sizeof *values};
    float *row = tern_alloc_array(param->cols, sizeof *row);
    if (!row)
        return tern_fail_memory(err, "a row of weights");
    tern_status status = tern_absmean(&tensor, row, scale, err);
    free(row);
    if (!status)
        tern_ternarize_row(values, n, *scale, job->trits);
    return status;
}

static tern_status binarize(tern_export_job *job, const tern_param *param, float *scale, tern_error *err) {
    const float *values = job->params->values + param->offset;
    size_t n = (size_t)param->rows * param->cols;
    float mean;
    tern_binary_scale(values, n, &mean, scale);
    if (!isfinite(mean) || !isfinite(*scale))
        return tern_fail(err, TERN_ERR_FORMAT, "%s holds NaN or infinite weights", param->name);
    tern_binarize(values, n, mean, job->trits);
    return TERN_OK;
}

tern_status tern_export_quantize(tern_export_job *job, const tern_param *param, float *scale, tern_error *err) {
    return (job->how->mode == TERN_WEIGHTS_BINARY ? binarize : ternarize)(job, param, scale, err);
}

/* ------------------------------------------------------------------ checks */

/* tern_vocab_from_path() takes other forms, too, but a Hugging Face folder gets a copy of the file. */
static tern_status check_json(const char *path, tern_error *err) {
    tern_map map;
    tern_status status = tern_map_open(path, &map, err);
    if (status)
        return status;
    size_t at = 0;
    while (at < map.size && memchr(" \t\r\n", map.data[at], 4))
        at++;
    bool is_object = at < map.size && map.data[at] == '{';
    tern_map_close(&map);
    return is_object ? TERN_OK
                     : tern_fail(err, TERN_ERR_ARGUMENT,
                                 "%s: is no tokenizer.json, which the trained model will need; give that file", path);
}

static tern_status open_tokenizer(const char *path, uint32_t vocab_size, const char *chat_template,
                                  tern_tokenizer **tokenizer, tern_error *err) {
    tern_status status = check_json(path, err);
    if (!status)
        status = tern_vocab_from_path(path, tokenizer, err);
    if (status)
        return status;
    size_t n_tokens = tern_tokenizer_vocab_size(*tokenizer);
    if (n_tokens > vocab_size)
        status = tern_fail(err, TERN_ERR_ARGUMENT,
                           "%s has %zu tokens, but the model's vocabulary is %" PRIu32
                           ": it is not the tokenizer of this model",
                           path, n_tokens, vocab_size);
    /* a template that cannot be parsed would only show when somebody chats */
    if (!status)
        status = tern_tokenizer_set_template(*tokenizer, chat_template, err);
    if (status) {
        tern_tokenizer_free(*tokenizer);
        *tokenizer = NULL;
    }
    return status;
}

static const char *template_of(const char *chat_template) {
    return chat_template ? chat_template : tern_default_template;
}

tern_status tern_export_check_tokenizer(const char *path, uint32_t vocab_size, const char *chat_template,
                                        tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    tern_status status = open_tokenizer(path, vocab_size, template_of(chat_template), &tokenizer, err);
    tern_tokenizer_free(tokenizer);
    return status;
}

static tern_status load_tokenizer(tern_export_job *job, tern_error *err) {
    const tern_export_params *how = job->how;
    job->chat_template = template_of(how->chat_template);
    return open_tokenizer(how->tokenizer_json, job->params->dims.vocab_size, job->chat_template, &job->tokenizer, err);
}

static tern_status check(const tern_params *params, const tern_export_params *how, tern_error *err) {
    const tern_param *bad = tern_params_find_bad(params, params->values);
    if (bad)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s holds a value that is not finite: there is no model to export",
                         bad->name);
    if (!how->tokenizer_json)
        return tern_fail(err, TERN_ERR_ARGUMENT, "exporting needs the path of the model's tokenizer.json");
    if (how->kind == TERN_EXPORT_HF_PACKED && how->mode == TERN_WEIGHTS_FLOAT)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a full-precision model cannot be written in the packed form");
    return TERN_OK;
}

static size_t largest_matrix(const tern_params *params) {
    size_t most = 0;
    for (size_t i = 0; i < params->n; i++) {
        size_t n = (size_t)params->list[i].rows * params->list[i].cols;
        if (params->list[i].ternary && n > most)
            most = n;
    }
    return most;
}

tern_status tern_export(const tern_params *params, const tern_export_params *how, const char *path, tern_error *err) {
    tern_export_job job = {.params = params, .how = how};
    tern_status status = check(params, how, err);
    if (!status)
        status = load_tokenizer(&job, err);
    if (!status && !(job.trits = tern_alloc_array(largest_matrix(params), sizeof *job.trits)))
        status = tern_fail_memory(err, "a matrix");
    if (!status)
        status = (how->kind == TERN_EXPORT_GGUF ? tern_export_gguf : tern_export_hf)(&job, path, err);
    free(job.trits);
    tern_tokenizer_free(job.tokenizer);
    return status;
}

const tern_run_export tern_run_exports[TERN_N_RUN_EXPORTS] = {{TERN_EXPORT_GGUF, "model.gguf", true},
                                                              {TERN_EXPORT_HF_MASTER, "master", true},
                                                              {TERN_EXPORT_HF_PACKED, "packed", false}};

static tern_status check_place(const char *out, tern_export_kind kind, const char *name, tern_error *err) {
    char path[TERN_RUN_PATH];
    if (snprintf(path, sizeof path, "%s/%s", out, name) >= (int)sizeof path)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name of the folder is too long", out);
    if (kind != TERN_EXPORT_GGUF)
        return tern_export_hf_check(path, err);
    return tern_is_directory(path)
               ? tern_fail(err, TERN_ERR_IO, "%s: is a folder, where the trained model is to be written", path)
               : TERN_OK;
}

tern_status tern_export_check_folder(const char *out, tern_weight_mode mode, tern_error *err) {
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < TERN_N_RUN_EXPORTS; i++)
        if (mode != TERN_WEIGHTS_FLOAT || tern_run_exports[i].of_floats)
            status = check_place(out, tern_run_exports[i].kind, tern_run_exports[i].name, err);
    if (!status && mode == TERN_WEIGHTS_BINARY)
        status = check_place(out, TERN_EXPORT_GGUF, "model-b1.gguf", err);
    return status;
}
