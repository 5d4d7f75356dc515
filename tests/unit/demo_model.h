/* The built-in model, requests to it and checks of what comes back, for tests by the words of tern.h. */
#ifndef TERN_TESTS_DEMO_MODEL_H
#define TERN_TESTS_DEMO_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tern/tern.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        tern_error error = {0}, *err = &error;                                                                         \
        if ((call) != TERN_OK)                                                                                         \
            fail_msg("%s: %s", #call, error.message);                                                                  \
    } while (0)

/* The call fails with this status and says why. */
#define FAILS(wanted, part, call)                                                                                      \
    do {                                                                                                               \
        tern_error error = {0}, *err = &error;                                                                         \
        assert_int_equal((call), (wanted));                                                                            \
        assert_int_equal(error.status, (wanted));                                                                      \
        if (!strstr(error.message, part) || strchr(error.message, '\n'))                                               \
            fail_msg("'%s' without '%s'", error.message, part);                                                        \
    } while (0)

static tern_model *model;
static tern_model_info info;

static inline int load_model(int n_threads) {
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = n_threads}, &model, NULL))
        return -1;
    tern_model_get_info(model, &info);
    return 0;
}

static inline int free_model(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

/* A greedy request for n ids, which begin with `first` and go on in a way of their own -> ids [n]. */
static inline tern_request_params greedy_request(int32_t first, size_t n, int64_t max_tokens, int32_t *ids) {
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)((uint32_t)first * 31 + i * 7919 % 1009) % (int32_t)info.vocab_size;
    tern_request_params params = {
        .ids = ids, .n_ids = n, .max_tokens = max_tokens, .sampler = tern_sampler_defaults(), .ignore_end = true};
    params.sampler.temperature = 0;
    return params;
}

static inline tern_scheduler_stats stats_of(tern_scheduler *s) {
    tern_scheduler_stats stats;
    tern_scheduler_get_stats(s, &stats);
    return stats;
}

#endif
