/* Hugging Face folders: config.json one key a row, shards, packed weights, the chat template, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "format/checkpoint.h"
#include "format/codec.h"

typedef struct fixture {
    char folder[64];
} fixture;

static const char *const names[] = {
    "config.json",       "generation_config.json",       "tokenizer_config.json", "chat_template.jinja",
    "model.safetensors", "model.safetensors.index.json", "model-1.safetensors",   "model-2.safetensors",
};

static int set_up(void **state) {
    fixture *f = malloc(sizeof *f);
    if (!f)
        return 1;
    strcpy(f->folder, "/tmp/tern-hf-XXXXXX");
    *state = f;
    return mkdtemp(f->folder) ? 0 : 1;
}

static void remove_file(const fixture *f, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    unlink(path);
}

static int tear_down(void **state) {
    fixture *f = *state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove_file(f, names[i]);
    int failed = rmdir(f->folder);
    free(f);
    return failed;
}

static void write_bytes(const fixture *f, const char *name, const void *bytes, size_t n_bytes) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const fixture *f, const char *name, const char *text) {
    write_bytes(f, name, text, strlen(text));
}

/* A safetensors file of that header and 64 bytes: 0x95, then 0x55 (trits 1 0 0 0 ..., when packed), the last four
 * bf16 2.0 and 0.5. */
static void write_weights(const fixture *f, const char *name, const char *header) {
    size_t length = strlen(header);
    uint8_t bytes[2048] = {(uint8_t)length, (uint8_t)(length >> 8)};
    assert_true(length + 72 <= sizeof bytes);
    memcpy(bytes + 8, header, length);
    memset(bytes + 8 + length, 0x55, 64);
    bytes[8 + length] = 0x56;
    memcpy(bytes + 8 + length + 60, "\x00\x40\x00\x3f", 4);
    write_bytes(f, name, bytes, 8 + length + 64);
}

#define CONFIG                                                                                                         \
    "{\"model_type\":\"bitnet\",\"hidden_act\":\"relu2\",\"hidden_size\":4,\"num_attention_heads\":2,"                 \
    "\"num_key_value_heads\":1,\"num_hidden_layers\":3,\"intermediate_size\":20,\"vocab_size\":9,"                     \
    "\"max_position_embeddings\":16,\"rms_norm_eps\":1e-05,\"rope_theta\":500000.0,\"tie_word_embeddings\":true,"      \
    "\"bos_token_id\":7,\"eos_token_id\":8,\"quantization_config\":{\"quant_method\":\"bitnet\","                      \
    "\"linear_class\":\"autobitlinear\",\"quantization_mode\":\"offline\"}}"

#define PLAIN "{\"model.norm.weight\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}"
#define WEIGHT "model.layers.0.mlp.gate_proj.weight"
#define PACKED                                                                                                         \
    "{\"" WEIGHT "\":{\"dtype\":\"U8\",\"shape\":[5,4],\"data_offsets\":[0,20]},"                                      \
    "\"" WEIGHT "_scale\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[60,62]}}"

static tern_status open_folder(const fixture *f, tern_checkpoint **checkpoint, tern_error *err) {
    *checkpoint = NULL;
    *err = (tern_error){0};
    return tern_checkpoint_open(f->folder, checkpoint, err);
}

static tern_checkpoint *open_or_fail(const fixture *f) {
    tern_checkpoint *checkpoint;
    tern_error err;
    if (open_folder(f, &checkpoint, &err))
        fail_msg("%s", err.message);
    return checkpoint;
}

static void expect_error(const fixture *f, tern_status status, const char *part, const char *row) {
    tern_checkpoint *checkpoint;
    tern_error err;
    tern_status got = open_folder(f, &checkpoint, &err);
    if (got != status || !strstr(err.message, part) || !strstr(err.message, f->folder))
        fail_msg("%s: status %d, '%s' lacks '%s'", row, got, err.message, part);
    assert_null(checkpoint);
}

/* `text` with key set to value (JSON; NULL: removed). Keys of quantization_config as "q.key". */
static char *with(const char *text, const char *key, const char *value) {
    json_t *root = json_loads(text, 0, NULL), *object = root;
    assert_non_null(root);
    if (strncmp(key, "q.", 2) == 0) {
        object = json_object_get(root, "quantization_config");
        key += 2;
    }
    if (value)
        json_object_set_new(object, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(object, key);
    char *changed = json_dumps(root, 0);
    json_decref(root);
    assert_non_null(changed);
    return changed;
}

static void test_config(void **state) {
    const fixture *f = *state;
    write_text(f, "config.json", CONFIG);
    write_weights(f, "model.safetensors", PLAIN);
    tern_checkpoint *checkpoint = open_or_fail(f);
    const tern_config *config = &checkpoint->config;
    assert_int_equal(checkpoint->kind, TERN_CHECKPOINT_HF);
    assert_string_equal(config->name, strrchr(f->folder, '/') + 1);
    assert_int_equal(config->hidden_size, 4);
    assert_int_equal(config->n_heads, 2);
    assert_int_equal(config->n_kv_heads, 1);
    assert_int_equal(config->n_layers, 3);
    assert_int_equal(config->ffn_size, 20);
    assert_int_equal(config->vocab_size, 9);
    assert_int_equal(config->n_ctx, 16);
    assert_int_equal(config->head_dim, 0);
    assert_true(config->rms_eps == 1e-5f);
    assert_true(config->rope_theta == 500000);
    assert_int_equal(config->tied_embedding, 1);
    assert_int_equal(config->bos_id, 7);
    assert_int_equal(config->eos_id, 8);
    assert_null(checkpoint->chat_template);
    bool shown = false;
    for (size_t i = 0; i < checkpoint->n_metadata; i++)
        shown |= strcmp(checkpoint->metadata[i].key, "quantization_config.linear_class") == 0 &&
                 strcmp(checkpoint->metadata[i].value, "autobitlinear") == 0;
    assert_true(shown);
    tern_checkpoint_close(checkpoint);
}

typedef struct key_row {
    const char *key, *value; /* JSON; NULL: the key is removed */
    tern_status status;
    const char *part;
} key_row;

static const key_row keys[] = {
    {"torch_dtype", "\"bfloat16\"", TERN_OK, NULL},
    {"dtype", "\"bfloat16\"", TERN_OK, NULL},
    {"head_dim", "2", TERN_OK, NULL},
    {"head_dim", "null", TERN_OK, NULL},
    {"rope_scaling", "null", TERN_OK, NULL},
    {"rope_parameters", "{\"rope_theta\":500000.0,\"rope_type\":\"default\"}", TERN_OK, NULL},
    {"rope_parameters", "{\"rope_theta\":500000.0,\"rope_type\":\"yarn\"}", TERN_ERR_UNSUPPORTED, "yarn"},
    {"rope_parameters", "3", TERN_ERR_FORMAT, "rope_parameters"},
    {"rope_scaling", "{\"type\":\"linear\",\"factor\":2}", TERN_ERR_UNSUPPORTED, "linear"},
    {"rope_scaling", "{\"factor\":2}", TERN_ERR_UNSUPPORTED, "RoPE scaling"},
    {"partial_rotary_factor", "0.5", TERN_ERR_UNSUPPORTED, "partial_rotary_factor"},
    {"rope_theta", "\"big\"", TERN_ERR_FORMAT, "rope_theta"},
    {"rope_theta", "-1", TERN_ERR_FORMAT, "rope_theta"},
    {"rms_norm_eps", "0", TERN_ERR_FORMAT, "rms_norm_eps"},
    {"rms_norm_eps", "[]", TERN_ERR_FORMAT, "rms_norm_eps"},
    {"hidden_act", "\"silu\"", TERN_ERR_UNSUPPORTED, "silu"},
    {"hidden_act", NULL, TERN_ERR_UNSUPPORTED, "hidden_act"},
    {"model_type", "\"mistral\"", TERN_ERR_UNSUPPORTED, "mistral"},
    {"model_type", "\"llama\"", TERN_ERR_UNSUPPORTED, "hidden_act must be \"silu\" but is relu2"},
    {"model_type", NULL, TERN_ERR_UNSUPPORTED, "(none)"},
    {"attention_bias", "true", TERN_ERR_UNSUPPORTED, "biases"},
    {"hidden_size", "0", TERN_ERR_FORMAT, "hidden_size"},
    {"hidden_size", "-4", TERN_ERR_FORMAT, "hidden_size"},
    {"hidden_size", "4.0", TERN_ERR_FORMAT, "hidden_size"},
    {"vocab_size", "99999999999", TERN_ERR_FORMAT, "vocab_size"},
    {"num_hidden_layers", "\"3\"", TERN_ERR_FORMAT, "num_hidden_layers"},
    {"tie_word_embeddings", "1", TERN_ERR_FORMAT, "tie_word_embeddings"},
    {"eos_token_id", "-5", TERN_ERR_FORMAT, "eos_token_id"},
    {"eos_token_id", "[\"8\"]", TERN_ERR_FORMAT, "eos_token_id"},
    {"eos_token_id", "[]", TERN_OK, NULL},
    {"quantization_config", "null", TERN_OK, NULL},
    {"quantization_config", "[]", TERN_ERR_FORMAT, "quantization_config"},
    {"q.quant_method", "\"gptq\"", TERN_ERR_UNSUPPORTED, "quant_method"},
    {"q.linear_class", "\"other\"", TERN_ERR_UNSUPPORTED, "linear_class"},
    {"q.linear_class", NULL, TERN_OK, NULL},
    {"q.quantization_mode", "\"sideways\"", TERN_ERR_UNSUPPORTED, "quantization_mode"},
    {"q.use_rms_norm", "true", TERN_ERR_UNSUPPORTED, "use_rms_norm"},
    {"q.use_rms_norm", "false", TERN_OK, NULL},
    {"q.modules_to_not_convert", "null", TERN_OK, NULL},
    {"q.modules_to_not_convert", "[\"lm_head\"]", TERN_OK, NULL},
    {"q.modules_to_not_convert", "[\"model.layers.0.mlp\"]", TERN_ERR_UNSUPPORTED, "modules_to_not_convert"},
};

static void check_keys(const fixture *f, const char *config, const key_row *rows, size_t n) {
    write_weights(f, "model.safetensors", PLAIN);
    for (size_t i = 0; i < n; i++) {
        char *text = with(config, rows[i].key, rows[i].value);
        write_text(f, "config.json", text);
        free(text);
        if (rows[i].status)
            expect_error(f, rows[i].status, rows[i].part, rows[i].key);
        else
            tern_checkpoint_close(open_or_fail(f));
    }
}

static void test_keys(void **state) { check_keys(*state, CONFIG, keys, sizeof keys / sizeof keys[0]); }

/* As old LLaMA folders have it: what is not said is transformers' default. */
#define LLAMA                                                                                                          \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":4,"    \
    "\"num_attention_heads\":2,\"num_hidden_layers\":3,\"intermediate_size\":20,\"vocab_size\":9}"
#define LLAMA3(factor, low, high, original)                                                                            \
    "{\"rope_type\":\"llama3\",\"factor\":" #factor ",\"low_freq_factor\":" #low ",\"high_freq_factor\":" #high        \
    ",\"original_max_position_embeddings\":" #original "}"

static const key_row llama_keys[] = {
    {"model_type", NULL, TERN_OK, NULL}, /* the architecture tells */
    {"hidden_act", "\"relu2\"", TERN_ERR_UNSUPPORTED, "hidden_act"},
    {"hidden_act", "\"gelu\"", TERN_ERR_UNSUPPORTED, "gelu"},
    {"attention_bias", "true", TERN_ERR_UNSUPPORTED, "biases"},
    {"mlp_bias", "true", TERN_ERR_UNSUPPORTED, "biases"},
    {"num_local_experts", "8", TERN_ERR_UNSUPPORTED, "experts"},
    {"sliding_window", "null", TERN_OK, NULL},
    {"sliding_window", "4096", TERN_ERR_UNSUPPORTED, "sliding window"},
    {"rope_scaling", LLAMA3(8, 1, 4, 8192), TERN_OK, NULL},
    {"rope_scaling", LLAMA3(8, 4, 4, 8192), TERN_ERR_FORMAT, "llama3"},
    {"rope_scaling", LLAMA3(0.5, 1, 4, 8192), TERN_ERR_FORMAT, "llama3"},
    {"rope_scaling", LLAMA3(8, 1, 4, 0), TERN_ERR_FORMAT, "llama3"},
    {"rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":8}", TERN_ERR_FORMAT, "llama3"},
    {"rope_parameters", "{\"rope_type\":\"dynamic\"}", TERN_ERR_UNSUPPORTED, "dynamic"},
    {"quantization_config", "{\"quant_method\":\"gptq\"}", TERN_ERR_UNSUPPORTED, "quant_method"},
};

static void test_llama(void **state) {
    const fixture *f = *state;
    check_keys(f, LLAMA, llama_keys, sizeof llama_keys / sizeof llama_keys[0]);
    write_text(f, "config.json", LLAMA);
    tern_checkpoint *checkpoint = open_or_fail(f);
    const tern_config *config = &checkpoint->config;
    assert_string_equal(config->arch, "llama");
    assert_int_equal(config->activation, TERN_SILU);
    assert_true(config->no_sub_norms && config->keep_floats && !config->interleaved_qk);
    assert_true(config->rope_scaling.factor == 0 && config->rope_theta == 10000 && config->rms_eps == 1e-6f);
    assert_int_equal(config->n_kv_heads, 2);
    assert_int_equal(config->n_ctx, 2048);
    tern_checkpoint_close(checkpoint);

    char *text = with(LLAMA, "quantization_config", "{}"); /* says nothing */
    write_text(f, "config.json", text);
    free(text);
    checkpoint = open_or_fail(f);
    assert_true(checkpoint->config.keep_floats);
    tern_checkpoint_close(checkpoint);
}

/* The published ternary ones do not say linear_class: transformers' default divides. */
static void test_llama_packed(void **state) {
    const fixture *f = *state;
    char *text = with(LLAMA, "quantization_config", "{\"quant_method\":\"bitnet\"}");
    write_text(f, "config.json", text);
    free(text);
    write_weights(f, "model.safetensors", PACKED);
    tern_checkpoint *checkpoint = open_or_fail(f);
    float scale = 0;
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, WEIGHT);
    assert_int_equal(tensor->type, TERN_TYPE_HF_PACKED);
    assert_int_equal(tern_codec_of(tensor->type)->scale(tensor, &scale, NULL), TERN_OK);
    assert_true(scale == 0.5f); /* stored: 2 */
    assert_false(checkpoint->config.keep_floats);
    tern_checkpoint_close(checkpoint);
}

static void test_variants(void **state) {
    const fixture *f = *state;
    write_weights(f, "model.safetensors", PLAIN);
    char *first = with(CONFIG, "rope_theta", NULL);
    char *second = with(first, "rope_parameters", "{\"rope_theta\": 1234.0}");
    char *third = with(second, "eos_token_id", "[5, 6]");
    char *last = with(third, "bos_token_id", NULL);
    write_text(f, "config.json", last);
    write_text(f, "generation_config.json", "{\"bos_token_id\": [3, 4], \"eos_token_id\": [1]}");
    tern_checkpoint *checkpoint = open_or_fail(f);
    assert_true(checkpoint->config.rope_theta == 1234);
    assert_int_equal(checkpoint->config.eos_id, 5); /* the first of the list; config.json goes first */
    assert_int_equal(checkpoint->config.bos_id, 3);
    tern_checkpoint_close(checkpoint);
    free(first), free(second), free(third), free(last);

    write_text(f, "generation_config.json", "{");
    expect_error(f, TERN_ERR_FORMAT, "generation_config.json", "broken");
    remove_file(f, "generation_config.json");
    write_text(f, "config.json", "{\"model_type\":\"bitnet\",\"hidden_act\":\"relu2\"}");
    checkpoint = open_or_fail(f); /* nothing is assumed */
    assert_int_equal(checkpoint->config.n_ctx, 0);
    assert_true(isnan(checkpoint->config.rms_eps) && isnan(checkpoint->config.rope_theta));
    assert_int_equal(checkpoint->config.tied_embedding, -1);
    assert_int_equal(checkpoint->config.eos_id, -1);
    tern_checkpoint_close(checkpoint);
    static const char *const broken[] = {"", "[]", "{\"a\":1,\"a\":2}", "{\"model_type\":\"bitnet\"", "\xff"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        write_text(f, "config.json", broken[i]);
        expect_error(f, TERN_ERR_FORMAT, "config.json", broken[i]);
    }
}

static void check_scale(const fixture *f, const char *config, float expected) {
    write_text(f, "config.json", config);
    tern_checkpoint *checkpoint = open_or_fail(f);
    assert_string_equal(checkpoint->format, "Hugging Face (packed)");
    assert_int_equal(checkpoint->n_tensors, 1);
    const tern_tensor *weight = tern_checkpoint_find(checkpoint, WEIGHT);
    assert_non_null(weight);
    assert_int_equal(weight->rows, 20);
    float scale = 0;
    int8_t trits[80];
    const tern_codec *codec = tern_codec_of(weight->type);
    assert_int_equal(codec->scale(weight, &scale, NULL), TERN_OK);
    assert_true(scale == expected);
    assert_true(codec->decode_trits(weight, 0, 20, trits, 4));
    assert_int_equal(trits[0], 1);
    assert_int_equal(trits[1], 0);
    tern_checkpoint_close(checkpoint);
}

static void test_packed(void **state) {
    const fixture *f = *state;
    write_weights(f, "model.safetensors", PACKED);
    check_scale(f, CONFIG, 2);
    char *text = with(CONFIG, "q.linear_class", "\"bitlinear\"");
    check_scale(f, text, 0.5f); /* the stored scale divides */
    free(text);
    static const char *const unsaid[] = {"q.linear_class", "quantization_config"};
    for (int i = 0; i < 2; i++) {
        text = with(CONFIG, unsaid[i], NULL);
        write_text(f, "config.json", text);
        expect_error(f, TERN_ERR_UNSUPPORTED, "linear_class", unsaid[i]);
        free(text);
    }
    write_text(f, "config.json", CONFIG);
    write_weights(f, "model.safetensors",
                  "{\"" WEIGHT "\":{\"dtype\":\"U8\",\"shape\":[5,4],\"data_offsets\":[0,20]}}");
    expect_error(f, TERN_ERR_FORMAT, WEIGHT "_scale", "no scale");
    write_weights(f, "model.safetensors", /* 20 rows in 4: five a byte */
                  "{\"" WEIGHT "\":{\"dtype\":\"U8\",\"shape\":[4,4],\"data_offsets\":[0,16]},"
                  "\"" WEIGHT "_scale\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[60,62]}}");
    expect_error(f, TERN_ERR_UNSUPPORTED, "five trits a byte", "five trits");
}

static void test_shards(void **state) {
    const fixture *f = *state;
    write_text(f, "config.json", CONFIG);
    expect_error(f, TERN_ERR_IO, "no model.safetensors", "no weights");
    const char *one = "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                      "\"" WEIGHT "\":{\"dtype\":\"U8\",\"shape\":[5,4],\"data_offsets\":[4,24]}}";
    const char *two = "{\"" WEIGHT "_scale\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[60,62]},"
                      "\"extra\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    write_weights(f, "model-1.safetensors", one);
    write_weights(f, "model-2.safetensors", two);
    const char *index = "{\"metadata\":{},\"weight_map\":{\"" WEIGHT "_scale\":\"model-2.safetensors\","
                        "\"a\":\"model-1.safetensors\",\"" WEIGHT "\":\"model-1.safetensors\"}}";
    write_text(f, "model.safetensors.index.json", index);
    tern_checkpoint *checkpoint = open_or_fail(f); /* the scale may lie in another shard */
    assert_int_equal(checkpoint->n_tensors, 3);
    assert_int_equal(tern_checkpoint_find(checkpoint, WEIGHT)->type, TERN_TYPE_HF_PACKED);
    assert_non_null(tern_checkpoint_find(checkpoint, "a"));
    assert_non_null(tern_checkpoint_find(checkpoint, "extra"));
    tern_checkpoint_close(checkpoint);

    static const struct {
        const char *index;
        tern_status status;
        const char *part;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"../model-1.safetensors\"}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":\"/etc/model-1.safetensors\"}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":\"sub\\\\model-1.safetensors\"}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":\"config.json\"}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":\"\"}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":1}}", TERN_ERR_FORMAT, "plain name"},
        {"{\"weight_map\":{\"a\":\"model-3.safetensors\"}}", TERN_ERR_IO, "model-3.safetensors"},
        {"{\"weight_map\":{\"b\":\"model-1.safetensors\"}}", TERN_ERR_FORMAT, "'b' is listed but not in its shard"},
        {"{\"weight_map\":{}}", TERN_ERR_FORMAT, "no weight_map"},
        {"{}", TERN_ERR_FORMAT, "no weight_map"},
        {"{\"weight_map\":", TERN_ERR_FORMAT, "no valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text(f, "model.safetensors.index.json", cases[i].index);
        expect_error(f, cases[i].status, cases[i].part, cases[i].index);
    }
    write_weights(f, "model-2.safetensors", one); /* the same tensors in two shards */
    write_text(f, "model.safetensors.index.json", index);
    expect_error(f, TERN_ERR_FORMAT, "duplicate tensor", "duplicates");
}

static void test_chat_template(void **state) {
    const fixture *f = *state;
    write_text(f, "config.json", CONFIG);
    write_weights(f, "model.safetensors", PLAIN);
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{\"chat_template\":\"{{ x }}\", \"model_max_length\": 1000000000000000019884624838656}", "{{ x }}"},
        {"{\"chat_template\":[{\"name\":\"tool\",\"template\":\"t\"},{\"name\":\"default\",\"template\":\"d\"}]}", "d"},
        {"{\"chat_template\":[{\"name\":\"tool\",\"template\":\"t\"}]}", NULL},
        {"{\"chat_template\":null}", NULL},
        {"{}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text(f, "tokenizer_config.json", cases[i].text);
        tern_checkpoint *checkpoint = open_or_fail(f);
        if (cases[i].expected)
            assert_string_equal(checkpoint->chat_template, cases[i].expected);
        else
            assert_null(checkpoint->chat_template);
        tern_checkpoint_close(checkpoint);
    }
    write_text(f, "tokenizer_config.json", "{\"chat_template\":\"from the json\"}");
    write_text(f, "chat_template.jinja", "from the file");
    tern_checkpoint *checkpoint = open_or_fail(f);
    assert_string_equal(checkpoint->chat_template, "from the file");
    tern_checkpoint_close(checkpoint);
    write_text(f, "tokenizer_config.json", "{\"chat_template\":");
    expect_error(f, TERN_ERR_FORMAT, "tokenizer_config.json", "broken");
}

static void test_cut_weights(void **state) {
    const fixture *f = *state;
    write_text(f, "config.json", CONFIG);
    write_weights(f, "model.safetensors", PACKED);
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", f->folder);
    assert_int_equal(truncate(path, 8 + (off_t)strlen(PACKED) + 61), 0);
    expect_error(f, TERN_ERR_FORMAT, "(1 are missing)", "cut");
    assert_int_equal(truncate(path, 0), 0);
    expect_error(f, TERN_ERR_FORMAT, "empty", "empty");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_config, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_variants, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_llama_packed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_packed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chat_template, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut_weights, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
