/*
 * The CUDA backend under what runs several things at once, in one process with the CPU's: the scheduler's batches of
 * requests, sessions on several threads, two models; that a device that failed once is used again; and that a caller
 * with a GPU of its own keeps it. On the tests' libcuda.so.1 (tests/cuda/emulator), or on a GPU.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

enum { N_REQUESTS = 7, MOST_IDS = 96, N_ANSWER = 6, VOCAB = 277 };

static const char path[] = TERN_SOURCE_DIR "/tests/data/golden/small/model-f16.gguf";

static tern_model *load(const char *backend) {
    tern_model *model = NULL;
    tern_model_params params = tern_model_defaults();
    tern_model_info info;
    params.n_threads = 1;
    setenv("TERN_BACKEND", backend, 1);
    OK(tern_model_load(path, &params, &model, err));
    tern_model_get_info(model, &info);
    assert_int_equal(info.vocab_size, VOCAB);
    assert_int_equal(strcmp(info.kernels, "cuda") == 0, strcmp(backend, "cuda") == 0);
    return model;
}

static void fill_ids(int32_t *ids, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)((seed * 7919 + i * i * 31 + i * 17) % 256);
}

/* ---- the scheduler ---- */

/* A request and what came of it. on_done is the last that the scheduler does with it. */
typedef struct client {
    int32_t ids[MOST_IDS];
    size_t n_ids;
    tern_sampler_params sampler;
    int32_t answer[N_ANSWER];
    size_t n_answer;
    tern_status status;
    tern_error err;
    bool done;
} client;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static bool on_event(void *user, const tern_request_event *event) {
    client *c = user;
    if (event->id >= 0 && c->n_answer < N_ANSWER)
        c->answer[c->n_answer++] = event->id;
    return true;
}

static void on_done(void *user, const tern_request_result *result) {
    client *c = user;
    pthread_mutex_lock(&lock);
    c->status = result->status;
    c->err = result->err;
    c->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(client *clients, size_t n) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++)
        while (!clients[i].done)
            pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void submit(tern_scheduler *scheduler, client *c) {
    tern_request_params params = {.ids = c->ids,
                                  .n_ids = c->n_ids,
                                  .sampler = c->sampler,
                                  .max_tokens = N_ANSWER,
                                  .ignore_end = true,
                                  .on_event = on_event,
                                  .on_done = on_done,
                                  .user = c};
    OK(tern_scheduler_submit(scheduler, &params, NULL, err));
}

/* Prompts of a token to some blocks of the cache, greedy and sampled; two begin alike. */
static void make_clients(client *clients) {
    static const size_t lengths[N_REQUESTS] = {1, 5, 96, 64, 70, 33, 96};
    memset(clients, 0, N_REQUESTS * sizeof *clients);
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        clients[i].n_ids = lengths[i];
        fill_ids(clients[i].ids, lengths[i], i == 6 ? 2 : i);
        clients[i].sampler = tern_sampler_defaults();
        clients[i].sampler.temperature = i % 2 ? 0.9f : 0.0f;
        clients[i].sampler.seed = 100 + i;
    }
    clients[6].ids[95] = 3;
}

static void run_requests(const char *backend, tern_kv_type kv_type, client *clients) {
    tern_model *model = load(backend);
    tern_scheduler_params params = tern_scheduler_defaults();
    tern_scheduler *scheduler = NULL;
    params.kv_type = kv_type;
    params.n_ctx = 128;
    params.max_running = 5;
    OK(tern_scheduler_create(model, &params, &scheduler, err));
    make_clients(clients);
    for (size_t i = 0; i < N_REQUESTS; i++)
        submit(scheduler, &clients[i]);
    wait_for(clients, N_REQUESTS);
    tern_scheduler_free(scheduler);
    tern_model_free(model);
}

static void test_scheduler(void **state) {
    (void)state;
    static const tern_kv_type types[] = {TERN_KV_Q8, TERN_KV_F16};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        static client want[N_REQUESTS], got[N_REQUESTS];
        run_requests("cpu", types[t], want);
        run_requests("cuda", types[t], got);
        for (size_t i = 0; i < N_REQUESTS; i++) {
            assert_int_equal(got[i].status, TERN_OK);
            assert_int_equal(got[i].n_answer, N_ANSWER);
            assert_memory_equal(got[i].answer, want[i].answer, sizeof want[i].answer);
        }
    }
}

/* A step that fails ends what runs, and says why; the next request is as if nothing had been. */
static void test_after_a_failure(void **state) {
    (void)state;
    static client want[N_REQUESTS], clients[N_REQUESTS];
    tern_scheduler_params params = tern_scheduler_defaults();
    tern_scheduler *scheduler = NULL;
    if (!getenv("TERN_EMULATED_CUDA"))
        skip(); /* a GPU cannot be told to fail */
    params.n_ctx = 128;
    run_requests("cpu", params.kv_type, want);
    tern_model *model = load("cuda");
    OK(tern_scheduler_create(model, &params, &scheduler, err));
    make_clients(clients);
    setenv("TERN_EMULATOR_FAIL", "cuStreamSynchronize:0:700", 1); /* nothing runs yet: nobody reads it beside us */
    submit(scheduler, &clients[1]);
    wait_for(&clients[1], 1);
    assert_int_equal(clients[1].status, TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(clients[1].err.message, "emulator"));
    unsetenv("TERN_EMULATOR_FAIL");
    submit(scheduler, &clients[2]);
    wait_for(&clients[2], 1);
    assert_int_equal(clients[2].status, TERN_OK);
    assert_memory_equal(clients[2].answer, want[2].answer, sizeof want[2].answer);
    tern_scheduler_free(scheduler);
    tern_model_free(model);
}

/* ---- threads ---- */

typedef struct reader {
    tern_model *model;
    tern_kv_type kv_type;
    uint32_t seed;
    float logits[40][VOCAB];
    bool failed;
} reader;

static void *read_logits(void *context) {
    reader *r = context;
    tern_session_params params = tern_session_defaults();
    tern_session *session = NULL;
    int32_t ids[40];
    params.kv_type = r->kv_type;
    params.chunk = 9;
    fill_ids(ids, 40, r->seed);
    r->failed = tern_session_create(r->model, &params, &session, NULL) ||
                tern_session_eval_logits(session, ids, 40, &r->logits[0][0], NULL);
    tern_session_free(session);
    return NULL;
}

static void test_threads_and_models(void **state) {
    (void)state;
    enum { N = 3 };
    static reader want[N], got[N];
    pthread_t threads[N];
    tern_model *cpu = load("cpu"), *first = load("cuda"), *second = load("cuda");
    for (uint32_t i = 0; i < N; i++) {
        want[i] = (reader){.model = cpu, .kv_type = i == 1 ? TERN_KV_F32 : TERN_KV_Q8, .seed = i};
        got[i] = want[i];
        got[i].model = i == 2 ? second : first;
        read_logits(&want[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, read_logits, &got[i]), 0);
    }
    for (uint32_t i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_false(want[i].failed || got[i].failed);
        assert_memory_equal(got[i].logits, want[i].logits, sizeof want[i].logits);
    }
    tern_model_free(first);
    tern_model_free(second);
    tern_model_free(cpu);
}

/* ---- failures that are over ---- */

/* A failure belongs to the call that had it: the next one neither tells nor has it. */
static void test_told_once(void **state) {
    (void)state;
    tern_session_params params = tern_session_defaults();
    tern_session *session = NULL;
    int32_t ids[8];
    if (!getenv("TERN_EMULATED_CUDA"))
        skip();
    fill_ids(ids, 8, 1);
    tern_model *model = load("cuda");
    OK(tern_session_create(model, &params, &session, err));
    OK(tern_session_eval(session, ids, 4, err));
    setenv("TERN_EMULATOR_FAIL", "cuMemcpyDtoHAsync_v2:0:719", 1);
    assert_null(tern_session_logits(session));
    unsetenv("TERN_EMULATOR_FAIL");
    OK(tern_session_eval(session, ids + 4, 4, err));
    assert_non_null(tern_session_logits(session));
    tern_session_free(session);
    tern_model_free(model);
}

/* What is no want of memory is not called that, whoever asks for it. */
static void test_failing_memory(void **state) {
    (void)state;
    static const struct {
        const char *fail, *says;
        tern_status status;
    } cases[] = {{"cuMemAlloc_v2:0:719", "unspecified launch failure", TERN_ERR_UNSUPPORTED},
                 {"cuMemAlloc_v2:0:2", "there is room for 64)", TERN_ERR_MEMORY}};
    static int32_t ids[70];
    if (!getenv("TERN_EMULATED_CUDA"))
        skip();
    fill_ids(ids, 70, 1);
    tern_model *model = load("cuda");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_session_params params = tern_session_defaults();
        tern_session *session = NULL;
        tern_error why = {0};
        params.n_ctx = 128;
        OK(tern_session_create(model, &params, &session, err));
        OK(tern_session_eval(session, ids, 3, err));
        setenv("TERN_EMULATOR_FAIL", cases[i].fail, 1);
        assert_int_equal(tern_session_eval(session, ids + 3, 67, &why), cases[i].status);
        if (!strstr(why.message, cases[i].says))
            fail_msg("'%s' does not say '%s'", why.message, cases[i].says);
        unsetenv("TERN_EMULATOR_FAIL");
        OK(tern_session_eval(session, ids + 3, 67, err));
        tern_session_free(session);
    }
    tern_model_free(model);
}

/* ---- the caller's own use of CUDA ---- */

typedef struct cuda_calls {
    int (*get)(void **context);
    int (*retain)(void **context, int device);
    int (*release)(int device);
    int (*set)(void *context);
} cuda_calls;

static bool find_call(void *library, const char *name, void *call, size_t size) {
    void *found = dlsym(library, name);
    memcpy(call, &found, size);
    return found != NULL;
}

static void *current(const cuda_calls *cuda) {
    void *context = NULL;
    assert_int_equal(cuda->get(&context), 0);
    return context;
}

/* Load, evaluate, choose a token, free: the thread has the context that it had, after each. */
static void use_model(const cuda_calls *cuda, void *context) {
    tern_session_params params = tern_session_defaults();
    tern_session *session = NULL;
    int32_t ids[8];
    fill_ids(ids, 8, 1);
    tern_model *model = load("cuda");
    assert_ptr_equal(current(cuda), context);
    OK(tern_session_create(model, &params, &session, err));
    assert_ptr_equal(current(cuda), context);
    OK(tern_session_eval(session, ids, 8, err));
    assert_ptr_equal(current(cuda), context);
    assert_non_null(tern_session_logits(session));
    assert_ptr_equal(current(cuda), context);
    tern_session_free(session);
    tern_model_free(model);
    assert_ptr_equal(current(cuda), context);
}

static void test_callers_context(void **state) {
    (void)state;
    cuda_calls cuda;
    void *context = NULL, *library = dlopen("libcuda.so.1", RTLD_NOW);
    assert_non_null(library);
    assert_true(find_call(library, "cuCtxGetCurrent", &cuda.get, sizeof cuda.get) &&
                find_call(library, "cuDevicePrimaryCtxRetain", &cuda.retain, sizeof cuda.retain) &&
                find_call(library, "cuDevicePrimaryCtxRelease_v2", &cuda.release, sizeof cuda.release) &&
                find_call(library, "cuCtxSetCurrent", &cuda.set, sizeof cuda.set));
    use_model(&cuda, NULL);
    assert_int_equal(cuda.retain(&context, 0), 0);
    assert_int_equal(cuda.set(context), 0);
    use_model(&cuda, context);
    assert_int_equal(cuda.set(NULL), 0);
    assert_int_equal(cuda.release(0), 0);
    dlclose(library);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scheduler),          cmocka_unit_test(test_after_a_failure),
        cmocka_unit_test(test_threads_and_models), cmocka_unit_test(test_told_once),
        cmocka_unit_test(test_failing_memory),     cmocka_unit_test(test_callers_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
