#include "train/bpe_json.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/tokenizer.h"

enum { NORMAL = 1, CONTROL = 3 }; /* GGUF's types, in which a tern_vocab_export speaks */

static bool put_tokens(const tern_bpe_vocab *vocab, tern_vocab_export *out) {
    tern_alphabet alphabet;
    tern_alphabet_make(&alphabet);
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        char *text = tern_arena_alloc(&out->arena, 2 * vocab->tokens[i].size + 1);
        if (!text)
            return false;
        size_t size = tern_alphabet_spell(&alphabet, vocab->tokens[i], text);
        text[size] = 0;
        out->tokens[i] = (tern_view){text, size};
        out->types[i] = NORMAL;
    }
    for (size_t i = 0; i < vocab->n_specials; i++) {
        out->tokens[vocab->n_tokens + i] = tern_view_of(vocab->specials[i]);
        out->types[vocab->n_tokens + i] = CONTROL;
    }
    return true;
}

static bool put_merges(const tern_bpe_vocab *vocab, tern_vocab_export *out) {
    for (size_t i = 0; i < vocab->n_merges; i++) {
        tern_view left = out->tokens[vocab->merges[i].left], right = out->tokens[vocab->merges[i].right];
        char *line = tern_arena_alloc(&out->arena, left.size + 1 + right.size);
        if (!line)
            return false;
        memcpy(line, left.bytes, left.size);
        line[left.size] = ' ';
        memcpy(line + left.size + 1, right.bytes, right.size);
        out->merges[i] = (tern_view){line, left.size + 1 + right.size};
    }
    return true;
}

/* One text with two ids is a file that nobody loads. */
static tern_status check_specials(const tern_bpe_vocab *vocab, const tern_vocab_export *spelt, tern_error *err) {
    for (size_t i = 0; i < vocab->n_specials; i++)
        for (size_t k = 0; k < vocab->n_tokens; k++)
            if (strcmp(vocab->specials[i], spelt->tokens[k].bytes) == 0)
                return tern_fail(err, TERN_ERR_ARGUMENT,
                                 "special token %s: the vocabulary has such a token without it; take a text that does "
                                 "not occur, like <|%s|>",
                                 vocab->specials[i], vocab->specials[i]);
    return TERN_OK;
}

tern_status tern_bpe_json(const tern_bpe_vocab *vocab, char **json, size_t *n_bytes, tern_error *err) {
    size_t n_tokens = vocab->n_tokens + vocab->n_specials;
    tern_vocab_export out = {.tokens = tern_alloc_array(n_tokens, sizeof *out.tokens),
                             .types = tern_alloc_array(n_tokens, sizeof *out.types),
                             .n_tokens = n_tokens,
                             .merges = tern_alloc_array(vocab->n_merges + 1, sizeof *out.merges),
                             .n_merges = vocab->n_merges,
                             .bos_id = (int32_t)vocab->n_tokens,
                             .eos_id = -1,
                             .add_bos = true};
    bool ok = out.tokens && out.types && out.merges && put_tokens(vocab, &out) && put_merges(vocab, &out);
    tern_status status = ok ? check_specials(vocab, &out, err) : tern_fail_memory(err, "tokenizer.json");
    if (!status)
        status = tern_vocab_export_json(&out, json, n_bytes, err);
    tern_vocab_export_free(&out);
    return status;
}
