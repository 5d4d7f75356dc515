/* Sessions by the words of tern.h, on the built-in model: what a timeline holds, what a failure leaves, cancelling,
 * threads. That logits do not depend on how a sequence is cut is the subject of golden/test_bits.c. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "tern/tern.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        tern_error error = {0}, *err = &error;                                                                         \
        if ((call) != TERN_OK)                                                                                         \
            fail_msg("%s: %s", #call, error.message);                                                                  \
    } while (0)

/* The call fails with this status and says why. */
#define FAILS(wanted, call)                                                                                            \
    do {                                                                                                               \
        tern_error error = {0}, *err = &error;                                                                         \
        assert_int_equal((call), (wanted));                                                                            \
        assert_int_equal(error.status, (wanted));                                                                      \
        assert_true(error.message[0] != 0 && !strchr(error.message, '\n'));                                            \
    } while (0)

static tern_model *model;
static tern_model_info info;

/* A sequence, and the logits of each of its positions [N_IDS, vocab], by one session with an F32 cache. */
enum { N_IDS = 150 };
static int32_t ids[N_IDS];
static float *expected;

static tern_session *new_session(uint32_t n_ctx, uint32_t chunk, tern_kv_type kv_type) {
    tern_session_params params = {.n_ctx = n_ctx, .chunk = chunk, .kv_type = kv_type};
    tern_session *session = NULL;
    OK(tern_session_create(model, &params, &session, err));
    return session;
}

static void must_have_logits(tern_session *session, uint32_t n_past) {
    assert_int_equal(tern_session_n_past(session), n_past);
    assert_memory_equal(tern_session_tokens(session), ids, n_past * sizeof *ids);
    const float *logits = tern_session_logits(session);
    assert_non_null(logits);
    assert_memory_equal(logits, expected + (n_past - 1) * (size_t)info.vocab_size, info.vocab_size * sizeof *logits);
}

static int setup(void **state) {
    (void)state;
    tern_model_params params = tern_model_defaults();
    params.n_threads = 2;
    if (tern_model_load(NULL, &params, &model, NULL))
        return -1;
    tern_model_get_info(model, &info);
    for (int32_t i = 0; i < N_IDS; i++)
        ids[i] = (i * 7919 + 13) % (int32_t)info.vocab_size;
    expected = malloc(sizeof *expected * N_IDS * info.vocab_size);
    if (!expected)
        return -1;
    tern_session *session = new_session(0, 0, TERN_KV_F32);
    OK(tern_session_eval_logits(session, ids, N_IDS, expected, err));
    tern_session_free(session);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(expected);
    tern_model_free(model);
    return 0;
}

/* ---------------------------------------------------------------- creation */

static void test_create(void **state) {
    (void)state;
    const tern_session_params bad[] = {
        {.n_ctx = info.n_ctx + 1}, {.n_ctx = UINT32_MAX}, {.chunk = 4097},
        {.chunk = UINT32_MAX},     {.kv_type = 3},        {.kv_type = (tern_kv_type)-1},
    };
    tern_session *untouched = (tern_session *)&model, *session = untouched;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(TERN_ERR_ARGUMENT, tern_session_create(model, &bad[i], &session, err));
        assert_ptr_equal(session, untouched);
        assert_int_equal(tern_session_create(model, &bad[i], &session, NULL), TERN_ERR_ARGUMENT);
    }
    OK(tern_session_create(model, NULL, &session, err));
    assert_int_equal(tern_session_n_ctx(session), info.n_ctx);
    tern_session_free(session);
    session = new_session(10, 4096, TERN_KV_F16); /* a chunk larger than the context */
    assert_int_equal(tern_session_n_ctx(session), 10);
    OK(tern_session_eval(session, ids, 10, err));
    tern_session_free(session);
    tern_session_free(NULL);
}

static void test_model_parameters(void **state) {
    (void)state;
    tern_model *untouched = (tern_model *)&info, *other = untouched;
    FAILS(TERN_ERR_ARGUMENT, tern_model_load(NULL, &(tern_model_params){.n_threads = -1}, &other, err));
    FAILS(TERN_ERR_ARGUMENT, tern_model_load(NULL, &(tern_model_params){.cpu = "no such rung"}, &other, err));
    FAILS(TERN_ERR_IO, tern_model_load("/nonexistent/model.gguf", NULL, &other, err));
    assert_ptr_equal(other, untouched);
    tern_model_free(NULL);
}

static void test_empty(void **state) {
    (void)state;
    tern_session *session = new_session(0, 0, TERN_KV_F16);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tern_session_n_past(session), 0);
        assert_int_equal(tern_session_kv_bytes(session), 0);
        assert_null(tern_session_logits(session));
        assert_null(tern_session_embedding(session));
        OK(tern_session_eval(session, NULL, 0, err)); /* nothing is not an error, and changes nothing */
        OK(tern_session_eval_logits(session, NULL, 0, NULL, err));
        OK(tern_session_truncate(session, 0, err));
    }
    FAILS(TERN_ERR_ARGUMENT, tern_session_truncate(session, 1, err));
    tern_session_free(session);
}

/* -------------------------------------------------------------- evaluation */

/* That of the last token, whatever the chunks; its own memory, apart from the logits'. */
static void test_embedding(void **state) {
    (void)state;
    tern_session *a = new_session(0, 0, TERN_KV_F32), *b = new_session(0, 7, TERN_KV_F32);
    OK(tern_session_eval(a, ids, 40, err));
    OK(tern_session_eval(b, ids, 25, err));
    OK(tern_session_eval(b, ids + 25, 15, err));
    size_t bytes = info.hidden_size * sizeof(float);
    float *kept = malloc(bytes);
    assert_non_null(kept);
    const float *embedding = tern_session_embedding(a);
    assert_non_null(embedding);
    memcpy(kept, embedding, bytes);
    assert_memory_equal(kept, tern_session_embedding(b), bytes);
    double squares = 0;
    for (uint32_t i = 0; i < info.hidden_size; i++) {
        assert_true(isfinite(kept[i]));
        squares += (double)kept[i] * kept[i];
    }
    assert_true(squares > 0);
    must_have_logits(a, 40); /* asking for logits leaves the embedding */
    assert_memory_equal(kept, tern_session_embedding(a), bytes);
    OK(tern_session_eval(a, ids + 40, 1, err));
    assert_memory_not_equal(kept, tern_session_embedding(a), bytes);
    tern_session_free(a);
    tern_session_free(b);
    free(kept);
}

static void test_logits(void **state) {
    (void)state;
    tern_session *session = new_session(0, 16, TERN_KV_F32);
    float *logits = malloc(sizeof *logits * 50 * info.vocab_size);
    assert_non_null(logits);
    OK(tern_session_eval(session, ids, 1, err));
    must_have_logits(session, 1);
    const float *first = tern_session_logits(session);
    assert_ptr_equal(first, tern_session_logits(session)); /* computed once */
    OK(tern_session_eval_logits(session, ids + 1, 50, logits, err));
    assert_memory_equal(logits, expected + info.vocab_size, sizeof *logits * 50 * info.vocab_size);
    must_have_logits(session, 51);
    OK(tern_session_eval(session, NULL, 0, err));
    must_have_logits(session, 51);
    free(logits);
    tern_session_free(session);
}

static void test_context_full(void **state) {
    (void)state;
    for (int kv = TERN_KV_F16; kv <= TERN_KV_Q8; kv++) {
        tern_session *session = new_session(70, 0, (tern_kv_type)kv);
        OK(tern_session_eval(session, ids, 60, err));
        uint64_t bytes = tern_session_kv_bytes(session);
        FAILS(TERN_ERR_CONTEXT, tern_session_eval(session, ids + 60, 11, err));
        FAILS(TERN_ERR_CONTEXT, tern_session_eval(session, ids + 60, SIZE_MAX, err)); /* not looked at */
        assert_int_equal(tern_session_n_past(session), 60);
        assert_int_equal(tern_session_kv_bytes(session), bytes);
        OK(tern_session_eval(session, ids + 60, 10, err));
        assert_true(tern_session_kv_bytes(session) > bytes); /* grows with use */
        FAILS(TERN_ERR_CONTEXT, tern_session_eval(session, ids, 1, err));
        OK(tern_session_eval(session, NULL, 0, err));
        if (kv == TERN_KV_F32)
            must_have_logits(session, 70);
        tern_session_free(session);
    }
}

/* Memory of the cache by type: F32 twice F16, Q8 a little more than half of it. */
static void test_kv_bytes(void **state) {
    (void)state;
    uint64_t bytes[3];
    for (int kv = TERN_KV_F16; kv <= TERN_KV_Q8; kv++) {
        tern_session *session = new_session(0, 0, (tern_kv_type)kv);
        OK(tern_session_eval(session, ids, N_IDS, err));
        bytes[kv] = tern_session_kv_bytes(session);
        assert_true(bytes[kv] >= (uint64_t)N_IDS * info.n_layers * info.n_kv_heads * info.head_dim * 2);
        tern_session_free(session);
    }
    assert_int_equal(bytes[TERN_KV_F32], 2 * bytes[TERN_KV_F16]);
    assert_in_range(bytes[TERN_KV_Q8], bytes[TERN_KV_F16] / 2 + 1, bytes[TERN_KV_F16] * 6 / 10);
}

static void test_bad_ids(void **state) {
    (void)state;
    tern_session *session = new_session(0, 0, TERN_KV_F32);
    OK(tern_session_eval(session, ids, 5, err));
    const int32_t bad[] = {-1, INT32_MIN, (int32_t)info.vocab_size, INT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const int32_t with_bad[] = {ids[5], ids[6], bad[i]};
        FAILS(TERN_ERR_ARGUMENT, tern_session_eval(session, with_bad, 3, err));
        must_have_logits(session, 5);
    }
    OK(tern_session_eval(session, ids + 5, 2, err));
    must_have_logits(session, 7);
    tern_session_free(session);
}

static void test_truncate(void **state) {
    (void)state;
    tern_session *session = new_session(0, 0, TERN_KV_F32);
    OK(tern_session_eval(session, ids, 130, err));
    uint64_t bytes = tern_session_kv_bytes(session);
    FAILS(TERN_ERR_ARGUMENT, tern_session_truncate(session, 131, err));
    OK(tern_session_truncate(session, 130, err)); /* nothing is cut off */
    must_have_logits(session, 130);
    static const uint32_t cuts[] = {129, 128, 65, 64, 63, 1, 0}; /* about the edges of the cache's blocks */
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        OK(tern_session_truncate(session, cuts[i], err));
        assert_int_equal(tern_session_n_past(session), cuts[i]);
        assert_memory_equal(tern_session_tokens(session), ids, cuts[i] * sizeof *ids);
        assert_null(tern_session_logits(session)); /* those of the token that is gone */
        assert_null(tern_session_embedding(session));
        assert_true(tern_session_kv_bytes(session) <= bytes);
        FAILS(TERN_ERR_ARGUMENT, tern_session_truncate(session, cuts[i] + 1, err)); /* what is gone is gone */
        OK(tern_session_eval(session, ids + cuts[i], 131 - cuts[i], err));
        must_have_logits(session, 131);
    }
    OK(tern_session_truncate(session, 0, err));
    assert_int_equal(tern_session_kv_bytes(session), 0);
    tern_session_free(session);
}

/* -------------------------------------------------------------- cancelling */

static tern_session *signalled; /* set before the handler, which is then the only user */
static void cancel_signalled(int number) {
    (void)number;
    tern_session_cancel(signalled);
}

static void test_cancel(void **state) {
    (void)state;
    tern_session *session = new_session(0, 0, TERN_KV_F32);
    OK(tern_session_eval(session, ids, 9, err));
    tern_session_cancel(session);
    OK(tern_session_eval(session, NULL, 0, err));                        /* no evaluation, so none is cancelled */
    FAILS(TERN_ERR_CONTEXT, tern_session_eval(session, ids, 1000, err)); /* nor by one that is refused */
    FAILS(TERN_ERR_CANCELLED, tern_session_eval(session, ids + 9, 60, err));
    must_have_logits(session, 9);
    OK(tern_session_eval(session, ids + 9, 1, err)); /* once */
    must_have_logits(session, 10);

    signalled = session;
    struct sigaction action = {.sa_handler = cancel_signalled}, old;
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    raise(SIGUSR1);
    sigaction(SIGUSR1, &old, NULL);
    FAILS(TERN_ERR_CANCELLED, tern_session_eval(session, ids + 10, 1, err));
    must_have_logits(session, 10);
    tern_session_free(session);
}

typedef struct canceller {
    tern_session *session;
    atomic_bool stop;
} canceller;

static void *cancel_often(void *context) {
    canceller *c = context;
    while (!atomic_load(&c->stop))
        tern_session_cancel(c->session);
    return NULL;
}

/* From another thread, at any moment: it is all or nothing, and the evaluation after it is right. */
static void test_cancel_from_thread(void **state) {
    (void)state;
    canceller c = {.session = new_session(0, 4, TERN_KV_F32)};
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        atomic_store(&c.stop, false);
        assert_int_equal(pthread_create(&thread, NULL, cancel_often, &c), 0);
        tern_status status = tern_session_eval(c.session, ids, 70, NULL);
        atomic_store(&c.stop, true);
        pthread_join(thread, NULL);
        assert_true(status == TERN_OK || status == TERN_ERR_CANCELLED);
        assert_int_equal(tern_session_n_past(c.session), status ? 0 : 70);
        OK(tern_session_truncate(c.session, 0, err));
        status = tern_session_eval(c.session, ids, 1, NULL); /* takes what is left of the requests */
        assert_true(status == TERN_OK || status == TERN_ERR_CANCELLED);
        OK(tern_session_truncate(c.session, 0, err));
    }
    OK(tern_session_eval(c.session, ids, 70, err));
    must_have_logits(c.session, 70);
    tern_session_free(c.session);
}

/* ----------------------------------------------------------------- threads */

typedef struct timeline {
    tern_model *model;
    uint32_t n_ctx, chunk;
    size_t step;
    bool right;
} timeline;

/* cmocka's assertions belong to the main thread. */
static void *run_timeline(void *context) {
    timeline *t = context;
    tern_session_params params = {.n_ctx = t->n_ctx, .chunk = t->chunk, .kv_type = TERN_KV_F32};
    tern_session *session = NULL;
    if (tern_session_create(t->model, &params, &session, NULL))
        return NULL;
    bool right = true;
    for (int round = 0; round < 2; round++) {
        for (size_t done = 0; done < N_IDS; done += t->step) {
            size_t n = N_IDS - done < t->step ? N_IDS - done : t->step;
            right = right && tern_session_eval(session, ids + done, n, NULL) == TERN_OK &&
                    memcmp(tern_session_logits(session), expected + (done + n - 1) * info.vocab_size,
                           info.vocab_size * sizeof(float)) == 0;
        }
        right = right && tern_session_truncate(session, 0, NULL) == TERN_OK;
    }
    tern_session_free(session);
    t->right = right;
    return NULL;
}

/* Two timelines of one model evaluate on two threads while sessions with ever larger chunks and contexts are made,
 * which replaces the engine's scratch under them. A model of its own, whose engine begins small. */
static void test_threads(void **state) {
    (void)state;
    tern_model *own = NULL;
    OK(tern_model_load(NULL, &(tern_model_params){.n_threads = 2}, &own, err));
    timeline timelines[2] = {{.model = own, .n_ctx = N_IDS, .chunk = 3, .step = 5},
                             {.model = own, .n_ctx = N_IDS + 1, .chunk = 4, .step = 31}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_timeline, &timelines[i]), 0);
    for (uint32_t i = 1; i <= 20; i++) {
        tern_session_params params = {.n_ctx = info.n_ctx * i / 20, .chunk = 10 * i, .kv_type = TERN_KV_Q8};
        tern_session *session = NULL;
        OK(tern_session_create(own, &params, &session, err));
        OK(tern_session_eval(session, ids, 12, err));
        tern_session_free(session);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(timelines[i].right);
    }
    tern_model_free(own);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_model_parameters),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_context_full),
        cmocka_unit_test(test_kv_bytes),
        cmocka_unit_test(test_bad_ids),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_from_thread),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("session", tests, setup, teardown);
}
