/* Guesses from repetitions: what is guessed, and when it is better not to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "runtime/lookup.h"

static tern_lookup *create(size_t max_tokens, uint32_t max_draft) {
    tern_lookup *lookup = NULL;
    tern_error err;
    if (tern_lookup_create(max_tokens, max_draft, false, &lookup, &err))
        fail_msg("%s", err.message);
    return lookup;
}

/* One that has been told what steps of one, two and nine tokens take. */
static tern_lookup *create_measured(size_t max_tokens, uint32_t max_draft, double one, double two, double nine) {
    tern_lookup *lookup = NULL;
    tern_error err;
    if (tern_lookup_create(max_tokens, max_draft, true, &lookup, &err))
        fail_msg("%s", err.message);
    for (int i = 0; i < 200; i++) {
        tern_lookup_timed(lookup, 1, one);
        tern_lookup_timed(lookup, 2, two);
        tern_lookup_timed(lookup, 9, nine);
        for (int j = 0; j < 12; j++) /* as many tokens as the steps brought: guesses have lost nothing */
            tern_lookup_append(lookup, 2000000 + i * 12 + j, true);
    }
    return lookup;
}

static void append(tern_lookup *lookup, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++)
        tern_lookup_append(lookup, ids[i], false);
}

#define APPEND(lookup, ...)                                                                                            \
    append(lookup, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* The first tokens of the guess; it may go on. */
static void must_guess(const tern_lookup *lookup, const int32_t *wanted, uint32_t n) {
    int32_t draft[64];
    uint32_t n_draft = tern_lookup_draft(lookup, 64, draft);
    assert_true(n_draft >= 1);
    assert_memory_equal(draft, wanted, (n_draft < n ? n_draft : n) * sizeof *draft);
}

#define MUST_GUESS(lookup, ...)                                                                                        \
    must_guess(lookup, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static bool guesses(const tern_lookup *lookup) {
    int32_t draft[64];
    return tern_lookup_draft(lookup, 64, draft) > 0;
}

static void test_matches(void **state) {
    (void)state;
    tern_lookup *lookup = create(100, 8);
    assert_false(guesses(lookup));
    APPEND(lookup, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2);
    assert_false(guesses(lookup)); /* two tokens are no match */
    APPEND(lookup, 3);
    MUST_GUESS(lookup, 4, 5, 6, 7, 8, 9, 1, 2);
    APPEND(lookup, 40); /* another continuation, the later one of which is tried first */
    assert_false(guesses(lookup));
    APPEND(lookup, 50, 60, 70, 1, 2, 3);
    MUST_GUESS(lookup, 40, 50, 60, 70);
    APPEND(lookup, 11, 9, 1, 2, 3); /* but a longer match counts more: 9 1 2 3 was followed by 40 */
    MUST_GUESS(lookup, 40, 50, 60, 70);
    tern_lookup_free(lookup);
    tern_lookup_free(NULL);
}

/* Past the end of the text the guess goes on from itself. */
static void test_loops(void **state) {
    (void)state;
    tern_lookup *lookup = create(100, 8);
    APPEND(lookup, 9, 7, 7, 7, 7);
    MUST_GUESS(lookup, 7, 7, 7, 7, 7, 7, 7, 7);
    APPEND(lookup, 5, 6, 5, 6, 5, 6);
    MUST_GUESS(lookup, 5, 6, 5, 6, 5, 6, 5, 6);
    tern_lookup_free(lookup);
}

static void test_limits(void **state) {
    (void)state;
    int32_t draft[8];
    tern_lookup *lookup = create(40, 3);
    for (int32_t i = 0; i < 60; i++) /* more than it has room for */
        tern_lookup_append(lookup, i % 10, i > 20);
    for (uint32_t limit = 0; limit < 8; limit++) {
        memset(draft, -1, sizeof draft);
        uint32_t n = tern_lookup_draft(lookup, limit, draft);
        assert_int_equal(n, limit < 3 ? limit : 3);
        for (uint32_t i = n; i < 8; i++)
            assert_int_equal(draft[i], -1);
    }
    tern_lookup_free(lookup);
    lookup = NULL;
    tern_error err;
    assert_int_equal(tern_lookup_create(UINT32_MAX, 8, true, &lookup, &err), TERN_ERR_ARGUMENT);
    assert_null(lookup);
    lookup = create(1, 1);
    APPEND(lookup, 1, 2, 3);
    assert_false(guesses(lookup));
    tern_lookup_free(lookup);
}

/* Guesses get long where they are right and stop where they are wrong; then they come back, though nothing was drafted
 * in between: what would have been guessed is watched. */
static void test_adapts(void **state) {
    (void)state;
    int32_t draft[16];
    tern_lookup *lookup = create_measured(20000, 16, 0.01, 0.0101, 0.018);
    for (int i = 0; i < 400; i++) /* a loop of 20 */
        tern_lookup_append(lookup, i % 20, true);
    assert_int_equal(tern_lookup_draft(lookup, 16, draft), 16);
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    uint32_t late = 0;               /* tokens guessed in the second half */
    for (int i = 0; i < 4000; i++) { /* a dozen tokens at random: many matches of three, worth nothing */
        tern_lookup_append(lookup, 100 + (int32_t)(tern_rng_u64(&rng) % 12), true);
        if (i >= 2000)
            late += tern_lookup_draft(lookup, 16, draft);
    }
    assert_true(late < 500); /* one of 12 is right, and a token more makes a step 10% dearer */
    for (int i = 0; i < 300; i++)
        tern_lookup_append(lookup, 1000 + i % 30, true);
    assert_int_equal(tern_lookup_draft(lookup, 16, draft), 16);
    tern_lookup_free(lookup);
}

/* Where each token of a step costs as much as a step of its own, nothing is guessed; where it is free, much is; where
 * some guess costs much and further tokens little, one that is long enough; and before it is known, only what is sure.
 */
static void test_costs(void **state) {
    (void)state;
    int32_t draft[16];
    tern_lookup *cheap = create_measured(20000, 16, 0.01, 0.0101, 0.0105),
                *lookups[3] = {create_measured(20000, 16, 0.01, 0.02, 0.09), cheap,
                               create_measured(20000, 16, 0.01, 0.02, 0.021)};
    static const uint32_t at_least[] = {0, 3, 3}, at_most[] = {0, 16, 16};
    for (int l = 0; l < 3; l++) {
        tern_rng rng;
        tern_rng_seed(&rng, 2);
        for (int i = 0; i < 3000; i++) /* a loop with a random token every now and then */
            tern_lookup_append(lookups[l], tern_rng_u64(&rng) % 8 ? i % 20 : 50 + (int32_t)(tern_rng_u64(&rng) % 1000),
                               true);
        APPEND(lookups[l], 3, 4, 5);
        uint32_t n = tern_lookup_draft(lookups[l], 16, draft);
        assert_true(n >= at_least[l] && n <= at_most[l]);
    }
    uint32_t n = tern_lookup_draft(cheap, 16, draft);
    tern_lookup_timed(cheap, 1, 10); /* one interrupted step changes little */
    tern_lookup_timed(cheap, 2, 10);
    tern_lookup_timed(cheap, 2, 0);
    APPEND(cheap, 3, 4, 5);
    assert_true(tern_lookup_draft(cheap, 16, draft) >= n / 2);
    for (int l = 0; l < 3; l++)
        tern_lookup_free(lookups[l]);

    tern_lookup *unknown = NULL;
    assert_int_equal(tern_lookup_create(1000, 16, true, &unknown, NULL), TERN_OK);
    for (int32_t i = 0; i < 24; i++)
        tern_lookup_append(unknown, i % 20, false);
    assert_int_equal(tern_lookup_draft(unknown, 16, draft), 0); /* a match of four */
    for (int32_t i = 24; i < 40; i++)
        tern_lookup_append(unknown, i % 20, false);
    assert_true(tern_lookup_draft(unknown, 16, draft) > 0); /* of twenty */
    tern_lookup_free(unknown);
}

/* While guesses have lost time, only a sure one is made. */
static void test_losses(void **state) {
    (void)state;
    int32_t draft[16];
    tern_lookup *lookup = create_measured(5000, 16, 0.01, 0.011, 0.012);
    APPEND(lookup, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3);
    uint32_t n = tern_lookup_draft(lookup, 1, draft); /* 1.4 tokens for 1.1 steps */
    assert_int_equal(n, 1);
    for (int i = 0; i < 20; i++)
        tern_lookup_timed(lookup, 2, 0.011); /* which brought nothing */
    assert_int_equal(tern_lookup_draft(lookup, 1, draft), 0);
    tern_lookup_free(lookup);
}

/* The guess is the continuation of the longest of the latest matches: against a naive search. */
static void test_against_naive(void **state) {
    (void)state;
    enum { N = 3000 };
    static int32_t text[N];
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    tern_lookup *lookup = create(N, 4);
    int n_guesses = 0;
    for (int n = 0; n < N; n++) {
        /* mostly copies of what stands somewhere before */
        text[n] = n > 50 && tern_rng_u64(&rng) % 10 ? text[n - 50 + (int)(tern_rng_u64(&rng) % 2)]
                                                    : (int32_t)(tern_rng_u64(&rng) % 500);
        tern_lookup_append(lookup, text[n], false);
        int32_t draft[4];
        uint32_t n_draft = tern_lookup_draft(lookup, 4, draft);
        int best = 0, best_place = 0;
        for (int place = n; place >= 3; place--) { /* [0, place) ends like [0, n + 1) */
            int length = 0;
            while (length < place && length < 16 && text[place - 1 - length] == text[n - length])
                length++;
            if (length >= 3 && length > best) {
                best = length;
                best_place = place;
            }
        }
        assert_int_equal(n_draft > 0, best >= 3);
        for (uint32_t i = 0; i < n_draft && best_place + (int)i <= n; i++)
            assert_int_equal(draft[i], text[best_place + (int)i]);
        n_guesses += n_draft > 0;
    }
    assert_true(n_guesses > N / 20);
    tern_lookup_free(lookup);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),       cmocka_unit_test(test_loops), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_adapts),        cmocka_unit_test(test_costs), cmocka_unit_test(test_losses),
        cmocka_unit_test(test_against_naive),
    };
    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
