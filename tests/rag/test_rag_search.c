/* Search against a straightforward one: the same order, for every number of threads, every k and every instruction
 * set; ties go to the lower row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "rag/search.h"

static tern_rng rng;

/* n random directions of length 1, as the embedder makes them; every third one is a copy of the one before it. */
static tern_index random_index(size_t n, size_t dims, const tern_kernels *kernels) {
    tern_index index;
    tern_error err;
    float *x = malloc(dims * sizeof *x);
    assert_non_null(x);
    assert_int_equal(tern_index_create(n, dims, &index, &err), TERN_OK);
    for (size_t i = 0; i < n; i++) {
        double squares = 0;
        for (size_t d = 0; d < dims; d++) {
            x[d] = (float)(tern_rng_normal(&rng) + 0.5); /* a direction that all share */
            squares += (double)x[d] * (double)x[d];
        }
        for (size_t d = 0; d < dims; d++)
            x[d] = (float)((double)x[d] / sqrt(squares));
        float steps;
        int32_t sum;
        int8_t *row = index.bytes + i * index.ld;
        kernels->quantize_i8(x, dims, index.ld, row, &steps, &sum);
        index.scales[i] = 1.0F / steps;
        if (i % 3 == 2) {
            memcpy(row, row - index.ld, index.ld);
            index.scales[i] = index.scales[i - 1];
        }
    }
    free(x);
    return index;
}

/* The cosine of q - m and x - m in doubles. */
static double cosine(const tern_index *index, const float *q, size_t row) {
    double dot = 0, qq = 0, xx = 0;
    for (size_t d = 0; d < index->dims; d++) {
        double a = (double)q[d] - (double)index->centre[d];
        double b = index->bytes[row * index->ld + d] * (double)index->scales[row] - (double)index->centre[d];
        dot += a * b, qq += a * a, xx += b * b;
    }
    return dot / sqrt(qq * xx);
}

static void check_matches(const tern_index *index, const float *q, const tern_match *matches, size_t n, size_t k) {
    assert_int_equal(n, k < index->n ? k : index->n);
    double worst = 2;
    for (size_t i = 0; i < n; i++) {
        assert_true(matches[i].row < index->n);
        assert_true(fabs((double)matches[i].score - cosine(index, q, matches[i].row)) < 0.02);
        assert_true((double)matches[i].score <= worst);
        if (i && matches[i].score == matches[i - 1].score)
            assert_true(matches[i].row > matches[i - 1].row);
        worst = (double)matches[i].score;
    }
    for (size_t row = 0; row < index->n; row++) { /* nothing better was left out */
        bool is_in = false;
        for (size_t i = 0; i < n; i++)
            is_in |= matches[i].row == row;
        assert_true(is_in || cosine(index, q, row) < worst + 0.02);
        if (row % 3 == 2 && is_in) { /* a copy comes in only behind what it copies */
            bool original = false;
            for (size_t i = 0; i < n && matches[i].row != row; i++)
                original |= matches[i].row == row - 1;
            assert_true(original);
        }
    }
}

static void check_one(size_t n, size_t dims, size_t k) {
    const tern_kernels *const *all = tern_kernels_all();
    tern_error err;
    tern_index index = random_index(n, dims, all[0]);
    float *q = malloc(dims * sizeof *q);
    tern_match *first = malloc(k * sizeof *first), *matches = malloc(k * sizeof *matches);
    size_t n_first = 0, n_matches;
    assert_true(q && first && matches);
    for (size_t d = 0; d < dims; d++)
        q[d] = (float)tern_rng_normal(&rng);
    for (size_t i = 0; all[i]; i++)
        for (int threads = 1; threads <= 4 && !(all[i]->features & ~tern_cpu_features()); threads += 3) {
            tern_pool *pool;
            assert_int_equal(tern_pool_create(threads, &pool, &err), TERN_OK);
            assert_int_equal(tern_index_centre(&index, all[i], pool, &err), TERN_OK);
            assert_int_equal(tern_index_search(&index, all[i], pool, q, k, matches, &n_matches, &err), TERN_OK);
            if (i == 0 && threads == 1) {
                check_matches(&index, q, matches, n_matches, k);
                n_first = n_matches;
                memcpy(first, matches, n_matches * sizeof *matches);
            }
            assert_int_equal(n_matches, n_first);
            for (size_t m = 0; m < n_matches; m++) {
                float score;
                assert_int_equal(first[m].row, matches[m].row);
                assert_memory_equal(&first[m].score, &matches[m].score, sizeof(float));
                assert_int_equal(tern_index_score(&index, all[i], q, matches[m].row, &score, &err), TERN_OK);
                assert_memory_equal(&first[m].score, &score, sizeof(float));
            }
            tern_pool_free(pool);
        }
    free(q);
    free(first);
    free(matches);
    tern_index_free(&index);
}

static void test_search(void **state) {
    (void)state;
    tern_rng_seed(&rng, 11);
    check_one(0, 64, 3);
    check_one(1, 64, 1);
    check_one(2, 100, 5);
    check_one(300, 100, 7);
    check_one(1500, 256, 256);
    check_one(700, 320, 700);
    check_one(400, 2560, 4);
}

/* Scores that are all the same: the lowest rows, whatever the threads do. */
static void test_ties(void **state) {
    (void)state;
    const tern_kernels *kernels = tern_kernels_all()[0];
    tern_index index;
    tern_pool *pool;
    tern_error err;
    float q[64];
    tern_match matches[9];
    size_t n;
    assert_int_equal(tern_index_create(2000, 64, &index, &err), TERN_OK);
    for (size_t i = 0; i < 2000; i++) {
        index.scales[i] = 0.01F;
        for (size_t d = 0; d < 64; d++)
            index.bytes[i * 64 + d] = (int8_t)d;
    }
    for (size_t d = 0; d < 64; d++)
        q[d] = d < 32 ? 1 : -1;
    assert_int_equal(tern_pool_create(3, &pool, &err), TERN_OK);
    assert_int_equal(tern_index_centre(&index, kernels, pool, &err), TERN_OK);
    for (int round = 0; round < 20; round++) {
        assert_int_equal(tern_index_search(&index, kernels, pool, q, 9, matches, &n, &err), TERN_OK);
        assert_int_equal(n, 9);
        for (size_t i = 0; i < 9; i++)
            assert_int_equal(matches[i].row, i);
    }
    tern_pool_free(pool);
    tern_index_free(&index);
}

static void test_agreement(void **state) {
    (void)state;
    const float low[] = {1, 2, 3}, high[] = {4, 5}, mixed[] = {0, 9}, tie[] = {2};
    assert_true(tern_agreement(high, 2, low, 3) == 1);
    assert_true(tern_agreement(low, 3, high, 2) == -1);
    assert_true(tern_agreement(mixed, 2, low, 3) == 0);
    assert_true(tern_agreement(tie, 1, low, 3) == 0);
    assert_true(tern_agreement(high, 1, mixed, 2) == 0);
    assert_true(tern_agreement(high, 0, low, 3) == 0);
    assert_true(tern_agreement(high, 2, low, 0) == 0);
    const float above[] = {2, 4};
    assert_true(fabs(tern_agreement(above, 2, low, 3) - 0.5) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_search), cmocka_unit_test(test_ties),
                                       cmocka_unit_test(test_agreement)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
