/* What samplers ask of the LM head: candidates are what the query says (against a naive search), and sampling from them
 * gives the token that all logits give, for every combination of settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "runtime/sampler.h"
#include "runtime/select.h"

enum { MAX_VOCAB = 5000 };

static tern_rng rng;

static int setup(void **state) {
    (void)state;
    tern_rng_seed(&rng, 7);
    return 0;
}

static size_t below(size_t n) { return (size_t)(tern_rng_u64(&rng) % n); }

/* Random logits; every other time coarse, so that many are equal, and some of them -inf. */
static void random_logits(float *logits, size_t n) {
    uint64_t kind = tern_rng_u64(&rng);
    float scale = (float)(0.1 + 4 * tern_rng_uniform(&rng));
    for (size_t i = 0; i < n; i++) {
        float x = scale * (float)tern_rng_normal(&rng);
        logits[i] = kind & 1 ? x : floorf(2 * x) / 2;
        if (kind & 2 && tern_rng_uniform(&rng) < 0.2)
            logits[i] = -INFINITY;
    }
    logits[below(n)] = 1; /* never all -inf */
}

/* --------------------------------------------------------------- selection */

static void test_select_top(void **state) {
    (void)state;
    static float x[MAX_VOCAB];
    static uint64_t places[MAX_VOCAB];
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + below(round % 5 ? 100 : MAX_VOCAB), k = 1 + below(n), at = 0;
        random_logits(x, n);
        tern_select_top(x, n, k, places);
        for (size_t i = 0; i < n; i++) {
            size_t above = 0; /* how many rank above i */
            for (size_t j = 0; j < n && above < k; j++)
                above += x[j] > x[i] || (x[j] == x[i] && j < i);
            if (above < k)
                assert_int_equal(places[at++], i);
        }
        assert_int_equal(at, k);
    }
}

/* ----------------------------------------------------------------- queries */

static bool holds(const tern_candidates *candidates, size_t id) {
    for (size_t i = 0; i < candidates->n; i++)
        if ((size_t)candidates->ids[i] == id)
            return true;
    return false;
}

static double score_of(const tern_head_query *query, const float *logits, size_t id) {
    if (query->want != TERN_HEAD_GUMBEL)
        return (double)logits[id];
    return (double)logits[id] / query->temperature + tern_gumbel(query->seed, query->counter, (uint32_t)id);
}

/* Does the query ask for row `id`? By its words in head.h. */
static bool is_wanted(const tern_head_query *query, const float *logits, size_t n, const bool *forced, size_t id) {
    size_t above = 0;
    double score = score_of(query, logits, id), largest = -INFINITY;
    if (forced[id] || query->want == TERN_HEAD_ALL)
        return true;
    for (size_t i = 0; i < n; i++) {
        if (forced[i])
            continue;
        double other = score_of(query, logits, i);
        above += other > score || (other == score && i < id);
        largest = other > largest ? other : largest;
    }
    if (query->want == TERN_HEAD_NEAR)
        return score >= largest - (double)query->margin;
    return above < (query->want == TERN_HEAD_TOP ? query->top_k : 1);
}

static void test_candidates_are_what_is_asked(void **state) {
    (void)state;
    enum { N = 300 };
    float logits[N];
    int32_t forced[N];
    tern_candidates out = {0};
    tern_error err;
    for (int round = 0; round < 600; round++) {
        bool is_forced[N] = {false};
        size_t n = 1 + below(N), n_forced = round % 3 ? below(n < 20 ? n + 1 : 20) : 0;
        random_logits(logits, n);
        tern_head_query query = {
            .want = (tern_head_want)(round % 4),
            .top_k = (uint32_t)below(2 * n),
            .margin = (float)(3 * tern_rng_uniform(&rng)),
            .temperature = 0.2 + tern_rng_uniform(&rng),
            .seed = tern_rng_u64(&rng),
            .counter = below(1000),
            .forced = forced,
        };
        while (query.n_forced < n_forced) {
            size_t id = below(n);
            if (!is_forced[id])
                forced[query.n_forced++] = (int32_t)id;
            is_forced[id] = true;
        }
        assert_int_equal(tern_candidates_from_logits(&query, logits, n, &out, &err), TERN_OK);
        for (size_t i = 0; i < out.n; i++) {
            assert_true(i == 0 || out.ids[i - 1] < out.ids[i]);
            assert_memory_equal(&out.logits[i], &logits[out.ids[i]], sizeof(float));
        }
        for (size_t i = 0; i < n; i++)
            if (is_wanted(&query, logits, n, is_forced, i))
                assert_true(holds(&out, i));
        /* and not much more, or there would be no point */
        if (query.want == TERN_HEAD_TOP)
            assert_true(out.n <= query.top_k + 2 * query.n_forced);
        if (query.want == TERN_HEAD_GUMBEL)
            assert_true(out.n <= 1 + query.n_forced);
    }
    tern_candidates_free(&out);
}

/* A NaN makes every row a candidate. */
static void test_nan_among_logits(void **state) {
    (void)state;
    float logits[50] = {0};
    logits[33] = NAN;
    tern_candidates out = {0};
    for (int want = 0; want < 4; want++) {
        tern_head_query query = {.want = (tern_head_want)want, .top_k = 1, .temperature = 1};
        assert_int_equal(tern_candidates_from_logits(&query, logits, 50, &out, NULL), TERN_OK);
        assert_int_equal(out.n, 50);
    }
    tern_candidates_free(&out);
}

/* ------------------------------------------------------------ same tokens */

/* All combinations of filters, penalties, bias and bans come up. */
static tern_sampler_params random_params(size_t vocab_size, tern_logit_bias bias[8]) {
    static const float small[] = {1e-45f, 1e-6f, 0.1f, 0.5f, 1};
    tern_sampler_params params = tern_sampler_defaults();
    uint64_t r = tern_rng_u64(&rng);
    params.seed = r;
    params.temperature = r & 1 ? 0.05f + 2 * (float)tern_rng_uniform(&rng) : (float)((r >> 1) % 3) * 0.7f;
    params.top_k = r & 8 ? (int32_t)below(vocab_size + 5) : (int32_t)below(5);
    params.top_k = r & 16 ? 0 : params.top_k;
    params.top_p = r & 32 ? 1 : 0.01f + 0.98f * (float)tern_rng_uniform(&rng);
    params.min_p = r & 64 ? 0 : small[below(5)];
    params.repeat_penalty = r & 128 ? 1 : 0.5f + (float)tern_rng_uniform(&rng);
    params.frequency_penalty = r & 256 ? 0 : (float)tern_rng_normal(&rng);
    params.presence_penalty = r & 512 ? 0 : (float)tern_rng_normal(&rng);
    params.penalty_window = r & 1024 ? -1 : (int32_t)below(20);
    params.logit_bias = bias;
    params.n_logit_bias = r & 2048 ? 0 : below(8);
    for (size_t i = 0; i < params.n_logit_bias; i++)
        bias[i] =
            (tern_logit_bias){(int32_t)below(vocab_size), below(3) ? 3 * (float)tern_rng_normal(&rng) : -INFINITY};
    return params;
}

static tern_sampler *create(const tern_sampler_params *params, size_t vocab_size) {
    tern_sampler *sampler = NULL;
    tern_error err;
    if (tern_sampler_create(params, vocab_size, &sampler, &err))
        fail_msg("%s", err.message);
    return sampler;
}

/* One draw by both ways. Returns the token, -1 if both refused for the same reason. */
static int32_t draw_both(tern_sampler *full, tern_sampler *few, const tern_head_query *query, const float *logits,
                         size_t n, tern_candidates *candidates) {
    int32_t a = -1, b = -1;
    tern_error full_err = {0}, few_err = {0};
    assert_int_equal(tern_candidates_from_logits(query, logits, n, candidates, NULL), TERN_OK);
    tern_status status = tern_sampler_sample(full, logits, &a, &full_err);
    assert_int_equal(tern_sampler_sample_candidates(few, candidates, &b, &few_err), status);
    assert_int_equal(a, b);
    if (status)
        assert_string_equal(full_err.message, few_err.message);
    return a;
}

static void test_same_tokens(void **state) {
    (void)state;
    static float logits[MAX_VOCAB];
    tern_candidates candidates = {0};
    size_t n_refused = 0, n_saved = 0, n_draws = 0;
    for (int round = 0; round < 3000; round++) {
        size_t n = 1 + below(round % 100 ? 60 : MAX_VOCAB);
        tern_logit_bias bias[8];
        tern_sampler_params params = random_params(n, bias);
        tern_sampler *full = create(&params, n), *few = create(&params, n);
        for (int step = 0; step < 12; step++) {
            tern_head_query query;
            random_logits(logits, n);
            assert_int_equal(tern_sampler_queries(few, NULL, 1, &query, NULL), TERN_OK);
            int32_t id = draw_both(full, few, &query, logits, n, &candidates);
            n_saved += candidates.n < n;
            n_refused += id < 0;
            n_draws++;
            id = id < 0 || step % 4 == 3 ? (int32_t)below(n) : id;
            assert_int_equal(tern_sampler_accept(full, id, NULL), TERN_OK);
            assert_int_equal(tern_sampler_accept(few, id, NULL), TERN_OK);
        }
        tern_sampler_free(full);
        tern_sampler_free(few);
    }
    tern_candidates_free(&candidates);
    assert_true(n_saved > n_draws / 3);                     /* candidates were fewer */
    assert_true(n_refused > 0 && n_refused < n_draws / 10); /* all banned, now and then */
}

/* Queries for several draws ahead, made before the first of them. */
static void test_queries_ahead(void **state) {
    (void)state;
    enum { AHEAD = 6, N = 80 };
    float logits[AHEAD][N];
    int32_t ahead[AHEAD];
    tern_candidates candidates = {0};
    for (int round = 0; round < 1500; round++) {
        tern_logit_bias bias[8];
        tern_head_query queries[AHEAD];
        tern_sampler_params params = random_params(N, bias);
        tern_sampler *full = create(&params, N), *few = create(&params, N);
        for (int i = 0; i < 30; i++) {
            int32_t id = (int32_t)below(N);
            assert_int_equal(tern_sampler_accept(full, id, NULL), TERN_OK);
            assert_int_equal(tern_sampler_accept(few, id, NULL), TERN_OK);
        }
        for (int i = 0; i < AHEAD; i++) {
            random_logits(logits[i], N);
            ahead[i] = (int32_t)below(N);
        }
        assert_int_equal(tern_sampler_queries(few, ahead, AHEAD, queries, NULL), TERN_OK);
        for (int i = 0; i < AHEAD; i++) { /* as if each draw had given ahead[i] */
            draw_both(full, few, &queries[i], logits[i], N, &candidates);
            assert_int_equal(tern_sampler_accept(full, ahead[i], NULL), TERN_OK);
            assert_int_equal(tern_sampler_accept(few, ahead[i], NULL), TERN_OK);
        }
        tern_sampler_free(full);
        tern_sampler_free(few);
    }
    tern_candidates_free(&candidates);
}

/* Which settings spare the head what. */
static void test_wants(void **state) {
    (void)state;
    static const struct {
        float temperature, top_p, min_p;
        int32_t top_k;
        tern_head_want want;
        uint32_t n;
    } cases[] = {
        {0, 0.5f, 0.1f, 5, TERN_HEAD_TOP, 1},    {0.8f, 0.95f, 0.05f, 40, TERN_HEAD_TOP, 40},
        {1, 1, 0.05f, 0, TERN_HEAD_NEAR, 0},     {1, 1, 0, 0, TERN_HEAD_GUMBEL, 0},
        {1, 1, 0, 1000, TERN_HEAD_GUMBEL, 1000}, {1, 0.9f, 0, 0, TERN_HEAD_ALL, 0},
        {1, 0.9f, 0.1f, 0, TERN_HEAD_ALL, 0},    {1, 1, 0, 999, TERN_HEAD_TOP, 999},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_sampler_params params = tern_sampler_defaults();
        params.temperature = cases[i].temperature;
        params.top_p = cases[i].top_p;
        params.min_p = cases[i].min_p;
        params.top_k = cases[i].top_k;
        tern_sampler *sampler = create(&params, 1000);
        tern_head_query query;
        assert_int_equal(tern_sampler_queries(sampler, NULL, 1, &query, NULL), TERN_OK);
        assert_int_equal(query.want, cases[i].want);
        if (query.want == TERN_HEAD_TOP)
            assert_int_equal(query.top_k, cases[i].n);
        assert_int_equal(query.n_forced, 0);
        tern_sampler_free(sampler);
    }
    /* -ln(0.05), a little more */
    tern_sampler_params params = tern_sampler_defaults();
    params.top_k = 0, params.top_p = 1, params.temperature = 2;
    tern_sampler *sampler = create(&params, 10);
    tern_head_query query;
    assert_int_equal(tern_sampler_queries(sampler, NULL, 1, &query, NULL), TERN_OK);
    assert_true((double)query.margin >= -2 * log((double)0.05f));
    assert_true((double)query.margin < 5.9916);
    tern_sampler_free(sampler);
}

static void test_bad_calls(void **state) {
    (void)state;
    const tern_logit_bias bias = {3, 1};
    tern_sampler_params params = tern_sampler_defaults();
    params.logit_bias = &bias;
    params.n_logit_bias = 1;
    tern_sampler *sampler = create(&params, 5);
    tern_head_query queries[2];
    tern_error err;
    assert_int_equal(tern_sampler_vocab_size(sampler), 5);
    assert_int_equal(tern_sampler_queries(sampler, (int32_t[]){5}, 2, queries, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "0 to 4"));
    assert_int_equal(tern_sampler_queries(sampler, (int32_t[]){-1}, 2, queries, &err), TERN_ERR_ARGUMENT);
    tern_candidates candidates = {0};
    int32_t id = -7;
    assert_int_equal(tern_sampler_sample_candidates(sampler, &candidates, &id, &err), TERN_ERR_ARGUMENT);
    assert_true(tern_candidates_reserve(&candidates, 6));
    for (int32_t i = 0; i < 6; i++)
        candidates.ids[i] = i, candidates.logits[i] = 0;
    candidates.n = 6;
    assert_int_equal(tern_sampler_sample_candidates(sampler, &candidates, &id, &err), TERN_ERR_ARGUMENT);
    candidates.n = 3; /* the biased one is missing */
    assert_int_equal(tern_sampler_sample_candidates(sampler, &candidates, &id, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "lack token 3"));
    assert_int_equal(id, -7);
    tern_candidates_free(&candidates);
    tern_sampler_free(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select_top),       cmocka_unit_test(test_candidates_are_what_is_asked),
        cmocka_unit_test(test_nan_among_logits), cmocka_unit_test(test_same_tokens),
        cmocka_unit_test(test_queries_ahead),    cmocka_unit_test(test_wants),
        cmocka_unit_test(test_bad_calls),
    };
    return cmocka_run_group_tests_name("candidates", tests, setup, NULL);
}
