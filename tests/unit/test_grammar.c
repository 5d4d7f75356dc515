/* Grammars: which texts they accept, byte by byte and in random tokens; what is refused; what hostile ones cost; and
 * the masks of allowed tokens against a check of every token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "grammar/matcher.h"
#include "grammar/stacks.h"
#include "tokenizer/tokenizer.h"

static tern_model *model;
static const tern_tokenizer *tokenizer;
static size_t vocab_size;
static tern_rng rng;

static int setup(void **state) {
    (void)state;
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = 1}, &model, NULL))
        return -1;
    tokenizer = tern_model_tokenizer(model);
    vocab_size = tern_tokenizer_vocab_size(tokenizer);
    tern_rng_seed(&rng, 1);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

static tern_grammar *parse(const char *text, bool schema) {
    tern_grammar *grammar = NULL;
    tern_error err = {0};
    if (schema ? tern_grammar_from_schema(tokenizer, text, &grammar, &err)
               : tern_grammar_parse(tokenizer, text, &grammar, &err))
        fail_msg("%s: %s", text ? text : "any object", err.message);
    return grammar;
}

static size_t below(size_t n) { return (size_t)(tern_rng_uniform(&rng) * (double)n) % n; }

/* ------------------------------------------------------------ two readings */

/* -1: no text of the grammar begins so; 0: some do; 1: it is one. */
static int read_bytes(const tern_grammar *grammar, const char *text, size_t n) {
    tern_stacks stacks;
    assert_int_equal(tern_stacks_init(&stacks, &grammar->net, NULL), TERN_OK);
    uint32_t state = tern_stacks_start(&stacks);
    for (size_t i = 0; i < n && state != TERN_STATE_DEAD; i++) {
        state = tern_stacks_step(&stacks, state, (uint8_t)text[i]);
        if (below(4) == 0) { /* must not show */
            uint32_t keep[2] = {TERN_STATE_DEAD, state};
            assert_int_equal(tern_stacks_flush(&stacks, keep, 2, NULL), TERN_OK);
            state = keep[1];
        }
    }
    assert_int_equal(stacks.status, TERN_OK);
    int result = state == TERN_STATE_DEAD ? -1 : stacks.states[state].may_end;
    tern_stacks_free(&stacks);
    return result;
}

/* A token that text [n] begins with, any of them. */
static int32_t random_token(const char *text, size_t n) {
    const tern_trie *trie = tern_tokenizer_trie(tokenizer);
    int32_t found = -1;
    size_t n_found = 0;
    for (size_t i = 0; i < trie->n_nodes;) {
        const tern_trie_node *node = &trie->nodes[i];
        if (node->depth > n || node->byte != (uint8_t)text[node->depth - 1]) {
            i = node->next;
            continue;
        }
        for (uint32_t k = node[0].ids; k < node[1].ids; k++)
            if (below(++n_found) == 0)
                found = trie->ids[k];
        i++;
    }
    return found;
}

/* The same in tokens: the text is cut anywhere. */
static int read_tokens(const tern_grammar *grammar, const char *text, size_t n) {
    tern_matcher *matcher = NULL;
    bool allowed = true, end;
    assert_int_equal(tern_matcher_create(grammar, vocab_size, &matcher, NULL), TERN_OK);
    while (n > 0 && allowed) {
        int32_t id = random_token(text, n);
        size_t n_bytes;
        assert_true(id >= 0);
        tern_tokenizer_token(tokenizer, id, &n_bytes);
        assert_int_equal(tern_matcher_allows(matcher, id, &allowed, NULL), TERN_OK);
        assert_int_equal(tern_matcher_accept(matcher, id, NULL), allowed ? TERN_OK : TERN_ERR_ARGUMENT);
        text += n_bytes;
        n -= n_bytes;
    }
    assert_int_equal(tern_matcher_allows(matcher, tern_tokenizer_eos(tokenizer), &end, NULL), TERN_OK);
    tern_matcher_free(matcher);
    return allowed ? end : -1;
}

static void check(const tern_grammar *grammar, const char *name, const char *text, int wanted) {
    size_t n = strlen(text);
    int bytes = read_bytes(grammar, text, n);
    if ((bytes == 1) != (wanted == 1) || (wanted == 0 && bytes != 0))
        fail_msg("%s: \"%s\" gives %d, not %d", name, text, bytes, wanted);
    for (int i = 0; i < 5; i++)
        if (read_tokens(grammar, text, n) != bytes)
            fail_msg("%s: \"%s\" in tokens is not what it is in bytes (%d)", name, text, bytes);
}

typedef struct text_case {
    const char *grammar;
    const char *accepted[12], *rejected[12], *begun[6]; /* begun: not yet a whole text */
} text_case;

static void check_cases(const text_case *cases, size_t n, bool schema) {
    for (size_t i = 0; i < n; i++) {
        tern_grammar *grammar = parse(cases[i].grammar, schema);
        for (size_t k = 0; k < 12 && cases[i].accepted[k]; k++)
            check(grammar, cases[i].grammar, cases[i].accepted[k], 1);
        for (size_t k = 0; k < 12 && cases[i].rejected[k]; k++)
            check(grammar, cases[i].grammar, cases[i].rejected[k], -1);
        for (size_t k = 0; k < 6 && cases[i].begun[k]; k++)
            check(grammar, cases[i].grammar, cases[i].begun[k], 0);
        tern_grammar_free(grammar);
    }
}

/* -------------------------------------------------------------------- GBNF */

static const text_case gbnf_cases[] = {
    {"root ::= \"yes\" | \"no\"", {"yes", "no"}, {"yesno", "Yes", "n0"}, {"", "ye"}},
    {"root::=\"\"", {""}, {"a"}, {NULL}},
    {"root ::= [a-c]+ [^a-c\\n] # a comment\n",
     {"a\xc3\xa9", "abcd", "b\xf0\x9f\x98\x80"},
     {"d", "a\n", "aa\xc0"},
     {"a", "a\xc3", "a\xf0\x9f\x98"}},
    {"root ::= [\\u00e9-\\u4e2d]",
     {"\xc3\xa9", "\xe4\xb8\xad", "\xe2\x82\xac"},
     {"\xc3\xa8", "\xe4\xb8\xae", "e"},
     {"\xe4\xb8"}},
    {"root ::= .", {"a", "\n", "\xc3\xa9", "\xf4\x8f\xbf\xbf"}, {"ab", "\xed\xa0", "\xf4\x90", "\xc1"}, {"", "\xf0"}},
    {"root ::= [\\]\\-^a-]", {"]", "-", "^", "a"}, {"\\", "b"}, {""}},
    {"root ::= \"\\x41\\u00df\\U0001F600\\t\\\"\\\\\"", {"A\xc3\x9f\xf0\x9f\x98\x80\t\"\\"}, {"A\xc3\x9e"}, {"A"}},
    {"root ::= \"a\"{3} \"b\"{1,2} \"c\"{2,} \"d\"{,1}",
     {"aaabcc", "aaabbccccd"},
     {"aabcc", "aaabbbcc", "aaabccdd"},
     {"aaabc"}},
    {"root ::= (\"a\"{2}){3}", {"aaaaaa"}, {"aaaaaaa"}, {"aaaaa"}},
    {"root ::= \"a\"*?", {"", "a", "aaa"}, {"b"}, {NULL}},
    {"root ::= ((\"a\"*)* | \"b\"?)* \"c\"", {"c", "aac", "abbac"}, {"d"}, {"ab"}},
    {"root ::= item (\",\" item)*\nitem ::= [0-9]+ |\n \"x\"\n | \"y\" item?",
     {"1,x", "yyy12", "y", "1,2,3"},
     {",", "1,,"},
     {"1,"}},
    {"# balanced\nroot ::= \"(\" root \")\" root | \"\"", {"", "()", "(())()", "((()))"}, {")", "())"}, {"((", "(()"}},
    {"root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\"", {"", "aa", "abba", "aaaa", "baaaab"}, {"c"}, {"ab", "aab"}},
    {"root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"d\"", {"d", "adb", "aaadbcb"}, {"b", "adbb"}, {"aaa", "aadb"}},
    {"root ::= x x x\nx ::= y?\ny ::= \"a\" | \"b\" x", {"", "a", "aaa", "bbbba", "baba"}, {"aaaa"}, {NULL}},
    {"root ::= long | \"lo\"\nlong ::= [a-z]{100,200}", {"lo"}, {"l0"}, {"lol"}},
    {"root ::= e\ne ::= t ((\"+\" | \"-\") t)*\nt ::= [0-9]+ | \"(\" e \")\"",
     {"1+2", "(1+(2-3))-4"},
     {"+", "1++"},
     {"(1+2"}},
};

static void test_gbnf(void **state) {
    (void)state;
    check_cases(gbnf_cases, sizeof gbnf_cases / sizeof *gbnf_cases, false);
}

/* An end of a range in each length of UTF-8, against an encoder of our own. */
static void test_code_point_ranges(void **state) {
    (void)state;
    static const uint32_t ends[] = {0x41,    0x7e,    0x7f,    0x80,     0x81,     0x7fe,  0x7ff,
                                    0x800,   0x801,   0xd7ff,  0xe000,   0xfffe,   0xffff, 0x10000,
                                    0x10001, 0x3ffff, 0x40000, 0x10fffe, 0x10ffff, 0x1234};
    enum { N = sizeof ends / sizeof *ends };
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++) {
            if (ends[k] < ends[i])
                continue;
            char gbnf[64];
            snprintf(gbnf, sizeof gbnf, "root ::= [\\U%08x-\\U%08x]", (unsigned)ends[i], (unsigned)ends[k]);
            tern_grammar *grammar = parse(gbnf, false);
            for (size_t m = 0; m < N; m++) {
                uint32_t c = ends[m];
                char text[5] = "";
                int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
                for (int b = n - 1; b >= 0; b--, c >>= 6)
                    text[b] = (char)(b ? 0x80 | (c & 0x3f) : n == 1 ? c : ((0xf00 >> n) & 0xf0) | c);
                bool inside = ends[m] >= ends[i] && ends[m] <= ends[k];
                if ((read_bytes(grammar, text, (size_t)n) == 1) != inside)
                    fail_msg("%s: U+%x is %s", gbnf, (unsigned)ends[m], inside ? "missing" : "too much");
            }
            tern_grammar_free(grammar);
        }
}

/* ----------------------------------------------------------------- refusals */

typedef struct refusal {
    const char *grammar, *message; /* a part of it */
} refusal;

static void check_refused(const char *text, bool schema, const char *wanted) {
    tern_grammar *grammar = NULL;
    tern_error err = {0};
    tern_status status = schema ? tern_grammar_from_schema(tokenizer, text, &grammar, &err)
                                : tern_grammar_parse(tokenizer, text, &grammar, &err);
    if (status != TERN_ERR_FORMAT && status != TERN_ERR_UNSUPPORTED)
        fail_msg("%.200s: status %d", text, (int)status);
    if (!strstr(err.message, wanted))
        fail_msg("%.200s: \"%s\" does not say \"%s\"", text, err.message, wanted);
    assert_null(grammar);
}

static const refusal gbnf_refusals[] = {
    {"", "no rule \"root\""},
    {"a ::= \"b\"", "no rule \"root\""},
    {"root ::= \"a\"\n\nroot ::= \"b\"", "line 3: rule \"root\" is defined twice"},
    {"root ::= \"a\"\n  x", "line 2: ::= is expected"},
    {"root ::= nothing", "line 1: rule \"nothing\" is not defined"},
    {"root ::=\n\"a\" b\nb ::= c\n", "line 3: rule \"c\" is not defined"},
    {"root = \"a\"", "line 1: ::="},
    {"root ::= \"a", "line 1: a text in quotes"},
    {"root ::= \"a\n\"", "line 1: a text in quotes"},
    {"root ::= [a", "line 1: a class"},
    {"root ::= []", "without any character"},
    {"root ::= [^\\U00000000-\\U0010ffff]", "without any character"},
    {"root ::= [b-a]", "backwards"},
    {"root ::= (\"a\"", "line 1: a group"},
    {"root ::= \"a\")", "line 1: a )"},
    {"root ::= \"a\" ]", "line 1: this is no part"},
    {"root ::= *", "line 1: this is no part"},
    {"root ::= \"\\q\"", "unknown escape"},
    {"root ::= \"\\x4\"", "hexadecimal"},
    {"root ::= \"\\ud800\"", "no Unicode character"},
    {"root ::= \"\\U00110000\"", "no Unicode character"},
    {"root ::= \"\xff\"", "UTF-8"},
    {"root ::= \"\xed\xa0\x80\"", "UTF-8"},
    {"root ::= \"a\"{2,1}", "n is less than m"},
    {"root ::= \"a\"{x}", "needs numbers"},
    {"root ::= \"a\"{99999999999}", "repeated more than"},
    {"root ::= \"a\"\nx ::= x \"b\" | \"c\"", "line 2: rule \"x\" begins with itself"},
    {"root ::= a\na ::= b? c\nb ::= \"b\"\nc ::= a \"x\" | \"y\"", "begins with itself"},
    {"root ::= root", "begins with itself"},
    {"root ::= (root \"a\")* \"b\"", "begins with itself"},
    {"root ::= \"a\" root", "line 1: rule \"root\" can never end"},
    {"root ::= \"a\" | b\nb ::= \"c\" b", "line 2: rule \"b\" can never end"},
    {"root ::= [ab]* \"a\" [ab]{20}", "too large"},
    {"root ::= <think>", "line 1: this is no part"},
};

static void test_gbnf_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof gbnf_refusals / sizeof *gbnf_refusals; i++)
        check_refused(gbnf_refusals[i].grammar, false, gbnf_refusals[i].message);
}

static char *repeat_text(const char *first, const char *part, size_t n, const char *last) {
    size_t size = strlen(part);
    char *text = malloc(strlen(first) + n * size + strlen(last) + 1), *at = text;
    assert_non_null(text);
    at += sprintf(at, "%s", first);
    for (size_t i = 0; i < n; i++, at += size)
        memcpy(at, part, size);
    strcpy(at, last);
    return text;
}

/* Each ends in an error, and soon: they would take hours or all memory if they were unrolled. */
static void test_hostile(void **state) {
    (void)state;
    static const struct {
        const char *first, *part;
        size_t n;
        const char *last, *message;
    } cases[] = {
        {"root ::= ", "(", 100000, "", "groups inside each other"},
        {"root ::= \"a\"", "{30000}", 2, "", "can never end"}, /* 30000 frames of rules is too deep, or too large */
        {"root ::= \"a\"", "?", 1000, "", "too many repetitions"},
        {"root ::= \"", "a", 1 << 20, "\"", "larger than"},
        {"root ::= \"", "ab", 1 << 18, "\"", "too large"},
        {"root ::= \"a\"", " | \"a\"", 100000, "", ""},
        {"root ::= [a", "\\u4e00-\\u4e2d", 60000, "] \"b\"", ""},
        {"root ::= (\"a\"?){30000} (\"b\" | \"bb\")", "{30000}", 1, "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = repeat_text(cases[i].first, cases[i].part, cases[i].n, cases[i].last);
        tern_grammar *grammar = NULL;
        tern_error err = {0};
        tern_status status = tern_grammar_parse(tokenizer, text, &grammar, &err);
        if (status == TERN_OK && *cases[i].message && i != 1)
            fail_msg("case %zu was not refused", i);
        if (status && i != 1 && !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s", i, err.message);
        tern_grammar_free(grammar);
        free(text);
    }
}

/* Many ways to read a text: the states stay small, because stacks are shared. */
static void test_ambiguity(void **state) {
    (void)state;
    static const char *const grammars[] = {
        "root ::= \"a\" root \"a\" | \"a\" root \"b\" | \"a\" root | \"\"",
        "root ::= (\"a\" | \"aa\" | x)*\nx ::= \"a\" (\"a\" | y)*\ny ::= \"a\" x? \"a\"",
        "root ::= s\ns ::= \"a\" s s | \"a\" s | \"a\"",
    };
    for (size_t g = 0; g < sizeof grammars / sizeof *grammars; g++) {
        tern_grammar *grammar = parse(grammars[g], false);
        tern_stacks stacks;
        assert_int_equal(tern_stacks_init(&stacks, &grammar->net, NULL), TERN_OK);
        uint32_t at = tern_stacks_start(&stacks);
        for (int i = 0; i < 400 && !stacks.status; i++) {
            at = tern_stacks_step(&stacks, at, 'a');
            assert_true(stacks.status || (at != TERN_STATE_DEAD && stacks.states[at].n <= grammar->net.n_states));
            if (tern_stacks_full(&stacks))
                assert_int_equal(tern_stacks_flush(&stacks, &at, 1, NULL), TERN_OK);
        }
        assert_int_equal(stacks.status, TERN_OK);
        tern_stacks_free(&stacks);
        tern_grammar_free(grammar);
    }
}

/* As deep as texts may nest there is always a way to the end. */
static void test_depth(void **state) {
    (void)state;
    tern_grammar *grammar = parse("root ::= \"(\" x \")\"\nx ::= y | \"\"\ny ::= root root?", false);
    tern_stacks stacks;
    assert_int_equal(tern_stacks_init(&stacks, &grammar->net, NULL), TERN_OK);
    uint32_t at = tern_stacks_start(&stacks);
    size_t depth = 0;
    for (uint32_t next; (next = tern_stacks_step(&stacks, at, '(')) != TERN_STATE_DEAD; depth++)
        at = next;
    assert_in_range(depth, 50, TERN_GRAMMAR_MAX_DEPTH);
    for (; depth > 0; depth--) {
        assert_false(stacks.states[at].may_end);
        at = tern_stacks_step(&stacks, at, ')');
    }
    assert_true(stacks.states[at].may_end);
    tern_stacks_free(&stacks);
    tern_grammar_free(grammar);
}

/* ------------------------------------------------------------------- masks */

/* The mask against tern_matcher_allows() for every id, along random texts. */
static void check_masks(const tern_grammar *grammar, int n_tokens, size_t size) {
    tern_matcher *matcher = NULL;
    assert_int_equal(tern_matcher_create(grammar, size, &matcher, NULL), TERN_OK);
    for (int i = 0; i < n_tokens; i++) {
        const uint64_t *mask;
        size_t n_allowed, n = 0;
        int32_t chosen = -1;
        tern_error err;
        if (tern_matcher_mask(matcher, &mask, &n_allowed, &err))
            fail_msg("%s", err.message);
        assert_true(tern_matcher_has_mask(matcher));
        uint64_t *copy = malloc((size + 63) / 64 * sizeof *copy);
        memcpy(copy, mask, (size + 63) / 64 * sizeof *copy);
        for (size_t id = 0; id < size; id++) {
            bool allowed;
            assert_int_equal(tern_matcher_allows(matcher, (int32_t)id, &allowed, NULL), TERN_OK);
            if (allowed != (copy[id / 64] >> (id % 64) & 1))
                fail_msg("token %zu: %s, but the mask says otherwise", id, allowed ? "allowed" : "not allowed");
            if (allowed && below(++n) == 0)
                chosen = (int32_t)id;
        }
        free(copy);
        assert_int_equal(n, n_allowed);
        assert_int_equal(tern_matcher_accept(matcher, chosen, NULL), TERN_OK);
    }
    tern_matcher_free(matcher);
}

static void test_masks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof gbnf_cases / sizeof *gbnf_cases; i++) {
        tern_grammar *grammar = parse(gbnf_cases[i].grammar, false);
        check_masks(grammar, 8, vocab_size);
        tern_grammar_free(grammar);
    }
    tern_grammar *json = parse("{}", true);
    check_masks(json, 60, vocab_size);
    check_masks(json, 20, vocab_size + 100); /* rows that the tokenizer has no token for */
    tern_grammar_free(json);
}

/* What a mask and a single check cost, counted. */
static void test_cost(void **state) {
    (void)state;
    tern_grammar *grammar = parse(NULL, true);
    tern_matcher *matcher = NULL;
    const tern_trie *trie = tern_tokenizer_trie(tokenizer);
    const uint64_t *mask;
    size_t n_allowed, n_bytes;
    uint64_t before, after, made;
    bool allowed;
    int32_t quote[2];
    assert_int_equal(tern_matcher_create(grammar, vocab_size, &matcher, NULL), TERN_OK);
    quote[0] = random_token("{", 1);
    quote[1] = random_token("\"", 1);
    tern_matcher_counts(matcher, &before, &made);
    assert_int_equal(tern_matcher_allows(matcher, quote[0], &allowed, NULL), TERN_OK);
    tern_matcher_counts(matcher, &after, &made);
    tern_tokenizer_token(tokenizer, quote[0], &n_bytes);
    assert_true(allowed && after - before == n_bytes); /* a token alone costs its own bytes */
    for (int i = 0; i < 2; i++)
        assert_int_equal(tern_matcher_accept(matcher, quote[i], NULL), TERN_OK);
    tern_matcher_counts(matcher, &before, &made);
    assert_int_equal(tern_matcher_mask(matcher, &mask, &n_allowed, NULL), TERN_OK);
    tern_matcher_counts(matcher, &after, &made);
    assert_true(n_allowed > vocab_size / 2); /* inside a string */
    assert_in_range(after - before, n_allowed, trie->n_nodes);
    before = after;
    assert_int_equal(tern_matcher_accept(matcher, random_token("a", 1), NULL), TERN_OK);
    assert_int_equal(tern_matcher_mask(matcher, &mask, &n_allowed, NULL), TERN_OK); /* the same state again */
    tern_matcher_counts(matcher, &after, &made);
    assert_int_equal(after - before, 1);
    tern_matcher_free(matcher);
    tern_grammar_free(grammar);
}

static void test_end(void **state) {
    (void)state;
    tern_grammar *grammar = parse("root ::= \"a\"?", false);
    tern_matcher *matcher = NULL;
    const uint64_t *mask;
    size_t n_allowed;
    bool allowed;
    int32_t end = tern_tokenizer_eos(tokenizer), a = random_token("a", 1);
    assert_int_equal(tern_matcher_create(grammar, vocab_size, &matcher, NULL), TERN_OK);
    for (int i = 0; i < 3; i++) { /* behind an end token nothing but end tokens */
        assert_int_equal(tern_matcher_accept(matcher, end, NULL), TERN_OK);
        assert_int_equal(tern_matcher_allows(matcher, a, &allowed, NULL), TERN_OK);
        assert_false(allowed);
        assert_int_equal(tern_matcher_mask(matcher, &mask, &n_allowed, NULL), TERN_OK);
        assert_true(mask[end / 64] >> (end % 64) & 1);
        for (size_t id = 0; id < vocab_size; id++)
            if (mask[id / 64] >> (id % 64) & 1)
                assert_true(tern_tokenizer_is_end(tokenizer, (int32_t)id));
    }
    assert_int_equal(tern_matcher_accept(matcher, tern_tokenizer_bos(tokenizer), NULL), TERN_ERR_ARGUMENT);
    tern_matcher_free(matcher);
    tern_grammar_free(grammar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gbnf),          cmocka_unit_test(test_code_point_ranges),
        cmocka_unit_test(test_gbnf_refusals), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_ambiguity),     cmocka_unit_test(test_depth),
        cmocka_unit_test(test_masks),         cmocka_unit_test(test_cost),
        cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
