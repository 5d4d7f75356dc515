/* What the tests of the training operations share: random values, the rungs of this CPU, and comparison with double
 * precision. */
#ifndef TERN_TESTS_TRAIN_OPS_CHECK_H
#define TERN_TESTS_TRAIN_OPS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/ops.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static tern_rng check_rng = {{1, 2, 3, 4}};

/* What a test allocates is freed all together. */
static void *check_blocks[4096];
static size_t check_n_blocks;

static inline void *check_alloc(size_t bytes) {
    assert_true(check_n_blocks < COUNT(check_blocks));
    void *memory = tern_aligned_alloc(bytes);
    assert_non_null(memory);
    check_blocks[check_n_blocks++] = memory;
    return memset(memory, 0, bytes);
}

static inline int check_free_all(void **state) {
    (void)state;
    while (check_n_blocks)
        tern_aligned_free(check_blocks[--check_n_blocks]);
    return 0;
}

static inline float *zeros(size_t n) { return check_alloc(n * sizeof(float) + 64); }

static inline float *normals(size_t n, double deviation) {
    float *x = zeros(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(tern_rng_normal(&check_rng) * deviation);
    return x;
}

static inline float *copy_of(const float *x, size_t n) { return memcpy(zeros(n), x, n * sizeof *x); }

static inline double *doubles_of(const float *x, size_t n) {
    double *out = check_alloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

/* Operations on a rung with some threads; both freed by ops_close(). */
static inline tern_ops ops_open(const char *rung, const tern_dims *dims, size_t max_tokens, int threads) {
    tern_ops ops;
    tern_pool *pool;
    tern_error error;
    assert_int_equal(tern_pool_create(threads, &pool, &error), TERN_OK);
    if (tern_ops_create(rung, dims, max_tokens, pool, &ops, &error))
        fail_msg("%s", error.message);
    return ops;
}
static inline void ops_close(tern_ops *ops) {
    tern_pool *pool = ops->pool;
    tern_ops_free(ops);
    tern_pool_free(pool);
}

/* for (each rung that runs here) */
#define FOR_RUNGS(rung)                                                                                                \
    for (const tern_kernels *const *at_ = tern_kernels_all(), *rung; (rung = *at_) != NULL; at_++)                     \
        if (!(rung->features & ~tern_cpu_features()))

/* |got - want| <= tolerance * the largest |want| */
static inline void check_close(const char *what, const float *got, const double *want, size_t n, double tolerance) {
    double largest = 1e-30;
    for (size_t i = 0; i < n; i++)
        largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * largest))
            fail_msg("%s: element %zu is %.9g, should be %.9g (largest %.3g, tolerance %.3g)", what, i, (double)got[i],
                     want[i], largest, tolerance);
}

static inline void check_same_bits(const char *what, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s: element %zu is %a, should be %a", what, i, (double)a[i], (double)b[i]);
}

/* Every `stride`-th element of gradient against (loss(x + h) - loss(x - h)) / 2 h, within tolerance * the largest. */
typedef double (*loss_fn)(void *user);
static inline void check_gradient(const char *what, loss_fn loss, void *user, double *x, size_t n, size_t stride,
                                  const float *gradient, double tolerance) {
    float largest = 1e-30f;
    for (size_t i = 0; i < n; i++)
        largest = fabsf(gradient[i]) > largest ? fabsf(gradient[i]) : largest;
    for (size_t i = 0; i < n; i += stride) {
        double at = x[i], h = 1e-5 * fmax(1.0, fabs(at));
        x[i] = at + h;
        double above = loss(user);
        x[i] = at - h;
        double below = loss(user), difference = (above - below) / (2 * h);
        x[i] = at;
        if (!(fabs(difference - (double)gradient[i]) <= tolerance * (double)largest))
            fail_msg("%s: gradient %zu is %.9g, central difference %.9g (largest %.3g)", what, i, (double)gradient[i],
                     difference, (double)largest);
    }
}

#endif
