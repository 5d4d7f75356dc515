/* Where a model's threads and bytes are changes no bit of what it computes, and nothing of it stays behind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tern/tern.h"

static const int32_t ids[] = {1, 50, 100, 150, 200};
enum { N_IDS = sizeof ids / sizeof *ids };

/* Logits [vocab] of the built-in model, to be freed; NULL: it cannot be loaded so, err says why. */
static float *logits_with(const tern_model_params *params, tern_error *err) {
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_model_info info;
    if (tern_model_load(NULL, params, &model, err))
        return NULL;
    tern_model_get_info(model, &info);
    assert_true(info.n_memory_nodes >= 1);
    if (tern_session_create(model, NULL, &session, err) || tern_session_eval(session, ids, N_IDS, err))
        fail_msg("%s", err->message);
    float *copy = malloc(info.vocab_size * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, tern_session_logits(session), info.vocab_size * sizeof *copy);
    tern_session_free(session);
    tern_model_free(model);
    return copy;
}

static long long locked_kb(void) {
    char line[256];
    long long value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "VmLck: %lld", &value);
    if (file)
        fclose(file);
    return value;
}

static void compare(const tern_model_params *params, const char *may_fail_with) {
    tern_error err;
    tern_model *model = NULL;
    float *plain = logits_with(NULL, &err), *placed = logits_with(params, &err);
    assert_non_null(plain);
    if (!placed && may_fail_with && strstr(err.message, may_fail_with)) {
        print_message("%s\n", err.message);
        free(plain);
        return;
    }
    if (!placed)
        fail_msg("%s", err.message);
    assert_int_equal(tern_model_load(NULL, NULL, &model, &err), TERN_OK);
    assert_memory_equal(plain, placed, tern_tokenizer_vocab_size(tern_model_tokenizer(model)) * sizeof *plain);
    tern_model_free(model);
    free(plain);
    free(placed);
}

static tern_model_params three_threads(void) {
    tern_model_params params = tern_model_defaults();
    params.n_threads = 3;
    return params;
}

static void test_pin(void **state) {
    (void)state;
    tern_model_params params = three_threads();
    params.pin = true;
#ifdef __linux__
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    compare(&params, "refuses");
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
#else
    compare(&params, "cannot keep threads");
#endif
}

#ifdef __linux__
typedef struct elsewhere {
    const tern_model *model;
    cpu_set_t wanted, after;
} elsewhere;

/* A thread with a mask of its own, which asks a model that another thread has evaluated with. */
static void *ask_for_stats(void *context) {
    elsewhere *e = context;
    tern_model_stats stats;
    if (pthread_setaffinity_np(pthread_self(), sizeof e->wanted, &e->wanted))
        return (void *)"the thread cannot be put on one CPU";
    tern_model_get_stats(e->model, &stats);
    if (pthread_getaffinity_np(pthread_self(), sizeof e->after, &e->after))
        return (void *)"the thread's CPUs cannot be read";
    return NULL;
}

static void test_pin_and_stats(void **state) {
    (void)state;
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    if (CPU_COUNT(&mine) < 2) {
        print_message("only one CPU: all masks are the same\n");
        skip();
    }
    tern_model_params params = three_threads();
    params.pin = true;
    tern_error err;
    tern_session *session = NULL;
    elsewhere e = {0};
    tern_model *model = NULL;
    if (tern_model_load(NULL, &params, &model, &err)) {
        print_message("%s\n", err.message);
        skip();
    }
    if (tern_session_create(model, NULL, &session, &err) || tern_session_eval(session, ids, N_IDS, &err))
        fail_msg("%s", err.message);
    e.model = model;
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&e.wanted); cpu++)
        if (CPU_ISSET(cpu, &mine))
            CPU_SET(cpu, &e.wanted);
    pthread_t thread;
    void *failure = NULL;
    assert_int_equal(pthread_create(&thread, NULL, ask_for_stats, &e), 0);
    pthread_join(thread, &failure);
    if (failure)
        fail_msg("%s", (const char *)failure);
    assert_true(CPU_EQUAL(&e.wanted, &e.after));
    tern_session_free(session);
    tern_model_free(model);
}
#endif

static void test_numa(void **state) {
    (void)state;
    static const tern_numa places[] = {TERN_NUMA_INTERLEAVE, TERN_NUMA_LOCAL};
    for (size_t i = 0; i < 2; i++) {
        tern_model_params params = three_threads();
        params.numa = places[i];
        compare(&params, "on a CPU each");
    }
}

static void test_huge_pages(void **state) {
    (void)state;
    tern_model_params params = three_threads();
    params.huge_pages = true;
    compare(&params, "huge page");
}

static void test_mlock(void **state) {
    (void)state;
    tern_model_params params = three_threads();
    params.mlock = true;
    long long before = locked_kb();
    compare(&params, "cannot lock");
    assert_int_equal(locked_kb(), before);
    tern_model *model = NULL;
    if (tern_model_load(NULL, &params, &model, NULL) == TERN_OK && locked_kb() > 0)
        assert_true(locked_kb() - before >= 1000); /* the built-in model has 1.4 MB of packed weights */
    tern_model_free(model);
    assert_int_equal(locked_kb(), before);
}

static void test_warm_up(void **state) {
    (void)state;
    tern_model_params params = three_threads();
    params.warm_up = true;
    compare(&params, NULL);
}

static void test_all(void **state) {
    (void)state;
    tern_model_params params = three_threads();
    params.pin = params.warm_up = true;
    params.numa = TERN_NUMA_LOCAL;
    compare(&params, "on a CPU each");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef __linux__
        cmocka_unit_test(test_pin_and_stats),
#endif
        cmocka_unit_test(test_pin),           cmocka_unit_test(test_numa),    cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_mlock),         cmocka_unit_test(test_warm_up), cmocka_unit_test(test_all),
    };
    return cmocka_run_group_tests_name("memory and threads", tests, NULL, NULL);
}
