/* The three forms a tokenizer is loaded from: what they may say, and one clear error for what they may not. */
#include "unit/small_tokenizer.h"

enum { BOS = 1200, EOT = 1209 }; /* of small.json */

static void check_round_trip(const tern_tokenizer *tokenizer, const char *bytes, size_t size, unsigned flags) {
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n, n_back;
    assert_int_equal(tern_tokenize(tokenizer, bytes, size, flags, &ids, &n, &err), TERN_OK);
    assert_int_equal(tern_detokenize(tokenizer, ids, n, false, &back, &n_back, &err), TERN_OK);
    assert_int_equal(n_back, size);
    assert_memory_equal(back, bytes, size);
    assert_int_equal(back[n_back], 0);
    free(back);
    free(ids);
}

/* ------------------------------------------------------------- tokenizer.json */

typedef struct json_case {
    const char *path;  /* keys to the value that is replaced, by "/"; the last may be an index */
    const char *value; /* JSON, or NULL: removed */
    tern_status status;
    const char *message;
} json_case;

static void replace(json_t *root, const char *path, json_t *value) {
    char keys[200];
    snprintf(keys, sizeof keys, "%s", path);
    json_t *at = root;
    char *key = strtok(keys, "/"), *next;
    for (; (next = strtok(NULL, "/")) != NULL; key = next)
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
    assert_non_null(at);
    if (json_is_array(at))
        assert_int_equal(json_array_set_new(at, strtoul(key, NULL, 10), value), 0);
    else if (value)
        assert_int_equal(json_object_set_new(at, key, value), 0);
    else
        json_object_del(at, key);
}

static const json_case bad_json[] = {
    {"model", NULL, TERN_ERR_FORMAT, "t.json: no \"model\""},
    {"model/type", "\"Unigram\"", TERN_ERR_UNSUPPORTED, "t.json: the model type \"Unigram\" is not supported"},
    {"model/byte_fallback", "true", TERN_ERR_UNSUPPORTED, "\"byte_fallback\" is not supported"},
    {"model/dropout", "0.1", TERN_ERR_UNSUPPORTED, "\"dropout\" is not supported"},
    {"model/end_of_word_suffix", "\"</w>\"", TERN_ERR_UNSUPPORTED, "\"end_of_word_suffix\""},
    {"model/vocab", NULL, TERN_ERR_FORMAT, "the model has no \"vocab\""},
    {
        "model/vocab",
        "{}",
        TERN_ERR_FORMAT,
        "token id 1211 with only 12 tokens",
    },
    {"model/vocab/in", NULL, TERN_ERR_FORMAT, "is no token"},
    {"model/vocab/a", NULL, TERN_ERR_FORMAT, "no token for byte 0x61"},
    {"model/vocab/in", "7", TERN_ERR_FORMAT, "token id 7 is given twice"},
    {"model/vocab/in", "-7", TERN_ERR_FORMAT, "a vocabulary id is no number"},
    {"model/vocab/in", "\"x\"", TERN_ERR_FORMAT, "a vocabulary id is no number"},
    {"model/vocab/in", "4000000000", TERN_ERR_FORMAT, "token id 4000000000 with only"},
    {"model/vocab/in", "100000", TERN_ERR_FORMAT, "token id 100000 with only"},
    {"model/vocab/a b", "1212", TERN_ERR_FORMAT, "\"a b\" is not in the byte-level alphabet"},
    {"added_tokens/0/content", "\"\"", TERN_ERR_FORMAT, "token 1200 is empty"},
    {"model/merges", "7", TERN_ERR_FORMAT, "no list of \"merges\""},
    {"model/merges/0", "7", TERN_ERR_FORMAT, "a merge is neither"},
    {"model/merges/0", "\"a\"", TERN_ERR_FORMAT, "merge 0: is not \"left right\""},
    {"model/merges/0", "\" a\"", TERN_ERR_FORMAT, "merge 0: is not two tokens"},
    {"model/merges/0", "[\"a\", 7]", TERN_ERR_FORMAT, "merge 0: is not two tokens"},
    {"model/merges/0", "\"a b c\"", TERN_ERR_FORMAT, "merge 0: is not two tokens"},
    {"model/merges/0", "\"zzz a\"", TERN_ERR_FORMAT, "merge 0: its left part is no token"},
    {"model/merges/0", "\"z z\"", TERN_ERR_FORMAT, "merge 0: its result is no token"},
    {"model/merges/1", "\"\\u0120 \\u0120\"", TERN_ERR_FORMAT, "repeats merge 0"},
    {"added_tokens", "7", TERN_ERR_FORMAT, "\"added_tokens\" is no list"},
    {"added_tokens/0", "7", TERN_ERR_FORMAT, "an added token has no id"},
    {"added_tokens/0/id", "1201", TERN_ERR_FORMAT, "token id 1201 is given twice"},
    {"added_tokens/0/content", "7", TERN_ERR_FORMAT, "has no \"content\""},
    {"added_tokens/0/content", "\"<|eot_id|>\"", TERN_ERR_FORMAT, "are the same text"},
    {"added_tokens/0/content", "\"in\"", TERN_ERR_FORMAT, "is in the vocabulary as"},
    {"added_tokens/0/lstrip", "true", TERN_ERR_UNSUPPORTED, "the added token option \"lstrip\""},
    {"normalizer", "{\"type\":\"NFC\"}", TERN_ERR_UNSUPPORTED, "the normalizer \"NFC\" is not supported"},
    {"pre_tokenizer", "null", TERN_ERR_UNSUPPORTED, "pre-tokeniser"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\"}", TERN_ERR_UNSUPPORTED, "the pre-tokeniser \"Metaspace\""},
    {"pre_tokenizer/pretokenizers/0/behavior", "\"Removed\"", TERN_ERR_UNSUPPORTED, "behavior \"Removed\""},
    {"pre_tokenizer/pretokenizers/0/pattern", "{\"String\":\" \"}", TERN_ERR_UNSUPPORTED, "without \"Regex\""},
    {"pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(\"", TERN_ERR_UNSUPPORTED, "regular expression cannot be used"},
    {"pre_tokenizer/pretokenizers/1/add_prefix_space", "true", TERN_ERR_UNSUPPORTED, "\"add_prefix_space\""},
    {"post_processor", "{\"type\":\"BertProcessing\"}", TERN_ERR_UNSUPPORTED, "post-processor \"BertProcessing\""},
    {"post_processor/processors/1/single/0", "{\"Sequence\":{\"id\":\"A\"}}", TERN_ERR_UNSUPPORTED,
     "one token, then the text"},
    {"post_processor/processors/1/special_tokens", "{}", TERN_ERR_FORMAT, "has no single valid id"},
};

static void test_bad_json(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_json / sizeof *bad_json; i++) {
        json_t *root = json_loadb(json, json_size, 0, NULL);
        tern_tokenizer *tokenizer = NULL;
        replace(root, bad_json[i].path,
                bad_json[i].value ? json_loads(bad_json[i].value, JSON_DECODE_ANY, NULL) : NULL);
        tern_status status = load(root, &tokenizer);
        if (status != bad_json[i].status || !strstr(err.message, bad_json[i].message))
            fail_msg("%s = %s: status %d, \"%s\"", bad_json[i].path, bad_json[i].value, (int)status, err.message);
        assert_null(tokenizer);
        json_decref(root);
    }
    static const char *const texts[] = {
        "", "[]", "{", "7", "{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}", "{\"model\":[]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tern_tokenizer *tokenizer = NULL;
        assert_int_equal(tern_tokenizer_from_json("t.json", texts[i], strlen(texts[i]), &tokenizer, &err),
                         TERN_ERR_FORMAT);
        assert_true(strncmp(err.message, "t.json: ", 8) == 0);
    }
}

/* Merges as pairs; no BOS without a post-processor; merges are not ignored unless the file says so. */
static void test_json_variants(void **state) {
    (void)state;
    json_t *root = json_loadb(json, json_size, 0, NULL),
           *merges = json_object_get(json_object_get(root, "model"), "merges"), *merge;
    tern_tokenizer *tokenizer = NULL;
    size_t i;
    json_array_foreach(merges, i, merge) {
        const char *line = json_string_value(merge), *space = strchr(line, ' ');
        json_array_set_new(merges, i, json_pack("[s%,s]", line, (size_t)(space - line), space + 1));
    }
    replace(root, "post_processor", json_null());
    assert_int_equal(load(root, &tokenizer), TERN_OK);
    int32_t *ids[2];
    size_t n[2];
    static const char text[] = "Once upon a time, there was the other one.";
    for (i = 0; i < 2; i++)
        assert_int_equal(tern_tokenize(i ? tokenizer : small, text, strlen(text), 0, &ids[i], &n[i], &err), TERN_OK);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(ids[0], ids[1], n[0] * sizeof(int32_t));
    free(ids[0]);
    free(ids[1]);
    check(tokenizer, "a", TERN_TOKENIZE_BOS, IDS(64));
    tern_tokenizer_free(tokenizer);
    /* A token that no merge makes: whole with ignore_merges, in pieces without. */
    replace(root, "model/vocab/abcabc", json_integer(1212));
    assert_int_equal(load(root, &tokenizer), TERN_OK);
    check(tokenizer, "abcabc", 0, IDS(1212));
    tern_tokenizer_free(tokenizer);
    replace(root, "model/ignore_merges", json_false());
    assert_int_equal(load(root, &tokenizer), TERN_OK);
    assert_int_equal(tern_tokenize(tokenizer, "abcabc", 6, 0, &ids[0], &n[0], &err), TERN_OK);
    assert_true(n[0] > 1);
    free(ids[0]);
    tern_tokenizer_free(tokenizer);
    json_decref(root);
}

/* A Split pattern of its own goes through PCRE2, and ByteLevel alone is GPT-2's. */
static void test_json_patterns(void **state) {
    (void)state;
    json_t *root = json_loadb(json, json_size, 0, NULL);
    tern_tokenizer *tokenizer = NULL;
    replace(root, "pre_tokenizer/pretokenizers/0/pattern/Regex", json_string("t|[^t]+"));
    assert_int_equal(load(root, &tokenizer), TERN_OK);
    check(tokenizer, "the", 0, IDS(83, 383)); /* t, he */
    check_round_trip(tokenizer, "at\xff\xc3t the\xe2\x82", 11, 0);
    tern_tokenizer_free(tokenizer);
    replace(root, "pre_tokenizer",
            json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1));
    assert_int_equal(load(root, &tokenizer), TERN_OK);
    check(small, "1000", 0, IDS(1041, 15));    /* Llama-3 takes three digits at a time: 100, 0 */
    check(tokenizer, "1000", 0, IDS(16, 931)); /* GPT-2 all of them: 1, 000 */
    check_round_trip(tokenizer, "It's 1234  \n the\xff", 17, 0);
    tern_tokenizer_free(tokenizer);
    json_decref(root);
}

/* ------------------------------------------------------------------ tiktoken */

static void test_tiktoken(void **state) {
    (void)state;
    tern_tokenizer *tokenizer = NULL;
    assert_int_equal(tern_tokenizer_from_tiktoken("m", tiktoken, tiktoken_size, 0, &tokenizer, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_vocab_size(tokenizer), 1200 + 256);
    assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|reserved_special_token_0|>"), 1202);
    assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|start_header_id|>"), 1206);
    assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|reserved_special_token_4|>"), 1208);
    assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|eot_id|>"), 1209);
    assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|reserved_special_token_250|>"), 1455);
    check(tokenizer, "<|eot_id|>", TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, IDS(BOS, EOT));
    tern_tokenizer_free(tokenizer);
    assert_int_equal(tern_tokenizer_from_tiktoken("m", tiktoken, tiktoken_size, 1200, &tokenizer, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_bos(tokenizer), -1);
    check(tokenizer, "a", TERN_TOKENIZE_BOS, IDS(64));
    tern_tokenizer_free(tokenizer);
    tokenizer = NULL;
    assert_int_equal(tern_tokenizer_from_tiktoken("m", tiktoken, tiktoken_size, 1199, &tokenizer, &err),
                     TERN_ERR_FORMAT);
    assert_string_equal(err.message, "m: 1200 tokens, but the model has a vocabulary of 1199");
    assert_int_equal(tern_tokenizer_from_tiktoken("m", tiktoken, tiktoken_size, SIZE_MAX, &tokenizer, &err),
                     TERN_ERR_FORMAT);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "m: the vocabulary has no tokens"},
        {"\n\n", "m: the vocabulary has no tokens"},
        {"IQ==", "m: line 1: is not \"BASE64 RANK\""},
        {"\nIQ== x\n", "m: line 2: the rank is no number"},
        {"IQ== \n", "m: line 1: the rank is no number"},
        {"IQ== 12345678\n", "m: line 1: the rank is no number"},
        {"IQ== 1\n", "m: rank 1 with only 1 tokens"},
        {"IQ 0\n", "is not base64"},
        {"I=== 0\n", "is not base64"},
        {"IQ=x 0\n", "is not base64"},
        {"I!== 0\n", "is not base64"},
        {" 0\n", "is not base64"},
        {"IQ== 0\nIg== 0\n", "token id 0 is given twice"},
        {"IQ== 0\nIQ== 1\n", "tokens 0 and 1 are the same text"},
        {"IQ== 0\n", "no token for byte 0x00"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tern_tokenizer_from_tiktoken("m", bad[i].text, strlen(bad[i].text), 0, &tokenizer, &err),
                         TERN_ERR_FORMAT);
        if (!strstr(err.message, bad[i].message))
            fail_msg("%s: \"%s\"", bad[i].text, err.message);
    }
    assert_null(tokenizer);
}

/* -------------------------------------------------------------------- arrays */

static void test_bad_arrays(void **state) {
    (void)state;
    static tern_view tokens[300], merges[2];
    static char names[256][3];
    static int32_t types[300];
    for (int byte = 0, extra = 0; byte < 256; byte++) { /* GPT-2's alphabet */
        bool keep = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        int c = keep ? byte : 256 + extra++;
        if (c < 128)
            names[byte][0] = (char)c;
        else
            names[byte][0] = (char)(0xc0 | c >> 6), names[byte][1] = (char)(0x80 | (c & 63));
        tokens[byte] = tern_view_of(names[byte]);
        types[byte] = 1;
    }
    tokens[256] = tern_view_of("ab");
    tokens[257] = tern_view_of("<|eot_id|>");
    types[256] = 1;
    types[257] = 3;
    merges[0] = tern_view_of("a b");
    const tern_vocab_arrays good = {tokens, 258, types, merges, 1, "llama-bpe", -1, -1, -1, NULL, false};
    tern_tokenizer *tokenizer = NULL;
    assert_int_equal(tern_tokenizer_from_arrays(&good, &tokenizer, &err), TERN_OK);
    check(tokenizer, "ab ab", TERN_TOKENIZE_BOS, IDS(256, ' ', 256)); /* no BOS token, none added */
    check(tokenizer, "<|eot_id|>", TERN_TOKENIZE_SPECIAL, IDS(257));
    assert_int_equal(tern_tokenizer_bos(tokenizer), -1);
    assert_int_equal(tern_tokenizer_eos(tokenizer), -1);
    assert_true(tern_tokenizer_is_end(tokenizer, 257));
    tern_tokenizer_free(tokenizer);
    tokenizer = NULL;

    tern_vocab_arrays bad = good;
    bad.pre = "qwen2";
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "\"qwen2\" is not supported"));
    bad = good;
    bad.n_tokens = 0;
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    bad.n_tokens = (size_t)1 << 40; /* refused before anything is read or allocated */
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    bad = good;
    bad.n_merges = (size_t)1 << 40;
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    bad = good;
    bad.bos_id = 258;
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "BOS 258"));
    bad = good;
    types[256] = 6;
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_UNSUPPORTED);
    types[256] = 5; /* unused: it is no result of a merge then */
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    types[256] = 1;
    tokens[256] = tern_view_of("a");
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "are the same text"));
    char *huge = malloc(3000);
    memset(huge, 'a', 3000);
    tokens[256] = (tern_view){huge, 3000};
    assert_int_equal(tern_tokenizer_from_arrays(&bad, &tokenizer, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "has 3000 bytes"));
    free(huge);
    assert_null(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_json), cmocka_unit_test(test_json_variants), cmocka_unit_test(test_json_patterns),
        cmocka_unit_test(test_tiktoken), cmocka_unit_test(test_bad_arrays),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
