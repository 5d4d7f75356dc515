/* A tokenizer from a GGUF's metadata arrays. */
#include "tokenizer/internal.h"

static const char name[] = "tokenizer.ggml";

enum { GGUF_NORMAL = 1, GGUF_UNKNOWN, GGUF_CONTROL, GGUF_USER_DEFINED, GGUF_UNUSED, GGUF_BYTE };

/* Without types: "<|...|>" is how this family writes control tokens, and no ordinary token looks so. */
static int guess_type(tern_view token) {
    bool marked =
        token.size > 4 && memcmp(token.bytes, "<|", 2) == 0 && memcmp(token.bytes + token.size - 2, "|>", 2) == 0;
    return marked ? GGUF_CONTROL : GGUF_NORMAL;
}

static tern_status put_token(tern_vocab *vocab, const tern_vocab_arrays *arrays, size_t id, tern_error *err) {
    int type = arrays->types ? arrays->types[id] : guess_type(arrays->tokens[id]);
    switch (type) {
    case GGUF_NORMAL:
        return tern_vocab_put_encoded(vocab, name, id, arrays->tokens[id], err);
    case GGUF_CONTROL:
        return tern_vocab_put(vocab, name, id, TERN_KIND_CONTROL, arrays->tokens[id], err);
    case GGUF_USER_DEFINED:
        return tern_vocab_put(vocab, name, id, TERN_KIND_ADDED, arrays->tokens[id], err);
    case GGUF_UNKNOWN:
    case GGUF_UNUSED:
        return tern_vocab_put(vocab, name, id, TERN_KIND_UNUSED, arrays->tokens[id], err);
    default:
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s.token_type: token %zu has type %d, which a byte-level vocabulary has not", name, id, type);
    }
}

static tern_status check_pre(const char *pre, tern_error *err) {
    static const char *const known[] = {"llama3", "llama-bpe", "llama-v3"};
    if (!pre)
        return TERN_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(pre, known[i]) == 0)
            return TERN_OK;
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s.pre: pre-tokeniser \"%.60s\" is not supported; llama3 and llama-bpe are", name, pre);
}

static tern_status fill(tern_tokenizer *tokenizer, const tern_vocab_arrays *arrays, tern_error *err) {
    tern_vocab *vocab = &tokenizer->vocab;
    tern_status status = TERN_OK;
    if (arrays->pattern)
        status = tern_pattern_create(name, arrays->pattern, strlen(arrays->pattern), &tokenizer->pattern, err);
    for (size_t id = 0; id < arrays->n_tokens && status == TERN_OK; id++)
        status = put_token(vocab, arrays, id, err);
    if (status == TERN_OK)
        status = tern_vocab_index(vocab, name, err);
    if (status == TERN_OK)
        status = tern_vocab_reserve_merges(vocab, name, arrays->n_merges, err);
    for (size_t i = 0; i < arrays->n_merges && status == TERN_OK; i++)
        status = tern_vocab_add_merge_line(vocab, name, (uint32_t)i, arrays->merges[i], err);
    tokenizer->bos_id = arrays->bos_id < 0 ? -1 : arrays->bos_id;
    tokenizer->eos_id = arrays->eos_id < 0 ? -1 : arrays->eos_id;
    tokenizer->add_bos = arrays->add_bos;
    tokenizer->ignore_merges = !arrays->merge_tokens;
    return status ? status : tern_tokenizer_finish(tokenizer, name, err);
}

tern_status tern_tokenizer_from_arrays(const tern_vocab_arrays *arrays, tern_tokenizer **tokenizer, tern_error *err) {
    tern_tokenizer *made = NULL;
    tern_status status = check_pre(arrays->pre, err);
    if (status == TERN_OK)
        status = tern_tokenizer_new(name, arrays->n_tokens, &made, err);
    if (status)
        return status;
    status = fill(made, arrays, err);
    if (status)
        tern_tokenizer_free(made);
    else
        *tokenizer = made;
    return status;
}
