/* A tokenizer from a tiktoken file: lines of "BASE64 RANK". */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/internal.h"

#define MAX_SPECIALS 65536

/* Strict base64 with padding; out has room for 3 bytes a group of 4. False: not base64. */
static bool decode_base64(tern_view text, char *out, size_t *n_out) {
    size_t n = 0;
    if (text.size == 0 || text.size % 4)
        return false;
    for (size_t i = 0; i < text.size; i += 4) {
        uint32_t group = 0;
        size_t padding = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = text.bytes[i + k];
            uint32_t value = c >= 'A' && c <= 'Z'   ? (uint32_t)(c - 'A')
                             : c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a' + 26)
                             : c >= '0' && c <= '9' ? (uint32_t)(c - '0' + 52)
                             : c == '+'             ? 62
                             : c == '/'             ? 63
                                                    : 64;
            if (c == '=' && i + 4 == text.size && k >= 2)
                padding++;
            else if (value == 64 || padding)
                return false;
            group = group << 6 | (value & 63); /* '=' adds zeros */
        }
        for (size_t k = 0; k < 3 - padding; k++)
            out[n++] = (char)(group >> (16 - 8 * k));
    }
    *n_out = n;
    return true;
}

typedef struct ranked_token {
    tern_view text; /* base64 */
    uint32_t rank;
} ranked_token;

static tern_status fail_line(const char *name, size_t line, const char *what, tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu: %s", name, line, what);
}

/* One line, without its end, that is not empty. */
static tern_status read_line(const char *name, size_t number, tern_view line, ranked_token *token, tern_error *err) {
    const char *space = memchr(line.bytes, ' ', line.size);
    if (!space)
        return fail_line(name, number, "is not \"BASE64 RANK\"; this is no tiktoken file", err);
    size_t at = (size_t)(space - line.bytes) + 1;
    token->text = (tern_view){line.bytes, at - 1};
    if (token->text.size > 2 * TERN_MAX_TOKEN_BYTES)
        return fail_line(name, number, "the token is too long", err);
    uint32_t rank = 0;
    size_t digits = line.size - at;
    for (size_t i = at; i < line.size; i++) {
        if (line.bytes[i] < '0' || line.bytes[i] > '9')
            digits = 0;
        rank = rank * 10 + (uint32_t)(line.bytes[i] - '0');
    }
    if (digits == 0 || digits > 7)
        return fail_line(name, number, "the rank is no number in 0 .. 9999999", err);
    token->rank = rank;
    return TERN_OK;
}

static tern_status read_lines(const char *name, tern_view text, ranked_token **tokens, size_t *n, tern_error *err) {
    size_t capacity = 0, number = 0;
    for (size_t pos = 0; pos < text.size;) {
        const char *end = memchr(text.bytes + pos, '\n', text.size - pos);
        size_t stop = end ? (size_t)(end - text.bytes) : text.size;
        tern_view line = {text.bytes + pos, stop - pos};
        pos = stop + 1;
        number++;
        if (line.size && line.bytes[line.size - 1] == '\r')
            line.size--;
        if (line.size == 0)
            continue;
        if (*n >= TERN_MAX_IDS)
            return fail_line(name, number, "more tokens than a sane vocabulary has", err);
        if (!tern_grow_array((void **)tokens, &capacity, *n + 1, sizeof **tokens))
            return tern_fail_memory(err, "the vocabulary");
        tern_status status = read_line(name, number, line, &(*tokens)[*n], err);
        if (status)
            return status;
        ++*n;
    }
    return *n ? TERN_OK : tern_fail(err, TERN_ERR_FORMAT, "%s: the vocabulary has no tokens", name);
}

/* Llama-3's names in order: ten with a meaning and the rest reserved. */
static void special_name(size_t index, char *out, size_t size) {
    static const char *const named[] = {"<|begin_of_text|>",   "<|end_of_text|>",   NULL, NULL,        NULL, NULL,
                                        "<|start_header_id|>", "<|end_header_id|>", NULL, "<|eot_id|>"};
    if (index < sizeof named / sizeof *named && named[index])
        snprintf(out, size, "%s", named[index]);
    else
        snprintf(out, size, "<|reserved_special_token_%zu|>", index < 6 ? index - 2 : index == 8 ? 4 : index - 5);
}

static tern_status fill(tern_tokenizer *tokenizer, const char *name, const ranked_token *tokens, size_t n_tokens,
                        tern_error *err) {
    tern_vocab *vocab = &tokenizer->vocab;
    char bytes[2 * TERN_MAX_TOKEN_BYTES];
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n_tokens && status == TERN_OK; i++) {
        size_t size = 0;
        if (tokens[i].rank >= n_tokens)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: rank %u with only %zu tokens; ranks must have no holes", name,
                             tokens[i].rank, n_tokens);
        if (!decode_base64(tokens[i].text, bytes, &size))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the token of rank %u is not base64", name, tokens[i].rank);
        status = tern_vocab_put(vocab, name, tokens[i].rank, TERN_KIND_NORMAL, (tern_view){bytes, size}, err);
    }
    for (size_t id = n_tokens; id < vocab->n && status == TERN_OK; id++) {
        special_name(id - n_tokens, bytes, sizeof bytes);
        status = tern_vocab_put(vocab, name, id, TERN_KIND_CONTROL, tern_view_of(bytes), err);
    }
    if (status == TERN_OK)
        status = tern_vocab_index(vocab, name, err);
    if (status == TERN_OK)
        status = tern_vocab_derive_merges(vocab, name, err);
    return status ? status : tern_tokenizer_finish(tokenizer, name, err);
}

tern_status tern_tokenizer_from_tiktoken(const char *name, const char *text, size_t n_bytes, size_t vocab_size,
                                         tern_tokenizer **tokenizer, tern_error *err) {
    ranked_token *tokens = NULL;
    tern_tokenizer *made = NULL;
    size_t n = 0;
    tern_status status = read_lines(name, (tern_view){text, n_bytes}, &tokens, &n, err);
    size_t n_special = vocab_size ? vocab_size - n : 256;
    if (status == TERN_OK && (vocab_size ? vocab_size < n : false))
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: %zu tokens, but the model has a vocabulary of %zu", name, n,
                           vocab_size);
    if (status == TERN_OK && n_special > MAX_SPECIALS)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: %zu tokens, too few for the model's vocabulary of %zu", name, n,
                           vocab_size);
    if (status == TERN_OK)
        status = tern_tokenizer_new(name, n + n_special, &made, err);
    if (status == TERN_OK)
        status = fill(made, name, tokens, n, err);
    free(tokens);
    if (status)
        tern_tokenizer_free(made);
    else
        *tokenizer = made;
    return status;
}
