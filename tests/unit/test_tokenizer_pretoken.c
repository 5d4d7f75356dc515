/* The hand-written pre-tokeniser against the regular expression it stands for, through PCRE2: over all of Unicode and
 * on random text. (PCRE2's \s has U+180E, which is no White_Space; that character is left out.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/unicode.h"

static tern_error err;

/* Copy a string to `to`, which has room for it; its length. */
static size_t put(char *to, const char *text) {
    size_t n = strlen(text);
    memcpy(to, text, n);
    return n;
}

static pcre2_code *compile(const char *pattern) {
    int code;
    size_t offset;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    assert_non_null(compiled);
    return compiled;
}

static bool matches(const pcre2_code *code, pcre2_match_data *data, const char *text, size_t size) {
    return pcre2_match(code, (PCRE2_SPTR)text, size, 0, PCRE2_ANCHORED, data, NULL) >= 0;
}

/* A character whose class our table and PCRE2 see differently may only be one that is unassigned in one of the two
 * Unicode versions; with the same version there is none. */
static void test_classes(void **state) {
    (void)state;
    char version[32];
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    bool same_version = strcmp(version, "14.0.0") == 0;
    pcre2_code *classes[] = {compile("\\p{L}"), compile("\\p{N}"), compile("\\s"), compile("\\p{Cn}")};
    pcre2_match_data *data = pcre2_match_data_create(4, NULL);
    size_t letters = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char text[4];
        if ((c >= 0xd800 && c < 0xe000) || c == 0x180e)
            continue;
        size_t size = tern_utf8_encode(c, text);
        uint32_t back;
        assert_int_equal(tern_utf8_decode((const uint8_t *)text, size, &back), size);
        assert_int_equal(back, c);
        unsigned have = tern_char_class(c);
        unsigned want = matches(classes[0], data, text, size)   ? TERN_CLASS_LETTER
                        : matches(classes[1], data, text, size) ? TERN_CLASS_NUMBER
                        : matches(classes[2], data, text, size) ? TERN_CLASS_SPACE
                                                                : TERN_CLASS_OTHER;
        letters += have == TERN_CLASS_LETTER;
        if (have != want) {
            bool newer = have == TERN_CLASS_OTHER || matches(classes[3], data, text, size);
            if (same_version || !newer)
                fail_msg("U+%04X has class %u, PCRE2 says %u", (unsigned)c, have, want);
        }
    }
    assert_true(letters > 131000);
    for (size_t i = 0; i < 4; i++)
        pcre2_code_free(classes[i]);
    pcre2_match_data_free(data);
}

/* Cut text by the scanner and by the pattern, which is also checked against a PCRE2 of our own driving. */
static void check_cuts(const tern_pattern *pattern, const char *text, size_t size) {
    tern_cutter cutter = {0};
    assert_int_equal(tern_cutter_open(&cutter, pattern, text, size, &err), TERN_OK);
    for (size_t pos = 0; pos < size;) {
        size_t start, end, have = tern_llama3_pretoken((const uint8_t *)text, size, pos);
        if (tern_cutter_next(&cutter, &start, &end, &err))
            fail_msg("%s", err.message);
        assert_int_equal(start, pos);
        if (have != end) {
            for (size_t i = 0; i < size && i < 60; i++)
                print_message("%02x ", (unsigned char)text[i]);
            fail_msg("at byte %zu of %zu: scanner to %zu, pattern to %zu", pos, size, have, end);
        }
        assert_true(end > pos);
        pos = end;
    }
    tern_cutter_free(&cutter);
}

static tern_pattern *llama3(void) {
    tern_pattern *pattern = NULL;
    assert_int_equal(tern_pattern_create("test", tern_llama3_pattern, strlen(tern_llama3_pattern), &pattern, &err),
                     TERN_OK);
    return pattern;
}

/* Does PCRE2 give this character the class that our table has? (See test_classes for when not.) */
static bool comparable(uint32_t c, pcre2_code *unassigned, pcre2_match_data *data) {
    char text[4];
    if ((c >= 0xd800 && c < 0xe000) || c == 0x180e)
        return false;
    size_t size = tern_utf8_encode(c, text);
    return !matches(unassigned, data, text, size);
}

/* Every assigned character in the middle of every kind of neighbour. */
static void test_all_characters(void **state) {
    (void)state;
    static const char *const around[][2] = {{"a", "b"}, {"1", "2"},   {" ", "x"},  {" ", "!"}, {"!", "!\n"},
                                            {"'", "s"}, {"x'", "t "}, {"\n", " "}, {" ", " "}, {"\r\n", "\r"}};
    tern_pattern *pattern = llama3();
    pcre2_code *unassigned = compile("\\p{Cn}");
    pcre2_match_data *data = pcre2_match_data_create(4, NULL);
    static const uint32_t step_after = 0x3400; /* beyond it most are Han and Hangul, all alike: every 7th */
    for (uint32_t c = 0; c < 0x110000; c += c < step_after ? 1 : 7) {
        char text[400];
        size_t size = 0;
        if (!comparable(c, unassigned, data))
            continue;
        for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
            size += put(text + size, around[i][0]);
            size += tern_utf8_encode(c, text + size);
            if (i % 3 == 0)
                size += tern_utf8_encode(c, text + size);
            size += put(text + size, around[i][1]);
        }
        check_cuts(pattern, text, size);
    }
    pcre2_code_free(unassigned);
    pcre2_match_data_free(data);
    tern_pattern_free(pattern);
}

static void test_random(void **state) {
    (void)state;
    static const char *const parts[] = {
        "a",  "B",      "é",      "中",     "7",      "٣",        "½",      " ",    "  ", "\t", "\n", "\r\n",
        "\r", "'",      "'s",     "'S",     "'ſ",     "'ll",      "'Re",    "'v",   "'l", "!",  ".",  "\"",
        "😀",  "\u0301", "\u00a0", "\u3000", "\u2028", "\xc2\x85", "\u200b", "\x1c", "\v", "-",  "ab", "12"};
    tern_pattern *pattern = llama3();
    tern_rng rng;
    tern_rng_seed(&rng, 7);
    for (int round = 0; round < 60000; round++) {
        char text[256];
        size_t size = 0, n = 1 + tern_rng_u64(&rng) % 14;
        for (size_t i = 0; i < n; i++) {
            const char *part = parts[tern_rng_u64(&rng) % (sizeof parts / sizeof *parts)];
            for (size_t k = tern_rng_u64(&rng) % 8 ? 1 : 4; k-- > 0;)
                size += put(text + size, part);
        }
        check_cuts(pattern, text, size);
    }
    tern_pattern_free(pattern);
}

/* A megabyte that invites backtracking: the pattern goes through PCRE2 without reaching a limit. */
static void test_megabytes(void **state) {
    (void)state;
    static const char *const fill[] = {"a", " ", "7", "\n", "'", "😀", " \n", "\xe0\xb8\x81"};
    tern_pattern *pattern = llama3();
    const size_t size = 1000000;
    char *text = malloc(size + 8);
    for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) {
        size_t n = 0;
        while (n < size)
            n += put(text + n, fill[i]);
        check_cuts(pattern, text, n);
    }
    free(text);
    tern_pattern_free(pattern);
}

/* Other patterns: text between matches and invalid bytes are pieces of their own; nothing is lost. */
static void test_other_pattern(void **state) {
    (void)state;
    tern_pattern *pattern = NULL;
    assert_int_equal(tern_pattern_create("t", "b+|\\d", 5, &pattern, &err), TERN_OK);
    static const char text[] = "aabbc12\xff\xfe"
                               "bx\xc3";
    static const size_t ends[] = {2, 4, 5, 6, 7, 9, 10, 11, 12};
    tern_cutter cutter = {0};
    assert_int_equal(tern_cutter_open(&cutter, pattern, text, sizeof text - 1, &err), TERN_OK);
    size_t start, end, last = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++, last = end) {
        assert_int_equal(tern_cutter_next(&cutter, &start, &end, &err), TERN_OK);
        assert_int_equal(start, last);
        assert_int_equal(end, ends[i]);
    }
    assert_int_equal(tern_cutter_next(&cutter, &start, &end, &err), TERN_OK);
    assert_int_equal(start, end);
    tern_cutter_free(&cutter);
    tern_pattern_free(pattern);
}

static void test_bad_pattern(void **state) {
    (void)state;
    tern_pattern *pattern = NULL;
    assert_int_equal(tern_pattern_create("F", "(a", 2, &pattern, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "F: the pre-tokeniser's regular expression cannot be used"));
    assert_int_equal(tern_pattern_create("F", "a\\Cb", 4, &pattern, &err), TERN_ERR_UNSUPPORTED);
    /* One made to backtrack for ever is stopped with an error. */
    assert_int_equal(tern_pattern_create("F", "(a+)+(a+)+(a+)+$", 16, &pattern, &err), TERN_OK);
    char text[61];
    memset(text, 'a', 60);
    text[60] = 'b';
    tern_cutter cutter = {0};
    size_t start, end;
    assert_int_equal(tern_cutter_open(&cutter, pattern, text, sizeof text, &err), TERN_OK);
    assert_int_equal(tern_cutter_next(&cutter, &start, &end, &err), TERN_ERR_UNSUPPORTED);
    tern_cutter_free(&cutter);
    tern_pattern_free(pattern);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),   cmocka_unit_test(test_all_characters), cmocka_unit_test(test_random),
        cmocka_unit_test(test_megabytes), cmocka_unit_test(test_other_pattern),  cmocka_unit_test(test_bad_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
