#include "format/peft.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/hf.h"

enum { MAX_RANK = 4096, MAX_TARGETS = 64, MAX_PATH_BYTES = 4096 };

static tern_status join(char path[static MAX_PATH_BYTES], const char *folder, const char *name, tern_error *err) {
    int n = snprintf(path, MAX_PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < MAX_PATH_BYTES ? TERN_OK
                                       : tern_fail(err, TERN_ERR_IO, "%.80s...: the path is too long", folder);
}

/* ----------------------------------------------------------------- configuration */

/* Keys that make it something else than y + scale * B (A x), and the value that does not. */
typedef enum plain_value { PLAIN_FALSE, PLAIN_EMPTY, PLAIN_NONE } plain_value;

static const struct {
    const char *key;
    plain_value plain;
} special_keys[] = {
    {"use_dora", PLAIN_FALSE},          {"fan_in_fan_out", PLAIN_FALSE},
    {"rank_pattern", PLAIN_EMPTY},      {"alpha_pattern", PLAIN_EMPTY},
    {"modules_to_save", PLAIN_EMPTY},   {"trainable_token_indices", PLAIN_EMPTY},
    {"layer_replication", PLAIN_EMPTY}, {"bias", PLAIN_NONE},
    {"lora_bias", PLAIN_FALSE},         {"target_parameters", PLAIN_EMPTY},
    {"exclude_modules", PLAIN_EMPTY},
};

static bool is_plain(const json_t *value, plain_value plain) {
    if (!value || json_is_null(value))
        return true;
    if (plain == PLAIN_FALSE)
        return json_is_false(value);
    if (plain == PLAIN_NONE)
        return json_is_string(value) && strcmp(json_string_value(value), "none") == 0;
    return (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static tern_status read_targets(tern_store *store, const json_t *value, tern_peft *peft, tern_error *err) {
    if (json_is_string(value)) /* a regular expression: the tensors tell */
        return TERN_OK;
    size_t n = json_array_size(value);
    if (n == 0 || n > MAX_TARGETS)
        return tern_fail(err, TERN_ERR_FORMAT, "target_modules must be a list of 1 to %d names", MAX_TARGETS);
    const char **targets = tern_arena_alloc(&store->arena, n * sizeof *targets);
    if (!targets)
        return tern_fail_memory(err, "the list of modules");
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(value, i));
        if (!name || !tern_name_is_clean(name, strlen(name)))
            return tern_fail(err, TERN_ERR_FORMAT, "target_modules must be a list of names");
        targets[i] = tern_arena_copy(&store->arena, name, strlen(name));
        if (!targets[i])
            return tern_fail_memory(err, "the list of modules");
    }
    peft->targets = targets;
    peft->n_targets = n;
    return TERN_OK;
}

static tern_status read_root(tern_store *store, const json_t *root, tern_peft *peft, tern_error *err) {
    const char *type = json_string_value(json_object_get(root, "peft_type"));
    const json_t *r = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    const json_t *layers = json_object_get(root, "layers_to_transform");
    if (!type || strcmp(type, "LORA") != 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "peft_type is %s%.32s%s; only LORA can be applied", type ? "'" : "",
                         type ? type : "missing", type ? "'" : "");
    if (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > MAX_RANK)
        return tern_fail(err, TERN_ERR_FORMAT, "r must be a whole number from 1 to %d", MAX_RANK);
    double value = json_is_number(alpha) ? json_number_value(alpha) : 8; /* PEFT's default */
    if ((alpha && !json_is_number(alpha)) || !isfinite((float)value))
        return tern_fail(err, TERN_ERR_FORMAT, "lora_alpha must be a number");
    for (size_t i = 0; i < sizeof special_keys / sizeof *special_keys; i++)
        if (!is_plain(json_object_get(root, special_keys[i].key), special_keys[i].plain))
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "it uses %s, which tern cannot apply; train it as plain LoRA without",
                             special_keys[i].key);
    peft->r = (uint32_t)json_integer_value(r);
    peft->alpha = (float)value;
    peft->rslora = json_is_true(json_object_get(root, "use_rslora"));
    peft->some_layers = layers && !json_is_null(layers);
    return read_targets(store, json_object_get(root, "target_modules"), peft, err);
}

static tern_status read_config(tern_store *store, const char *path, tern_peft *peft, tern_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    json_t *root = NULL;
    tern_status status = tern_read_regular(path, TERN_MAX_CONFIG_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    status = tern_json_object("the file", text, n_bytes, 0, &root, err);
    if (!status)
        status = read_root(store, root, peft, err);
    if (status)
        tern_error_prefix(err, "%s", path);
    json_decref(root);
    free(text);
    return status;
}

/* ------------------------------------------------------------------------ reading */

static tern_status read_folder(tern_store *store, const char *folder, tern_peft *peft, tern_error *err) {
    char config[MAX_PATH_BYTES], weights[MAX_PATH_BYTES];
    tern_status status = join(config, folder, "adapter_config.json", err);
    if (!status)
        status = join(weights, folder, "adapter_model.safetensors", err);
    if (status)
        return status;
    if (!tern_file_exists(config))
        return tern_fail(err, TERN_ERR_IO,
                         "%s: there is no adapter_config.json here; give the folder of a LoRA adapter (PEFT)", folder);
    if (!tern_file_exists(weights))
        return tern_fail(err, TERN_ERR_IO,
                         "%s: there is no adapter_model.safetensors here; save the adapter in that form "
                         "(safe_serialization=True)",
                         folder);
    tern_map map;
    if ((status = read_config(store, config, peft, err)) || (status = tern_store_map(store, weights, &map, err)))
        return status;
    status = tern_safetensors_read(store, map.data, map.size, err);
    if (!status)
        status = tern_store_seal(store, err);
    if (status)
        tern_error_prefix(err, "%s", weights);
    return status;
}

tern_status tern_peft_open(const char *folder, tern_peft *out, tern_error *err) {
    tern_store *store = NULL;
    tern_peft peft = {0};
    tern_status status = tern_store_create(folder, &store, err);
    if (status)
        return status;
    status = read_folder(store, folder, &peft, err);
    if (status) {
        tern_store_free(store);
        return status;
    }
    peft.checkpoint = &store->checkpoint;
    *out = peft;
    return TERN_OK;
}

void tern_peft_close(tern_peft *peft) {
    tern_checkpoint_close(peft->checkpoint);
    *peft = (tern_peft){0};
}
