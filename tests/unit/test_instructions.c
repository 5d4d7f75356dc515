/* Instructions of IFEval: the verdicts that lm-evaluation-harness gave (tests/eval/instructions.json, made by
 * tests/eval/instructions.py), and what has none. With an argument: the rows of that file instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/instructions.h"

static const char *rows_path = TERN_SOURCE_DIR "/tests/eval/instructions.json";

static void test_as_the_harness(void **state) {
    json_error_t where;
    json_t *rows = json_load_file(rows_path, JSON_ALLOW_NUL, &where), *row;
    size_t i, n_different = 0, n_followed = 0;
    (void)state;
    assert_non_null(rows);
    assert_true(json_array_size(rows) >= 300);
    json_array_foreach(rows, i, row) {
        const char *id = json_string_value(json_object_get(row, "id")), *why;
        const char *answer = json_string_value(json_object_get(row, "response"));
        const json_t *arguments = json_object_get(row, "kwargs");
        bool strict, loose;
        tern_error err = {.message = ""};
        assert_non_null(answer);
        assert_int_equal(tern_instruction_unchecked(id, arguments, &why, &err), TERN_OK);
        assert_null(why);
        assert_int_equal(tern_instruction_follows(id, arguments, answer, false, &strict, &err), TERN_OK);
        assert_int_equal(tern_instruction_follows(id, arguments, answer, true, &loose, &err), TERN_OK);
        n_followed += strict;
        if (strict == json_is_true(json_object_get(row, "strict")) &&
            loose == json_is_true(json_object_get(row, "loose")))
            continue;
        char *text = json_dumps(row, JSON_COMPACT);
        print_error("strict %d, loose %d: %s\n", strict, loose, text);
        free(text);
        n_different++;
    }
    assert_true(n_followed >= json_array_size(rows) / 10);
    assert_int_equal(n_different, 0);
    json_decref(rows);
}

/* An expression among the arguments that would run for ages: not followed, and told; the others are checked. */
static void test_endless_expression(void **state) {
    json_t *record = json_pack("{s:[s, s], s:[{s:[s]}, {s:[s]}]}", "instruction_id_list", "keywords:existence",
                               "keywords:existence", "kwargs", "keywords", "(x+x+)+y", "keywords", "z");
    bool strict[2], loose[2], gave_up = false;
    (void)state;
    assert_non_null(record);
    assert_int_equal(tern_instructions_check(record, "xxy and z", strict, loose, &gave_up, NULL), TERN_OK);
    assert_true(strict[0] && loose[0] && strict[1] && loose[1] && !gave_up);
    assert_int_equal(
        tern_instructions_check(record, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx z y", strict, loose, &gave_up, NULL),
        TERN_OK);
    assert_true(!strict[0] && !loose[0] && strict[1] && loose[1] && gave_up);
    json_decref(record);
}

/* What cannot be checked here is told, whatever its arguments; so is what the harness draws at random. */
static void test_unchecked(void **state) {
    static const struct {
        const char *id, *arguments;
        bool checked;
    } rows[] = {
        {"language:response_language", "{\"language\": \"de\"}", false},
        {"length_constraints:number_sentences", "{\"num_sentences\": 3, \"relation\": \"at least\"}", false},
        {"change_case:english_capital", "{}", false},
        {"change_case:english_lowercase", "{\"num_words\": null}", false},
        {"keywords:letter_frequency", "{\"letter\": \"#\", \"let_frequency\": 4, \"let_relation\": \"at least\"}",
         false},
        {"keywords:letter_frequency", "{\"letter\": \"a\", \"let_frequency\": 4, \"let_relation\": \"at least\"}",
         true},
        {"keywords:letter_frequency", "{\"letter\": \"a\", \"let_relation\": \"at least\"}", false},
        {"detectable_format:number_bullet_lists", "{\"num_bullets\": 0}", false},
        {"detectable_format:number_bullet_lists", "{\"num_bullets\": -1}", false},
        {"detectable_format:number_bullet_lists", "{\"num_bullets\": 3.0, \"relation\": null}", true},
        {"keywords:existence", "{\"keywords\": []}", false},
        {"length_constraints:nth_paragraph_first_word",
         "{\"num_paragraphs\": 2, \"nth_paragraph\": 3, \"first_word\": \"a\"}", false},
        {"punctuation:no_comma", "null", true},
    };
    tern_error err;
    const char *why;
    bool follows;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *arguments = json_loads(rows[i].arguments, JSON_DECODE_ANY, NULL);
        assert_int_equal(tern_instruction_unchecked(rows[i].id, arguments, &why, &err), TERN_OK);
        assert_int_equal(why == NULL, rows[i].checked);
        json_decref(arguments);
    }
    assert_int_equal(tern_instruction_follows("change_case:english_capital", NULL, "A", false, &follows, &err),
                     TERN_ERR_ARGUMENT);
    assert_false(follows);
}

static void test_bad_records(void **state) {
    static const char *const rows[][2] = {
        {"{}", "instruction_id_list"},
        {"{\"instruction_id_list\": [], \"kwargs\": []}", "instruction_id_list"},
        {"{\"instruction_id_list\": [1], \"kwargs\": [{}]}", "no text"},
        {"{\"instruction_id_list\": [\"startend:quotation\"], \"kwargs\": []}", "one for each"},
        {"{\"instruction_id_list\": [\"startend:quotation\"], \"kwargs\": [1]}", "no object"},
        {"{\"instruction_id_list\": [\"startend:song\"], \"kwargs\": [{}]}", "no instruction of IFEval"},
        {"{\"instruction_id_list\": [\"keywords:existence\"], \"kwargs\": [{\"keywords\": \"a\"}]}", "cannot have"},
        {"{\"instruction_id_list\": [\"keywords:existence\"], \"kwargs\": [{\"keywords\": [\"(\"]}]}", "expression"},
        {"{\"instruction_id_list\": [\"length_constraints:number_words\"],"
         " \"kwargs\": [{\"num_words\": 3, \"relation\": \"more than\"}]}",
         "cannot have"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tern_error err;
        size_t n;
        const char *why, *which;
        json_t *record = json_loads(rows[i][0], 0, NULL);
        assert_non_null(record);
        assert_int_equal(tern_instructions_read(record, &n, &why, &which, &err), TERN_ERR_FORMAT);
        assert_non_null(strstr(err.message, rows[i][1]));
        json_decref(record);
    }
}

/* A text that repeats itself to the end, as models do: quick, and no failure. */
static void test_long_answers(void **state) {
    static const char *const pieces[] = {"\n", " ", "*",  "**", "[",   "<<",  "<<a>>", "'",    "\"",
                                         "P.", ".", "A,", "{",  "[1,", "\n*", "-",     "IT'S "};
    static const char *const kinds[][2] = {
        {"detectable_format:number_bullet_lists", "{\"num_bullets\": 3}"},
        {"detectable_format:number_highlighted_sections", "{\"num_highlights\": 3}"},
        {"detectable_format:title", "{}"},
        {"detectable_format:json_format", "{}"},
        {"detectable_format:multiple_sections", "{\"section_spliter\": \"Section\", \"num_sections\": 3}"},
        {"detectable_content:number_placeholders", "{\"num_placeholders\": 3}"},
        {"detectable_content:postscript", "{\"postscript_marker\": \"P.S.\"}"},
        {"length_constraints:number_paragraphs", "{\"num_paragraphs\": 3}"},
        {"length_constraints:nth_paragraph_first_word",
         "{\"num_paragraphs\": 3, \"nth_paragraph\": 3, \"first_word\": \"a\"}"},
        {"change_case:capital_word_frequency", "{\"capital_frequency\": 3, \"capital_relation\": \"less than\"}"},
        {"combination:two_responses", "{}"},
    };
    enum { SIZE = 12000 };
    char *text = malloc(SIZE + 1);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t n = strlen(pieces[i]), size = SIZE / n * n;
        for (size_t at = 0; at < size; at++)
            text[at] = pieces[i][at % n];
        text[size] = 0;
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            bool follows;
            tern_error err = {.message = ""};
            json_t *arguments = json_loads(kinds[k][1], 0, NULL);
            tern_status status = tern_instruction_follows(kinds[k][0], arguments, text, true, &follows, &err);
            if (status)
                print_error("%s: %s\n", kinds[k][0], err.message);
            assert_int_equal(status, TERN_OK);
            json_decref(arguments);
        }
    }
    free(text);
}

int main(int argc, char **argv) {
    if (argc > 1)
        rows_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_harness),     cmocka_unit_test(test_unchecked),
        cmocka_unit_test(test_endless_expression), cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_long_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
