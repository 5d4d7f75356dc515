/* What tern eval is made of: templates, drawn examples, answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/answers.c"
#include "eval/math_answer.c"
#include "eval/shots.c"
#include "eval/template.c"

/* As Python says: r = random.Random(1234); r.sample(range(10), 3); r.sample(range(1000), 5); r.sample(range(100), 8);
 * r.getrandbits(32), twice. The first one draws from a list, the second one from a set. */
static void test_draws_as_python(void **state) {
    static const size_t first[] = {7, 1, 0}, second[] = {92, 932, 965, 961, 826},
                        third[] = {74, 4, 85, 88, 10, 12, 98, 45};
    tern_twister twister;
    size_t places[8];
    (void)state;
    tern_twister_seed(&twister, 1234);
    assert_true(tern_twister_sample(&twister, 10, 3, places));
    assert_memory_equal(places, first, sizeof first);
    assert_true(tern_twister_sample(&twister, 1000, 5, places));
    assert_memory_equal(places, second, sizeof second);
    assert_true(tern_twister_sample(&twister, 100, 8, places));
    assert_memory_equal(places, third, sizeof third);
    assert_int_equal(tern_twister_u32(&twister), 1017090249);
    assert_int_equal(tern_twister_u32(&twister), 74852898);
}

static void test_templates(void **state) {
    static const char *const rows[][2] = {
        {"Q: {q|strip}.", "Q: Who\u00a0is it."},
        {"{n}{{{c.text.1}}}", "7{b}"},
        {"{s|spaces|capitalize}", "A b\u00e4 c"},
        {"{w|before:_}X{w|after:_|strip}", "the Xfell"},
        {"{w|before_last: }+{w|after_last: }", "the _+fell"},
        {"{w|after:none}", "the _ fell"},
        {"{h|unmark}", "Cut. Bake  it"},
        {"{e|strip}", ""},
    };
    static const char *const bad[] = {"{missing}", "{c}", "{q", "q}", "{q|fly}", "{q|strip:x}", "{q|before}"};
    tern_error err;
    json_t *record = json_pack("{s:s, s:i, s:{s:[s,s]}, s:s, s:s, s:s, s:s}", "q", "\t\u2003Who\u00a0is it \u3000\n",
                               "n", 7, "c", "text", "a", "b", "s", "a_b\u00c4_C", "w", "the _ fell", "h",
                               " Cut [title] Bake [step]   it ", "e", " ");
    (void)state;
    assert_non_null(record);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tern_buffer out = {0};
        assert_int_equal(tern_record_render(rows[i][0], record, &out, &err), TERN_OK);
        assert_string_equal(out.bytes ? out.bytes : "", rows[i][1]);
        tern_buffer_free(&out);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tern_buffer out = {0};
        assert_int_equal(tern_record_render(bad[i], record, &out, &err), TERN_ERR_FORMAT);
        tern_buffer_free(&out);
    }
    json_decref(record);
    assert_int_equal(tern_count_characters("a\u00e4\u20ac"), 3);
}

static bool gave_up; /* in the last is_right() */

static bool is_right(tern_task *task, size_t filter, const char *text, const char *wanted, const char *target) {
    tern_answers *answers;
    char *answer;
    bool match;
    gave_up = false;
    assert_int_equal(tern_answers_create(task, &answers, NULL), TERN_OK);
    assert_int_equal(tern_answers_extract(answers, filter, text, &answer, &gave_up, NULL), TERN_OK);
    assert_string_equal(answer, wanted);
    assert_int_equal(tern_answers_match(answers, answer, &target, 1, &match, &gave_up, NULL), TERN_OK);
    free(answer);
    tern_answers_free(answers);
    return match;
}

static void test_numbers(void **state) {
    tern_task task = {.filters = {{.name = "strict", .regex = "#### (\\-?[0-9\\.\\,]+)"},
                                  {.name = "flexible", .regex = "(-?[$0-9.,]{2,})|(-?[0-9]+)", .last = true}},
                      .n_filters = 2,
                      .ignored = {",", "\\$", "(?s).*#### ", "\\.$"},
                      .n_ignored = 4,
                      .ignore_case = true};
    static const char target[] = "She has 2\ntimes 500.\n#### 1,000";
    (void)state;
    assert_true(is_right(&task, 0, "so 5 and\n#### 1000. #### 3", "1000.", target));
    assert_true(is_right(&task, 1, "5 of them, $1,000 in all", "$1,000", target));
    assert_false(is_right(&task, 1, "$1,000, or 7", "7", target));
    assert_false(is_right(&task, 0, "1000", "[invalid]", target));
    assert_false(is_right(&task, 1, "none", "[invalid]", target));
    assert_false(is_right(&task, 0, "\xff#### 1000", "[invalid]", target)); /* no UTF-8: nothing is found */
}

/* An expression that would run for ages is given up, which is told; what it found before stays. */
static void test_endless_expression(void **state) {
    tern_task task = {.filters = {{.name = "", .regex = "(x+x+)+y", .last = true}}, .n_filters = 1};
    (void)state;
    assert_true(is_right(&task, 0, "zxxyz", "xx", "xx"));
    assert_false(gave_up);
    assert_false(is_right(&task, 0, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx z y", "[invalid]", "xx"));
    assert_true(gave_up);
    assert_true(is_right(&task, 0, "xxy xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx z y", "xx", "xx"));
    assert_true(gave_up);
}

static void test_aliases(void **state) {
    tern_task task = {
        .filters = {{.name = "", .strip = true}}, .n_filters = 1, .ignore_case = true, .ignore_punctuation = true};
    (void)state;
    assert_true(is_right(&task, 0, " K\u00d8BENHAVN! ", "K\u00d8BENHAVN!", "k\u00f8benhavn"));
    assert_true(is_right(&task, 0, "\u0416\u0401", "\u0416\u0401", "\u0436\u0451"));
    assert_false(is_right(&task, 0, "Oslo", "Oslo", "Bergen"));
}

/* a.lower() == b.lower(), as Python says */
static void test_small_letters_as_python(void **state) {
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"\u1e9e", "\u00df", true},                 /* sharp s */
        {"STRASSE", "stra\u00dfe", false},          /* lower(), not casefold() */
        {"\u0130STANBUL", "i\u0307stanbul", false}, /* numpy cuts it */
        {"\u038c\u039c\u0397\u03a1\u039f\u03a3", "\u03cc\u03bc\u03b7\u03c1\u03bf\u03c2", true}, /* final sigma */
        {"\u03a3\u0391", "\u03c3\u03b1", true},
        {"\u03a3", "\u03c3", true},
        {"\u0531\u0540", "\u0561\u0570", true}, /* Armenian */
        {"\u10a0", "\u2d00", true},             /* Georgian */
        {"\u1ea4\u1ef2", "\u1ea5\u1ef3", true}, /* Vietnamese */
        {"\u212a", "k", true},                  /* kelvin: shorter */
        {"\u017f", "s", false},                 /* a small letter already */
        {"\u00b5", "\u03bc", false},
        {"\u0218\u021a", "\u0219\u021b", true}, /* Romanian */
        {"\U00010400", "\U00010428", true},     /* Deseret */
        {"\u00d7", "\u00f7", false},
    };
    tern_task task = {.filters = {{.name = "", .strip = true}}, .n_filters = 1, .ignore_case = true};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(is_right(&task, 0, rows[i].a, rows[i].a, rows[i].b), rows[i].same);
        assert_int_equal(is_right(&task, 0, rows[i].b, rows[i].b, rows[i].a), rows[i].same);
    }
}

static void test_math(void **state) {
    static const char *const same[][2] = {
        {"\\frac12", "\\frac{1}{2}"},
        {"0.5", "\\frac{1}{2}"},
        {"3/4", "\\dfrac{3}{4}"},
        {"x = 5", "5"},
        {"\\left( 3, \\sqrt2 \\right)", "(3,\\sqrt{2})"},
        {"90^\\circ", "90"},
        {"10\\%", "10"},
        {".25", "0.25"},
        {"5 \\text{ cm}", "5"},
    };
    tern_task task = {.filters = {{.name = "", .boxed = true}}, .n_filters = 1, .math = true};
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char *a = tern_math_normalise(same[i][0]), *b = tern_math_normalise(same[i][1]);
        assert_string_equal(a, b);
        free(a);
        free(b);
    }
    assert_true(is_right(&task, 0, "\\boxed{1} and \\boxed{\\frac{3}{4}}.", "\\frac{3}{4}", "3/4"));
    assert_false(is_right(&task, 0, "\\boxed{1", "[invalid]", "1"));
}

static void test_bad_expression(void **state) {
    tern_task task = {.where = "mine.json", .filters = {{.name = "", .regex = "(open"}}, .n_filters = 1};
    tern_answers *answers;
    tern_error err;
    (void)state;
    assert_int_equal(tern_answers_create(&task, &answers, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "mine.json: the expression '(open'"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_as_python),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_small_letters_as_python),
        cmocka_unit_test(test_math),
        cmocka_unit_test(test_bad_expression),
        cmocka_unit_test(test_endless_expression),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
