/* A Hugging Face folder: config.json, the safetensors file or its shards, the chat template. */
#include <stdio.h>
#include <stdlib.h>

#include "format/codec.h"
#include "format/hf.h"

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* "FOLDER/NAME" in the store's arena; NULL: no memory. */
static char *join(tern_store *store, const char *name) {
    const char *folder = store->checkpoint.path;
    size_t n = strlen(folder), m = strlen(name);
    bool slash = n && folder[n - 1] != '/';
    char *path = tern_arena_alloc(&store->arena, n + slash + m + 1);
    if (!path)
        return NULL;
    memcpy(path, folder, n);
    if (slash)
        path[n] = '/';
    memcpy(path + n + slash, name, m + 1);
    return path;
}

/* ------------------------------------------------------------- assembling */

/* Output rows of a projection as the config has them; 0 if the name is none or the config does not say. */
static uint64_t expected_rows(const tern_config *config, const char *name) {
    uint64_t head_dim = config->head_dim;
    if (!head_dim && config->n_heads)
        head_dim = config->hidden_size / config->n_heads;
    const struct {
        const char *end;
        uint64_t rows;
    } table[] = {
        {"q_proj.weight", config->n_heads * head_dim},    {"k_proj.weight", config->n_kv_heads * head_dim},
        {"v_proj.weight", config->n_kv_heads * head_dim}, {"o_proj.weight", config->hidden_size},
        {"gate_proj.weight", config->ffn_size},           {"up_proj.weight", config->ffn_size},
        {"down_proj.weight", config->hidden_size},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (ends_with(name, table[i].end))
            return table[i].rows;
    return 0;
}

/* A U8 matrix becomes HF_PACKED with `scale` beside it. */
static tern_status make_packed(const tern_config *config, tern_linear_class linear_class, tern_tensor *tensor,
                               const tern_tensor *scale, tern_error *err) {
    const tern_codec *codec = tern_codec_of(TERN_TYPE_HF_PACKED);
    const tern_codec *scale_codec = tern_codec_of(scale->type);
    uint64_t expected = expected_rows(config, tensor->name), bytes;
    if (tensor->n_dims != 2 || !tern_mul_u64(tensor->shape[0], 4, &tensor->rows) ||
        !tern_codec_bytes(codec, tensor->rows, tensor->cols, &bytes) || bytes != tensor->bytes)
        return tern_fail(err, TERN_ERR_FORMAT, "packed tensor '%s' must be a matrix [out/4, in]", tensor->name);
    if (expected && tensor->rows != expected && tensor->shape[0] == (expected + 4) / 5)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "tensor '%s' is packed five trits a byte, which is not supported; convert it from the bf16 "
                         "weights (four a byte)",
                         tensor->name);
    if (!scale_codec || !scale_codec->decode_row || scale->rows * scale->cols != 1)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' must be one F32, F16 or BF16 number", scale->name);
    if (linear_class == TERN_LINEAR_UNSAID)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "config.json has packed weights but no quantization_config.linear_class, which says whether "
                         "weight_scale multiplies (autobitlinear) or divides (bitlinear); add it");
    tensor->type = TERN_TYPE_HF_PACKED;
    tensor->type_name = codec->name;
    tensor->scale = scale;
    tensor->scale_is_inverse = linear_class == TERN_LINEAR_BITLINEAR;
    return TERN_OK;
}

/* The companion "NAME_scale" of a packed "NAME"; NULL if none. */
static const tern_tensor *find_companion(const tern_store *store, const tern_tensor *tensor) {
    char name[1100];
    snprintf(name, sizeof name, "%s_scale", tensor->name); /* names have at most 1024 bytes */
    return tern_checkpoint_find(&store->checkpoint, name);
}

static bool is_u8(const tern_tensor *tensor) { return strcmp(tensor->type_name, "U8") == 0; }

/* Find the pairs; companions are copied out, because the list is compacted afterwards. */
static tern_status pair_scales(tern_store *store, tern_linear_class linear_class, bool *taken, tern_error *err) {
    for (size_t i = 0; i < store->n_tensors; i++) {
        tern_tensor *tensor = &store->tensors[i];
        if (!is_u8(tensor) || !ends_with(tensor->name, ".weight"))
            continue;
        const tern_tensor *companion = find_companion(store, tensor);
        if (!companion && expected_rows(&store->checkpoint.config, tensor->name))
            return tern_fail(err, TERN_ERR_FORMAT, "packed tensor '%s' has no '%s_scale' beside it", tensor->name,
                             tensor->name);
        if (!companion)
            continue; /* bytes that are no weight of this model */
        tern_tensor *copy = tern_arena_alloc(&store->arena, sizeof *copy);
        if (!copy)
            return tern_fail_memory(err, "the tensor list");
        *copy = *companion;
        tern_status status = make_packed(&store->checkpoint.config, linear_class, tensor, copy, err);
        if (status)
            return status;
        taken[companion - store->tensors] = true;
    }
    return TERN_OK;
}

static const char *format_name(const tern_store *store) {
    bool floats = store->checkpoint.config.keep_floats; /* not masters of anything */
    const char *name = floats ? "Hugging Face (bf16)" : "Hugging Face (bf16 master)";
    for (size_t i = 0; i < store->n_tensors; i++) {
        const tern_tensor *tensor = &store->tensors[i];
        if (tensor->type == TERN_TYPE_HF_PACKED)
            return "Hugging Face (packed)";
        if (ends_with(tensor->name, "q_proj.weight"))
            name = tensor->type == TERN_TYPE_F32   ? floats ? "Hugging Face (f32)" : "Hugging Face (f32 master)"
                   : tensor->type == TERN_TYPE_F16 ? floats ? "Hugging Face (f16)" : "Hugging Face (f16 master)"
                                                   : name;
    }
    return name;
}

tern_status tern_hf_assemble(tern_store *store, tern_linear_class linear_class, tern_error *err) {
    tern_status status = tern_store_seal(store, err); /* for look-ups by name */
    if (status)
        return status;
    bool *taken = tern_calloc_array(store->n_tensors, sizeof *taken);
    if (!taken)
        return tern_fail_memory(err, "the tensor list");
    status = pair_scales(store, linear_class, taken, err);
    size_t kept = 0;
    for (size_t i = 0; i < store->n_tensors && !status; i++)
        if (!taken[i])
            store->tensors[kept++] = store->tensors[i];
    free(taken);
    if (status)
        return status;
    store->n_tensors = kept;
    store->checkpoint.kind = TERN_CHECKPOINT_HF;
    store->checkpoint.format = format_name(store);
    return tern_store_seal(store, err);
}

/* ----------------------------------------------------------------- shards */

static tern_status read_weights(tern_store *store, const char *name, tern_error *err) {
    const char *path = join(store, name);
    if (!path)
        return tern_fail_memory(err, name);
    tern_map map;
    tern_status status = tern_store_map(store, path, &map, err);
    if (status)
        return status;
    status = tern_safetensors_read(store, map.data, map.size, err);
    if (status)
        tern_error_prefix(err, "%s", path);
    return status;
}

/* A shard's name comes from a file that somebody else wrote: it must stay in the folder. */
static bool is_plain_name(const char *name) {
    return name && tern_name_is_clean(name, strlen(name)) && name[0] != '.' && !strpbrk(name, "/\\") &&
           ends_with(name, ".safetensors");
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct values of weight_map, sorted: names [n]. */
static tern_status list_shards(const json_t *weight_map, const char **names, size_t *n, tern_error *err) {
    const char *tensor;
    json_t *value;
    size_t count = 0, distinct = 0;
    json_object_foreach((json_t *)weight_map, tensor, value) {
        names[count] = json_string_value(value);
        if (!is_plain_name(names[count]))
            return tern_fail(err, TERN_ERR_FORMAT,
                             "the shard of '%.128s' must be the plain name of a .safetensors file", tensor);
        count++;
    }
    qsort(names, count, sizeof *names, compare_strings);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[distinct - 1]) != 0)
            names[distinct++] = names[i];
    *n = distinct;
    return TERN_OK;
}

static tern_status read_shards(tern_store *store, const char *path, const json_t *weight_map, tern_error *err) {
    size_t n = 0;
    const char **names = tern_alloc_array(json_object_size(weight_map), sizeof *names);
    if (!names)
        return tern_fail_memory(err, path);
    tern_status status = list_shards(weight_map, names, &n, err);
    if (status)
        tern_error_prefix(err, "%s", path);
    for (size_t i = 0; i < n && !status; i++)
        status = read_weights(store, names[i], err);
    free(names);
    return status;
}

/* Every name of the index must have come with the shards (which may hold more than it lists). */
static tern_status check_index(tern_store *store, const char *path, const json_t *weight_map, tern_error *err) {
    const char *tensor;
    json_t *value;
    tern_status status = tern_store_seal(store, err);
    if (status)
        tern_error_prefix(err, "%s", store->checkpoint.path);
    json_object_foreach((json_t *)weight_map, tensor,
                        value) if (!status && !tern_checkpoint_find(&store->checkpoint, tensor)) status =
        tern_fail(err, TERN_ERR_FORMAT, "%s: tensor '%.128s' is listed but not in its shard '%.128s'", path, tensor,
                  json_string_value(value));
    return status;
}

static tern_status read_index(tern_store *store, const char *path, tern_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    tern_status status = tern_read_regular(path, TERN_MAX_HEADER_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    json_t *root = NULL;
    status = tern_json_object("the index", text, n_bytes, 0, &root, err);
    free(text);
    if (status) {
        tern_error_prefix(err, "%s", path);
        return status;
    }
    const json_t *weight_map = json_object_get(root, "weight_map");
    if (!json_is_object(weight_map) || json_object_size(weight_map) == 0)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: there is no weight_map", path);
    if (!status && !(status = read_shards(store, path, weight_map, err)))
        status = check_index(store, path, weight_map, err);
    json_decref(root);
    return status;
}

/* ----------------------------------------------------------------- folder */

typedef tern_status (*text_reader)(tern_store *store, const char *text, size_t n_bytes, tern_error *err);

/* Read a text file of the folder, if it is there, through `read`. */
static tern_status read_optional(tern_store *store, const char *name, size_t max_bytes, text_reader read,
                                 tern_error *err) {
    const char *path = join(store, name);
    if (!path)
        return tern_fail_memory(err, name);
    if (!tern_file_exists(path))
        return TERN_OK;
    char *text = NULL;
    size_t n_bytes = 0;
    tern_status status = tern_read_regular(path, max_bytes, &text, &n_bytes, err);
    if (status)
        return status;
    status = read(store, text, n_bytes, err);
    if (status)
        tern_error_prefix(err, "%s", store->checkpoint.path);
    free(text);
    return status;
}

static tern_status read_jinja(tern_store *store, const char *text, size_t n_bytes, tern_error *err) {
    if (strlen(text) != n_bytes)
        return tern_fail(err, TERN_ERR_FORMAT, "chat_template.jinja holds a zero byte");
    store->checkpoint.chat_template = tern_arena_copy(&store->arena, text, n_bytes);
    return store->checkpoint.chat_template ? TERN_OK : tern_fail_memory(err, "the chat template");
}

static tern_status read_config(tern_store *store, tern_linear_class *linear_class, tern_error *err) {
    const char *path = join(store, "config.json");
    if (!path)
        return tern_fail_memory(err, "config.json");
    if (!tern_file_exists(path))
        return tern_fail(err, TERN_ERR_IO,
                         "%s: there is no config.json in this folder; give a Hugging Face folder or a .gguf file",
                         store->checkpoint.path);
    char *text = NULL;
    size_t n_bytes = 0;
    tern_status status = tern_read_regular(path, TERN_MAX_CONFIG_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    status = tern_hf_read_config(store, text, n_bytes, linear_class, err);
    if (status)
        tern_error_prefix(err, "%s", store->checkpoint.path);
    free(text);
    return status;
}

/* The model's name is the folder's ("." and ".." resolved). */
static tern_status name_model(tern_store *store, tern_error *err) {
    char *real = realpath(store->checkpoint.path, NULL);
    const char *path = real ? real : store->checkpoint.path, *slash = strrchr(path, '/');
    const char *name = slash && slash[1] ? slash + 1 : path;
    tern_status status = tern_store_set_name(store, name, err);
    free(real);
    return status;
}

static tern_status read_all_weights(tern_store *store, tern_error *err) {
    const char *single = join(store, "model.safetensors"), *index = join(store, "model.safetensors.index.json");
    if (!single || !index)
        return tern_fail_memory(err, store->checkpoint.path);
    if (tern_file_exists(single))
        return read_weights(store, "model.safetensors", err);
    if (tern_file_exists(index))
        return read_index(store, index, err);
    return tern_fail(err, TERN_ERR_IO, "%s: there is no model.safetensors and no model.safetensors.index.json here",
                     store->checkpoint.path);
}

static tern_status read_folder(tern_store *store, tern_error *err) {
    tern_linear_class linear_class = TERN_LINEAR_UNSAID;
    tern_status status;
    if ((status = name_model(store, err)) || (status = read_config(store, &linear_class, err)) ||
        (status = read_optional(store, "generation_config.json", TERN_MAX_CONFIG_BYTES, tern_hf_read_generation_config,
                                err)) ||
        (status = read_optional(store, "chat_template.jinja", TERN_MAX_CONFIG_BYTES, read_jinja, err)) ||
        (status =
             read_optional(store, "tokenizer_config.json", TERN_MAX_HEADER_BYTES, tern_hf_read_chat_template, err)) ||
        (status = read_all_weights(store, err)))
        return status;
    status = tern_hf_assemble(store, linear_class, err);
    if (status)
        tern_error_prefix(err, "%s", store->checkpoint.path);
    return status;
}

tern_status tern_hf_open(const char *path, tern_checkpoint **checkpoint, tern_error *err) {
    tern_store *store = NULL;
    tern_status status = tern_store_create(path, &store, err);
    if (status)
        return status;
    status = read_folder(store, err);
    if (status)
        tern_store_free(store);
    else
        *checkpoint = &store->checkpoint;
    return status;
}
