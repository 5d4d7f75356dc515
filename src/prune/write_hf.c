/* The pruned model as a Hugging Face folder: config.json with the new sizes, one file of weights, the rest copied. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/folder.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/safetensors_write.h"
#include "prune/parts.h"

static const char *const file_names[] = {
    "config.json", "model.safetensors",  "generation_config.json", "tokenizer.json",  "tokenizer_config.json",
    "vocab.json",  "merges.txt",         "added_tokens.json",      "tokenizer.model", "special_tokens_map.json",
    "LICENSE",     "chat_template.jinja"};
enum { N_FILES = sizeof file_names / sizeof *file_names, FIRST_COPIED = 2, MAX_BYTES = 256 << 20 };

static bool set_size(json_t *config, const char *key, uint32_t value) {
    return json_object_set_new(config, key, json_integer(value)) == 0;
}

static tern_status write_config(const tern_pruner *pruner, const char *folder, tern_error *err) {
    const tern_dims *dims = &pruner->after;
    char *text, *changed = NULL;
    size_t n_bytes = 0;
    tern_status status = tern_folder_read(pruner->checkpoint->path, "config.json", MAX_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    json_error_t where;
    json_t *config = text ? tern_json_load(text, n_bytes, 0, &where) : NULL;
    if (json_is_object(config) && set_size(config, "num_attention_heads", dims->n_heads) &&
        set_size(config, "num_key_value_heads", dims->n_kv_heads) &&
        set_size(config, "intermediate_size", dims->ffn_size) && set_size(config, "head_dim", dims->head_dim))
        changed = tern_json_dump(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    const bool no_memory = config ? json_is_object(config) : text && tern_json_no_memory(&where);
    json_decref(config);
    free(text);
    if (!changed && no_memory)
        return tern_fail_memory(err, "config.json");
    if (!changed)
        return tern_fail(err, TERN_ERR_IO, "%s: config.json cannot be read again", pruner->checkpoint->path);
    status = tern_folder_write(folder, "config.json", changed, strlen(changed), err);
    free(changed);
    return status;
}

/* ----------------------------------------------------------------- weights */

static void put_tensor(tern_safetensors_writer *writer, const tern_tensor *tensor, const prune_cut *cut) {
    char name[1100];
    bool packed = tensor->type == TERN_TYPE_HF_PACKED;
    const uint64_t matrix[] = {packed ? cut->n_rows / 4 : cut->n_rows, cut->n_cols};
    bool vector = tensor->n_dims == 1;
    if (tensor->n_dims > 2 || tensor->n_dims == 0) /* none of the model's */
        tern_safetensors_put_tensor(writer, tensor->name, tensor->type_name, tensor->shape, tensor->n_dims);
    else
        tern_safetensors_put_tensor(writer, tensor->name, packed ? "U8" : tensor->type_name,
                                    vector ? matrix + 1 : matrix, vector ? 1 : 2);
    if (!tensor->scale)
        return;
    snprintf(name, sizeof name, "%s_scale", tensor->name); /* names have at most 1024 bytes */
    tern_safetensors_put_tensor(writer, name, tensor->scale->type_name, tensor->scale->shape, tensor->scale->n_dims);
}

static tern_status write_tensor(const tern_pruner *pruner, tern_safetensors_writer *writer, const tern_tensor *tensor,
                                tern_error *err) {
    prune_cut cut = tern_prune_cut_of(pruner, tensor);
    uint64_t n_bytes;
    uint8_t *bytes = NULL;
    tern_status status = tern_prune_bytes(pruner, tensor, &cut, &n_bytes, err);
    if (!status && !(bytes = tern_alloc_array(n_bytes ? n_bytes : 1, 1)))
        status = tern_fail_memory(err, tensor->name);
    if (!status)
        status = tern_prune_make(pruner, tensor, &cut, bytes, err);
    if (!status)
        status = tern_safetensors_write_data(writer, bytes, (size_t)n_bytes, err);
    if (!status && tensor->scale)
        status = tern_safetensors_write_data(writer, tensor->scale->data, (size_t)tensor->scale->bytes, err);
    free(bytes);
    tern_checkpoint_release(pruner->checkpoint, tensor);
    return status;
}

static tern_status write_weights(const tern_pruner *pruner, const char *folder, tern_error *err) {
    const tern_checkpoint *checkpoint = pruner->checkpoint;
    tern_safetensors_writer *writer = NULL;
    char *path = tern_folder_path(folder, "model.safetensors");
    tern_status status =
        path ? tern_safetensors_writer_create(path, &writer, err) : tern_fail_memory(err, "model.safetensors");
    free(path);
    for (size_t i = 0; !status && i < checkpoint->n_tensors; i++) {
        prune_cut cut = tern_prune_cut_of(pruner, &checkpoint->tensors[i]);
        put_tensor(writer, &checkpoint->tensors[i], &cut);
    }
    if (!status)
        status = tern_safetensors_begin_data(writer, err);
    for (size_t i = 0; !status && i < checkpoint->n_tensors; i++)
        status = write_tensor(pruner, writer, &checkpoint->tensors[i], err);
    if (!status)
        return tern_safetensors_writer_finish(writer, err);
    tern_safetensors_writer_abort(writer);
    return status;
}

tern_status tern_prune_try_hf(const char *path, tern_error *err) {
    tern_staging staging;
    tern_status status = tern_staging_begin(path, file_names, N_FILES, &staging, err);
    if (!status)
        tern_staging_abort(&staging, file_names, N_FILES);
    return status;
}

tern_status tern_prune_write_hf(const tern_pruner *pruner, const char *path, tern_error *err) {
    tern_staging staging;
    tern_status status = tern_staging_begin(path, file_names, N_FILES, &staging, err);
    if (status)
        return status;
    status = write_config(pruner, staging.temporary, err);
    for (int i = FIRST_COPIED; !status && i < N_FILES; i++)
        status = tern_folder_copy(pruner->checkpoint->path, staging.temporary, file_names[i], MAX_BYTES, NULL, err);
    if (!status)
        status = write_weights(pruner, staging.temporary, err);
    if (!status)
        return tern_staging_commit(&staging, file_names, N_FILES, err);
    tern_staging_abort(&staging, file_names, N_FILES);
    return status;
}
