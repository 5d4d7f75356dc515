/* AdamW against its definition in double precision, the gradient norm, and both with any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "train/optim.h"

enum { N = 40001, STEPS = 4 };

static const tern_adam adam = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};

static float *draw(size_t n, uint64_t seed, double deviation) {
    tern_rng rng;
    tern_rng_seed(&rng, seed);
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(deviation * tern_rng_normal(&rng));
    return values;
}

static tern_pool *make_pool(int n_threads) {
    tern_pool *pool = NULL;
    assert_int_equal(tern_pool_create(n_threads, &pool, NULL), TERN_OK);
    return pool;
}

/* STEPS steps with lr, weight decay and scale that change -> values, freed by the caller. */
static float *train(int n_threads, bool decay) {
    tern_pool *pool = make_pool(n_threads);
    float *values = draw(N, 1, 0.1), *m = calloc(N, sizeof *m), *v = calloc(N, sizeof *v);
    assert_true(m && v);
    for (uint64_t t = 1; t <= STEPS; t++) {
        float *grads = draw(N, 10 + t, 3);
        tern_adam_step step = {values, m, v, grads, 0.5f / (float)t, 1e-2f / (float)t, 0.1f, t, adam};
        tern_adam_update(pool, &step, N, decay);
        free(grads);
    }
    free(m);
    free(v);
    tern_pool_free(pool);
    return values;
}

/* Loshchilov and Hutter 2019, algorithm 2, as torch.optim.AdamW has it. */
static double expected(size_t i, float *const *grads, double value, bool decay) {
    double m = 0, v = 0;
    for (int t = 1; t <= STEPS; t++) {
        double g = grads[t][i] * (double)(0.5f / (float)t), lr = 1e-2f / (float)t;
        value *= decay ? 1 - lr * (double)0.1f : 1;
        m = (double)adam.beta1 * m + (1 - (double)adam.beta1) * g;
        v = (double)adam.beta2 * v + (1 - (double)adam.beta2) * g * g;
        double m_hat = m / (1 - pow((double)adam.beta1, t)), v_hat = v / (1 - pow((double)adam.beta2, t));
        value -= lr * m_hat / (sqrt(v_hat) + (double)adam.eps);
    }
    return value;
}

static void test_definition(void **state) {
    (void)state;
    float *start = draw(N, 1, 0.1), *grads[STEPS + 1] = {0};
    for (uint64_t t = 1; t <= STEPS; t++)
        grads[t] = draw(N, 10 + t, 3);
    for (int decay = 0; decay < 2; decay++) {
        float *values = train(2, decay);
        for (size_t i = 0; i < N; i += 13)
            assert_true(fabs(values[i] - expected(i, grads, start[i], decay)) < 1e-7);
        free(values);
    }
    for (int t = 0; t <= STEPS; t++)
        free(grads[t]);
    free(start);
}

static void test_threads(void **state) {
    (void)state;
    float *one = train(1, true), *three = train(3, true), *grads = draw(N, 5, 1);
    assert_memory_equal(one, three, N * sizeof *one);
    double norms[2];
    for (int i = 0; i < 2; i++) {
        tern_pool *pool = make_pool(1 + 2 * i);
        norms[i] = tern_grad_norm(pool, grads, N, -0.25);
        tern_pool_free(pool);
    }
    assert_memory_equal(&norms[0], &norms[1], sizeof norms[0]);
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        sum += (double)grads[i] * grads[i];
    assert_true(fabs(norms[0] / (0.25 * sqrt(sum)) - 1) < 1e-12);
    free(one);
    free(three);
    free(grads);
}

/* Many blocks, an infinity in the last value, nothing at all. */
static void test_norm_edges(void **state) {
    (void)state;
    enum { LARGE = 5 * 1000 * 1000 + 3 };
    tern_pool *pool = make_pool(2);
    float *grads = calloc(LARGE, sizeof *grads);
    assert_non_null(grads);
    assert_true(tern_grad_norm(pool, grads, 0, 1) == 0);
    grads[0] = 3;
    grads[LARGE - 1] = 4;
    assert_true(tern_grad_norm(pool, grads, LARGE, 2) == 10);
    grads[LARGE - 1] = INFINITY;
    assert_true(isinf(tern_grad_norm(pool, grads, LARGE, 1)));
    grads[LARGE - 1] = NAN;
    assert_true(isnan(tern_grad_norm(pool, grads, LARGE, 1)));
    free(grads);
    tern_pool_free(pool);
}

/* Gains and padding are left alone by weight decay: with gradients of 0 only decay moves anything. */
static void test_decay_by_tensor(void **state) {
    (void)state;
    const tern_dims dims = {.vocab_size = 11,
                            .n_ctx = 8,
                            .hidden_size = 12,
                            .ffn_size = 20,
                            .n_layers = 2,
                            .n_heads = 3,
                            .n_kv_heads = 1,
                            .head_dim = 4,
                            .rms_eps = 1e-5f,
                            .rope_theta = 1e4f};
    tern_pool *pool = make_pool(2);
    tern_params params;
    assert_int_equal(tern_params_create(&dims, true, &params, NULL), TERN_OK);
    for (size_t i = 0; i < params.n_values; i++)
        params.values[i] = 1;
    tern_adam_step step = {params.values, params.m, params.v, params.grads, 1, 0.5f, 0.5f, 1, adam};
    tern_params_update(pool, &params, &step);
    size_t matrices = 0, n_decayed = 0;
    for (size_t i = 0; i < params.n; i++) {
        const tern_param *param = &params.list[i];
        for (size_t j = 0; j < (size_t)param->rows * param->cols; j++)
            assert_true(params.values[param->offset + j] == (param->rows == 1 ? 1 : 0.75f));
        matrices += param->rows == 1 ? 0 : (size_t)param->rows * param->cols;
    }
    for (size_t i = 0; i < params.n_values; i++)
        n_decayed += params.values[i] != 1;
    assert_int_equal(n_decayed, matrices);
    tern_params_free(&params);
    tern_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_norm_edges),
        cmocka_unit_test(test_decay_by_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
