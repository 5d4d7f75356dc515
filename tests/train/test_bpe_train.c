/* The tokenizer trainer: against a naive one that counts everything anew for each merge, hand-computed cases, and the
 * tokenizer room, which must load what it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/tokenizer.h"
#include "train/bpe_train.h"

static const char *const specials[] = {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|extra|>"};
static tern_error err;

/* A file with that ending and contents; the name, to be freed. */
static char *file_of(const char *ending, const void *bytes, size_t n_bytes) {
    char *path = malloc(64);
    snprintf(path, 64, "/tmp/tern-bpe-XXXXXX%s", ending);
    int fd = mkstemps(path, (int)strlen(ending));
    assert_true(fd >= 0);
    assert_true(write(fd, bytes, n_bytes) == (ssize_t)n_bytes);
    close(fd);
    return path;
}

static tern_bpe_params params_of(const char *const *paths, size_t n, uint32_t vocab_size) {
    return (tern_bpe_params){.texts = paths,
                             .n_texts = n,
                             .vocab_size = vocab_size,
                             .min_count = 1,
                             .specials = specials,
                             .n_specials = 3,
                             .n_threads = 1};
}

static tern_status train_on(const char *text, size_t n_bytes, uint32_t vocab_size, tern_bpe_result *result) {
    char *path = file_of(".txt", text, n_bytes);
    const char *paths[] = {path};
    tern_bpe_params params = params_of(paths, 1, vocab_size);
    tern_status status = tern_bpe_train(&params, result, &err);
    unlink(path);
    free(path);
    return status;
}

static json_t *parse(const tern_bpe_result *result) {
    json_t *root = json_loadb(result->json, result->n_json, 0, NULL);
    assert_non_null(root);
    return root;
}

static const char *merge_at(const json_t *root, size_t i) {
    return json_string_value(json_array_get(json_object_get(json_object_get(root, "model"), "merges"), i));
}

/* ab comes 3 times, then "ab c" 2 times; x y and y z come once each: the pair with the smaller ids is first. */
static void by_hand(void **state) {
    static const char text[] = "abc\nabc\nabd\nxyz";
    tern_bpe_result result;
    (void)state;
    assert_int_equal(train_on(text, sizeof text - 1, 256 + 4 + 3, &result), TERN_OK);
    json_t *root = parse(&result);
    assert_int_equal(result.n_merges, 4);
    assert_string_equal(merge_at(root, 0), "a b");  /* 3 times */
    assert_string_equal(merge_at(root, 1), "ab c"); /* 2 */
    assert_string_equal(merge_at(root, 2), "x y");  /* 1: of (x, y), (y, z), (ab, d): ids of x and y are smallest */
    assert_string_equal(merge_at(root, 3), "ab d"); /* 1: ab is older than xy */
    json_decref(root);
    free(result.json);
}

/* The pretoken "aaaa" has the pair a a three times and becomes aa aa, then aaaa. */
static void runs(void **state) {
    tern_bpe_result result;
    (void)state;
    assert_int_equal(train_on("aaaa\naaa", 8, 256 + 2 + 3, &result), TERN_OK);
    json_t *root = parse(&result);
    assert_string_equal(merge_at(root, 0), "a a");
    assert_string_equal(merge_at(root, 1), "aa a"); /* as often as aa aa: a's id is smaller */
    json_decref(root);
    free(result.json);
}

/* --------------------------------------------------------- the naive trainer */

enum { MAX_WORDS = 4000, MAX_LENGTH = 200, MAX_TOKENS = 700 };

typedef struct naive {
    int length[MAX_WORDS];
    int symbols[MAX_WORDS][MAX_LENGTH];
    int n_words;
    char tokens[MAX_TOKENS][MAX_LENGTH];
    int sizes[MAX_TOKENS], n_tokens;
} naive;

static void naive_start(naive *n, const char *text, size_t n_bytes) {
    int id_of[256];
    memset(n, 0, sizeof *n);
    for (int turn = 0; turn < 2; turn++)
        for (int byte = 0; byte < 256; byte++) {
            int printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            if (printable == turn)
                continue;
            id_of[byte] = n->n_tokens;
            n->tokens[n->n_tokens][0] = (char)byte;
            n->sizes[n->n_tokens++] = 1;
        }
    for (size_t at = 0, end; at < n_bytes; at = end) {
        end = tern_llama3_pretoken((const uint8_t *)text, n_bytes, at);
        assert_true(n->n_words < MAX_WORDS && end - at <= MAX_LENGTH);
        n->length[n->n_words] = (int)(end - at);
        for (size_t k = at; k < end; k++)
            n->symbols[n->n_words][k - at] = id_of[(uint8_t)text[k]];
        n->n_words++;
    }
}

/* One merge, chosen by counting all pairs; false: there is none. */
static bool naive_merge(naive *n, int *left, int *right) {
    static int count[MAX_TOKENS][MAX_TOKENS];
    int best = 0;
    memset(count, 0, sizeof count);
    for (int w = 0; w < n->n_words; w++)
        for (int i = 0; i + 1 < n->length[w]; i++)
            count[n->symbols[w][i]][n->symbols[w][i + 1]]++;
    for (int a = 0; a < n->n_tokens; a++)
        for (int b = 0; b < n->n_tokens; b++)
            if (count[a][b] > best) {
                best = count[a][b];
                *left = a;
                *right = b;
            }
    if (!best)
        return false;
    char bytes[2 * MAX_LENGTH];
    int size = n->sizes[*left] + n->sizes[*right], joined = 0;
    memcpy(bytes, n->tokens[*left], (size_t)n->sizes[*left]);
    memcpy(bytes + n->sizes[*left], n->tokens[*right], (size_t)n->sizes[*right]);
    while (joined < n->n_tokens && (n->sizes[joined] != size || memcmp(n->tokens[joined], bytes, (size_t)size) != 0))
        joined++;
    if (joined == n->n_tokens) {
        memcpy(n->tokens[joined], bytes, (size_t)size);
        n->sizes[n->n_tokens++] = size;
    }
    for (int w = 0; w < n->n_words; w++) {
        int out = 0, *s = n->symbols[w];
        for (int i = 0; i < n->length[w];) {
            bool here = i + 1 < n->length[w] && s[i] == *left && s[i + 1] == *right;
            s[out++] = here ? joined : s[i];
            i += here ? 2 : 1;
        }
        n->length[w] = out;
    }
    return true;
}

/* Words of a few letters, so that pairs tie, overlap and meet in several ways. */
static size_t random_text(tern_rng *rng, char *text, size_t size) {
    size_t at = 0;
    while (at + 24 < size) {
        size_t length = 1 + tern_rng_u64(rng) % 12;
        if (tern_rng_u64(rng) % 4)
            text[at++] = ' ';
        for (size_t i = 0; i < length; i++) {
            uint64_t kind = tern_rng_u64(rng) % 16;
            text[at++] = kind == 0 ? (char)(128 + tern_rng_u64(rng) % 128) : (char)('a' + kind % (1 + length % 5));
        }
    }
    return at;
}

static void same_as_naive(void **state) {
    static naive n;
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        char text[6000];
        tern_rng rng;
        tern_bpe_result result;
        tern_rng_seed(&rng, seed);
        size_t size = random_text(&rng, text, sizeof text);
        enum { MERGES = 150 };
        assert_int_equal(train_on(text, size, 256 + 3 + MERGES, &result), TERN_OK);
        json_t *root = parse(&result);
        tern_tokenizer *tokenizer;
        assert_int_equal(tern_tokenizer_from_json("t.json", result.json, result.n_json, &tokenizer, &err), TERN_OK);
        naive_start(&n, text, size);
        size_t merges = 0;
        while (n.n_tokens < 256 + MERGES) {
            int left = -1, right = -1;
            size_t size_a, size_b;
            assert_true(naive_merge(&n, &left, &right));
            const char *line = merge_at(root, merges++);
            assert_non_null(line);
            /* the bytes of the two, as the tokenizer has them */
            const char *a = tern_tokenizer_token(tokenizer, left, &size_a);
            const char *b = tern_tokenizer_token(tokenizer, right, &size_b);
            assert_int_equal(size_a, n.sizes[left]);
            assert_memory_equal(a, n.tokens[left], size_a);
            assert_int_equal(size_b, n.sizes[right]);
            assert_memory_equal(b, n.tokens[right], size_b);
            const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
            const char *blank = strchr(line, ' ');
            char *first = strndup(line, (size_t)(blank - line));
            assert_int_equal(json_integer_value(json_object_get(vocab, first)), left);
            assert_int_equal(json_integer_value(json_object_get(vocab, blank + 1)), right);
            free(first);
        }
        assert_int_equal(merges, result.n_merges);
        assert_null(merge_at(root, merges));
        tern_tokenizer_free(tokenizer);
        json_decref(root);
        free(result.json);
    }
}

/* ------------------------------------------------------------------ the file */

static void loads(void **state) {
    static const char text[] = "Once upon a time there was a fox. Once upon a time there was a bear.";
    tern_bpe_result result;
    tern_tokenizer *tokenizer;
    (void)state;
    assert_int_equal(train_on(text, sizeof text - 1, 280, &result), TERN_OK);
    assert_int_equal(tern_tokenizer_from_json("t.json", result.json, result.n_json, &tokenizer, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_vocab_size(tokenizer), 280);
    assert_int_equal(tern_tokenizer_bos(tokenizer), 277);
    assert_int_equal(tern_tokenizer_eos(tokenizer), 278);
    assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|eot_id|>"), 279);
    assert_true(tern_tokenizer_is_end(tokenizer, 279));
    int32_t *ids;
    size_t n, size;
    char *back;
    assert_int_equal(tern_tokenize(tokenizer, text, sizeof text - 1, TERN_TOKENIZE_BOS, &ids, &n, &err), TERN_OK);
    assert_int_equal(ids[0], 277);
    assert_true(n < 50);
    assert_int_equal(tern_detokenize(tokenizer, ids + 1, n - 1, false, &back, &size, &err), TERN_OK);
    assert_string_equal(back, text);
    free(back);
    free(ids);
    tern_tokenizer_free(tokenizer);
    free(result.json);
}

/* Text of several blocks: the same file for each number of threads, however it is cut into files, from JSON lines, and
 * with the marker between documents. */
static void threads_and_files(void **state) {
    enum { SIZE = 1200000 };
    char *text = malloc(SIZE + 100);
    tern_rng rng;
    (void)state;
    tern_rng_seed(&rng, 9);
    for (size_t i = 0; i < SIZE; i++) /* no words to cut at for the first blocks */
        text[i] = i < 500000 ? (char)(tern_rng_u64(&rng) % 8 ? 'a' + i * i % 7 : '.')
                             : (char)(tern_rng_u64(&rng) % 6 ? 'a' + tern_rng_u64(&rng) % 5 : ' ');
    memcpy(text + SIZE, "\nend", 4);
    char *whole = file_of(".txt", text, SIZE + 4), *marked;
    const char *paths[] = {whole, NULL};
    tern_bpe_params params = params_of(paths, 1, 600);
    tern_bpe_result one, other;
    assert_int_equal(tern_bpe_train(&params, &one, &err), TERN_OK);
    assert_int_equal(one.n_bytes, SIZE + 4);
    for (int threads = 2; threads <= 7; threads += 5) {
        params.n_threads = threads;
        assert_int_equal(tern_bpe_train(&params, &other, &err), TERN_OK);
        assert_string_equal(one.json, other.json);
        assert_int_equal(one.n_pretokens, other.n_pretokens);
        free(other.json);
    }
    /* a marker in the place of the last newline: nothing but the newline is missing */
    memcpy(text + SIZE, "<|endoftext|>end", 16);
    marked = file_of(".txt", text, SIZE + 16);
    paths[0] = marked;
    assert_int_equal(tern_bpe_train(&params, &other, &err), TERN_OK);
    assert_string_equal(one.json, other.json);
    assert_int_equal(other.n_bytes, SIZE + 3);
    free(other.json);
    unlink(marked);
    free(marked);
    /* JSON lines, the text cut in front of a blank */
    size_t cut = 900000;
    while (text[cut] != ' ' || text[cut - 1] == ' ')
        cut++;
    text[SIZE] = '\n';
    json_t *first = json_pack("{s:s%}", "text", text, cut),
           *second = json_pack("{s:s%}", "text", text + cut, SIZE - cut);
    char *a = json_dumps(first, 0), *b = json_dumps(second, 0);
    char *lines = malloc(strlen(a) + strlen(b) + 100);
    int n_lines = sprintf(lines, "%s\n\n%s\n{\"text\": \"\\nend\"}\n", a, b);
    char *json_path = file_of(".jsonl", lines, (size_t)n_lines);
    paths[0] = json_path;
    assert_int_equal(tern_bpe_train(&params, &other, &err), TERN_OK);
    assert_string_equal(one.json, other.json);
    free(other.json);
    /* a sample */
    paths[0] = whole;
    params.max_bytes = 300000;
    assert_int_equal(tern_bpe_train(&params, &other, &err), TERN_OK);
    assert_true(other.n_bytes >= 250000 && other.n_bytes < 1000000);
    free(other.json);
    free(one.json);
    free(a);
    free(b);
    free(lines);
    json_decref(first);
    json_decref(second);
    unlink(json_path);
    unlink(whole);
    free(json_path);
    free(whole);
    free(text);
}

/* ------------------------------------------------------------------- errors */

static void errors(void **state) {
    static const char text[] = "abab abab abab";
    tern_bpe_result result;
    (void)state;
    assert_int_equal(train_on(text, sizeof text - 1, 258, &result), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "259 already"));
    assert_int_equal(train_on(text, sizeof text - 1, 259, &result), TERN_OK);
    assert_int_equal(result.n_merges, 0);
    free(result.json);
    assert_int_equal(train_on(text, sizeof text - 1, 1000, &result), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "3 pairs"));
    assert_non_null(strstr(err.message, "at most 262"));
    assert_int_equal(train_on("", 0, 300, &result), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "0 pairs"));
    assert_int_equal(train_on("\xfd"
                              "7zXZ....",
                              9, 300, &result),
                     TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "xz -dc"));

    const char *paths[] = {"/nowhere/none.txt"};
    tern_bpe_params params = params_of(paths, 1, 280);
    assert_int_equal(tern_bpe_train(&params, &result, &err), TERN_ERR_IO);
    static const char lines[] = "{\"text\": \"fine\"}\n\n{\"words\": 1}\n";
    char *path = file_of(".jsonl", lines, sizeof lines - 1);
    paths[0] = path;
    assert_int_equal(tern_bpe_train(&params, &result, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 3"));
    unlink(path);
    free(path);
    path = file_of(".txt", text, sizeof text - 1);
    paths[0] = path;
    params.vocab_size = 262;
    params.specials = (const char *[]){"<a>", "<b>", "<a>"};
    assert_int_equal(tern_bpe_train(&params, &result, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "twice"));
    params.specials = (const char *[]){"<a>", "\xff", "<c>"};
    assert_int_not_equal(tern_bpe_train(&params, &result, &err), TERN_OK);
    params.specials = specials;
    params.n_specials = 4;
    assert_int_equal(tern_bpe_train(&params, &result, &err), TERN_OK);
    assert_int_equal(result.n_merges, 2);
    free(result.json);
    params.min_count = 4; /* ab comes 6 times, then abab 3 times */
    params.vocab_size = 260 + 2;
    assert_int_equal(tern_bpe_train(&params, &result, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "only 1 pairs that come 4 times"));
    unlink(path);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand), cmocka_unit_test(runs),   cmocka_unit_test(same_as_naive),
        cmocka_unit_test(loads),   cmocka_unit_test(errors), cmocka_unit_test(threads_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
