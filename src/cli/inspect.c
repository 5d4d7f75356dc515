/* tern inspect: what a model file or folder holds, without loading it. */
#include <stdlib.h>
#include <string.h>

#include "cli/measure.h"

typedef struct settings {
    bool json, all, tensors;
} settings;

static const tern_option options[] = {
    {"tensors", 0, TERN_OPTION_FLAG, offsetof(settings, tensors), NULL, "list every tensor, not only the first block's",
     0, 0, NULL, NULL},
    {"all", 'a', TERN_OPTION_FLAG, offsetof(settings, all), NULL, "every tensor and the whole chat template", 0, 0,
     NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "everything as one JSON object", 0, 0, NULL, NULL},
    {0},
};

/* ---------------------------------------------------------------------- facts */

/* The dimensions under the names that GGUF (behind the architecture's name and a dot) and config.json give them. */
static const struct {
    const char *label, *json, *gguf, *hf, *unit;
} dimensions[] = {
    {"vocabulary", "vocab_size", "vocab_size", "vocab_size", " tokens"},
    {"context", "n_ctx", "context_length", "max_position_embeddings", " tokens"},
    {"hidden size", "hidden_size", "embedding_length", "hidden_size", ""},
    {"FFN size", "ffn_size", "feed_forward_length", "intermediate_size", ""},
    {"layers", "n_layers", "block_count", "num_hidden_layers", ""},
    {"heads", "n_heads", "attention.head_count", "num_attention_heads", ""},
    {"KV heads", "n_kv_heads", "attention.head_count_kv", "num_key_value_heads", ""},
    {"RoPE theta", "rope_theta", "rope.freq_base", "rope_theta", ""},
    {"norm epsilon", "rms_eps", "attention.layer_norm_rms_epsilon", "rms_norm_eps", ""},
};
enum { N_DIMENSIONS = sizeof dimensions / sizeof *dimensions };

static const char *metadata_value(const tern_inspection *inspection, const char *key) {
    for (size_t i = 0; i < tern_inspection_n_metadata(inspection); i++) {
        tern_metadata_info info;
        tern_inspection_metadata(inspection, i, &info);
        if (strcmp(info.key, key) == 0)
            return info.value;
    }
    return NULL;
}

static const char *dimension_value(const tern_inspection *inspection, size_t which) {
    const char *arch = metadata_value(inspection, "general.architecture"), *value = NULL;
    if (arch) {
        char key[160];
        snprintf(key, sizeof key, "%s.%s", arch, dimensions[which].gguf);
        value = metadata_value(inspection, key);
    }
    return value ? value : metadata_value(inspection, dimensions[which].hf);
}

/* A packed matrix of tern's own layout is plain bytes to GGUF; what they are packed as says more. */
static const char *type_of(const tern_tensor_info *tensor) {
    return tensor->packing ? tensor->packing : tensor->n_parameters ? tensor->type : "screen, scales";
}

/* What the tensors of one type add up to. */
typedef struct type_sum {
    const char *type;
    size_t n_tensors;
    double parameters, bytes;
} type_sum;

enum { MAX_TYPES = 32 };

/* Sums [MAX_TYPES] in order of appearance; types beyond the last share its row, which no real file reaches. */
static size_t sum_types(const tern_inspection *inspection, type_sum *sums) {
    size_t n = 0;
    for (size_t i = 0; i < tern_inspection_n_tensors(inspection); i++) {
        tern_tensor_info tensor;
        tern_inspection_tensor(inspection, i, &tensor);
        size_t at = 0;
        while (at < n && strcmp(sums[at].type, type_of(&tensor)) != 0)
            at++;
        if (at == MAX_TYPES)
            at--;
        if (at == n)
            sums[n++] = (type_sum){.type = type_of(&tensor)};
        sums[at].n_tensors++;
        sums[at].parameters += (double)tensor.n_parameters;
        sums[at].bytes += (double)tensor.bytes;
    }
    return n;
}

static const char *format_shape(char text[96], const tern_tensor_info *tensor) {
    size_t used = 0;
    text[used++] = '[';
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        used += (size_t)snprintf(text + used, 96 - used, "%s%llu", i ? ", " : "", (unsigned long long)tensor->shape[i]);
    snprintf(text + used, 96 - used, "]");
    return text;
}

/* Specials among the tokens. */
static size_t count_specials(const tern_tokenizer *tokenizer) {
    size_t count = 0;
    for (size_t id = 0; id < tern_tokenizer_vocab_size(tokenizer); id++)
        count += tern_tokenizer_is_special(tokenizer, (int32_t)id);
    return count;
}

/* ---------------------------------------------------------------------- table */

static void print_dimensions(const tern_inspection *inspection) {
    for (size_t i = 0; i < N_DIMENSIONS; i++) {
        const char *value = dimension_value(inspection, i);
        tern_cli_row(dimensions[i].label, "%s%s", value ? value : "not said", value ? dimensions[i].unit : "");
    }
}

static void print_types(const tern_inspection *inspection) {
    type_sum sums[MAX_TYPES];
    size_t n = sum_types(inspection, sums), n_tensors = 0;
    double parameters = 0, bytes = 0;
    char count[32], size[32];
    for (size_t i = 0; i < n; i++) {
        n_tensors += sums[i].n_tensors, parameters += sums[i].parameters, bytes += sums[i].bytes;
    }
    tern_cli_row("parameters", "%s in %zu tensor%s, %s", tern_format_count(count, parameters), n_tensors,
                 n_tensors == 1 ? "" : "s", tern_format_bytes(size, bytes));
    for (size_t i = 0; i < n; i++) {
        char label[64];
        snprintf(label, sizeof label, "  %s", sums[i].type);
        if (!sums[i].parameters)
            tern_cli_row(label, "%zu tensor%s, %s", sums[i].n_tensors, sums[i].n_tensors == 1 ? "" : "s",
                         tern_format_bytes(size, sums[i].bytes));
        else
            tern_cli_row(label, "%s in %zu tensor%s, %s (%.3g bits each)", tern_format_count(count, sums[i].parameters),
                         sums[i].n_tensors, sums[i].n_tensors == 1 ? "" : "s", tern_format_bytes(size, sums[i].bytes),
                         8 * sums[i].bytes / sums[i].parameters);
    }
}

static void print_token(const tern_tokenizer *tokenizer, const char *label, int32_t id) {
    size_t n = 0;
    const char *text = id < 0 ? NULL : tern_tokenizer_token(tokenizer, id, &n);
    if (!text)
        return;
    printf("%-22s  %d ", label, id);
    tern_cli_put_escaped(text, n < 64 ? n : 64);
    putchar('\n');
}

static void print_tokenizer(const char *path) {
    tern_tokenizer *tokenizer;
    tern_error err;
    if (tern_tokenizer_load(path, &tokenizer, &err)) {
        tern_cli_row("tokenizer", "none that works: %s", err.message);
        return;
    }
    tern_cli_row("tokenizer", "%zu tokens, %zu of them special", tern_tokenizer_vocab_size(tokenizer),
                 count_specials(tokenizer));
    print_token(tokenizer, "  BOS", tern_tokenizer_bos(tokenizer));
    print_token(tokenizer, "  EOS", tern_tokenizer_eos(tokenizer));
    for (size_t id = 0; id < tern_tokenizer_vocab_size(tokenizer); id++)
        if (tern_tokenizer_is_end(tokenizer, (int32_t)id) && (int32_t)id != tern_tokenizer_eos(tokenizer))
            print_token(tokenizer, "  end of turn", (int32_t)id);
    tern_tokenizer_free(tokenizer);
}

/* `most` bytes of it. */
static void print_template(const char *source, size_t most) {
    printf("\nchat template as stored%s", source ? "\n  " : ": none");
    size_t n = source ? strlen(source) : 0;
    if (source)
        tern_cli_put_escaped(source, n < most ? n : most);
    if (n > most)
        printf("... (%zu bytes; --all shows them)", n);
    putchar('\n');
}

static int wider(int width, const char *text) { return (int)strlen(text) > width ? (int)strlen(text) : width; }

static void print_metadata(const tern_inspection *inspection) {
    int key_width = 0, type_width = 0;
    tern_metadata_info info;
    for (size_t i = 0; i < tern_inspection_n_metadata(inspection); i++) {
        tern_inspection_metadata(inspection, i, &info);
        key_width = wider(key_width, info.key);
        type_width = wider(type_width, info.type);
    }
    printf("\nmetadata\n");
    for (size_t i = 0; i < tern_inspection_n_metadata(inspection); i++) {
        tern_inspection_metadata(inspection, i, &info);
        bool is_template = strcmp(info.key, "tokenizer.chat_template") == 0; /* has its own place */
        printf("  %-*s  %-*s  %s\n", key_width, info.key, type_width, info.type, is_template ? "below" : info.value);
    }
}

/* Does the name belong to a block other than the first? "blk.3.", "model.layers.12." */
static bool in_later_block(const char *name) {
    static const char *const prefixes[] = {"blk.", "model.layers."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], n) == 0 && strncmp(name + n, "0.", 2) != 0)
            return true;
    }
    return false;
}

static void print_tensor(const tern_tensor_info *tensor, int name_width, int type_width) {
    char shape[96];
    printf("  %-*s  %-*s  %-18s %11llu B", name_width, tensor->name, type_width, tensor->type,
           format_shape(shape, tensor), (unsigned long long)tensor->bytes);
    if (tensor->has_scale)
        printf("  scale %.6g", (double)tensor->scale);
    if (tensor->scale_columns)
        printf("  a scale for each %u weights of a row", (unsigned)tensor->scale_columns);
    putchar('\n');
}

static void print_tensors(const tern_inspection *inspection, bool all) {
    size_t n = tern_inspection_n_tensors(inspection), left_out = 0;
    int name_width = 0, type_width = 0;
    tern_tensor_info tensor;
    printf("\ntensors\n");
    for (int printing = 0; printing < 2; printing++) /* first the widths */
        for (size_t i = 0; i < n; i++) {
            tern_inspection_tensor(inspection, i, &tensor);
            bool shown = all || !in_later_block(tensor.name);
            left_out += !printing && !shown;
            if (shown && printing)
                print_tensor(&tensor, name_width, type_width);
            else if (shown) {
                name_width = wider(name_width, tensor.name);
                type_width = wider(type_width, tensor.type);
            }
        }
    if (left_out)
        printf("  ... and %zu of the other blocks; --tensors lists them\n", left_out);
}

static int print_table(const settings *s, const char *path, const tern_inspection *inspection) {
    char size[32];
    const char *arch = metadata_value(inspection, "general.architecture");
    arch = arch ? arch : metadata_value(inspection, "model_type");
    tern_cli_row("file", "%s", path);
    tern_cli_row("format", "%s, %s", tern_inspection_format(inspection),
                 tern_format_bytes(size, (double)tern_inspection_file_bytes(inspection)));
    tern_cli_row("architecture", "%s", arch ? arch : "not said");
    print_dimensions(inspection);
    print_types(inspection);
    print_tokenizer(path);
    print_metadata(inspection);
    print_template(tern_inspection_chat_template(inspection), s->all ? SIZE_MAX : 400);
    print_tensors(inspection, s->all || s->tensors);
    return 0;
}

/* ----------------------------------------------------------------------- JSON */

static json_t *number_or_text(const char *value) {
    int64_t whole;
    double real;
    if (tern_parse_int(value, &whole))
        return json_integer((json_int_t)whole);
    return tern_parse_float(value, &real) ? json_real(real) : tern_json_text(value);
}

static json_t *dimensions_json(const tern_inspection *inspection) {
    json_t *object = json_object();
    for (size_t i = 0; i < N_DIMENSIONS; i++) {
        const char *value = dimension_value(inspection, i);
        json_object_set_new(object, dimensions[i].json, value ? number_or_text(value) : json_null());
    }
    return object;
}

static json_t *types_json(const tern_inspection *inspection, double *parameters, double *bytes) {
    type_sum sums[MAX_TYPES];
    json_t *array = json_array();
    size_t n = sum_types(inspection, sums);
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(array, json_pack("{s:o, s:I, s:I, s:I}", "type", tern_json_text(sums[i].type), "tensors",
                                               (json_int_t)sums[i].n_tensors, "parameters",
                                               (json_int_t)sums[i].parameters, "bytes", (json_int_t)sums[i].bytes));
        *parameters += sums[i].parameters;
        *bytes += sums[i].bytes;
    }
    return array;
}

static json_t *tokenizer_json(const char *path) {
    tern_tokenizer *tokenizer;
    tern_error err;
    if (tern_tokenizer_load(path, &tokenizer, &err))
        return json_pack("{s:o}", "error", tern_json_text(err.message));
    json_t *ends = json_array();
    for (size_t id = 0; id < tern_tokenizer_vocab_size(tokenizer); id++)
        if (tern_tokenizer_is_end(tokenizer, (int32_t)id))
            json_array_append_new(ends, json_integer((json_int_t)id));
    json_t *object =
        json_pack("{s:I, s:I, s:i, s:i, s:o}", "tokens", (json_int_t)tern_tokenizer_vocab_size(tokenizer),
                  "special_tokens", (json_int_t)count_specials(tokenizer), "bos_id", (int)tern_tokenizer_bos(tokenizer),
                  "eos_id", (int)tern_tokenizer_eos(tokenizer), "end_ids", ends);
    tern_tokenizer_free(tokenizer);
    return object;
}

static json_t *metadata_json(const tern_inspection *inspection) {
    json_t *array = json_array();
    for (size_t i = 0; i < tern_inspection_n_metadata(inspection); i++) {
        tern_metadata_info info;
        tern_inspection_metadata(inspection, i, &info);
        json_array_append_new(array, json_pack("{s:o, s:o, s:o}", "key", tern_json_text(info.key), "type",
                                               tern_json_text(info.type), "value", tern_json_text(info.value)));
    }
    return array;
}

static json_t *tensors_json(const tern_inspection *inspection) {
    json_t *array = json_array();
    for (size_t i = 0; i < tern_inspection_n_tensors(inspection); i++) {
        tern_tensor_info tensor;
        tern_inspection_tensor(inspection, i, &tensor);
        json_t *shape = json_array();
        for (uint32_t k = 0; k < tensor.n_dims; k++)
            json_array_append_new(shape, json_integer((json_int_t)tensor.shape[k]));
        json_t *object = json_pack("{s:o, s:o, s:o, s:I}", "name", tern_json_text(tensor.name), "type",
                                   tern_json_text(tensor.type), "shape", shape, "bytes", (json_int_t)tensor.bytes);
        if (object && tensor.packing)
            json_object_set_new(object, "packing", tern_json_text(tensor.packing));
        if (object && tensor.has_scale)
            json_object_set_new(object, "scale", json_real((double)tensor.scale));
        if (object && tensor.scale_columns)
            json_object_set_new(object, "scale_columns", json_integer(tensor.scale_columns));
        json_array_append_new(array, object);
    }
    return array;
}

static int print_json(const char *path, const tern_inspection *inspection) {
    double parameters = 0, bytes = 0;
    json_t *types = types_json(inspection, &parameters, &bytes);
    json_t *template = tern_json_text(tern_inspection_chat_template(inspection));
    const char *arch = metadata_value(inspection, "general.architecture");
    arch = arch ? arch : metadata_value(inspection, "model_type");
    return tern_cli_print_json(json_pack(
        "{s:o, s:s, s:I, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "file", tern_json_text(path), "format",
        tern_inspection_format(inspection), "file_bytes", (json_int_t)tern_inspection_file_bytes(inspection), "arch",
        arch ? tern_json_text(arch) : json_null(), "dimensions", dimensions_json(inspection), "parameters",
        (json_int_t)parameters, "tensor_bytes", (json_int_t)bytes, "types", types, "tokenizer", tokenizer_json(path),
        "metadata", metadata_json(inspection), "chat_template", template ? template : json_null(), "tensors",
        tensors_json(inspection)));
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_error err;
    tern_inspection *inspection;
    char *path;
    int status = tern_cli_find_model(n_operands ? operands[0] : "demo", &path);
    if (status)
        return status;
    if (tern_inspect(path, &inspection, &err)) {
        status = tern_cli_error(&err);
    } else {
        status = s->json ? print_json(path, inspection) : print_table(s, path, inspection);
        tern_inspection_free(inspection);
    }
    free(path);
    return status;
}

static const settings defaults = {0};

const tern_command tern_command_inspect = {
    .name = "inspect",
    .operands = "[MODEL]",
    .summary = "show shapes, types, sizes, metadata and template of a model",
    .example = "tern inspect model.gguf\n"
               "tern inspect folder/ --tensors\n"
               "tern inspect model.gguf --json | jq .dimensions\n",
    .notes = NULL,
    .min_operands = 0,
    .max_operands = 1,
    .groups = {{"Options", options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
