/*
 * The sampler against a naive one: sort everything, filter, walk. Because the
 * order of the walk is part of the sampler's contract (by id) and the generator
 * is known, the naive one predicts every single draw. (And so it does for the
 * largest of logit and noise when nothing filters.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "runtime/head.h"
#include "tern/tern.h"

/* Everything off, pure softmax at temperature 1. */
static tern_sampler_params plain_params(void) {
    tern_sampler_params params = tern_sampler_defaults();
    params.temperature = 1;
    params.top_k = 0;
    params.top_p = 1;
    params.min_p = 0;
    return params;
}

static tern_sampler *create(const tern_sampler_params *params, size_t vocab_size) {
    tern_sampler *sampler = NULL;
    tern_error err;
    if (tern_sampler_create(params, vocab_size, &sampler, &err))
        fail_msg("%s", err.message);
    return sampler;
}

static int32_t sample(tern_sampler *sampler, const float *logits) {
    int32_t id = -1;
    tern_error err;
    if (tern_sampler_sample(sampler, logits, &id, &err))
        fail_msg("%s", err.message);
    return id;
}

static void accept(tern_sampler *sampler, int32_t id) { assert_int_equal(tern_sampler_accept(sampler, id, NULL), 0); }

static void *must(void *memory) {
    assert_non_null(memory);
    return memory;
}

/* ---------------------------------------------------------- the naive one */

typedef struct naive {
    float logit;
    int32_t id;
    double probability;
    bool alive;
} naive;

static int by_rank(const void *a, const void *b) {
    const naive *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b) { return ((const naive *)a)->id < ((const naive *)b)->id ? -1 : 1; }

/* `alive` [n] in order of ids: what top-k, temperature, top-p and min-p leave. */
static size_t naive_survivors(const tern_sampler_params *params, const float *logits, size_t n, naive *items) {
    for (size_t i = 0; i < n; i++)
        items[i] = (naive){.logit = logits[i], .id = (int32_t)i};
    qsort(items, n, sizeof *items, by_rank);
    size_t k = params->top_k && (size_t)params->top_k < n ? (size_t)params->top_k : n, n_alive = 0;
    double total = 0, above = 0;
    for (size_t i = 0; i < k; i++)
        total += exp(((double)items[i].logit - items[0].logit) / params->temperature);
    for (size_t i = 0; i < k; i++) {
        items[i].probability = exp(((double)items[i].logit - items[0].logit) / params->temperature) / total;
        items[i].alive = (params->top_p >= 1 || above < params->top_p) &&
                         items[i].probability >= params->min_p * items[0].probability;
        above += items[i].probability;
        n_alive += items[i].alive;
    }
    qsort(items, n, sizeof *items, by_id);
    return n_alive;
}

static int32_t naive_draw(const naive *items, size_t n, double uniform) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        total += items[i].alive ? items[i].probability : 0;
    for (size_t i = 0; i < n; i++) {
        sum += items[i].alive ? items[i].probability : 0;
        if (sum > uniform * total)
            return (int32_t)i;
    }
    fail();
    return -1;
}

static bool filters(const tern_sampler_params *params, size_t n) {
    return (params->top_k > 0 && (size_t)params->top_k < n) || params->top_p < 1 || params->min_p > 0;
}

/* Without filters: draw number `counter`. */
static int32_t naive_noise_draw(const tern_sampler_params *params, const naive *items, size_t n, uint64_t counter) {
    int32_t best = 0;
    double best_score = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        double score = (double)items[i].logit / (double)params->temperature +
                       tern_gumbel(params->seed, counter, (uint32_t)items[i].id);
        if (score > best_score) {
            best_score = score;
            best = items[i].id;
        }
    }
    return best;
}

/* Draw n_draws tokens from both; every one must be the same. */
static void check_draws(const tern_sampler_params *params, const float *logits, size_t n, int n_draws) {
    naive *items = must(malloc(n * sizeof *items));
    naive_survivors(params, logits, n, items);
    tern_sampler *sampler = create(params, n);
    tern_rng rng;
    tern_rng_seed(&rng, params->seed);
    for (int i = 0; i < n_draws; i++)
        assert_int_equal(sample(sampler, logits), filters(params, n) ? naive_draw(items, n, tern_rng_uniform(&rng))
                                                                     : naive_noise_draw(params, items, n, (uint64_t)i));
    tern_sampler_free(sampler);
    free(items);
}

/* Random logits; every other time coarse, so that many are equal, and some banned. */
static void random_logits(tern_rng *rng, float *logits, size_t n) {
    uint64_t kind = tern_rng_u64(rng);
    float scale = (float)(0.1 + 4 * tern_rng_uniform(rng));
    for (size_t i = 0; i < n; i++) {
        float x = scale * (float)tern_rng_normal(rng);
        logits[i] = kind & 1 ? x : floorf(2 * x) / 2;
        if (kind & 2 && tern_rng_uniform(rng) < 0.2)
            logits[i] = -INFINITY;
    }
    logits[tern_rng_u64(rng) % n] = 1; /* never all banned */
}

/* ------------------------------------------------------------------ stages */

static void test_greedy(void **state) {
    (void)state;
    enum { N = 3001 };
    static float logits[N];
    tern_sampler_params params = tern_sampler_defaults();
    params.temperature = 0;
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + tern_rng_u64(&rng) % N;
        random_logits(&rng, logits, n);
        int32_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (logits[i] > logits[best])
                best = (int32_t)i;
        tern_sampler *sampler = create(&params, n);
        assert_int_equal(sample(sampler, logits), best);
        assert_int_equal(sample(sampler, logits), best);
        tern_sampler_free(sampler);
    }
    const float ties[] = {1, 3, 3, 2, 3}, zeros[] = {-1, -0.0f, 0.0f, -1, -1};
    tern_sampler *sampler = create(&params, 5);
    assert_int_equal(sample(sampler, ties), 1);
    assert_int_equal(sample(sampler, zeros), 1); /* -0 and 0 are equal */
    tern_sampler_free(sampler);
}

/* Every stage alone and all together. */
static void test_draws_against_naive(void **state) {
    (void)state;
    enum { N = 6000 };
    static float logits[N];
    tern_rng rng;
    tern_rng_seed(&rng, 2);
    for (int round = 0; round < 400; round++) {
        size_t n = 1 + tern_rng_u64(&rng) % (round % 4 ? 60 : N);
        random_logits(&rng, logits, n);
        tern_sampler_params params = plain_params();
        unsigned stages = (unsigned)round % 16;
        params.seed = tern_rng_u64(&rng);
        if (stages & 1)
            params.temperature = (float)(0.05 + 3 * tern_rng_uniform(&rng));
        if (stages & 2)
            params.top_k = 1 + (int32_t)(tern_rng_u64(&rng) % (n + 10));
        if (stages & 4)
            params.top_p = (float)(0.001 + 0.998 * tern_rng_uniform(&rng));
        if (stages & 8)
            params.min_p = (float)tern_rng_uniform(&rng);
        check_draws(&params, logits, n, 100);
    }
}

static void expect_set(tern_sampler_params params, const float *logits, size_t n, int n_draws) {
    naive *items = must(malloc(n * sizeof *items));
    bool *drawn = must(calloc(n, sizeof *drawn));
    naive_survivors(&params, logits, n, items);
    tern_sampler *sampler = create(&params, n);
    for (int i = 0; i < n_draws; i++)
        drawn[sample(sampler, logits)] = true;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(drawn[i], items[i].alive);
    tern_sampler_free(sampler);
    free(drawn);
    free(items);
}

/* At a huge temperature all that survive are about equally likely, so all come
 * up: the exact sets, also the members that weigh nothing in the test above. */
static void test_exact_sets(void **state) {
    (void)state;
    enum { N = 100 };
    float logits[N];
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    for (int round = 0; round < 30; round++) {
        for (size_t i = 0; i < N; i++)
            logits[i] = round % 2 ? (float)tern_rng_normal(&rng) : (float)(tern_rng_u64(&rng) % 7);
        tern_sampler_params params = plain_params();
        params.temperature = 100;
        params.top_k = 1 + (int32_t)(tern_rng_u64(&rng) % N);
        expect_set(params, logits, N, 3000);
        params.top_k = 0;
        params.top_p = (float)(0.005 + 0.99 * tern_rng_uniform(&rng));
        expect_set(params, logits, N, 3000);
        params.top_p = 1;
        params.min_p = (float)(0.95 + 0.05 * tern_rng_uniform(&rng));
        expect_set(params, logits, N, 3000);
    }
}

/* Cases that a selection may stumble over, at full size: all equal, rising,
 * falling, one far above all others. */
static void test_shapes_at_full_size(void **state) {
    (void)state;
    enum { N = 128256 };
    float *logits = must(malloc(N * sizeof *logits));
    static const struct {
        int32_t top_k;
        float top_p;
    } settings[] = {{0, 0.3f}, {0, 0.999f}, {1, 1}, {40, 1}, {40, 0.5f}, {5000, 0.9f}, {100000, 1}, {N - 1, 0.7f}};
    for (int shape = 0; shape < 4; shape++) {
        for (int i = 0; i < N; i++)
            logits[i] = shape == 0 ? 7 : shape == 1 ? (float)i * 1e-4f : shape == 2 ? (float)-i * 1e-4f : 0;
        if (shape == 3)
            logits[77777] = 50;
        for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
            tern_sampler_params params = plain_params();
            params.top_k = settings[s].top_k;
            params.top_p = settings[s].top_p;
            params.seed = 10 * (uint64_t)shape + s;
            check_draws(&params, logits, N, 4);
        }
    }
    free(logits);
}

/* Equal logits at the edge of each filter. */
static void test_ties(void **state) {
    (void)state;
    const float logits[] = {1, 2, -0.0f, 2, 0.0f, 2};
    tern_sampler_params params = plain_params();
    params.min_p = 1; /* all that are as likely as the best */
    expect_set(params, logits, 6, 200);
    params.min_p = 0;
    params.top_k = 2;
    expect_set(params, logits, 6, 200);
    params.top_k = 5; /* of the two zeros, which are equal, the first */
    expect_set(params, logits, 6, 500);
    params.top_k = 0;
    params.top_p = 0.5f; /* four equal ones: exactly half of it is two */
    expect_set(params, (const float[]){3, 3, 3, 3}, 4, 200);
}

static void test_extreme_temperatures(void **state) {
    (void)state;
    const float logits[] = {3e38f, -3e38f, 2.9e38f, -INFINITY}, close[] = {1, 1.0000001f, 0.5f, -INFINITY};
    tern_sampler_params params = plain_params();
    params.temperature = 1e-45f;
    tern_sampler *cold = create(&params, 4);
    assert_int_equal(sample(cold, logits), 0);
    assert_int_equal(sample(cold, close), 1);
    tern_sampler_free(cold);
    params.temperature = 3e38f;
    tern_sampler *hot = create(&params, 4);
    bool drawn[4] = {false};
    for (int i = 0; i < 200; i++)
        drawn[sample(hot, close)] = true;
    assert_true(drawn[0] && drawn[1] && drawn[2]);
    assert_false(drawn[3]); /* banned at any temperature */
    tern_sampler_free(hot);
}

/* A filter that removes nothing changes nothing behind another one, and is no filter if it is top-k. */
static void test_idle_stages(void **state) {
    (void)state;
    enum { N = 500 };
    float logits[N], before[N];
    tern_rng rng;
    tern_rng_seed(&rng, 4);
    for (size_t i = 0; i < N; i++)
        before[i] = logits[i] = (float)tern_rng_normal(&rng);
    for (int round = 0; round < 2; round++) {
        tern_sampler_params params = plain_params(), idle = params;
        idle.top_k = N;
        if (round == 0) {
            params.min_p = 1e-30f;
            idle.min_p = 2e-30f;
            idle.top_p = 0.9999999f; /* the last token is likelier than 1e-7 */
        }
        tern_sampler *a = create(&params, N), *b = create(&idle, N);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(sample(a, logits), sample(b, logits));
        assert_memory_equal(logits, before, sizeof logits); /* the caller's logits are only read */
        tern_sampler_free(a);
        tern_sampler_free(b);
    }
}

/* -------------------------------------------------------------- statistics */

/* Chi-square of n_draws tokens against the softmax. The seeds are fixed: the test gives the same
 * value every time, the bound only says that it is a plausible one (mean
 * df, standard deviation sqrt(2 df): five of them). */
static void test_frequencies(void **state) {
    (void)state;
    enum { N = 40, N_DRAWS = 100000 };
    static const float temperatures[] = {0.5f, 1, 2};
    for (size_t t = 0; t < 6; t++) {
        float logits[N];
        naive items[N];
        int counts[N] = {0};
        tern_sampler_params params = plain_params();
        params.temperature = temperatures[t % 3];
        params.min_p = t < 3 ? 0 : 1e-30f; /* a filter: the other way to draw */
        params.seed = 100 + t;
        for (size_t i = 0; i < N; i++)
            logits[i] = 0.03f * (float)(i * 17 % N);
        naive_survivors(&params, logits, N, items);
        tern_sampler *sampler = create(&params, N);
        for (int i = 0; i < N_DRAWS; i++)
            counts[sample(sampler, logits)]++;
        double chi_square = 0;
        for (size_t i = 0; i < N; i++) {
            double expected = items[i].probability * N_DRAWS;
            chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        assert_true(chi_square < N - 1 + 5 * sqrt(2.0 * (N - 1)));
        assert_true(chi_square > N - 1 - 5 * sqrt(2.0 * (N - 1))); /* nor too good to be random */
        tern_sampler_free(sampler);
    }
}

static void test_seeds(void **state) {
    (void)state;
    enum { N = 1000, N_DRAWS = 64 };
    float logits[N];
    for (size_t i = 0; i < N; i++)
        logits[i] = (float)(i * 7919 % N) / 100; /* no libm: the same on every platform */
    tern_sampler_params params = tern_sampler_defaults();
    int32_t draws[2][N_DRAWS];
    for (int run = 0; run < 2; run++) {
        tern_sampler *sampler = create(&params, N);
        for (int i = 0; i < N_DRAWS; i++)
            draws[run][i] = sample(sampler, logits);
        tern_sampler_free(sampler);
    }
    assert_memory_equal(draws[0], draws[1], sizeof draws[0]);
    params.seed = 1;
    tern_sampler *other = create(&params, N);
    int n_same = 0;
    for (int i = 0; i < N_DRAWS; i++)
        n_same += sample(other, logits) == draws[0][i];
    assert_true(n_same < N_DRAWS / 2);
    tern_sampler_free(other);
    /* default settings, seed 0: what every platform must draw */
    static const int32_t golden[] = {605, 778, 136, 420, 741, 988, 457, 568, 889, 926, 173, 99, 173, 642, 531, 309};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_int_equal(draws[0][i], golden[i]);
}

/* --------------------------------------------------------- bias, penalties */

static void test_logit_bias(void **state) {
    (void)state;
    const float logits[] = {1, 2, 3, 4};
    const tern_logit_bias bias[] = {{3, -INFINITY}, {0, 1.5f}, {0, 0.75f}, {2, 0}};
    tern_sampler_params params = tern_sampler_defaults();
    params.temperature = 0;
    params.logit_bias = bias;
    params.n_logit_bias = 4;
    tern_sampler *sampler = create(&params, 4);
    assert_int_equal(sample(sampler, logits), 0); /* 3.25: entries for one id add up */
    tern_sampler_free(sampler);

    params = plain_params();
    params.logit_bias = bias;
    params.n_logit_bias = 4;
    const float biased[] = {3.25f, 2, 3, -INFINITY};
    naive items[4];
    naive_survivors(&params, biased, 4, items);
    sampler = create(&params, 4);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(sample(sampler, logits), naive_noise_draw(&params, items, 4, (uint64_t)i));
    tern_sampler_free(sampler);
}

/* Greedy picks over a long history against counts made afresh from it. */
static void check_penalties(int32_t window, float repeat, float frequency, float presence, uint64_t seed) {
    enum { N = 97, STEPS = 1500 };
    float logits[N];
    static int32_t past[STEPS];
    tern_sampler_params params = tern_sampler_defaults();
    params.temperature = 0;
    params.penalty_window = window;
    params.repeat_penalty = repeat;
    params.frequency_penalty = frequency;
    params.presence_penalty = presence;
    tern_sampler *sampler = create(&params, N);
    tern_rng rng;
    tern_rng_seed(&rng, seed);
    int n_moved = 0; /* steps at which the penalties changed the pick */
    for (int step = 0; step < STEPS; step++) {
        int counts[N] = {0};
        int first = window < 0 || window > step ? 0 : step - window;
        for (int i = first; i < step; i++)
            counts[past[i]]++;
        size_t best = 0, best_raw = 0;
        double best_logit = -INFINITY;
        for (size_t i = 0; i < N; i++) {
            logits[i] = (float)tern_rng_normal(&rng);
            double x = logits[i];
            if (counts[i]) {
                x = x > 0 ? x / repeat : x * repeat;
                x -= (double)counts[i] * frequency + presence;
            }
            if ((float)x > (float)best_logit) {
                best_logit = x;
                best = i;
            }
            if (logits[i] > logits[best_raw])
                best_raw = i;
        }
        int32_t id = sample(sampler, logits);
        assert_int_equal(id, best);
        n_moved += best != best_raw;
        /* half the time something else, with a preference for low ids */
        past[step] = id;
        if (tern_rng_u64(&rng) % 2) {
            uint64_t bound = 1 + tern_rng_u64(&rng) % N;
            past[step] = (int32_t)(tern_rng_u64(&rng) % bound);
        }
        accept(sampler, past[step]);
    }
    bool off = window == 0 || (repeat == 1 && frequency == 0 && presence == 0);
    assert_true(off ? n_moved == 0 : n_moved > 2);
    tern_sampler_free(sampler);
}

static void test_penalties(void **state) {
    (void)state;
    static const int32_t windows[] = {-1, 0, 1, 2, 64, 1000, 1000000};
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
        check_penalties(windows[w], 1.3f, 0, 0, 10 + w);
        check_penalties(windows[w], 1, 0.2f, 0, 20 + w);
        check_penalties(windows[w], 1, 0, 0.5f, 30 + w);
        check_penalties(windows[w], 1, -0.1f, -0.4f, 40 + w); /* rewards */
        check_penalties(windows[w], 1.1f, 0.05f, 0.1f, 50 + w);
    }
    check_penalties(-1, 1, 0, 0, 60);
}

/* Keskar et al. divide; that would reward a negative logit. */
static void test_repeat_penalty_signs(void **state) {
    (void)state;
    tern_sampler_params params = tern_sampler_defaults();
    params.temperature = 0;
    params.repeat_penalty = 2;
    tern_sampler *sampler = create(&params, 2);
    const float positive[] = {1, 0.6f}, negative[] = {-0.5f, -0.6f}, zero[] = {0, -0.1f};
    assert_int_equal(sample(sampler, positive), 0);
    accept(sampler, 0);
    assert_int_equal(sample(sampler, positive), 1);
    assert_int_equal(sample(sampler, negative), 1);
    assert_int_equal(sample(sampler, zero), 0);
    tern_sampler_free(sampler);
}

/* A huge window costs memory only as it fills. */
static void test_huge_window(void **state) {
    (void)state;
    tern_sampler_params params = tern_sampler_defaults();
    params.penalty_window = INT32_MAX;
    params.presence_penalty = 3;
    params.temperature = 0;
    tern_sampler *sampler = create(&params, 3);
    const float logits[] = {2, 1, 0};
    assert_int_equal(sample(sampler, logits), 0);
    accept(sampler, 0);
    assert_int_equal(sample(sampler, logits), 1);
    tern_sampler_free(sampler);
}

/* ------------------------------------------------------------------ errors */

static void expect_sample_error(tern_sampler *sampler, const float *logits, tern_status want, const char *part) {
    tern_error err = {0};
    int32_t id = -7;
    assert_int_equal(tern_sampler_sample(sampler, logits, &id, &err), want);
    assert_int_equal(tern_sampler_sample(sampler, logits, &id, NULL), want);
    assert_int_equal(err.status, want);
    assert_non_null(strstr(err.message, part));
    assert_int_equal(id, -7);
}

static void test_bad_logits(void **state) {
    (void)state;
    static const float temperatures[] = {0, 1};
    for (size_t t = 0; t < 2; t++) {
        tern_sampler_params params = tern_sampler_defaults();
        params.temperature = temperatures[t];
        tern_sampler *sampler = create(&params, 3);
        const float nan[] = {1, NAN, 2}, infinite[] = {1, INFINITY, 2}, dead[] = {-INFINITY, -INFINITY, -INFINITY};
        expect_sample_error(sampler, nan, TERN_ERR_FORMAT, "the model gave 1 NaN");
        expect_sample_error(sampler, infinite, TERN_ERR_FORMAT, "infinite");
        expect_sample_error(sampler, dead, TERN_ERR_FORMAT, "-inf for every token");
        const float good[] = {-INFINITY, 5, -INFINITY};
        assert_int_equal(sample(sampler, good), 1);
        tern_sampler_free(sampler);

        const tern_logit_bias bans[] = {{0, -INFINITY}, {1, -INFINITY}, {2, -INFINITY}};
        params.logit_bias = bans;
        params.n_logit_bias = 3;
        sampler = create(&params, 3);
        expect_sample_error(sampler, good, TERN_ERR_ARGUMENT, "ban every token");
        tern_sampler_free(sampler);
    }
}

static void expect_bad(tern_sampler_params params, const char *message) {
    tern_error err = {0};
    tern_sampler *sampler = NULL;
    assert_int_equal(tern_sampler_create(&params, 10, &sampler, &err), TERN_ERR_ARGUMENT);
    assert_string_equal(err.message, message);
    assert_int_equal(tern_sampler_create(&params, 10, &sampler, NULL), TERN_ERR_ARGUMENT);
    assert_null(sampler);
}

#define EXPECT_BAD(field, value, message)                                                                              \
    do {                                                                                                               \
        tern_sampler_params bad = tern_sampler_defaults();                                                             \
        bad.field = value;                                                                                             \
        expect_bad(bad, message);                                                                                      \
    } while (0)

static void test_bad_params(void **state) {
    (void)state;
    EXPECT_BAD(temperature, -1, "temperature -1: must be 0 (greedy) or more");
    EXPECT_BAD(temperature, NAN, "temperature nan: must be 0 (greedy) or more");
    EXPECT_BAD(temperature, INFINITY, "temperature inf: must be 0 (greedy) or more");
    EXPECT_BAD(top_k, -1, "top-k -1: must be 0 (off) or more");
    EXPECT_BAD(top_p, 0, "top-p 0: must be above 0 and at most 1 (off)");
    EXPECT_BAD(top_p, 1.5f, "top-p 1.5: must be above 0 and at most 1 (off)");
    EXPECT_BAD(min_p, -0.5f, "min-p -0.5: must be 0 (off) to 1");
    EXPECT_BAD(min_p, 2, "min-p 2: must be 0 (off) to 1");
    EXPECT_BAD(repeat_penalty, 0, "repeat penalty 0: must be above 0 (1 is off)");
    EXPECT_BAD(frequency_penalty, INFINITY, "frequency penalty inf: must be a finite number (0 is off)");
    EXPECT_BAD(presence_penalty, -INFINITY, "presence penalty -inf: must be a finite number (0 is off)");
    EXPECT_BAD(penalty_window, -2, "penalty window -2: must be -1 (all tokens), 0 (off) or more");
    EXPECT_BAD(n_logit_bias, 2, "logit bias: 2 announced, but the list is NULL");

    tern_sampler_params params = tern_sampler_defaults();
    tern_logit_bias bias = {10, 1};
    params.logit_bias = &bias;
    params.n_logit_bias = 1;
    expect_bad(params, "logit bias for token 10: the ids are 0 to 9");
    bias = (tern_logit_bias){-1, 1};
    expect_bad(params, "logit bias for token -1: the ids are 0 to 9");
    bias = (tern_logit_bias){0, INFINITY};
    expect_bad(params, "logit bias inf for token 0: must be finite, or -inf for a ban");
    bias = (tern_logit_bias){0, NAN};
    expect_bad(params, "logit bias nan for token 0: must be finite, or -inf for a ban");

    tern_sampler *sampler = NULL;
    assert_int_equal(tern_sampler_create(NULL, 0, &sampler, NULL), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_sampler_create(NULL, (size_t)INT32_MAX + 1, &sampler, NULL), TERN_ERR_ARGUMENT);
    tern_error err;
    sampler = create(NULL, 10); /* the defaults */
    assert_int_equal(tern_sampler_accept(sampler, 10, &err), TERN_ERR_ARGUMENT);
    assert_string_equal(err.message, "token 10: the ids are 0 to 9");
    assert_int_equal(tern_sampler_accept(sampler, -1, &err), TERN_ERR_ARGUMENT);
    accept(sampler, 9);
    tern_sampler_free(sampler);
    tern_sampler_free(NULL);
}

static void test_overflowing_bias_and_penalty(void **state) {
    (void)state;
    /* sums past the largest float stay the largest, or become a ban; never NaN */
    const tern_logit_bias bias[] = {{0, 3e38f}, {1, -3e38f}};
    tern_sampler_params params = tern_sampler_defaults();
    params.logit_bias = bias;
    params.n_logit_bias = 2;
    params.frequency_penalty = 3e38f;
    tern_sampler *sampler = create(&params, 3);
    const float logits[] = {3e38f, -3e38f, -3.1e38f};
    for (int i = 0; i < 50; i++)
        assert_int_equal(sample(sampler, logits), 0);
    accept(sampler, 0);
    accept(sampler, 0);
    const float equal[] = {0, 0, 0};
    for (int i = 0; i < 50; i++)
        assert_int_equal(sample(sampler, equal), 2);
    accept(sampler, 2);
    accept(sampler, 2); /* 3e38 - 6e38, -3e38 and a ban */
    bool drawn[3] = {false};
    for (int i = 0; i < 50; i++)
        drawn[sample(sampler, equal)] = true;
    assert_true(drawn[0] && drawn[1] && !drawn[2]);
    tern_sampler_free(sampler);
    params.repeat_penalty = 1e-30f;
    sampler = create(&params, 3);
    accept(sampler, 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(sample(sampler, equal), 0); /* 3e68, kept to the largest float */
    tern_sampler_free(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),      cmocka_unit_test(test_draws_against_naive),
        cmocka_unit_test(test_exact_sets),  cmocka_unit_test(test_shapes_at_full_size),
        cmocka_unit_test(test_ties),        cmocka_unit_test(test_extreme_temperatures),
        cmocka_unit_test(test_idle_stages), cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_seeds),       cmocka_unit_test(test_logit_bias),
        cmocka_unit_test(test_penalties),   cmocka_unit_test(test_repeat_penalty_signs),
        cmocka_unit_test(test_huge_window), cmocka_unit_test(test_bad_logits),
        cmocka_unit_test(test_bad_params),  cmocka_unit_test(test_overflowing_bias_and_penalty),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
