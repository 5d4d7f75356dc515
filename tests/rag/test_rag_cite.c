/* Citations: which ones an answer has, and the grammar that has them in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/grammar.h"
#include "grammar/stacks.h"
#include "rag/rag.h"

static tern_model *model;

static int load(void **state) {
    (void)state;
    return tern_model_load(NULL, NULL, &model, NULL);
}

static int unload(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

static void test_cites(void **state) {
    (void)state;
    assert_true(tern_rag_cites("So it is [2].", 2));
    assert_true(tern_rag_cites("So it is [1][12], and [3, 4].", 4));
    assert_true(tern_rag_cites("[ 7 ]", 7));
    assert_false(tern_rag_cites("So it is [12].", 2));
    assert_false(tern_rag_cites("So it is [12].", 1));
    assert_false(tern_rag_cites("2 or (2) or [2", 2));
    assert_false(tern_rag_cites("[a, 2]", 2));
    assert_false(tern_rag_cites("[2, a]", 2));
    assert_false(tern_rag_cites("[2, ", 2));
    assert_false(tern_rag_cites("", 1));
}

static void test_founded(void **state) {
    (void)state;
    assert_true(tern_rag_is_founded("So it is [2].", 2));
    assert_true(tern_rag_is_founded(TERN_RAG_NO_ANSWER, 0));
    assert_false(tern_rag_is_founded("So it is [3].", 2));
    assert_false(tern_rag_is_founded("So it is.", 2));
    assert_false(tern_rag_is_founded("So it is [1].", 0));
    assert_false(tern_rag_is_founded("", 4));
}

/* May the text end where it does? */
static bool accepts(size_t n_sources, const char *text) {
    char *gbnf = tern_rag_grammar(n_sources);
    tern_grammar *grammar = NULL;
    tern_stacks stacks;
    tern_error err = {0};
    assert_non_null(gbnf);
    if (tern_grammar_parse(tern_model_tokenizer(model), gbnf, &grammar, &err))
        fail_msg("%s: %s", gbnf, err.message);
    assert_int_equal(tern_stacks_init(&stacks, &grammar->net, NULL), TERN_OK);
    uint32_t state = tern_stacks_start(&stacks);
    for (; *text; text++)
        state = tern_stacks_step(&stacks, state, (uint8_t)*text);
    assert_int_equal(stacks.status, TERN_OK);
    bool whole = stacks.states[state].may_end;
    tern_stacks_free(&stacks);
    tern_grammar_free(grammar);
    free(gbnf);
    return whole;
}

static void test_grammar(void **state) {
    (void)state;
    static const char *const good[] = {
        TERN_RAG_NO_ANSWER,
        "It ran [1].",
        "It ran. [2]",
        "It ran.[3] It slept [1, 2]! Why? [2][3]",
        "It ran [1]",
        "Version 3.5 of FILE.md, said \"Mom.\" [1]",
        "In [1], and so [2] it goes... [3].",
        "- It ran. [1]\n- It slept. [2]\n\n2. an [old] \xc3\xa4 [a1] [2]",
    };
    static const char *const bad[] = {
        "",
        "It ran.",
        "It ran",
        "It ran [4].",
        "It ran [0]. [1]",
        "It ran [12]. [1]",
        "It ran [ 1 ].",
        "It ran [1, 4].",
        "It ran [1, 2, 3, 1, 2].",
        "It ran. [1][2][3][1]",
        "It ran [1].\n\n\nIt slept [1]",
        "It ran. It slept. [1]",
        "It ran [1]. It slept.",
        "It ran\nand slept [1]",
        "[1]",
        "The passages do not say. [4]",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!accepts(3, good[i]))
            fail_msg("not taken: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (accepts(3, bad[i]))
            fail_msg("taken: %s", bad[i]);
    assert_true(accepts(12, "It ran [12]."));
    assert_true(accepts(TERN_RAG_MAX_HITS, "It ran [1,2, 256]."));
    assert_false(accepts(12, "It ran [13]."));
    assert_true(accepts(0, TERN_RAG_NO_ANSWER));
    assert_false(accepts(0, "It ran [1]."));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cites),
        cmocka_unit_test(test_founded),
        cmocka_unit_test(test_grammar),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
