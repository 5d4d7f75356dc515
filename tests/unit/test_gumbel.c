/* The noise that plain temperature sampling draws with: a standard Gumbel distribution, the same bits everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "base/cpu.h"
#include "runtime/gumbel.h"
#include "runtime/head.h"

enum { ROWS = 1 << 18 };

static float noise[ROWS];

/* One by one, in batches of any size, from any row on: the same bits. */
static void test_any_order(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 2, 15, 255, 256, 257, 1000, 4099};
    static const uint32_t firsts[] = {0, 1, 77, 128000, INT32_MAX - 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t f = 0; f < sizeof firsts / sizeof *firsts; f++) {
            noise[sizes[s]] = -99;
            tern_gumbel_rows(s, f, firsts[f], sizes[s], noise);
            for (size_t i = 0; i < sizes[s]; i++) {
                double one = tern_gumbel(s, f, firsts[f] + (uint32_t)i);
                assert_true(one == (double)noise[i]);
            }
            assert_true(noise[sizes[s]] == -99.0f); /* nothing behind the end */
        }
}

/* Each instruction set's: the same bits. */
static void test_kernels(void **state) {
    (void)state;
    enum { N = 5000 };
    static float other[N];
    const tern_gumbel_kernel *kernel = tern_gumbel_kernels;
    int n_run = 0;
    for (;; kernel++) {
        if (kernel->features & ~tern_cpu_features())
            continue;
        for (uint64_t start = 0; start < 200; start++) {
            size_t n = start % 3 ? (size_t)start * 17 % 300 : N;
            tern_gumbel_rows_any(start << 55 ^ start, (uint32_t)start * 1000, n, noise);
            kernel->rows(start << 55 ^ start, (uint32_t)start * 1000, n, other);
            assert_memory_equal(noise, other, n * sizeof *noise);
        }
        n_run++;
        if (kernel->features == 0)
            break;
    }
    print_message("%d kernels\n", n_run);
}

/* What every platform must give. */
static void test_golden(void **state) {
    (void)state;
    static const float golden[] = {
        -0x1.dd76d2p-2f, 0x1.8bce0ap+0f, -0x1.ea0b18p-1f, 0x1.1d3cbap+1f, 0x1.31c518p+0f,  0x1.3a3e78p+1f,
        0x1.485896p-2f,  0x1.ed289ep-4f, 0x1.ac9434p-1f,  0x1.5f2956p+0f, -0x1.165432p-3f, 0x1.804806p+0f,
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        float value = (float)tern_gumbel(i * i * 0x123456789abcdefu, i % 3, (uint32_t)(i * 1000));
        if (memcmp(&value, &golden[i], sizeof value) != 0)
            fail_msg("value %zu is %a instead of %a", i, (double)value, (double)golden[i]);
    }
}

/* Far out, where logarithms of numbers near 0 and near 1 are taken: what is expected beyond t, within five standard
 * deviations; and no value that cannot be. */
static void test_tails(void **state) {
    (void)state;
    enum { N_DRAWS = 64 };
    static const double limits[] = {-2.6, -2.3, -2, 8, 10, 12, 14};
    enum { N_LIMITS = sizeof limits / sizeof *limits };
    uint64_t beyond[N_LIMITS] = {0};
    for (uint64_t draw = 0; draw < N_DRAWS; draw++) {
        tern_gumbel_rows(3, draw, 0, ROWS, noise);
        for (size_t i = 0; i < ROWS; i++) {
            assert_true(noise[i] > -3.8f && noise[i] < 45);
            for (size_t l = 0; l < N_LIMITS; l++)
                beyond[l] += limits[l] < 0 ? (double)noise[i] < limits[l] : (double)noise[i] > limits[l];
        }
    }
    for (size_t l = 0; l < N_LIMITS; l++) {
        double below = exp(-exp(-limits[l])), above = -expm1(-exp(-limits[l]));
        double expected = (limits[l] < 0 ? below : above) * N_DRAWS * ROWS;
        assert_true(fabs((double)beyond[l] - expected) < 5 * sqrt(expected) + 1);
    }
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Mean, variance and the whole distribution (Kolmogorov-Smirnov: D sqrt(n) is above 1.95 once in a thousand) along rows
 * and along draws. */
static void check_distribution(void) {
    double sum = 0, squares = 0, distance = 0;
    for (size_t i = 0; i < ROWS; i++) {
        sum += (double)noise[i];
        squares += (double)noise[i] * (double)noise[i];
    }
    double mean = sum / ROWS, variance = squares / ROWS - mean * mean;
    const double true_mean = 0.57721566490153286, true_variance = 1.6449340668482264; /* Euler's gamma, pi^2 / 6 */
    assert_true(fabs(mean - true_mean) < 4 * sqrt(true_variance / ROWS));
    assert_true(fabs(variance - true_variance) <
                4 * sqrt(4.4 * true_variance * true_variance / ROWS)); /* kurtosis 5.4 */
    qsort(noise, ROWS, sizeof *noise, by_value);
    for (size_t i = 0; i < ROWS; i++) {
        double p = exp(-exp(-(double)noise[i]));
        distance = fmax(distance, fmax(p - (double)i / ROWS, (double)(i + 1) / ROWS - p));
    }
    assert_true(distance * sqrt(ROWS) < 1.95);
    assert_true(distance * sqrt(ROWS) > 0.3); /* nor too even to be random */
}

static void test_distribution(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        tern_gumbel_rows(seed, 5, 0, ROWS, noise);
        check_distribution();
        for (uint64_t i = 0; i < ROWS; i++)
            noise[i] = (float)tern_gumbel(seed, i, 17); /* one row's draws */
        check_distribution();
        for (uint64_t i = 0; i < ROWS; i++)
            noise[i] = (float)tern_gumbel(i << 32, seed, 3); /* one row's, over seeds */
        check_distribution();
    }
}

/* Neighbours of every kind do not know of each other. */
static void test_independence(void **state) {
    (void)state;
    static float other[ROWS];
    static const struct {
        uint64_t seed, counter;
        uint32_t first;
    } neighbours[] = {{0, 0, 1}, {0, 0, 2}, {0, 1, 0}, {0, 2, 0}, {1, 0, 0}, {1, 1, 0}, {0, 1, 1}, {1ull << 63, 0, 0}};
    tern_gumbel_rows(0, 0, 0, ROWS, noise);
    for (size_t n = 0; n < sizeof neighbours / sizeof *neighbours; n++) {
        double sum = 0;
        tern_gumbel_rows(neighbours[n].seed, neighbours[n].counter, neighbours[n].first, ROWS, other);
        for (size_t i = 0; i < ROWS; i++)
            sum += ((double)noise[i] - 0.5772) * ((double)other[i] - 0.5772);
        assert_true(fabs(sum / ROWS / 1.6449) < 5 / sqrt(ROWS)); /* the correlation */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order), cmocka_unit_test(test_kernels),      cmocka_unit_test(test_golden),
        cmocka_unit_test(test_tails),     cmocka_unit_test(test_distribution), cmocka_unit_test(test_independence),
    };
    return cmocka_run_group_tests_name("gumbel", tests, NULL, NULL);
}
