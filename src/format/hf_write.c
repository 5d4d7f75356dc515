#include "format/hf_write.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/folder.h"
#include "base/json.h"
#include "format/hf.h"

/* Takes over `json`; NULL: it could not be made. */
static tern_status write_json(const char *folder, const char *name, json_t *json, int digits, tern_error *err) {
    char *text = json ? tern_json_dump(json, JSON_INDENT(2) | (size_t)JSON_REAL_PRECISION(digits)) : NULL;
    tern_status status = text ? tern_folder_write(folder, name, text, strlen(text), err) : tern_fail_memory(err, name);
    free(text);
    json_decref(json);
    return status;
}

enum { FLOAT_DIGITS = 9, DOUBLE_DIGITS = 15 };

/* 1e-05 and not 9.99999975e-06: the shortest decimal that gives the same float. */
static double shortest(float value) {
    char text[32];
    int digits = 5;
    do
        snprintf(text, sizeof text, "%.*g", ++digits, (double)value);
    while (strtof(text, NULL) != value && digits < FLOAT_DIGITS);
    return strtod(text, NULL);
}

static json_t *id_or_null(int32_t id) { return id >= 0 ? json_integer(id) : json_null(); }

/* Of matrices that are `packed`, or masters. */
static json_t *make_quantization(bool packed) {
    return json_pack("{s:s, s:s, s:s}", "quant_method", "bitnet", "linear_class", "autobitlinear", "quantization_mode",
                     packed ? "offline" : "online");
}

static json_t *make_config(const tern_hf_card *card) {
    json_t *json =
        json_pack("{s:[s], s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:f, s:s, s:f, s:I, s:I, s:I, s:I, s:f}", "architectures",
                  "BitNetForCausalLM", /* */
                  "bos_token_id", id_or_null(card->bos_id), "eos_token_id", id_or_null(card->eos_id), "hidden_act",
                  "relu2", "hidden_size", (json_int_t)card->hidden_size, "intermediate_size",
                  (json_int_t)card->ffn_size, "max_position_embeddings", (json_int_t)card->n_ctx, "vocab_size",
                  (json_int_t)card->vocab_size, "initializer_range", 0.02, "model_type", "bitnet", "rms_norm_eps",
                  shortest(card->rms_eps), "num_attention_heads", (json_int_t)card->n_heads, "num_hidden_layers",
                  (json_int_t)card->n_layers, "num_key_value_heads", (json_int_t)card->n_kv_heads, "head_dim",
                  (json_int_t)card->head_dim, "rope_theta", shortest(card->rope_theta));
    if (!json)
        return NULL;
    bool ok = json_object_set_new(json, "tie_word_embeddings", json_boolean(card->tied)) == 0 &&
              json_object_set_new(json, "torch_dtype", json_string(card->dtype)) == 0 &&
              json_object_set_new(json, "use_cache", json_true()) == 0;
    if (card->weights != TERN_HF_FLOATS)
        ok = ok &&
             json_object_set_new(json, "quantization_config", make_quantization(card->weights == TERN_HF_PACKED)) == 0;
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

tern_status tern_hf_write_config(const char *folder, const tern_hf_card *card, tern_error *err) {
    return write_json(folder, "config.json", make_config(card), FLOAT_DIGITS, err);
}

tern_status tern_hf_write_generation_config(const char *folder, const tern_hf_card *card, tern_error *err) {
    json_t *ends = json_array();
    bool ok = true;
    if (card->eos_id >= 0)
        ok = json_array_append_new(ends, json_integer(card->eos_id)) == 0;
    if (ok && card->eot_id >= 0 && card->eot_id != card->eos_id)
        ok = json_array_append_new(ends, json_integer(card->eot_id)) == 0;
    if (!ok) {
        json_decref(ends);
        return tern_fail_memory(err, "generation_config.json");
    }
    json_t *json = json_pack("{s:o, s:o, s:b, s:I}", "bos_token_id", id_or_null(card->bos_id), "eos_token_id", ends,
                             "do_sample", 1, "max_length", (json_int_t)card->n_ctx);
    return write_json(folder, "generation_config.json", json, FLOAT_DIGITS, err);
}

static json_t *text_or_null(tern_view text) { return text.bytes ? json_stringn(text.bytes, text.size) : json_null(); }

tern_status tern_hf_write_tokenizer_config(const char *folder, const tern_hf_card *card, tern_error *err) {
    json_t *json =
        json_pack("{s:o, s:o, s:o, s:b, s:I, s:[s, s], s:s}", "bos_token", text_or_null(card->bos), "eos_token",
                  text_or_null(card->eos), "pad_token", text_or_null(card->eos), "clean_up_tokenization_spaces", 0,
                  "model_max_length", (json_int_t)card->n_ctx, "model_input_names", "input_ids", "attention_mask",
                  "tokenizer_class", "PreTrainedTokenizerFast");
    /* packed as "s*" it would be left out when there is no memory for it */
    if (json && card->chat_template && json_object_set_new(json, "chat_template", json_string(card->chat_template))) {
        json_decref(json);
        json = NULL;
    }
    return write_json(folder, "tokenizer_config.json", json, FLOAT_DIGITS, err);
}

/* The rest of quantization_config stays: it may name what is not converted, embedding and head. */
static bool set_packed(json_t *config, const char *dtype) {
    json_t *old = json_object_get(config, "quantization_config"), *packed = make_quantization(true);
    bool ok = packed != NULL;
    if (ok && json_is_object(old))
        ok = json_object_update(old, packed) == 0;
    else if (ok)
        ok = json_object_set(config, "quantization_config", packed) == 0;
    json_decref(packed);
    if (json_object_get(config, "dtype")) /* as newer folders call it */
        ok = ok && json_object_set_new(config, "dtype", json_string(dtype)) == 0;
    else
        ok = ok && json_object_set_new(config, "torch_dtype", json_string(dtype)) == 0;
    return ok;
}

tern_status tern_hf_write_packed_config(const char *from, const char *folder, const char *dtype, tern_error *err) {
    char *text;
    size_t n_bytes = 0;
    json_t *config = NULL;
    tern_status status = tern_folder_read(from, "config.json", TERN_MAX_CONFIG_BYTES, &text, &n_bytes, err);
    if (!status && !text)
        status = tern_fail(err, TERN_ERR_IO, "%s: config.json cannot be read again", from);
    if (!status)
        status = tern_json_object("config.json", text, n_bytes, 0, &config, err);
    free(text);
    if (status)
        return status;
    if (!set_packed(config, dtype)) {
        json_decref(config);
        return tern_fail_memory(err, "config.json");
    }
    return write_json(folder, "config.json", config, DOUBLE_DIGITS, err);
}
