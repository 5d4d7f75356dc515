/* Making a tokenizer and asking it about tokens. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/internal.h"

tern_status tern_tokenizer_new(const char *name, size_t n, tern_tokenizer **tokenizer, tern_error *err) {
    tern_tokenizer *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "a tokenizer");
    made->ignore_merges = true;
    made->add_bos = -1;
    made->bos_id = made->eos_id = made->end_ids[0] = made->end_ids[1] = -1;
    tern_status status = tern_vocab_init(&made->vocab, name, n, err);
    if (status) {
        tern_tokenizer_free(made);
        return status;
    }
    *tokenizer = made;
    return TERN_OK;
}

void tern_tokenizer_free(tern_tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    tern_vocab_free(&tokenizer->vocab);
    tern_pattern_free(tokenizer->pattern);
    tern_template_free(tokenizer->template);
    free(tokenizer->added);
    tern_trie_free(atomic_load_explicit(&tokenizer->trie, memory_order_relaxed));
    free(tokenizer);
}

typedef struct added_token {
    tern_view bytes;
    int32_t id;
} added_token;

static int compare_added(const void *a, const void *b) {
    tern_view left = ((const added_token *)a)->bytes, right = ((const added_token *)b)->bytes;
    int order = memcmp(left.bytes, right.bytes, left.size < right.size ? left.size : right.size);
    return order ? order : (left.size > right.size) - (left.size < right.size);
}

static bool is_added(const tern_vocab *vocab, size_t id) {
    return vocab->kinds[id] == TERN_KIND_CONTROL || vocab->kinds[id] == TERN_KIND_ADDED;
}

static tern_status sort_added(tern_tokenizer *tokenizer, const char *name, tern_error *err) {
    const tern_vocab *vocab = &tokenizer->vocab;
    size_t n = 0, k = 0;
    for (size_t id = 0; id < vocab->n; id++)
        n += is_added(vocab, id);
    added_token *tokens = tern_alloc_array(n + 1, sizeof *tokens);
    tokenizer->added = tern_alloc_array(n + 1, sizeof *tokenizer->added);
    if (!tokens || !tokenizer->added) {
        free(tokens);
        return tern_fail_memory(err, "the special tokens");
    }
    for (size_t id = 0; id < vocab->n; id++)
        if (is_added(vocab, id))
            tokens[k++] = (added_token){tern_vocab_bytes(vocab, id), (int32_t)id};
    if (n)
        qsort(tokens, n, sizeof *tokens, compare_added);
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        tokenizer->added[i] = tokens[i].id;
        tokenizer->added_from[(uint8_t)tokens[i].bytes.bytes[0] + 1]++;
        if (i && tern_view_equal(tokens[i].bytes, tokens[i - 1].bytes))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: special tokens %d and %d are the same text", name,
                               tokens[i - 1].id, tokens[i].id);
    }
    free(tokens);
    if (status)
        return status;
    tokenizer->n_added = n;
    for (size_t byte = 0; byte < 256; byte++)
        tokenizer->added_from[byte + 1] += tokenizer->added_from[byte];
    return TERN_OK;
}

tern_status tern_tokenizer_finish(tern_tokenizer *tokenizer, const char *name, tern_error *err) {
    tern_status status = sort_added(tokenizer, name, err);
    if (status)
        return status;
    const int32_t n = (int32_t)tokenizer->vocab.n;
    if (tokenizer->bos_id >= n || tokenizer->eos_id >= n)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: BOS %d or EOS %d is outside the vocabulary of %d", name,
                         tokenizer->bos_id, tokenizer->eos_id, n);
    tokenizer->end_ids[0] = tern_tokenizer_find_special(tokenizer, "<|eot_id|>");
    tokenizer->end_ids[1] = tern_tokenizer_find_special(tokenizer, "<|end_of_text|>");
    if (tokenizer->bos_id < 0)
        tokenizer->bos_id = tern_tokenizer_find_special(tokenizer, "<|begin_of_text|>");
    if (tokenizer->eos_id < 0)
        tokenizer->eos_id = tokenizer->end_ids[1];
    return tern_tokenizer_set_template(tokenizer, NULL, err);
}

void tern_tokenizer_set_ids(tern_tokenizer *tokenizer, int32_t bos_id, int32_t eos_id) {
    const int32_t n = (int32_t)tokenizer->vocab.n;
    if (bos_id >= 0 && bos_id < n)
        tokenizer->bos_id = bos_id;
    if (eos_id >= 0 && eos_id < n)
        tokenizer->eos_id = eos_id;
}

const char tern_default_template[] =
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | "
    "capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}{% if "
    "add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

tern_status tern_tokenizer_set_template(tern_tokenizer *tokenizer, const char *source, tern_error *err) {
    tern_template *parsed = NULL;
    tern_status status = tern_template_parse(source ? source : tern_default_template, &parsed, err);
    if (status)
        return status;
    tern_template_free(tokenizer->template);
    tokenizer->template = parsed;
    tokenizer->no_chat[0] = 0;
    return TERN_OK;
}

void tern_tokenizer_refuse_chat(tern_tokenizer *tokenizer, const char *reason) {
    snprintf(tokenizer->no_chat, sizeof tokenizer->no_chat, "%s", reason);
}

const char *tern_tokenizer_template(const tern_tokenizer *tokenizer) {
    return tern_template_source(tokenizer->template);
}

const char *tern_tokenizer_chat_template(const tern_tokenizer *tokenizer) {
    return tokenizer->no_chat[0] ? NULL : tern_tokenizer_template(tokenizer);
}

/* ---------------------------------------------------------------- questions */

size_t tern_tokenizer_vocab_size(const tern_tokenizer *tokenizer) { return tokenizer->vocab.n; }
int32_t tern_tokenizer_bos(const tern_tokenizer *tokenizer) { return tokenizer->bos_id; }
int32_t tern_tokenizer_eos(const tern_tokenizer *tokenizer) { return tokenizer->eos_id; }

static bool in_range(const tern_tokenizer *tokenizer, int32_t id) { return id >= 0 && (size_t)id < tokenizer->vocab.n; }

bool tern_tokenizer_is_end(const tern_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && (id == tokenizer->eos_id || id == tokenizer->end_ids[0] || id == tokenizer->end_ids[1]);
}

bool tern_tokenizer_is_special(const tern_tokenizer *tokenizer, int32_t id) {
    return in_range(tokenizer, id) && tokenizer->vocab.kinds[id] == TERN_KIND_CONTROL;
}

const char *tern_tokenizer_token(const tern_tokenizer *tokenizer, int32_t id, size_t *len) {
    if (!in_range(tokenizer, id)) {
        *len = 0;
        return NULL;
    }
    tern_view token = tern_vocab_bytes(&tokenizer->vocab, (size_t)id);
    *len = token.size;
    return token.bytes;
}

int32_t tern_tokenizer_find_special(const tern_tokenizer *tokenizer, const char *text) {
    tern_view wanted = tern_view_of(text);
    size_t first = wanted.size ? (uint8_t)text[0] : 0;
    for (size_t i = tokenizer->added_from[first]; i < tokenizer->added_from[first + 1]; i++)
        if (tern_view_equal(tern_vocab_bytes(&tokenizer->vocab, (size_t)tokenizer->added[i]), wanted))
            return tokenizer->added[i];
    return -1;
}
