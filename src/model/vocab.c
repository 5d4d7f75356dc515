#include "model/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest tokenizer.json in public use is some 20 MB. */
enum { MAX_TOKENIZER_BYTES = 256 << 20 };

static bool first_char_is_brace(const char *text, size_t n_bytes) {
    size_t i = 0;
    if (n_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        i = 3;
    while (i < n_bytes && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t'))
        i++;
    return i < n_bytes && text[i] == '{';
}

/* tokenizer.json or tiktoken, told apart by content because both are found under any name. */
static tern_status from_file(const char *path, size_t vocab_size, tern_tokenizer **tokenizer, tern_error *err) {
    char *text;
    size_t n_bytes;
    tern_status status = tern_read_regular(path, MAX_TOKENIZER_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    if (n_bytes == 0)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: the file is empty", path);
    else if (first_char_is_brace(text, n_bytes))
        status = tern_tokenizer_from_json(path, text, n_bytes, tokenizer, err);
    else
        status = tern_tokenizer_from_tiktoken(path, text, n_bytes, vocab_size, tokenizer, err);
    free(text);
    return status;
}

static tern_status from_folder(const char *folder, size_t vocab_size, tern_tokenizer **tokenizer, tern_error *err) {
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tern_buffer path = {0};
        if (!tern_buffer_printf(&path, "%s/%s", folder, names[i]))
            return tern_fail_memory(err, folder);
        bool exists = tern_file_exists(path.bytes);
        tern_status status = exists ? from_file(path.bytes, vocab_size, tokenizer, err) : TERN_OK;
        tern_buffer_free(&path);
        if (exists)
            return status;
    }
    return tern_fail(err, TERN_ERR_IO, "%s: the folder has neither tokenizer.json nor tokenizer.model", folder);
}

static tern_status from_gguf(const tern_checkpoint *checkpoint, tern_tokenizer **tokenizer, tern_error *err) {
    const tern_gguf_vocab *vocab = &checkpoint->vocab;
    if (!vocab->model || !vocab->n_tokens)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: the file carries no tokenizer (tokenizer.ggml.tokens)",
                         checkpoint->path);
    if (strcmp(vocab->model, "gpt2") != 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: tokenizer model \"%s\"; tern knows byte-level BPE (\"gpt2\")",
                         checkpoint->path, vocab->model);
    tern_vocab_arrays arrays = {.tokens = vocab->tokens,
                                .n_tokens = vocab->n_tokens,
                                .types = vocab->types,
                                .merges = vocab->merges,
                                .n_merges = vocab->n_merges,
                                .pre = vocab->pre,
                                .pattern = vocab->pattern,
                                .merge_tokens = vocab->merge_tokens == 1,
                                .bos_id = vocab->bos_id,
                                .eos_id = vocab->eos_id,
                                .add_bos = vocab->add_bos};
    tern_status status = tern_tokenizer_from_arrays(&arrays, tokenizer, err);
    if (status)
        tern_error_prefix(err, "%s", checkpoint->path);
    return status;
}

static bool is_known_wrong(const char *chat_template) { return strstr(chat_template, "BITNETAssistant") != NULL; }

const char *tern_vocab_template(const tern_checkpoint *checkpoint) {
    const char *source = checkpoint->chat_template;
    return source && is_known_wrong(source) ? tern_default_template : source;
}

/* A template that cannot be used must not keep anybody from generating plain text: only chatting is refused. */
static tern_status set_template(const tern_checkpoint *checkpoint, tern_tokenizer *tokenizer, tern_error *err) {
    tern_error why;
    const char *source = checkpoint->chat_template;
    if (!source || is_known_wrong(source))
        return TERN_OK;
    tern_status status = tern_tokenizer_set_template(tokenizer, source, &why);
    if (status == TERN_ERR_MEMORY) /* says nothing about the template */
        return tern_fail(err, status, "%s: %s", checkpoint->path, why.message);
    if (status == TERN_OK)
        return TERN_OK;
    tern_error_prefix(&why, "%s: the model's chat template cannot be used (plain text can: tern run)",
                      checkpoint->path);
    tern_tokenizer_refuse_chat(tokenizer, why.message);
    return TERN_OK;
}

tern_status tern_vocab_from_checkpoint(const tern_checkpoint *checkpoint, tern_tokenizer **out, tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    tern_status status = checkpoint->kind == TERN_CHECKPOINT_GGUF
                             ? from_gguf(checkpoint, &tokenizer, err)
                             : from_folder(checkpoint->path, checkpoint->config.vocab_size, &tokenizer, err);
    if (status)
        return status;
    size_t n_tokens = tern_tokenizer_vocab_size(tokenizer);
    if (checkpoint->config.vocab_size && n_tokens > checkpoint->config.vocab_size)
        status =
            tern_fail(err, TERN_ERR_FORMAT,
                      "%s: the tokenizer has %zu tokens, but the model only %" PRIu32 "; they do not belong together",
                      checkpoint->path, n_tokens, checkpoint->config.vocab_size);
    if (!status && checkpoint->kind == TERN_CHECKPOINT_HF)
        tern_tokenizer_set_ids(tokenizer, checkpoint->config.bos_id, checkpoint->config.eos_id);
    if (!status)
        status = set_template(checkpoint, tokenizer, err);
    if (status) {
        tern_tokenizer_free(tokenizer);
        return status;
    }
    *out = tokenizer;
    return TERN_OK;
}

/* Whether the file is a GGUF; an error if it cannot be read at all. */
static tern_status look_for_gguf(const char *path, bool *is_gguf, tern_error *err) {
    tern_map map;
    tern_status status = tern_map_open(path, &map, err);
    if (status)
        return status;
    *is_gguf = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    tern_map_close(&map);
    return TERN_OK;
}

tern_status tern_vocab_from_path(const char *path, tern_tokenizer **tokenizer, tern_error *err) {
    bool is_gguf = false, is_folder = tern_is_directory(path);
    tern_status status = is_folder ? TERN_OK : look_for_gguf(path, &is_gguf, err);
    if (status)
        return status;
    if (!is_folder && !is_gguf)
        return from_file(path, 0, tokenizer, err);
    tern_checkpoint *checkpoint = NULL;
    status = tern_checkpoint_open(path, &checkpoint, err);
    if (status)
        return status;
    status = tern_vocab_from_checkpoint(checkpoint, tokenizer, err);
    tern_checkpoint_close(checkpoint);
    return status;
}
