/* The stop-string matcher against a search that looks at the whole text again
 * after every byte. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "runtime/stop.h"

typedef struct outcome {
    size_t n_out;      /* bytes of the text that go out in the end */
    ptrdiff_t matched; /* -1 */
} outcome;

static bool ends_with(const char *text, size_t n, const char *string, size_t n_string) {
    return n >= n_string && memcmp(text + n - n_string, string, n_string) == 0;
}

static outcome naive_search(const char *text, size_t n, const char *const *strings, size_t n_strings) {
    for (size_t end = 1; end <= n; end++) {
        outcome best = {n + 1, -1};
        for (size_t s = 0; s < n_strings; s++) {
            size_t length = strlen(strings[s]);
            if (ends_with(text, end, strings[s], length) && end - length < best.n_out)
                best = (outcome){end - length, (ptrdiff_t)s};
        }
        if (best.matched >= 0)
            return best;
    }
    return (outcome){n, -1};
}

/* Longest end of text [n] that is a proper beginning of a string. */
static size_t naive_held(const char *text, size_t n, const char *const *strings, size_t n_strings) {
    size_t held = 0;
    for (size_t s = 0; s < n_strings; s++)
        for (size_t length = 1; length < strlen(strings[s]) && length <= n; length++)
            if (length > held && ends_with(text, n, strings[s], length))
                held = length;
    return held;
}

static tern_stop *create(const char *const *strings, size_t n_strings) {
    tern_stop *stop = NULL;
    tern_error err;
    if (tern_stop_create(strings, n_strings, &stop, &err))
        fail_msg("%s", err.message);
    return stop;
}

/* Feed text in pieces of random size up to max_piece; after each piece exactly
 * the bytes that the naive search would hold back may be missing. */
static void check_text(const char *const *strings, size_t n_strings, const char *text, size_t n, size_t max_piece,
                       tern_rng *rng) {
    outcome want = naive_search(text, n, strings, n_strings);
    tern_stop *stop = create(strings, n_strings);
    tern_buffer out = {0};
    bool stopped = false;
    for (size_t at = 0; at < n;) {
        size_t piece = tern_rng_u64(rng) % (max_piece + 1);
        piece = piece < n - at ? piece : n - at;
        stopped = tern_stop_feed(stop, text + at, piece, &out);
        at += piece;
        if (!stopped) {
            assert_int_equal(tern_stop_held(stop), naive_held(text, at, strings, n_strings));
            assert_int_equal(out.size + tern_stop_held(stop), at);
        }
    }
    tern_stop_flush(stop, &out);
    assert_false(out.failed);
    assert_int_equal(stopped, want.matched >= 0);
    assert_int_equal(tern_stop_matched(stop), want.matched);
    assert_int_equal(out.size, want.n_out);
    assert_int_equal(tern_stop_held(stop), 0);
    if (out.size)
        assert_memory_equal(out.bytes, text, out.size);
    tern_buffer_free(&out);
    tern_stop_free(stop);
}

static void test_random_against_naive(void **state) {
    (void)state;
    enum { MAX_STRINGS = 5, MAX_LENGTH = 7, MAX_TEXT = 60 };
    tern_rng rng;
    tern_rng_seed(&rng, 17);
    int n_matched = 0;
    const int n_rounds = 40000;
    for (int round = 0; round < n_rounds; round++) {
        char store[MAX_STRINGS][MAX_LENGTH + 1], text[MAX_TEXT];
        const char *strings[MAX_STRINGS];
        unsigned alphabet = 1 + (unsigned)(tern_rng_u64(&rng) % 3);
        size_t n_strings = tern_rng_u64(&rng) % (MAX_STRINGS + 1), n = tern_rng_u64(&rng) % MAX_TEXT;
        for (size_t s = 0; s < n_strings; s++) {
            size_t length = 1 + tern_rng_u64(&rng) % MAX_LENGTH;
            for (size_t i = 0; i < length; i++)
                store[s][i] = (char)('a' + tern_rng_u64(&rng) % alphabet);
            store[s][length] = 0;
            strings[s] = store[s];
        }
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + tern_rng_u64(&rng) % alphabet);
        check_text(strings, n_strings, text, n, 1 + tern_rng_u64(&rng) % 9, &rng);
        n_matched += naive_search(text, n, strings, n_strings).matched >= 0;
    }
    assert_true(n_matched > n_rounds / 4 && n_matched < n_rounds); /* both outcomes were really tried */
}

typedef struct example {
    const char *strings[3];
    const char *text, *out;
    ptrdiff_t matched;
} example;

static void test_examples(void **state) {
    (void)state;
    static const example examples[] = {
        {{"aab"}, "aaab", "a", 0},
        {{"abc", "b"}, "abc", "a", 1},          /* complete first wins, though it starts later */
        {{"b", "ab"}, "xab", "x", 1},           /* complete together: the longest */
        {{"ab", "ab"}, "ab", "", 0},            /* the same twice: the first */
        {{"ababac"}, "ababababac!", "abab", 0}, /* falls back more than once */
        {{"<|end|>", "User:"}, "a <|en User", "a <|en User", -1},
        {{"\n\n"}, "one\ntwo\n", "one\ntwo\n", -1},
        {{"\n\n"}, "one\n\ntwo", "one", 0},
        {{"\xc3\xa9t\xc3\xa9"}, "l'\xc3\xa9t\xc3\xa9 vint", "l'", 0},
        {{"\xc3\xa9"}, "\xc3\xa8\xc3\xa9", "\xc3\xa8", 0}, /* shares the lead byte */
        {{"\xf0\x9f\x90\xa6"}, "\xf0\x9f\x90\xa7\xf0\x9f\x90\xa6", "\xf0\x9f\x90\xa7", 0},
        {{NULL}, "anything", "anything", -1},
    };
    for (size_t e = 0; e < sizeof examples / sizeof *examples; e++) {
        const example *x = &examples[e];
        size_t n_strings = 0, n = strlen(x->text);
        while (n_strings < 3 && x->strings[n_strings])
            n_strings++;
        for (size_t piece = 1; piece <= n; piece++) {
            tern_stop *stop = create(x->strings, n_strings);
            tern_buffer out = {0};
            for (size_t at = 0; at < n; at += piece)
                tern_stop_feed(stop, x->text + at, n - at < piece ? n - at : piece, &out);
            tern_stop_flush(stop, &out);
            char *text = tern_buffer_take(&out, NULL);
            assert_string_equal(text, x->out);
            assert_int_equal(tern_stop_matched(stop), x->matched);
            free(text);
            tern_stop_free(stop);
        }
    }
}

/* All 256 byte values but 0, as text and as strings. */
static void test_every_byte(void **state) {
    (void)state;
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    char text[256];
    for (int b = 0; b < 256; b++)
        text[b] = (char)b;
    for (int b = 1; b < 255; b++) {
        char string[3] = {(char)b, (char)(b + 1), 0};
        const char *strings[] = {string};
        tern_error err;
        tern_stop *stop = NULL;
        if ((b & 0xc0) == 0x80)
            assert_int_equal(tern_stop_create(strings, 1, &stop, &err), TERN_ERR_ARGUMENT);
        else
            check_text(strings, 1, text, sizeof text, 5, &rng);
    }
}

static void test_whole_characters(void **state) {
    (void)state;
    /* whole characters in: whole characters out, after every piece */
    static const char *const characters[] = {"a", "\xc3\xa9", "\xc3\xa8", "\xe2\x82\xac", "\xf0\x9f\x90\xa6"};
    const char *strings[] = {"\xc3\xa9\xc3\xa8\xc3\xa9\xc3\xa9", "a\xe2\x82\xac\xe2\x82\xac\xf0\x9f\x90\xa6"};
    tern_rng rng;
    tern_rng_seed(&rng, 5);
    for (int round = 0; round < 2000; round++) {
        tern_stop *stop = create(strings, 2);
        tern_buffer out = {0};
        for (int i = 0; i < 30; i++) {
            const char *piece = characters[tern_rng_u64(&rng) % 5];
            if (tern_stop_feed(stop, piece, strlen(piece), &out))
                break;
            if (!out.size)
                continue;
            size_t tail = 1; /* bytes of the last character that are there */
            while (((unsigned char)out.bytes[out.size - tail] & 0xc0) == 0x80)
                tail++;
            unsigned char lead = (unsigned char)out.bytes[out.size - tail];
            assert_int_equal(tail, lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
        }
        tern_buffer_free(&out);
        tern_stop_free(stop);
    }
}

static void test_after_match_and_reset(void **state) {
    (void)state;
    const char *strings[] = {"stop"};
    tern_stop *stop = create(strings, 1);
    tern_buffer out = {0};
    assert_false(tern_stop_feed(stop, "go st", 5, &out));
    assert_int_equal(tern_stop_held(stop), 2);
    assert_true(tern_stop_feed(stop, "op and more", 11, &out));
    assert_true(tern_stop_feed(stop, "even more", 9, &out));
    tern_stop_flush(stop, &out);
    assert_string_equal(out.bytes, "go ");
    tern_stop_reset(stop);
    assert_int_equal(tern_stop_matched(stop), -1);
    assert_false(tern_stop_feed(stop, "sto", 3, &out));
    tern_stop_reset(stop); /* the held text is forgotten too */
    assert_false(tern_stop_feed(stop, "p", 1, &out));
    tern_stop_flush(stop, &out);
    assert_string_equal(out.bytes, "go p");
    tern_buffer_free(&out);
    tern_stop_free(stop);
}

static void test_long_and_many(void **state) {
    (void)state;
    /* 'a' * 2000 + 'b' against 200 KB of 'a': quadratic work would be 4e8 steps per string. */
    enum { LENGTH = 2000, N = 200000, N_STRINGS = 20 };
    char *store = malloc((size_t)N_STRINGS * (LENGTH + 2)), *text = malloc(N);
    assert_non_null(store);
    assert_non_null(text);
    const char *strings[N_STRINGS];
    for (int s = 0; s < N_STRINGS; s++) {
        char *at = store + (size_t)s * (LENGTH + 2);
        memset(at, 'a', LENGTH);
        at[LENGTH] = (char)('A' + s);
        at[LENGTH + 1] = 0;
        strings[s] = at;
    }
    memset(text, 'a', N);
    text[N - 1] = 'C';
    tern_stop *stop = create(strings, N_STRINGS);
    tern_buffer out = {0};
    bool stopped = false;
    for (size_t i = 0; i < N; i++)
        stopped = tern_stop_feed(stop, text + i, 1, &out);
    assert_true(stopped);
    assert_int_equal(tern_stop_matched(stop), 2);
    assert_int_equal(out.size, N - 1 - LENGTH);
    tern_buffer_free(&out);
    tern_stop_free(stop);
    free(store);
    free(text);
}

static void test_bad_arguments(void **state) {
    (void)state;
    tern_error err;
    tern_stop *stop = NULL;
    const char *empty[] = {"a", ""}, *null[] = {NULL}, *inside[] = {"\xa9x"};
    assert_int_equal(tern_stop_create(empty, 2, &stop, &err), TERN_ERR_ARGUMENT);
    assert_string_equal(err.message, "stop string 2 is empty: leave it out");
    assert_int_equal(tern_stop_create(null, 1, &stop, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_stop_create(NULL, 1, &stop, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_stop_create(inside, 1, &stop, &err), TERN_ERR_ARGUMENT);
    assert_null(stop);
    tern_stop_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_naive),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_whole_characters),
        cmocka_unit_test(test_after_match_and_reset),
        cmocka_unit_test(test_long_and_many),
        cmocka_unit_test(test_bad_arguments),
    };
    return cmocka_run_group_tests_name("stop strings", tests, NULL, NULL);
}
