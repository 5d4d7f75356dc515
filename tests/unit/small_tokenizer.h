/* The small tokenizer of tests/data/tokenizer, as a fixture for the tests of the tokenizer room: the bytes of its
 * two files, and the tokenizer made from the first. */
#ifndef TERN_TESTS_SMALL_TOKENIZER_H
#define TERN_TESTS_SMALL_TOKENIZER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tokenizer/tokenizer.h"

#define DATA TERN_SOURCE_DIR "/tests/data/tokenizer/"

static tern_error err;
static char *json, *tiktoken;
static size_t json_size, tiktoken_size;
static tern_tokenizer *small;

static tern_status load(const json_t *root, tern_tokenizer **tokenizer) {
    char *dump = json_dumps(root, JSON_COMPACT);
    assert_non_null(dump);
    tern_status status = tern_tokenizer_from_json("t.json", dump, strlen(dump), tokenizer, &err);
    free(dump);
    return status;
}

static int setup(void **state) {
    (void)state;
    if (tern_read_file(DATA "small.json", 1 << 24, &json, &json_size, &err) ||
        tern_read_file(DATA "small.tiktoken", 1 << 24, &tiktoken, &tiktoken_size, &err))
        return 1;
    return tern_tokenizer_from_json("small.json", json, json_size, &small, &err) != TERN_OK;
}

static int teardown(void **state) {
    (void)state;
    tern_tokenizer_free(small);
    free(json);
    free(tiktoken);
    return 0;
}

/* Encode text and compare with wanted [n_wanted]. */
static void check(const tern_tokenizer *tokenizer, const char *text, unsigned flags, const int32_t *wanted,
                  size_t n_wanted) {
    int32_t *ids = NULL;
    size_t n = 0;
    assert_int_equal(tern_tokenize(tokenizer, text, strlen(text), flags, &ids, &n, &err), TERN_OK);
    assert_int_equal(n, n_wanted);
    for (size_t i = 0; i < n && i < n_wanted; i++)
        if (ids[i] != wanted[i])
            fail_msg("\"%s\": id %zu is %d, not %d", text, i, ids[i], wanted[i]);
    free(ids);
}
/* wanted, n_wanted */
#define IDS(...) ((const int32_t[]){__VA_ARGS__}), sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

#endif
