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
static const char *open_path = TERN_SOURCE_DIR "/tests/eval/instructions_open.json";

static bool agrees(tern_verdict verdict, const json_t *row, const char *key) {
    return verdict == TERN_UNDECIDED || (verdict == TERN_FOLLOWED) == json_is_true(json_object_get(row, key));
}

/* Verdicts that differ from the harness's; -> of the strict ones, how many there are of each kind. */
static size_t compare(const char *path, size_t n_rows, size_t n[3]) {
    json_error_t where;
    json_t *rows = json_load_file(path, JSON_ALLOW_NUL, &where), *row;
    size_t i, n_different = 0;
    assert_non_null(rows);
    assert_true(json_array_size(rows) >= n_rows);
    json_array_foreach(rows, i, row) {
        const char *id = json_string_value(json_object_get(row, "id")), *why;
        const char *answer = json_string_value(json_object_get(row, "response"));
        const json_t *arguments = json_object_get(row, "kwargs");
        tern_verdict strict, loose;
        tern_error err = {.message = ""};
        assert_non_null(answer);
        assert_int_equal(tern_instruction_unchecked(id, arguments, &why, &err), TERN_OK);
        assert_null(why);
        assert_int_equal(tern_instruction_judge(id, arguments, answer, false, &strict, &err), TERN_OK);
        assert_int_equal(tern_instruction_judge(id, arguments, answer, true, &loose, &err), TERN_OK);
        n[strict]++;
        if (agrees(strict, row, "strict") && agrees(loose, row, "loose"))
            continue;
        char *text = json_dumps(row, JSON_COMPACT);
        print_error("strict %d, loose %d: %s\n", strict, loose, text);
        free(text);
        n_different++;
    }
    json_decref(rows);
    return n_different;
}

static void test_as_the_harness(void **state) {
    size_t n[3] = {0};
    (void)state;
    assert_int_equal(compare(rows_path, 300, n), 0);
    assert_int_equal(n[TERN_UNDECIDED], 0);
    assert_true(n[TERN_FOLLOWED] * 10 >= n[TERN_NOT_FOLLOWED]);
}

/* Kinds that want a recogniser of languages or a trained splitter of sentences: what is decided is decided as there,
 * and some of each kind is. */
static void test_open_kinds(void **state) {
    size_t n[3] = {0};
    (void)state;
    assert_int_equal(compare(open_path, 300, n), 0);
    for (int i = 0; i < 3; i++)
        assert_true(n[i] * 20 >= n[0] + n[1] + n[2]);
}

/* An expression among the arguments that would run for ages: not followed, and told; the others are checked. */
static void test_endless_expression(void **state) {
    json_t *record = json_pack("{s:[s, s], s:[{s:[s]}, {s:[s]}]}", "instruction_id_list", "keywords:existence",
                               "keywords:existence", "kwargs", "keywords", "(x+x+)+y", "keywords", "z");
    tern_verdict strict[2], loose[2];
    bool gave_up = false;
    (void)state;
    assert_non_null(record);
    assert_int_equal(tern_instructions_check(record, "xxy and z", strict, loose, &gave_up, NULL), TERN_OK);
    for (int i = 0; i < 2; i++)
        assert_true(strict[i] == TERN_FOLLOWED && loose[i] == TERN_FOLLOWED && !gave_up);
    assert_int_equal(
        tern_instructions_check(record, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx z y", strict, loose, &gave_up, NULL),
        TERN_OK);
    assert_true(!strict[0] && !loose[0] && strict[1] == TERN_FOLLOWED && loose[1] == TERN_FOLLOWED && gave_up);
    json_decref(record);
}

/* What the harness draws at random has no verdict for any answer. */
static void test_unchecked(void **state) {
    static const struct {
        const char *id, *arguments;
        bool checked;
    } rows[] = {
        {"language:response_language", "{\"language\": \"de\"}", true},
        {"length_constraints:number_sentences", "{\"num_sentences\": 3, \"relation\": \"at least\"}", true},
        {"change_case:english_capital", "{}", true},
        {"change_case:english_lowercase", "{\"num_words\": null}", true},
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
        {"language:response_language", "{}", false},
    };
    tern_error err;
    const char *why;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *arguments = json_loads(rows[i].arguments, JSON_DECODE_ANY, NULL);
        assert_int_equal(tern_instruction_unchecked(rows[i].id, arguments, &why, &err), TERN_OK);
        assert_int_equal(why == NULL, rows[i].checked);
        json_decref(arguments);
    }
}

/* What is certain whatever a recogniser of languages or a splitter of sentences says, and what is not. */
static void test_bounds(void **state) {
    static const struct {
        const char *id, *arguments, *answer;
        tern_verdict strict, loose;
    } rows[] = {
        {"change_case:english_capital", "{}", "NO, it IS", TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"change_case:english_capital", "{}", "IT IS 5!", TERN_UNDECIDED, TERN_UNDECIDED},
        {"change_case:english_capital", "{}", "Sure:\nIT IS", TERN_NOT_FOLLOWED, TERN_UNDECIDED},
        {"change_case:english_capital", "{}", "5!", TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"change_case:english_lowercase", "{}", "it is \u00c4", TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"change_case:english_lowercase", "{}", "it is", TERN_UNDECIDED, TERN_UNDECIDED},
        {"language:response_language", "{\"language\": \"hi\"}", "Of course.", TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"language:response_language", "{\"language\": \"hi\"}", "a@b.c", TERN_UNDECIDED, TERN_UNDECIDED},
        {"language:response_language", "{\"language\": \"hi\"}", "5 + 5", TERN_FOLLOWED, TERN_FOLLOWED},
        {"language:response_language", "{\"language\": \"de\"}", "Of course.", TERN_UNDECIDED, TERN_UNDECIDED},
        {"language:response_language", "{\"language\": \"kn\"}", "\u0c95\u0ca8\u0ccd\u0ca8\u0ca1", TERN_FOLLOWED,
         TERN_FOLLOWED},
        {"language:response_language", "{\"language\": \"kn\"}", "\u0c95\u0ca8\u0ccd\u0ca8\u0ca1 yes", TERN_UNDECIDED,
         TERN_UNDECIDED},
        {"length_constraints:number_sentences", "{\"num_sentences\": 3, \"relation\": \"at least\"}", "One. Two.",
         TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"length_constraints:number_sentences", "{\"num_sentences\": 3, \"relation\": \"less than\"}", "One. Two.",
         TERN_FOLLOWED, TERN_FOLLOWED},
        {"length_constraints:number_sentences", "{\"num_sentences\": 2, \"relation\": \"less than\"}", "One. Two.",
         TERN_UNDECIDED, TERN_UNDECIDED},
        {"length_constraints:number_sentences", "{\"num_sentences\": 2, \"relation\": \"less than\"}", "One! Two.",
         TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"length_constraints:number_sentences", "{\"num_sentences\": 1, \"relation\": \"at least\"}", "One",
         TERN_FOLLOWED, TERN_FOLLOWED},
        {"length_constraints:number_sentences", "{\"num_sentences\": 1, \"relation\": \"at least\"}", " \n",
         TERN_NOT_FOLLOWED, TERN_NOT_FOLLOWED},
        {"keywords:existence", "{\"keywords\": []}", "One", TERN_UNDECIDED, TERN_UNDECIDED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tern_error err;
        tern_verdict strict, loose;
        json_t *arguments = json_loads(rows[i].arguments, 0, NULL);
        assert_int_equal(tern_instruction_judge(rows[i].id, arguments, rows[i].answer, false, &strict, &err), TERN_OK);
        assert_int_equal(tern_instruction_judge(rows[i].id, arguments, rows[i].answer, true, &loose, &err), TERN_OK);
        if (strict != rows[i].strict || loose != rows[i].loose)
            fail_msg("%s of '%s': %d, loosely %d", rows[i].id, rows[i].answer, strict, loose);
        json_decref(arguments);
    }
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
        {"length_constraints:number_sentences", "{\"num_sentences\": 3, \"relation\": \"at least\"}"},
        {"language:response_language", "{\"language\": \"kn\"}"},
        {"change_case:english_capital", "{}"},
        {"change_case:english_lowercase", "{}"},
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
            tern_verdict verdict;
            tern_error err = {.message = ""};
            json_t *arguments = json_loads(kinds[k][1], 0, NULL);
            tern_status status = tern_instruction_judge(kinds[k][0], arguments, text, true, &verdict, &err);
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
    if (argc > 2)
        open_path = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_harness),
        cmocka_unit_test(test_open_kinds),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_unchecked),
        cmocka_unit_test(test_endless_expression),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_long_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
