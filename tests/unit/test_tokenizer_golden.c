/* Encodings against the reference tokenizer's: a small vocabulary that lives in tests/data, and Llama-3's full one
 * where
 * ../shared has it. Each vocabulary is loaded in every form: tokenizer.json, tiktoken and GGUF-like arrays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "tokenizer/tokenizer.h"

#define DATA TERN_SOURCE_DIR "/tests/data/tokenizer/"
#define SHARED TERN_SOURCE_DIR "/../shared/"

static tern_error err;

/* The output of a command that unpacks a file; NULL if it gives nothing. */
static char *unpack(const char *command, size_t *size) {
    FILE *pipe = popen(command, "r"); // NOLINT(cert-env33-c): commands written here, nothing from outside
    tern_buffer out = {0};
    static char block[65536];
    for (size_t n; pipe && (n = fread(block, 1, sizeof block, pipe)) > 0;)
        tern_buffer_append(&out, block, n);
    if (pipe)
        pclose(pipe);
    return out.size ? tern_buffer_take(&out, size) : NULL;
}

static char *slurp(const char *path, size_t *size) {
    char *text;
    if (tern_read_file(path, 1u << 28, &text, size, &err))
        fail_msg("%s", err.message);
    return text;
}

/* ------------------------------------------------------ three forms, one vocabulary */

static tern_tokenizer *from_json(const char *json, size_t size) {
    tern_tokenizer *tokenizer = NULL;
    if (tern_tokenizer_from_json("tokenizer.json", json, size, &tokenizer, &err))
        fail_msg("%s", err.message);
    return tokenizer;
}

static tern_tokenizer *from_tiktoken(const char *path, size_t vocab_size) {
    size_t size;
    char *text = slurp(path, &size);
    tern_tokenizer *tokenizer = NULL;
    if (tern_tokenizer_from_tiktoken(path, text, size, vocab_size, &tokenizer, &err))
        fail_msg("%s", err.message);
    free(text);
    return tokenizer;
}

/* What a GGUF of the same tokenizer would hold. */
static tern_tokenizer *from_arrays(const char *json, size_t size, bool with_types) {
    json_t *root = json_loadb(json, size, 0, NULL), *model = json_object_get(root, "model"), *value;
    json_t *vocab = json_object_get(model, "vocab"), *added = json_object_get(root, "added_tokens");
    json_t *merges = json_object_get(model, "merges");
    size_t n = json_object_size(vocab) + json_array_size(added), index;
    tern_view *tokens = calloc(n, sizeof *tokens), *lines = calloc(json_array_size(merges), sizeof *lines);
    int32_t *types = calloc(n, sizeof *types);
    const char *key;
    json_object_foreach(vocab, key, value) {
        tokens[json_integer_value(value)] = tern_view_of(key);
        types[json_integer_value(value)] = 1;
    }
    json_array_foreach(added, index, value) {
        json_int_t id = json_integer_value(json_object_get(value, "id"));
        tokens[id] = tern_view_of(json_string_value(json_object_get(value, "content")));
        types[id] = 3;
    }
    json_array_foreach(merges, index, value) lines[index] = tern_view_of(json_string_value(value));
    tern_vocab_arrays arrays = {
        tokens, n, with_types ? types : NULL, lines, json_array_size(merges), NULL, -1, -1, -1, NULL, false};
    tern_tokenizer *tokenizer = NULL;
    if (tern_tokenizer_from_arrays(&arrays, &tokenizer, &err))
        fail_msg("%s", err.message);
    json_decref(root);
    free(tokens);
    free(types);
    free(lines);
    return tokenizer;
}

/* ------------------------------------------------------------- golden lines */

static int32_t *encode(const tern_tokenizer *tokenizer, const char *text, size_t size, unsigned flags, size_t *n) {
    int32_t *ids = NULL;
    if (tern_tokenize(tokenizer, text, size, flags, &ids, n, &err))
        fail_msg("%s", err.message);
    return ids;
}

static void check_ids(const char *what, const int32_t *ids, size_t n, const json_t *wanted) {
    bool same = n == json_array_size(wanted);
    for (size_t i = 0; same && i < n; i++)
        same = ids[i] == json_integer_value(json_array_get(wanted, i));
    if (!same)
        fail_msg("%s: other ids than the reference", what);
}

static void check_round_trip(const tern_tokenizer *tokenizer, const char *text, size_t size, const int32_t *ids,
                             size_t n) {
    char *back = NULL;
    size_t back_size;
    assert_int_equal(tern_detokenize(tokenizer, ids, n, false, &back, &back_size, &err), TERN_OK);
    assert_int_equal(back_size, size);
    assert_memory_equal(back, text, size);
    free(back);
}

static void check_text(const tern_tokenizer *tokenizer, const json_t *line, unsigned flags) {
    const json_t *text = json_object_get(line, "text");
    size_t n, size = json_string_length(text);
    int32_t *ids = encode(tokenizer, json_string_value(text), size, flags, &n);
    check_ids(json_string_value(json_object_get(line, "name")), ids, n, json_object_get(line, "ids"));
    check_round_trip(tokenizer, json_string_value(text), size, ids, n);
    free(ids);
}

/* Invalid UTF-8: raw bytes are kept, so the way back is exact. */
static void check_bytes(const tern_tokenizer *tokenizer, const json_t *line) {
    const char *hex = json_string_value(json_object_get(line, "hex"));
    char bytes[64];
    size_t size = strlen(hex) / 2, n;
    for (size_t i = 0; i < size; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (char)strtoul(pair, NULL, 16);
    }
    int32_t *ids = encode(tokenizer, bytes, size, 0, &n);
    check_round_trip(tokenizer, bytes, size, ids, n);
    free(ids);
}

static void check_chat(const tern_tokenizer *tokenizer, const json_t *line) {
    json_t *list = json_object_get(line, "messages"), *message;
    const json_t *wanted = json_object_get(line, "text");
    tern_message messages[16];
    size_t index, n, size;
    json_array_foreach(list, index, message) {
        messages[index].role = json_string_value(json_object_get(message, "role"));
        messages[index].content = json_string_value(json_object_get(message, "content"));
    }
    bool prompt = json_is_true(json_object_get(line, "generation_prompt"));
    char *text = NULL;
    assert_int_equal(tern_chat_render(tokenizer, messages, json_array_size(list), prompt, &text, &size, &err), TERN_OK);
    assert_int_equal(size, json_string_length(wanted));
    assert_memory_equal(text, json_string_value(wanted), size);
    bool forged = false;
    for (size_t i = 0; i < json_array_size(list); i++)
        forged |= strstr(messages[i].content, "<|") != NULL;
    for (unsigned flags = TERN_TOKENIZE_BOS; flags <= (TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL);
         flags += TERN_TOKENIZE_SPECIAL) {
        int32_t *ids = NULL;
        if (forged && !(flags & TERN_TOKENIZE_SPECIAL))
            continue;
        assert_int_equal(tern_chat_tokenize(tokenizer, messages, json_array_size(list), prompt, flags, &ids, &n, &err),
                         TERN_OK);
        check_ids(text, ids, n, json_object_get(line, "ids"));
        free(ids);
    }
    free(text);
}

static void check_golden(const tern_tokenizer *tokenizer, const char *path, size_t at_least) {
    size_t size, counts[4] = {0};
    char *text = slurp(path, &size);
    static const char *const kinds[] = {"text", "special", "bytes", "chat"};
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *value = json_loads(line, JSON_ALLOW_NUL, NULL);
        const char *kind = json_string_value(json_object_get(value, "kind"));
        assert_non_null(kind);
        size_t k = 0;
        while (strcmp(kind, kinds[k]) != 0)
            assert_true(++k < 4);
        if (k < 2)
            check_text(tokenizer, value, k ? TERN_TOKENIZE_SPECIAL : 0);
        else if (k == 2)
            check_bytes(tokenizer, value);
        else
            check_chat(tokenizer, value);
        counts[k]++;
        json_decref(value);
    }
    free(text);
    assert_true(counts[0] >= at_least && counts[1] && counts[2] && counts[3]);
}

static void test_small(void **state) {
    (void)state;
    size_t size;
    char *json = slurp(DATA "small.json", &size);
    tern_tokenizer *forms[4] = {from_json(json, size), from_tiktoken(DATA "small.tiktoken", 1212),
                                from_arrays(json, size, true), from_arrays(json, size, false)};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(tern_tokenizer_vocab_size(forms[i]), 1212);
        assert_int_equal(tern_tokenizer_bos(forms[i]), 1200);
        assert_int_equal(tern_tokenizer_eos(forms[i]), 1201);
        check_golden(forms[i], DATA "golden.jsonl", 250);
        tern_tokenizer_free(forms[i]);
    }
    free(json);
}

/* --------------------------------------------------- Llama-3, from ../shared */

static void check_llama_bpe(const tern_tokenizer *tokenizer) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    size_t in_size, out_size, cases = 0;
    char *in = slurp(SHARED "tokenizer/llama-bpe.inp", &in_size),
         *out = slurp(SHARED "tokenizer/llama-bpe.out", &out_size);
    char *text = in, *line = out;
    for (char *end; (end = strstr(text, separator)) != NULL; text = end + strlen(separator), cases++) {
        size_t n;
        int32_t *ids = encode(tokenizer, text, (size_t)(end - text), 0, &n);
        char *stop = strchr(line, '\n');
        assert_non_null(stop);
        for (size_t i = 0; i < n; i++) {
            char *after;
            assert_int_equal(strtol(line, &after, 10), ids[i]);
            assert_true(after > line);
            line = after;
        }
        while (*line == ' ')
            line++;
        assert_ptr_equal(line, stop);
        line = stop + 1;
        free(ids);
    }
    assert_true(cases >= 40);
    free(in);
    free(out);
}

static void check_book(const tern_tokenizer *tokenizer, const char *name, char *text, size_t size) {
    if (!text) {
        print_message("[  SKIPPED ] %s cannot be unpacked here\n", name);
        return;
    }
    size_t n;
    int32_t *ids = encode(tokenizer, text, size, TERN_TOKENIZE_SPECIAL, &n);
    check_round_trip(tokenizer, text, size, ids, n);
    assert_true(n > size / 6 && n < size / 2);
    free(ids);
    free(text);
}

static void test_llama3(void **state) {
    (void)state;
    if (!tern_file_exists(SHARED "tokenizer/tokenizer.model"))
        skip();
    size_t size = 0;
    char *json = unpack("gzip -dc " SHARED "tokenizer/tokenizer.json.gz", &size);
    assert_non_null(json);
    tern_tokenizer *forms[3] = {from_json(json, size), from_tiktoken(SHARED "tokenizer/tokenizer.model", 0),
                                from_arrays(json, size, true)};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tern_tokenizer_vocab_size(forms[i]), 128256);
        check_golden(forms[i], SHARED "tokenizer/golden.jsonl", 366);
        check_llama_bpe(forms[i]);
    }
    tern_tokenizer_free(forms[0]);
    tern_tokenizer_free(forms[2]);
    free(json);
    char *books[2] = {unpack("xz -dc " SHARED "data/text/children-books.txt.xz 2>/dev/null | head -c 8000000", &size),
                      NULL};
    check_book(forms[1], "children-books.txt.xz", books[0], size);
    books[1] = unpack("cat " SHARED "data/text/storybooks-ccby.txt 2>/dev/null", &size);
    check_book(forms[1], "storybooks-ccby.txt", books[1], size);
    tern_tokenizer_free(forms[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_llama3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
