/* Cutting texts: nothing is lost, sizes are kept, characters stay whole, and cuts stand where a reader would make
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "rag/chunk.h"

/* Tokens of `size` bytes each, wherever that cuts characters. */
static size_t token_ends(size_t n_bytes, size_t size, size_t *ends) {
    size_t n = 0;
    for (size_t at = size; at < n_bytes; at += size)
        ends[n++] = at;
    if (n_bytes)
        ends[n++] = n_bytes;
    return n;
}

static tern_chunk *cut(const char *text, size_t n_bytes, size_t token, size_t most, size_t overlap, size_t *n) {
    size_t *ends = malloc((n_bytes + 1) * sizeof *ends);
    tern_chunk *chunks = NULL;
    tern_error err;
    assert_non_null(ends);
    size_t n_tokens = token_ends(n_bytes, token, ends);
    assert_int_equal(tern_chunk_text(text, n_bytes, ends, n_tokens, most, overlap, &chunks, n, &err), TERN_OK);
    free(ends);
    return chunks;
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static uint32_t line_at(const char *text, size_t at) {
    uint32_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

/* What holds for every text: all bytes but blanks are in a chunk, in order, within the sizes. */
static void check(const char *text, size_t n_bytes, size_t token, size_t most, size_t overlap) {
    size_t n, covered = 0;
    tern_chunk *chunks = cut(text, n_bytes, token, most, overlap, &n);
    for (size_t i = 0; i < n; i++) {
        const tern_chunk *c = &chunks[i];
        size_t end = c->offset + c->size;
        assert_true(c->size > 0 && end <= n_bytes);
        assert_true(end / token - c->offset / token <= most);
        assert_false(is_blank(text[c->offset]) || is_blank(text[end - 1]));
        assert_true(tern_is_utf8_text(text + c->offset, c->size));
        assert_int_equal(c->first_line, line_at(text, c->offset));
        assert_int_equal(c->last_line, line_at(text, end));
        for (size_t j = covered; j < c->offset; j++)
            assert_true(is_blank(text[j]));
        assert_true(i == 0 || c->offset > chunks[i - 1].offset);
        assert_true(i == 0 || end > covered);
        if (i && overlap == 0)
            assert_true(c->offset >= covered);
        covered = end;
    }
    for (size_t j = covered; j < n_bytes; j++)
        assert_true(is_blank(text[j]));
    free(chunks);
}

static void test_everything_is_kept(void **state) {
    (void)state;
    static const char *const pieces[] = {"a",
                                         "b",
                                         " ",
                                         "\n",
                                         "\n\n",
                                         ". ",
                                         "word ",
                                         "Sentence. ",
                                         "\t",
                                         "\r\n",
                                         "\xc3\xa4",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x90\xa6",
                                         "x\n"};
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    for (int round = 0; round < 3000; round++) {
        char text[600] = "";
        size_t n = 0, wanted = tern_rng_u64(&rng) % 560;
        while (n < wanted) {
            const char *piece = pieces[tern_rng_u64(&rng) % (sizeof pieces / sizeof *pieces)];
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        size_t most = 8 + tern_rng_u64(&rng) % 40, overlap = tern_rng_u64(&rng) % (most / 2 - 1);
        check(text, n, 1 + tern_rng_u64(&rng) % 5, most, overlap);
    }
}

static void test_no_place_to_cut(void **state) {
    (void)state;
    char text[3001];
    for (size_t i = 0; i < 3000; i += 3) /* one endless word of three-byte characters */
        memcpy(text + i, "\xe2\x82\xac", 3);
    for (size_t token = 1; token <= 7; token++)
        check(text, 3000, token, 8, 2);
    check(text, 0, 1, 8, 2);
    check(" \n\t\r\n  ", 7, 1, 8, 2);
}

static void chunk_is(const char *text, const tern_chunk *chunk, const char *wanted) {
    assert_int_equal(chunk->size, strlen(wanted));
    assert_memory_equal(text + chunk->offset, wanted, chunk->size);
}

static void test_where_cuts_stand(void **state) {
    (void)state;
    size_t n;
    /* a token is a byte; 40 at most, so cuts stand behind 20 to 40 */
    const char *text = "One two three four.\n\nFive six seven eight. Nine ten.\nEleven";
    tern_chunk *chunks = cut(text, strlen(text), 1, 40, 0, &n);
    assert_int_equal(n, 2);
    chunk_is(text, &chunks[0], "One two three four."); /* the paragraph, though more would fit */
    chunk_is(text, &chunks[1], "Five six seven eight. Nine ten.\nEleven");
    free(chunks);

    text = "One two three four five. Six seven eight nine ten eleven twelve";
    chunks = cut(text, strlen(text), 1, 40, 0, &n);
    chunk_is(text, &chunks[0], "One two three four five."); /* the sentence */
    free(chunks);

    text = "one two three four five six seven eight nine ten eleven twelve";
    chunks = cut(text, strlen(text), 1, 40, 8, &n);
    assert_int_equal(n, 2);
    chunk_is(text, &chunks[0], "one two three four five six seven eight");
    chunk_is(text, &chunks[1], "eight nine ten eleven twelve"); /* words of the chunk before, whole */
    free(chunks);

    text = "\xe3\x81\x82\xe3\x81\x84\xe3\x80\x82\xe3\x81\x86\xe3\x81\x88"; /* a sentence of Japanese */
    chunks = cut(text, strlen(text), 1, 12, 0, &n);
    chunk_is(text, &chunks[0], "\xe3\x81\x82\xe3\x81\x84\xe3\x80\x82");
    free(chunks);
}

static void test_text(void **state) {
    (void)state;
    assert_true(tern_is_utf8_text("", 0));
    assert_true(tern_is_utf8_text("a\n\xf0\x9f\x90\xa6", 6));
    assert_false(tern_is_utf8_text("a\0b", 3));
    assert_false(tern_is_utf8_text("\xe4\xf6\xfc", 3));
    assert_false(tern_is_utf8_text("\xf0\x9f\x90", 3));
    assert_false(tern_is_utf8_text("\xc0\x80", 2));
    assert_false(tern_is_utf8_text("\xed\xa0\x80", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_kept),
        cmocka_unit_test(test_no_place_to_cut),
        cmocka_unit_test(test_where_cuts_stand),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
