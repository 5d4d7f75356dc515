/* Rounding of one matrix: small cases by hand, and that what costs more gives less error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "quant/matrix.h"

static tern_error err;
static tern_pool *pool;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call)                                                                                                      \
            fail_msg("%s", err.message);                                                                               \
    } while (0)

/* A matrix with room for its result; freed by free_matrix(). */
static tern_quant_matrix new_matrix(uint32_t rows, uint32_t cols, bool row_scales, uint32_t group) {
    float *w = calloc((size_t)rows * cols, sizeof *w), *scales = calloc((size_t)rows * cols, sizeof *scales);
    int8_t *trits = calloc((size_t)rows * cols, 1);
    assert_true(w && scales && trits);
    return (tern_quant_matrix){"w", rows, cols, w, trits, scales, row_scales, group};
}

static void free_matrix(tern_quant_matrix *m) {
    free((float *)m->w);
    free(m->trits);
    free(m->scales);
}

/* Rows of different sizes, and so are each row's stretches of 25. */
static tern_quant_matrix random_matrix(uint32_t rows, uint32_t cols, bool row_scales, uint32_t group) {
    tern_quant_matrix m = new_matrix(rows, cols, row_scales, group);
    tern_rng rng;
    tern_rng_seed(&rng, 11);
    for (size_t i = 0; i < (size_t)rows * cols; i++)
        ((float *)m.w)[i] =
            (0.2f + (float)(i / cols % 5)) * (0.3f + (float)(i % cols / 25 % 3)) * (float)tern_rng_normal(&rng);
    return m;
}

/* x [n_tokens, n] of few common causes and some noise. */
static float *correlated_inputs(size_t n_tokens, uint32_t n) {
    enum { CAUSES = 6 };
    float *x = calloc(n_tokens * n, sizeof *x), *mix = calloc((size_t)CAUSES * n, sizeof *mix);
    assert_true(x && mix);
    tern_rng rng;
    tern_rng_seed(&rng, 5);
    for (size_t i = 0; i < (size_t)CAUSES * n; i++)
        mix[i] = (float)tern_rng_normal(&rng);
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t c = 0; c <= CAUSES; c++) {
            float cause = (float)tern_rng_normal(&rng);
            for (size_t i = 0; i < n; i++)
                x[t * n + i] += c < CAUSES ? cause * mix[c * n + i] : 0.5f * (float)tern_rng_normal(&rng);
        }
    free(mix);
    return x;
}

static float *hessian_of(const float *x, size_t n_tokens, uint32_t n) {
    float *h = calloc((size_t)n * n, sizeof *h);
    assert_non_null(h);
    tern_quant_add_inputs(pool, x, n_tokens, n, h);
    return h;
}

static float *factors_of(const float *h, uint32_t n) {
    float *factors = malloc((size_t)n * n * sizeof *factors);
    assert_non_null(factors);
    memcpy(factors, h, (size_t)n * n * sizeof *factors);
    OK(tern_quant_factor(pool, factors, n, &err));
    return factors;
}

/* ------------------------------------------------------------------- tests */

static void test_absmean(void **state) {
    (void)state;
    float w[] = {1, -2, 0.5f, 0.5f, /* */ 0.1f, -0.1f, 0.04f, 0};
    int8_t trits[8];
    float scales[2];
    tern_quant_matrix m = {"w", 2, 4, w, trits, scales, false, 0};
    OK(tern_quant_round(pool, &m, &err)); /* mean 0.53: half of it is 0.265 */
    assert_memory_equal(trits, ((int8_t[]){1, -1, 1, 1, 0, 0, 0, 0}), 8);
    assert_true(fabsf(scales[0] - 4.24f / 8) < 1e-6f && scales[0] == scales[1]);
    m.row_scales = true;
    OK(tern_quant_round(pool, &m, &err)); /* means 1 and 0.06; exactly half the mean goes to 0 */
    assert_memory_equal(trits, ((int8_t[]){1, -1, 0, 0, 1, -1, 1, 0}), 8);
    assert_true(scales[0] == 1 && fabsf(scales[1] - 0.06f) < 1e-6f);
    float of_groups[4];
    m.scales = of_groups;
    m.group_cols = 2;
    OK(tern_quant_round(pool, &m, &err)); /* means 1.5, 0.5, 0.1 and 0.02 */
    assert_memory_equal(trits, ((int8_t[]){1, -1, 1, 1, 1, -1, 1, 0}), 8);
    assert_true(of_groups[0] == 1.5f && of_groups[1] == 0.5f && fabsf(of_groups[3] - 0.02f) < 1e-6f);
    w[5] = NAN;
    assert_int_equal(tern_quant_round(pool, &m, &err), TERN_ERR_FORMAT);
    w[5] = INFINITY;
    m.scales = scales;
    m.row_scales = false;
    m.group_cols = 0;
    assert_int_equal(tern_quant_round(pool, &m, &err), TERN_ERR_FORMAT);
}

/* Two inputs that nearly always agree: of two weights that are both too small for a value of their own, the second
 * stays 0, and the first, to which the error is added, may stand for both. */
static void test_compensation_by_hand(void **state) {
    (void)state;
    float w[] = {0.25f, 0.25f, 1, 1};
    float h[] = {1, 0.9f, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}; /* upper triangle */
    int8_t trits[4];
    float scale;
    const tern_quant_matrix m = {"w", 1, 4, w, trits, &scale, true, 0};
    OK(tern_quant_factor(pool, h, 4, &err)); /* 0.01 is added to the diagonal */
    OK(tern_quant_compensate(pool, h, &m, &err));
    /* the scale of least squares of the weights is 1; the first is 0.25 + 0.25 * 0.9 / 1.01 = 0.473 when it is rounded
     */
    assert_memory_equal(trits, ((int8_t[]){0, 0, 1, 1}), 4);
    assert_true(fabsf(scale - 1) < 1e-6f);
    w[0] = w[1] = 0.3f; /* 0.3 + 0.3 * 0.9 / 1.01 = 0.567 */
    OK(tern_quant_compensate(pool, h, &m, &err));
    assert_memory_equal(trits, ((int8_t[]){1, 0, 1, 1}), 4);
    /* the scale of least squares of the outputs, t H w / t H t */
    assert_true(fabsf(scale - (1.01f * 0.3f + 0.9f * 0.3f + 2 * 1.01f) / (3 * 1.01f)) < 1e-5f);
}

/* (I + L) D (I + L)^T is h, with a hundredth of the mean of the diagonal added; more than a panel of rows. */
static void test_factors(void **state) {
    (void)state;
    enum { N = 150, TOKENS = 200 };
    float *x = correlated_inputs(TOKENS, N), *h = hessian_of(x, TOKENS, N), *f = factors_of(h, N);
    double trace = 0, worst = 0;
    for (size_t i = 0; i < N; i++)
        trace += (double)h[i * N + i];
    for (size_t i = 0; i < N; i++)
        for (size_t j = i; j < N; j++) { /* entry (i, j): sum over k <= i of the upper factors */
            double sum = 0, wanted = (double)h[i * N + j] + (i == j ? 0.01 * trace / N : 0);
            for (size_t k = 0; k <= i; k++) {
                double a = k == i ? 1 : (double)f[k * N + i], b = k == j ? 1 : (double)f[k * N + j];
                sum += (double)f[k * N + k] * a * b;
            }
            double difference = fabs(sum - wanted);
            worst = difference > worst ? difference : worst;
        }
    assert_true(worst < 1e-4 * trace / N);
    free(x);
    free(h);
    free(f);
}

static double error_of(const float *h, const float *factors, uint32_t rows, uint32_t cols, bool row_scales,
                       uint32_t group) {
    tern_quant_matrix m = random_matrix(rows, cols, row_scales, group);
    OK(factors ? tern_quant_compensate(pool, factors, &m, &err) : tern_quant_round(pool, &m, &err));
    for (size_t i = 0; i < (size_t)rows * cols; i++)
        assert_true(m.trits[i] >= -1 && m.trits[i] <= 1);
    for (uint32_t i = 0; i < rows * tern_quant_groups(&m); i++)
        assert_true(row_scales ? m.scales[i] > 0 : i >= rows || m.scales[i] == m.scales[0]);
    double error = tern_quant_error(h, &m);
    /* the scales are those of least squares: others near them are worse */
    for (uint32_t i = 0; factors && i < rows && row_scales && !group; i += 7) {
        float kept = m.scales[i];
        for (int sign = -1; sign <= 1; sign += 2) {
            m.scales[i] = kept * (1 + 0.2f * (float)sign);
            assert_true(tern_quant_error(h, &m) > error);
        }
        m.scales[i] = kept;
    }
    free_matrix(&m);
    return error;
}

static void test_errors(void **state) {
    (void)state;
    enum { N = 150, TOKENS = 400, ROWS = 37, GROUP = 25 };
    float *x = correlated_inputs(TOKENS, N), *h = hessian_of(x, TOKENS, N), *f = factors_of(h, N);
    double plain = error_of(h, NULL, ROWS, N, false, 0), plain_rows = error_of(h, NULL, ROWS, N, true, 0),
           plain_groups = error_of(h, NULL, ROWS, N, true, GROUP);
    double made_up = error_of(h, f, ROWS, N, false, 0), made_up_rows = error_of(h, f, ROWS, N, true, 0),
           made_up_groups = error_of(h, f, ROWS, N, true, GROUP);
    print_message("squared error of the outputs: absmean %.0f, of rows %.0f, of groups %.0f; compensated %.0f, of rows "
                  "%.0f, of groups %.0f\n",
                  plain, plain_rows, plain_groups, made_up, made_up_rows, made_up_groups);
    assert_true(plain_rows < plain && plain_groups < plain_rows);
    assert_true(made_up < 0.2 * plain);
    assert_true(made_up_rows < 0.2 * plain_rows);
    assert_true(made_up_groups < 0.2 * plain_groups);
    assert_true(made_up_rows < made_up && made_up_groups < made_up_rows);
    free(x);
    free(h);
    free(f);
}

/* Inputs that were never other than 0, and such that say nothing finite. */
static void test_odd_inputs(void **state) {
    (void)state;
    enum { N = 20 };
    float *h = calloc(N * N, sizeof *h);
    assert_non_null(h);
    OK(tern_quant_factor(pool, h, N, &err));
    tern_quant_matrix m = random_matrix(3, N, true, 0);
    OK(tern_quant_compensate(pool, h, &m, &err));
    for (size_t i = 0; i < 3 * N; i++) { /* plain rounding with the scales of least squares */
        float least = 0.5f * m.scales[i / N];
        assert_int_equal(m.trits[i], (m.w[i] > least) - (m.w[i] < -least));
    }
    free_matrix(&m);
    h[1] = NAN;
    assert_int_equal(tern_quant_factor(pool, h, N, &err), TERN_ERR_FORMAT);
    free(h);
}

static void test_threads(void **state) {
    (void)state;
    enum { N = 130, TOKENS = 90, ROWS = 50 };
    tern_pool *threads[2] = {NULL, NULL}, *saved = pool;
    tern_quant_matrix m[2];
    float *x = correlated_inputs(TOKENS, N), *factors[2];
    for (int i = 0; i < 2; i++) {
        OK(tern_pool_create(1 + 2 * i, &threads[i], &err));
        pool = threads[i];
        float *h = hessian_of(x, TOKENS, N);
        factors[i] = factors_of(h, N);
        m[i] = random_matrix(ROWS, N, true, 26);
        OK(tern_quant_compensate(pool, factors[i], &m[i], &err));
        free(h);
    }
    assert_memory_equal(factors[0], factors[1], sizeof(float) * N * N);
    assert_memory_equal(m[0].trits, m[1].trits, (size_t)ROWS * N);
    assert_memory_equal(m[0].scales, m[1].scales, sizeof(float) * ROWS * (N / 26));
    for (int i = 0; i < 2; i++) {
        free(factors[i]);
        free_matrix(&m[i]);
        tern_pool_free(threads[i]);
    }
    free(x);
    pool = saved;
}

static int set_up(void **state) {
    (void)state;
    return tern_pool_create(2, &pool, &err);
}

static int tear_down(void **state) {
    (void)state;
    tern_pool_free(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absmean), cmocka_unit_test(test_compensation_by_hand), cmocka_unit_test(test_factors),
        cmocka_unit_test(test_errors),  cmocka_unit_test(test_odd_inputs),           cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
