/* Generated answers: what lm-evaluation-harness took out of each and whether it counted (tests/eval/answers.json, made
 * by tests/eval/answers.py). With an argument: the rows of that file instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/answers.h"

enum { MAX_TARGETS = 64 };

static const char *rows_path = TERN_SOURCE_DIR "/tests/eval/answers.json";

/* Whether tern says the same of a row by one of its filters. */
static bool is_same(const tern_answers *answers, const tern_task *task, const char *filter, const json_t *row,
                    const json_t *verdict) {
    const char *targets[MAX_TARGETS], *theirs = json_string_value(json_array_get(verdict, 0));
    const json_t *texts = json_object_get(row, "targets");
    size_t at = 0, n = json_array_size(texts);
    char *ours = NULL;
    bool match = false, gave_up = false;
    tern_error err;
    while (at < task->n_filters && strcmp(task->filters[at].name, filter) != 0)
        at++;
    assert_true(at < task->n_filters && n > 0 && n <= MAX_TARGETS);
    for (size_t i = 0; i < n; i++)
        targets[i] = json_string_value(json_array_get(texts, i));
    const char *text = json_string_value(json_object_get(row, "text"));
    assert_int_equal(tern_answers_extract(answers, at, text, &ours, &gave_up, &err), TERN_OK);
    assert_int_equal(tern_answers_match(answers, ours, targets, n, &match, &gave_up, &err), TERN_OK);
    assert_false(gave_up);
    bool same = (!theirs || strcmp(ours, theirs) == 0) && match == json_is_true(json_array_get(verdict, 1));
    if (!same) {
        char *line = json_dumps(row, JSON_COMPACT);
        print_error("by '%s': '%s', %s: %s\n", filter, ours, match ? "right" : "wrong", line);
        free(line);
    }
    free(ours);
    return same;
}

static void test_as_the_harness(void **state) {
    static const char *const names[] = {"gsm8k", "triviaqa", "math500"};
    json_error_t where;
    json_t *rows = json_load_file(rows_path, 0, &where), *row, *verdict;
    size_t n_different = 0, i;
    (void)state;
    assert_non_null(rows);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char path[1024];
        const char *filter;
        size_t n_right = 0, n_wrong = 0;
        tern_task task;
        tern_answers *answers;
        snprintf(path, sizeof path, "%s/data/tasks/%s.json", TERN_SOURCE_DIR, names[k]);
        assert_int_equal(tern_task_read(path, &task, NULL), TERN_OK);
        assert_int_equal(tern_answers_create(&task, &answers, NULL), TERN_OK);
        json_array_foreach(rows, i, row) {
            if (strcmp(json_string_value(json_object_get(row, "task")), names[k]) != 0)
                continue;
            json_object_foreach(json_object_get(row, "verdicts"), filter, verdict) {
                n_different += !is_same(answers, &task, filter, row, verdict);
                json_is_true(json_array_get(verdict, 1)) ? n_right++ : n_wrong++;
            }
        }
        assert_true(n_right >= 50 && n_wrong >= 50);
        tern_answers_free(answers);
        tern_task_free(&task);
    }
    assert_int_equal(n_different, 0);
    json_decref(rows);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_the_harness)};
    rows_path = argc > 1 ? argv[1] : rows_path;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
