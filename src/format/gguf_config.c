/* What the keys of a GGUF say of the model (numerics.md section 6) and of its vocabulary. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/gguf.h"

static const char *const architectures[] = {"bitnet-b1.58", "bitnet-25", "bitnet", "llama"};

typedef struct size_key {
    const char *key; /* behind the architecture's name */
    size_t field;
} size_key;

static const size_key size_keys[] = {
    {"vocab_size", offsetof(tern_config, vocab_size)},
    {"context_length", offsetof(tern_config, n_ctx)},
    {"embedding_length", offsetof(tern_config, hidden_size)},
    {"feed_forward_length", offsetof(tern_config, ffn_size)},
    {"block_count", offsetof(tern_config, n_layers)},
    {"attention.head_count", offsetof(tern_config, n_heads)},
    {"attention.head_count_kv", offsetof(tern_config, n_kv_heads)},
    {"attention.key_length", offsetof(tern_config, head_dim)},
};

static const char *full_key(char *key, size_t size, const char *arch, const char *name) {
    snprintf(key, size, "%s.%s", arch, name);
    return key;
}

static tern_status check_arch(const tern_gguf *gguf, const char *arch, tern_error *err) {
    if (!arch)
        return tern_fail(err, TERN_ERR_FORMAT, "there is no key general.architecture: not a model");
    bool known = false;
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++)
        known |= strcmp(arch, architectures[i]) == 0;
    if (!known)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "architecture '%.64s' is not supported (bitnet-b1.58, bitnet-25, bitnet and llama are)", arch);
    if (strcmp(arch, "bitnet") != 0)
        return TERN_OK;
    /* llama.cpp itself has an architecture of that name with SiLU and a scale beside each weight; run as this model
     * it would give plausible nonsense */
    for (size_t i = 0; i < gguf->store->n_tensors; i++) {
        const char *name = gguf->store->tensors[i].name;
        size_t length = strlen(name);
        if (strncmp(name, "blk.", 4) == 0 && length > 6 && strcmp(name + length - 6, ".scale") == 0)
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "this is llama.cpp's own \"bitnet\" model (SiLU, scale tensors such as '%s'), not BitNet "
                             "b1.58 2B4T; it is not supported",
                             name);
    }
    return TERN_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* What llama.cpp runs under the name "llama" and tern does not. */
static tern_status check_llama(const tern_gguf *gguf, tern_error *err) {
    static const struct {
        const char *key, *what;
    } keys[] = {
        {"llama.expert_count", "a mixture of experts"},
        {"llama.attention.sliding_window", "attention in a sliding window"},
    };
    static const struct {
        const char *end, *what;
    } tensors[] = {
        {".bias", "biases"},
        {"_exps.weight", "a mixture of experts"},
        {".attn_q_norm.weight", "norms of queries"},
        {".attn_sub_norm.weight", "SubLN norms"},
        {".ffn_sub_norm.weight", "SubLN norms"},
        {".scale", "scales of their own for the matrices"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        uint32_t value = 0;
        tern_status status = tern_gguf_get_u32(gguf, keys[i].key, &value, err);
        if (status)
            return status;
        if (value)
            return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s (key '%s') is not supported", keys[i].what, keys[i].key);
    }
    for (size_t i = 0; i < gguf->store->n_tensors; i++)
        for (size_t j = 0; j < sizeof tensors / sizeof tensors[0]; j++)
            if (ends_with(gguf->store->tensors[i].name, tensors[j].end))
                return tern_fail(err, TERN_ERR_UNSUPPORTED, "a llama model with %s (tensor '%s') is not supported",
                                 tensors[j].what, gguf->store->tensors[i].name);
    return TERN_OK;
}

/* LLaMA: the model that llama.cpp runs under that name, with what it takes for missing keys. */
static tern_status finish_llama(const tern_gguf *gguf, tern_config *config, tern_error *err) {
    config->activation = TERN_SILU;
    config->no_sub_norms = config->keep_floats = true;
    config->interleaved_qk = !gguf->store->checkpoint.layout_version; /* docs/FORMAT.md */
    if (!config->n_kv_heads)
        config->n_kv_heads = config->n_heads;
    if (isnan(config->rope_theta))
        config->rope_theta = 10000;
    return check_llama(gguf, err);
}

static tern_status read_rope(const tern_gguf *gguf, const char *arch, tern_config *config, tern_error *err) {
    char key[128];
    const char *scaling = NULL;
    uint32_t rotated = 0;
    tern_status status;
    if ((status =
             tern_gguf_get_f32(gguf, full_key(key, sizeof key, arch, "rope.freq_base"), &config->rope_theta, err)) ||
        (status = tern_gguf_get_u32(gguf, full_key(key, sizeof key, arch, "rope.dimension_count"), &rotated, err)) ||
        (status = tern_gguf_get_string(gguf, full_key(key, sizeof key, arch, "rope.scaling.type"), &scaling, err)))
        return status;
    if (scaling && strcmp(scaling, "none") != 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "RoPE scaling '%.64s' is not supported", scaling);
    if (rotated && config->head_dim && rotated != config->head_dim)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "RoPE over %u of %u dimensions is not supported", rotated,
                         config->head_dim);
    if (rotated)
        config->head_dim = rotated;
    return TERN_OK;
}

static tern_status read_id(const tern_gguf *gguf, const char *key, int32_t *id, tern_error *err) {
    uint32_t value = UINT32_MAX;
    tern_status status = tern_gguf_get_u32(gguf, key, &value, err);
    if (status || value == UINT32_MAX) /* -1 in some files: none */
        return status;
    if (value > INT32_MAX)
        return tern_fail(err, TERN_ERR_FORMAT, "key '%s' is %u, which is no token's id", key, value);
    *id = (int32_t)value;
    return TERN_OK;
}

/* tern's own layout: a newer one may mean other bytes by the same names. */
static tern_status read_layout(const tern_gguf *gguf, tern_checkpoint *checkpoint, tern_error *err) {
    tern_status status = tern_gguf_get_u32(gguf, "tern.layout.version", &checkpoint->layout_version, err);
    if (!status)
        status = tern_gguf_get_string(gguf, "tern.layout.packing", &checkpoint->layout_packing, err);
    if (!status && checkpoint->layout_version > TERN_LAYOUT_VERSION)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "tern.layout.version is %u, this program knows up to %u: take a newer tern, or convert the "
                         "original again",
                         checkpoint->layout_version, TERN_LAYOUT_VERSION);
    return status;
}

tern_status tern_gguf_read_config(const tern_gguf *gguf, tern_error *err) {
    tern_checkpoint *checkpoint = &gguf->store->checkpoint;
    tern_config *config = &checkpoint->config;
    char key[128];
    tern_status status;
    if ((status = tern_gguf_get_string(gguf, "general.architecture", &config->arch, err)) ||
        (status = check_arch(gguf, config->arch, err)) ||
        (status = tern_gguf_get_string(gguf, "general.name", &config->name, err)) ||
        (config->name && (status = tern_store_set_name(gguf->store, config->name, err))))
        return status;
    for (size_t i = 0; i < sizeof size_keys / sizeof size_keys[0]; i++) {
        uint32_t *field = (uint32_t *)((char *)config + size_keys[i].field);
        status = tern_gguf_get_u32(gguf, full_key(key, sizeof key, config->arch, size_keys[i].key), field, err);
        if (status)
            return status;
    }
    if ((status = tern_gguf_get_f32(gguf, full_key(key, sizeof key, config->arch, "attention.layer_norm_rms_epsilon"),
                                    &config->rms_eps, err)) ||
        (status = read_rope(gguf, config->arch, config, err)) ||
        (status = read_id(gguf, "tokenizer.ggml.bos_token_id", &config->bos_id, err)) ||
        (status = read_id(gguf, "tokenizer.ggml.eos_token_id", &config->eos_id, err)))
        return status;
    status = read_layout(gguf, checkpoint, err);
    if (!status && strcmp(config->arch, "llama") == 0)
        status = finish_llama(gguf, config, err);
    return status ? status : tern_gguf_get_string(gguf, "tokenizer.chat_template", &checkpoint->chat_template, err);
}

/* An array of strings as views into the file. Each string takes 8 bytes at least, so the list is at most twice the
 * size of its bytes. */
static tern_status read_strings(const tern_gguf *gguf, const char *key, tern_view **views, size_t *n, tern_error *err) {
    const tern_gguf_kv *kv = tern_gguf_find(gguf, key);
    if (!kv)
        return TERN_OK;
    if (kv->type != GGUF_ARRAY || kv->item_type != GGUF_STRING)
        return tern_fail(err, TERN_ERR_FORMAT, "key '%s' must be an array of strings", key);
    *views = tern_alloc_array((size_t)kv->count, sizeof **views);
    if (!*views)
        return tern_fail_memory(err, key);
    tern_reader reader = tern_gguf_at(gguf, kv);
    for (size_t i = 0; i < kv->count; i++)
        (*views)[i] = tern_gguf_string(&reader);
    *n = (size_t)kv->count;
    return TERN_OK;
}

static tern_status read_token_types(const tern_gguf *gguf, size_t n_tokens, tern_error *err) {
    const char *key = "tokenizer.ggml.token_type";
    const tern_gguf_kv *kv = tern_gguf_find(gguf, key);
    if (!kv)
        return TERN_OK;
    if (kv->type != GGUF_ARRAY || (kv->item_type != GGUF_I32 && kv->item_type != GGUF_U32))
        return tern_fail(err, TERN_ERR_FORMAT, "key '%s' must be an array of i32", key);
    if (kv->count != n_tokens)
        return tern_fail(err, TERN_ERR_FORMAT, "key '%s' has %llu entries for %zu tokens", key,
                         (unsigned long long)kv->count, n_tokens);
    int32_t *types = tern_alloc_array(n_tokens, sizeof *types);
    if (!types)
        return tern_fail_memory(err, key);
    tern_reader reader = tern_gguf_at(gguf, kv);
    for (size_t i = 0; i < n_tokens; i++)
        types[i] = (int32_t)tern_read_u32(&reader);
    gguf->store->token_types = types;
    gguf->store->checkpoint.vocab.types = types;
    return TERN_OK;
}

tern_status tern_gguf_read_vocab(const tern_gguf *gguf, tern_error *err) {
    tern_store *store = gguf->store;
    tern_config *config = &store->checkpoint.config;
    tern_gguf_vocab *vocab = &store->checkpoint.vocab;
    tern_status status;
    if ((status = tern_gguf_get_string(gguf, "tokenizer.ggml.model", &vocab->model, err)) ||
        (status = tern_gguf_get_string(gguf, "tokenizer.ggml.pre", &vocab->pre, err)) ||
        (status = tern_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &vocab->add_bos, err)) ||
        (status = tern_gguf_get_string(gguf, "tokenizer.tern.pattern", &vocab->pattern, err)) ||
        (status = tern_gguf_get_bool(gguf, "tokenizer.tern.merge_tokens", &vocab->merge_tokens, err)) ||
        (status = read_strings(gguf, "tokenizer.ggml.tokens", &store->tokens, &vocab->n_tokens, err)) ||
        (status = read_strings(gguf, "tokenizer.ggml.merges", &store->merges, &vocab->n_merges, err)) ||
        (status = read_token_types(gguf, vocab->n_tokens, err)))
        return status;
    if (vocab->n_tokens > INT32_MAX)
        return tern_fail(err, TERN_ERR_FORMAT, "a vocabulary of %zu tokens is absurd", vocab->n_tokens);
    vocab->tokens = store->tokens;
    vocab->merges = store->merges;
    vocab->bos_id = config->bos_id;
    vocab->eos_id = config->eos_id;
    if (!config->vocab_size) /* older files have no such key */
        config->vocab_size = (uint32_t)vocab->n_tokens;
    return TERN_OK;
}
