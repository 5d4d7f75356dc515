/* config.json, generation_config.json and tokenizer_config.json (numerics.md sections 1 and 5). Keys that would change
 * the arithmetic and that tern does not do are refused, not ignored. */
#include <math.h>
#include <stddef.h>

#include "base/json.h"
#include "format/hf.h"

enum { SHOWN_BYTES = 160, MAX_NESTED = 3 };

tern_status tern_json_object(const char *what, const char *text, size_t n_bytes, size_t flags, json_t **object,
                             tern_error *err) {
    json_error_t problem;
    json_t *value = tern_json_load(text, n_bytes, flags | JSON_REJECT_DUPLICATES, &problem);
    if (!value && tern_json_no_memory(&problem))
        return tern_fail_memory(err, what);
    if (!value)
        return tern_fail(err, TERN_ERR_FORMAT, "%s is no valid JSON: line %d: %s", what, problem.line, problem.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return tern_fail(err, TERN_ERR_FORMAT, "%s must be a JSON object", what);
    }
    *object = value;
    return TERN_OK;
}

/* A member that is there and not null; NULL otherwise. */
static json_t *member(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

typedef struct size_key {
    const char *key;
    size_t field;
} size_key;

static const size_key size_keys[] = {
    {"vocab_size", offsetof(tern_config, vocab_size)},
    {"max_position_embeddings", offsetof(tern_config, n_ctx)},
    {"hidden_size", offsetof(tern_config, hidden_size)},
    {"intermediate_size", offsetof(tern_config, ffn_size)},
    {"num_hidden_layers", offsetof(tern_config, n_layers)},
    {"num_attention_heads", offsetof(tern_config, n_heads)},
    {"num_key_value_heads", offsetof(tern_config, n_kv_heads)},
    {"head_dim", offsetof(tern_config, head_dim)},
};

static tern_status read_sizes(const json_t *root, tern_config *config, tern_error *err) {
    for (size_t i = 0; i < sizeof size_keys / sizeof size_keys[0]; i++) {
        const json_t *value = member(root, size_keys[i].key);
        if (!value)
            continue;
        json_int_t number = json_integer_value(value); /* 0 for anything else */
        if (number < 1 || number > INT32_MAX)
            return tern_fail(err, TERN_ERR_FORMAT, "config.json: %s must be an integer from 1 to 2147483647",
                             size_keys[i].key);
        *(uint32_t *)((char *)config + size_keys[i].field) = (uint32_t)number;
    }
    return TERN_OK;
}

static tern_status read_number(const json_t *object, const char *key, float *value, tern_error *err) {
    const json_t *number = member(object, key);
    if (!number)
        return TERN_OK;
    double wide = json_number_value(number);
    if (!json_is_number(number) || !(wide > 0) || wide > 1e30)
        return tern_fail(err, TERN_ERR_FORMAT, "config.json: %s must be a positive number", key);
    *value = (float)wide;
    return TERN_OK;
}

/* An id, or a list of which the first counts. */
static tern_status read_id(const json_t *root, const char *key, int32_t *id, tern_error *err) {
    const json_t *value = member(root, key);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    if (!value)
        return TERN_OK;
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 || number > INT32_MAX)
        return tern_fail(err, TERN_ERR_FORMAT, "%s must be a token id or a list of them", key);
    *id = (int32_t)number;
    return TERN_OK;
}

/* {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, ...}, all four of which are wanted. */
static tern_status read_llama3(const json_t *form, tern_rope_scaling *scaling, tern_error *err) {
    tern_rope_scaling read = {0};
    json_int_t n_ctx = json_integer_value(member(form, "original_max_position_embeddings"));
    tern_status status;
    if ((status = read_number(form, "factor", &read.factor, err)) ||
        (status = read_number(form, "low_freq_factor", &read.low_freq_factor, err)) ||
        (status = read_number(form, "high_freq_factor", &read.high_freq_factor, err)))
        return status;
    if (!(read.factor >= 1) || !(read.low_freq_factor > 0) || !(read.high_freq_factor > read.low_freq_factor) ||
        n_ctx < 1 || n_ctx > INT32_MAX)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "config.json: RoPE scaling llama3 needs factor >= 1, low_freq_factor > 0, a larger "
                         "high_freq_factor and original_max_position_embeddings");
    read.original_n_ctx = (uint32_t)n_ctx;
    *scaling = read;
    return TERN_OK;
}

/* rope_parameters or rope_scaling: which kind of scaling, if any. */
static tern_status read_rope_form(const json_t *form, bool must_say, tern_config *config, tern_error *err) {
    const char *type = json_string_value(member(form, "rope_type"));
    if (!type)
        type = json_string_value(member(form, "type"));
    if (type && strcmp(type, "llama3") == 0)
        return read_llama3(form, &config->rope_scaling, err);
    if ((type && strcmp(type, "default") != 0) || (must_say && form && !type))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: RoPE scaling%s%.40s is not supported (llama3 is)",
                         type ? " " : "", type ? type : "");
    return TERN_OK;
}

static tern_status read_rope(const json_t *root, tern_config *config, tern_error *err) {
    const json_t *parameters = member(root, "rope_parameters"), *scaling = member(root, "rope_scaling");
    tern_status status = read_number(root, "rope_theta", &config->rope_theta, err);
    if (status)
        return status;
    if (parameters && !json_is_object(parameters))
        return tern_fail(err, TERN_ERR_FORMAT, "config.json: rope_parameters must be an object");
    if (parameters && (status = read_number(parameters, "rope_theta", &config->rope_theta, err)))
        return status;
    if ((status = read_rope_form(parameters, false, config, err)) ||
        (status = read_rope_form(scaling, true, config, err)))
        return status;
    const json_t *partial = member(parameters, "partial_rotary_factor");
    if (!partial)
        partial = member(root, "partial_rotary_factor");
    if (partial && json_number_value(partial) != 1)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: partial_rotary_factor is not supported");
    return TERN_OK;
}

static tern_status read_linear_class(const json_t *quantization, tern_linear_class *linear_class, tern_error *err) {
    const json_t *value = member(quantization, "linear_class");
    const char *name = json_string_value(value);
    *linear_class = TERN_LINEAR_UNSAID;
    if (!value)
        return TERN_OK;
    if (name && strcmp(name, "autobitlinear") == 0)
        *linear_class = TERN_LINEAR_AUTOBITLINEAR;
    else if (name && strcmp(name, "bitlinear") == 0)
        *linear_class = TERN_LINEAR_BITLINEAR;
    else
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "config.json: linear_class must be \"autobitlinear\" or \"bitlinear\"");
    return TERN_OK;
}

/* Modules that are float in every BitNet model may be named as not converted; any other would be a mixed model. */
static bool only_float_modules(const json_t *modules) {
    size_t i;
    json_t *item;
    if (modules && !json_is_array(modules))
        return false;
    json_array_foreach(modules, i, item) {
        const char *name = json_string_value(item);
        if (!name || (strcmp(name, "lm_head") != 0 && strcmp(name, "embed_tokens") != 0 &&
                      strcmp(name, "model.embed_tokens") != 0))
            return false;
    }
    return true;
}

/* LLaMA models without a quantization_config are ordinary ones, of floats; BitNet's have float masters of ternary
 * weights. transformers takes "bitlinear" where nothing is said, and so do the published LLaMA ones mean it; in a
 * BitNet folder tern wants it said. */
static tern_status read_quantization(const json_t *root, tern_config *config, tern_linear_class *linear_class,
                                     tern_error *err) {
    const json_t *quantization = member(root, "quantization_config");
    *linear_class = TERN_LINEAR_UNSAID;
    config->keep_floats = config->no_sub_norms && json_object_size(quantization) == 0;
    if (!quantization)
        return TERN_OK;
    if (!json_is_object(quantization))
        return tern_fail(err, TERN_ERR_FORMAT, "config.json: quantization_config must be an object");
    if (json_object_size(quantization) == 0) /* says nothing: as if it were not there */
        return TERN_OK;
    const json_t *method = member(quantization, "quant_method"), *mode = member(quantization, "quantization_mode");
    if (method && (!json_is_string(method) || strcmp(json_string_value(method), "bitnet") != 0))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: quant_method must be \"bitnet\"");
    if (mode && (!json_is_string(mode) ||
                 (strcmp(json_string_value(mode), "online") != 0 && strcmp(json_string_value(mode), "offline") != 0)))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: quantization_mode must be \"online\" or \"offline\"");
    if (json_is_true(member(quantization, "use_rms_norm")))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "config.json: use_rms_norm (another norm inside each linear layer) is not supported");
    if (!only_float_modules(member(quantization, "modules_to_not_convert")))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "config.json: modules_to_not_convert names layers; partly converted models are not supported");
    tern_status status = read_linear_class(quantization, linear_class, err);
    if (!status && config->no_sub_norms && *linear_class == TERN_LINEAR_UNSAID)
        *linear_class = TERN_LINEAR_BITLINEAR;
    return status;
}

/* The kinds of model, by model_type or architecture. */
static const struct family {
    const char *type, *architecture, *hidden_act;
    tern_activation activation;
    bool no_sub_norms;
} families[] = {
    {"bitnet", "BitNetForCausalLM", "relu2", TERN_RELU2, false},
    {"llama", "LlamaForCausalLM", "silu", TERN_SILU, true},
};

/* Is this the model at all? SiLU in place of squared ReLU gives text that looks right and is not. */
static tern_status read_family(const json_t *root, tern_config *config, tern_error *err) {
    const json_t *type = member(root, "model_type"), *act = member(root, "hidden_act");
    const json_t *architecture = json_array_get(member(root, "architectures"), 0);
    const char *name = json_string_value(type ? type : architecture);
    const struct family *family = NULL;
    for (size_t i = 0; name && i < sizeof families / sizeof families[0]; i++)
        if (strcmp(name, families[i].type) == 0 || strcmp(name, families[i].architecture) == 0)
            family = &families[i];
    if (!family)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "config.json: model_type '%.64s' is not supported (bitnet and llama are)",
                         name ? name : "(none)");
    if (!json_is_string(act) || strcmp(json_string_value(act), family->hidden_act) != 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: hidden_act must be \"%s\" but is %s%.40s",
                         family->hidden_act, json_is_string(act) ? "" : "missing or no string",
                         json_is_string(act) ? json_string_value(act) : "");
    if (json_is_true(member(root, "attention_bias")) || json_is_true(member(root, "mlp_bias")))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: biases are not supported");
    if (json_integer_value(member(root, "num_local_experts")) > 1)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: mixtures of experts are not supported");
    if (json_integer_value(member(root, "sliding_window")) > 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "config.json: attention in a sliding window is not supported");
    config->arch = family->type;
    config->activation = family->activation;
    config->no_sub_norms = family->no_sub_norms;
    return TERN_OK;
}

/* What transformers' LlamaConfig takes for keys that old folders leave out. */
static void default_llama(tern_config *config) {
    if (!config->n_kv_heads)
        config->n_kv_heads = config->n_heads;
    if (!config->n_ctx)
        config->n_ctx = 2048;
    if (isnan(config->rms_eps))
        config->rms_eps = 1e-6f;
    if (isnan(config->rope_theta))
        config->rope_theta = 10000;
}

static void render_json(tern_buffer *out, const json_t *value) {
    if (json_is_string(value))
        tern_render_text(out, json_string_value(value), json_string_length(value), SHOWN_BYTES);
    else if (json_is_integer(value))
        tern_buffer_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        tern_render_f64(out, json_real_value(value));
    else if (json_is_array(value))
        tern_buffer_printf(out, "[... (%zu items)]", json_array_size(value));
    else if (json_is_object(value))
        tern_buffer_printf(out, "{... (%zu members)}", json_object_size(value));
    else
        tern_buffer_text(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
}

static const char *type_name(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "object", [JSON_ARRAY] = "array", [JSON_STRING] = "string", [JSON_INTEGER] = "i64",
        [JSON_REAL] = "f64",      [JSON_TRUE] = "bool",   [JSON_FALSE] = "bool",    [JSON_NULL] = "null"};
    return names[json_typeof(value)];
}

/* Lists of one or two entries are shown as that (eos_token_id, architectures); objects as "outer.inner". */
static tern_status describe(tern_store *store, const char *prefix, const json_t *object, int depth, tern_error *err) {
    const char *key;
    json_t *value;
    tern_status status = TERN_OK;
    json_object_foreach((json_t *)object, key, value) {
        tern_buffer name = {0}, text = {0};
        tern_buffer_text(&name, prefix);
        tern_render_text(&name, key, strlen(key), SHOWN_BYTES);
        if (json_is_object(value) && depth < MAX_NESTED) {
            tern_buffer_text(&name, ".");
            status = name.failed ? tern_fail_memory(err, "the metadata")
                                 : describe(store, name.bytes, value, depth + 1, err);
        } else {
            const json_t *only = json_array_size(value) == 1 ? json_array_get(value, 0) : value;
            render_json(&text, only);
            status = name.failed ? tern_fail_memory(err, "the metadata")
                                 : tern_store_add_metadata(store, (tern_view){name.bytes, name.size}, type_name(value),
                                                           &text, err);
        }
        tern_buffer_free(&text);
        tern_buffer_free(&name);
        if (status)
            break;
    }
    return status;
}

static tern_status read_root(tern_store *store, const json_t *root, tern_linear_class *linear_class, tern_error *err) {
    tern_config *config = &store->checkpoint.config;
    tern_status status;
    if ((status = describe(store, "", root, 0, err)) || (status = read_family(root, config, err)) ||
        (status = read_sizes(root, config, err)) || (status = read_rope(root, config, err)) ||
        (status = read_number(root, "rms_norm_eps", &config->rms_eps, err)) ||
        (status = read_quantization(root, config, linear_class, err)))
        return status;
    if (config->no_sub_norms)
        default_llama(config);
    if ((status = read_id(root, "bos_token_id", &config->bos_id, err)) ||
        (status = read_id(root, "eos_token_id", &config->eos_id, err))) {
        tern_error_prefix(err, "config.json");
        return status;
    }
    const json_t *tied = member(root, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        return tern_fail(err, TERN_ERR_FORMAT, "config.json: tie_word_embeddings must be true or false");
    if (tied)
        config->tied_embedding = json_is_true(tied);
    return TERN_OK;
}

tern_status tern_hf_read_config(tern_store *store, const char *text, size_t n_bytes, tern_linear_class *linear_class,
                                tern_error *err) {
    json_t *root = NULL;
    tern_status status = tern_json_object("config.json", text, n_bytes, 0, &root, err);
    if (status)
        return status;
    status = read_root(store, root, linear_class, err);
    json_decref(root);
    return status;
}

tern_status tern_hf_read_generation_config(tern_store *store, const char *text, size_t n_bytes, tern_error *err) {
    json_t *root = NULL;
    tern_config *config = &store->checkpoint.config;
    tern_status status = tern_json_object("generation_config.json", text, n_bytes, 0, &root, err);
    if (status)
        return status;
    if (config->bos_id < 0)
        status = read_id(root, "bos_token_id", &config->bos_id, err);
    if (!status && config->eos_id < 0)
        status = read_id(root, "eos_token_id", &config->eos_id, err);
    if (status)
        tern_error_prefix(err, "generation_config.json");
    json_decref(root);
    return status;
}

/* A string, or a list of {"name", "template"} of which "default" counts. */
static const char *find_template(const json_t *value) {
    size_t i;
    json_t *item;
    if (json_is_string(value))
        return json_string_value(value);
    json_array_foreach(value, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(item, "template"));
    }
    return NULL;
}

tern_status tern_hf_read_chat_template(tern_store *store, const char *text, size_t n_bytes, tern_error *err) {
    json_t *root = NULL;
    /* real files have "model_max_length": 1000000000000000019884624838656, more than an integer holds */
    tern_status status = tern_json_object("tokenizer_config.json", text, n_bytes, JSON_DECODE_INT_AS_REAL, &root, err);
    if (status)
        return status;
    const char *found = find_template(member(root, "chat_template"));
    if (found && !store->checkpoint.chat_template) {
        store->checkpoint.chat_template = tern_arena_copy(&store->arena, found, strlen(found));
        if (!store->checkpoint.chat_template)
            status = tern_fail_memory(err, "the chat template");
    }
    json_decref(root);
    return status;
}
