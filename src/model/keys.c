#include "model/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The name of a key that belongs to the architecture: "llama.block_count". */
typedef struct arch_key {
    char name[64];
} arch_key;

static const char *key_of(const tern_dims *dims, const char *end, arch_key *key) {
    snprintf(key->name, sizeof key->name, "%s.%s", dims->no_sub_norms ? "llama" : "bitnet-b1.58", end);
    return key->name;
}

void tern_keys_put_model(tern_gguf_writer *writer, const char *name, const tern_dims *dims) {
    arch_key key;
    const struct {
        const char *end;
        uint32_t value;
    } sizes[] = {
        {"vocab_size", dims->vocab_size},        {"context_length", dims->n_ctx},
        {"embedding_length", dims->hidden_size}, {"block_count", dims->n_layers},
        {"feed_forward_length", dims->ffn_size}, {"rope.dimension_count", dims->head_dim},
        {"attention.head_count", dims->n_heads}, {"attention.head_count_kv", dims->n_kv_heads},
    };
    tern_gguf_put_string(writer, "general.architecture", dims->no_sub_norms ? "llama" : "bitnet-b1.58");
    tern_gguf_put_string(writer, "general.name", name);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        tern_gguf_put_u32(writer, key_of(dims, sizes[i].end, &key), sizes[i].value);
    if (tern_q_size(dims) != dims->hidden_size) { /* else readers divide */
        tern_gguf_put_u32(writer, key_of(dims, "attention.key_length", &key), dims->head_dim);
        tern_gguf_put_u32(writer, key_of(dims, "attention.value_length", &key), dims->head_dim);
    }
    tern_gguf_put_f32(writer, key_of(dims, "attention.layer_norm_rms_epsilon", &key), dims->rms_eps);
    tern_gguf_put_f32(writer, key_of(dims, "rope.freq_base", &key), dims->rope_theta);
}

/* As tern_tokenizer_export() calls and types the ids that no token has. */
static tern_status add_unused(tern_vocab_export *vocab, uint32_t vocab_size, tern_error *err) {
    enum { UNUSED = 5, LONGEST = 20 };
    if (vocab->n_tokens >= vocab_size)
        return TERN_OK;
    tern_view *tokens = realloc(vocab->tokens, vocab_size * sizeof *tokens);
    if (tokens)
        vocab->tokens = tokens;
    int32_t *types = realloc(vocab->types, vocab_size * sizeof *types);
    if (types)
        vocab->types = types;
    if (!tokens || !types)
        return tern_fail_memory(err, "the vocabulary");
    for (size_t id = vocab->n_tokens; id < vocab_size; id++) {
        char *name = tern_arena_alloc(&vocab->arena, LONGEST);
        if (!name)
            return tern_fail_memory(err, "the vocabulary");
        tokens[id] = (tern_view){name, (size_t)snprintf(name, LONGEST, "[PAD%zu]", id)};
        types[id] = UNUSED;
    }
    vocab->n_tokens = vocab_size;
    return TERN_OK;
}

static void put_vocab(tern_gguf_writer *writer, const tern_vocab_export *vocab, const char *chat_template) {
    tern_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", vocab->add_bos);
    tern_gguf_put_string(writer, "tokenizer.ggml.model", "gpt2");
    if (vocab->pattern)
        tern_gguf_put_string(writer, "tokenizer.tern.pattern", vocab->pattern);
    else
        tern_gguf_put_string(writer, "tokenizer.ggml.pre", "llama-bpe");
    if (vocab->merge_tokens)
        tern_gguf_put_bool(writer, "tokenizer.tern.merge_tokens", true);
    tern_gguf_put_strings(writer, "tokenizer.ggml.tokens", vocab->tokens, vocab->n_tokens);
    tern_gguf_put_i32s(writer, "tokenizer.ggml.token_type", vocab->types, vocab->n_tokens);
    tern_gguf_put_strings(writer, "tokenizer.ggml.merges", vocab->merges, vocab->n_merges);
    if (vocab->bos_id >= 0)
        tern_gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", (uint32_t)vocab->bos_id);
    if (vocab->eos_id >= 0)
        tern_gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", (uint32_t)vocab->eos_id);
    if (chat_template)
        tern_gguf_put_string(writer, "tokenizer.chat_template", chat_template);
}

tern_status tern_keys_put_vocab(tern_gguf_writer *writer, const tern_tokenizer *tokenizer, uint32_t vocab_size,
                                const char *chat_template, tern_error *err) {
    tern_vocab_export vocab;
    tern_status status = tern_tokenizer_export(tokenizer, &vocab, err);
    if (status)
        return status;
    if (vocab_size && vocab.n_tokens > vocab_size)
        status = tern_fail(err, TERN_ERR_ARGUMENT, "the tokenizer has %zu tokens, the model's vocabulary only %" PRIu32,
                           vocab.n_tokens, vocab_size);
    if (!status)
        status = add_unused(&vocab, vocab_size, err);
    if (!status)
        put_vocab(writer, &vocab, chat_template);
    tern_vocab_export_free(&vocab);
    return status;
}

/* Length and name, value type, value. */
uint32_t tern_keys_find_u32(const tern_checkpoint *checkpoint, const char *name) {
    enum { U32 = 4, WORDS = 2 };
    for (size_t i = 0; i < checkpoint->n_raw_keys; i++) {
        const tern_raw_key *raw = &checkpoint->raw_keys[i];
        size_t at = sizeof(uint64_t) + raw->key.size;
        uint32_t words[WORDS] = {0};
        if (!tern_view_equal(raw->key, tern_view_of(name)) || raw->bytes.size != at + sizeof words)
            continue;
        for (size_t j = 0; j < sizeof words; j++)
            words[j / 4] |= (uint32_t)(uint8_t)raw->bytes.bytes[at + j] << (8 * (j % 4));
        return words[0] == U32 ? words[1] : 0;
    }
    return 0;
}

/* ------------------------------------------------------------------- types */

static const struct {
    const char *name;
    bool weights, embedding;
    uint32_t file_type;
} types[] = {
    {"I2_S", true, false, 40}, {"TQ1_0", true, false, 36}, {"TQ2_0", true, false, 37},
    {"F16", true, true, 1},    {"BF16", true, true, 32},   {"F32", true, true, 0},
    {"Q8_0", false, true, 0},  {"Q6_K", false, true, 0},   {"Q4_0", false, true, 0},
};
const char tern_keys_weight_types[] = "I2_S, TQ1_0, TQ2_0, F16, BF16, F32";
const char tern_keys_embedding_types[] = "F16, BF16, F32, Q8_0, Q6_K, Q4_0";

static const tern_codec *find_type(const char *name, bool weights) {
    const tern_codec *codec = name ? tern_codec_named(name) : NULL;
    for (size_t i = 0; codec && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, codec->name) == 0 && (weights ? types[i].weights : types[i].embedding))
            return codec;
    return NULL;
}

const tern_codec *tern_keys_weight_type(const char *name) { return find_type(name, true); }

const tern_codec *tern_keys_embedding_type(const char *name) { return find_type(name, false); }

uint32_t tern_keys_row_multiple(const tern_codec *codec) {
    enum {
        I2_S_ROW = 128
    }; /* its blocks must not straddle rows: bitnet.cpp computes noise then (numerics.md section 6) */
    return codec->type == TERN_TYPE_I2_S ? I2_S_ROW : codec->block_values;
}

void tern_keys_put_file_type(tern_gguf_writer *writer, const tern_codec *weights) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, weights->name) == 0)
            tern_gguf_put_u32(writer, "general.file_type", types[i].file_type);
}
