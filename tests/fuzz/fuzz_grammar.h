/* What the fuzzers of grammars share. */
#ifndef TERN_TESTS_FUZZ_GRAMMAR_H
#define TERN_TESTS_FUZZ_GRAMMAR_H

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "grammar/matcher.h"
#include "tokenizer/tokenizer.h"

static tern_tokenizer *fuzz_tokenizer(void) {
    static tern_tokenizer *tokenizer; /* one for the whole run */
    char *json;
    size_t size;
    if (tokenizer)
        return tokenizer;
    if (tern_read_file(TERN_SOURCE_DIR "/tests/data/tokenizer/small.json", 1 << 24, &json, &size, NULL) ||
        tern_tokenizer_from_json("small.json", json, size, &tokenizer, NULL))
        abort();
    free(json);
    return tokenizer;
}

/* Twenty tokens, each drawn by the data among those that are allowed. */
static void fuzz_walk_grammar(const tern_grammar *grammar, const uint8_t *data, size_t size) {
    size_t vocab_size = tern_tokenizer_vocab_size(fuzz_tokenizer()), n_allowed;
    tern_matcher *matcher = NULL;
    const uint64_t *mask;
    tern_error err;
    if (tern_matcher_create(grammar, vocab_size, &matcher, &err))
        abort();
    for (size_t i = 0; i < 20; i++) {
        tern_status status = tern_matcher_mask(matcher, &mask, &n_allowed, &err);
        if (status == TERN_ERR_UNSUPPORTED && strstr(err.message, "too many ways"))
            break;
        if (status || n_allowed == 0)
            abort();
        size_t wanted = (size ? data[i * 7 % size] * (i + 1) : i) % n_allowed;
        int32_t id = 0;
        for (;; id++)
            if ((mask[id / 64] >> (id % 64) & 1) && wanted-- == 0)
                break;
        if (tern_matcher_accept(matcher, id, &err))
            abort();
    }
    tern_matcher_free(matcher);
}

static void fuzz_grammar(const uint8_t *data, size_t size, bool schema) {
    tern_grammar *grammar = NULL;
    tern_error err;
    char *text = malloc(size + 1);
    if (!text)
        return;
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    tern_status status = schema ? tern_grammar_from_schema(fuzz_tokenizer(), text, &grammar, &err)
                                : tern_grammar_parse(fuzz_tokenizer(), text, &grammar, &err);
    if (!status)
        fuzz_walk_grammar(grammar, data, size);
    tern_grammar_free(grammar);
    free(text);
}

#endif
