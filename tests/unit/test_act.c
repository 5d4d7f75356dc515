/* 4-bit activations (BitNet a4.8): the roundings against a readable reference, and that a model run with them has the
 * same bits on every rung, for every number of threads and every split into steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "runtime/cpu_round.h"
#include "tern/tern.h"

#define MODEL TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16"
enum { VOCAB = 277, N_IDS = 21, MOST = 700 };

static tern_error err;
#define OK(call, err)                                                                                                  \
    do {                                                                                                               \
        if (call)                                                                                                      \
            fail_msg("%s", (err).message);                                                                             \
    } while (0)

/* ------------------------------------------------------------- references */

/* As the header says it, one value after the other. */
static void quantize_i4(const float *x, size_t n, int8_t *q, float *scale) {
    float lane[16] = {0}, mean;
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i]))
            lane[i % 16] += fabsf(x[i]);
    for (size_t half = 8; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    mean = lane[0] / (float)n;
    *scale = (float)sqrt(7) / fmaxf(mean, 1e-5f);
    for (size_t i = 0; i < n; i++) {
        float value = x[i] * *scale;
        q[i] = isnan(value) ? 0 : (int8_t)fminf(fmaxf(rintf(value), -8), 7);
    }
}

static int descending(const void *a, const void *b) {
    float left = *(const float *)a, right = *(const float *)b;
    return (left < right) - (left > right);
}

static float smallest_kept(const float *x, size_t n) {
    float sorted[MOST];
    for (size_t i = 0; i < n; i++)
        sorted[i] = fabsf(x[i]);
    qsort(sorted, n, sizeof *sorted, descending);
    return sorted[(n + 1) / 2 - 1];
}

/* ------------------------------------------------------------------ tests */

static void test_by_hand(void **state) {
    (void)state;
    /* mean |x| of 16 is sqrt(7), exactly, so s = 1: 2.5 goes to the even 2, 3.5 to 4, 9 and -9 to the ends */
    const float root = 2.64575131f;
    const float x[] = {2.5f, -3.5f, 9, -9, 0.375f, -0.5f, 0, 16 * root - 24.875f, 0, 0, 0, 0, 0, 0, 0, 0};
    const int8_t wanted[] = {2, -4, 7, -8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0};
    int8_t q[20];
    float scale;
    int32_t sum;
    memset(q, 99, sizeof q);
    tern_quantize_i4(x, 16, 20, q, &scale, &sum);
    assert_true(scale == 1);
    assert_memory_equal(q, wanted, sizeof wanted);
    assert_memory_equal(q + 16, ((int8_t[4]){0}), 4);
    assert_int_equal(sum, 4);

    const float y[] = {1, -5, 3, -3, 2, 3, 0};
    int8_t kept[] = {1, -5, 3, -3, 2, 3, 7};
    tern_keep_larger_half(y, 7, kept, &sum); /* the fourth largest of 7 is 3 */
    assert_memory_equal(kept, ((int8_t[]){0, -5, 3, -3, 0, 3, 0}), 7);
    assert_int_equal(sum, -2);
    int8_t same[] = {4, 4, 4};
    tern_keep_larger_half((const float[]){2, -2, 2}, 3, same, &sum); /* equal ones all stay */
    assert_int_equal(sum, 12);
}

static void test_against_reference(void **state) {
    (void)state;
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    for (size_t n = 1; n <= MOST; n += n < 70 ? 1 : 13) {
        float x[MOST], scale, wanted_scale;
        int8_t q[MOST + TERN_Q_PAD], wanted[MOST];
        int32_t sum, wanted_sum = 0;
        float size = powf(10, (float)(n % 9) - 4); /* below 1e-5, too */
        for (size_t i = 0; i < n; i++)
            x[i] = size * (float)tern_rng_normal(&rng) * (i % 31 == 7 ? 20.0f : 1.0f);
        if (n % 10 == 3)
            x[n / 2] = NAN;
        if (n % 50 == 9)
            x[n / 3] = INFINITY;
        quantize_i4(x, n, wanted, &wanted_scale);
        tern_quantize_i4(x, n, tern_q_pad(n), q, &scale, &sum);
        assert_memory_equal(&scale, &wanted_scale, sizeof scale);
        assert_memory_equal(q, wanted, n);
        for (size_t i = 0; i < n; i++)
            wanted_sum += wanted[i];
        assert_int_equal(sum, wanted_sum);

        if (n % 10 == 3)
            x[n / 2] = 0;
        size_t n_kept = 0;
        float least = smallest_kept(x, n);
        for (size_t i = 0; i < n; i++)
            q[i] = (int8_t)(1 + i % 100);
        tern_keep_larger_half(x, n, q, &sum);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(q[i], fabsf(x[i]) >= least ? (int)(1 + i % 100) : 0);
            n_kept += q[i] != 0;
        }
        assert_true(n_kept >= (n + 1) / 2);
    }
}

/* Logits of all tokens. */
static float *logits_of(const char *cpu, tern_act_type act, int threads, uint32_t chunk) {
    tern_model_params params = tern_model_defaults();
    tern_session_params session_params = tern_session_defaults();
    tern_model *model;
    tern_session *session;
    int32_t ids[N_IDS];
    float *logits = malloc(sizeof *logits * N_IDS * VOCAB);
    assert_non_null(logits);
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((i * 31 + 5) % (VOCAB - 12));
    params.cpu = cpu;
    params.act = act;
    params.n_threads = threads;
    session_params.chunk = chunk;
    OK(tern_model_load(MODEL, &params, &model, &err), err);
    OK(tern_session_create(model, &session_params, &session, &err), err);
    OK(tern_session_eval_logits(session, ids, N_IDS, logits, &err), err);
    tern_session_free(session);
    tern_model_free(model);
    return logits;
}

static void test_bits(void **state) {
    (void)state;
    size_t bytes = sizeof(float) * N_IDS * VOCAB;
    float *wanted = logits_of("ref", TERN_ACT_INT4, 1, 1), *exact = logits_of("ref", TERN_ACT_INT8, 1, 1);
    assert_memory_not_equal(wanted, exact, bytes);
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        static const uint32_t chunks[] = {1, 5, 64};
        if (((*rung)->features & tern_cpu_features()) != (*rung)->features)
            continue;
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            float *logits = logits_of((*rung)->name, TERN_ACT_INT4, 1 + (int)i, chunks[i]);
            if (memcmp(logits, wanted, bytes))
                fail_msg("%s, %zu threads, steps of %u: other bits than ref", (*rung)->name, i + 1, chunks[i]);
            free(logits);
        }
    }
    free(wanted);
    free(exact);
}

static void test_bad(void **state) {
    (void)state;
    tern_model_params params = tern_model_defaults();
    tern_model *model;
    params.act = (tern_act_type)2;
    assert_int_equal(tern_model_load(MODEL, &params, &model, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "TERN_ACT_INT4"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
