/* A scheduler's queue: its limit, cancelling, deadlines, requests that it refuses or that fail alone. */
#include <math.h>
#include <unistd.h>

#include "scheduler_fixture.h"

/* --------------------------------------------- queue, cancelling, deadlines */

/* Holds the scheduler's thread in a callback until it is let go. */
static bool held, let_go;

static void hold(client *c, const tern_request_event *event) {
    (void)c, (void)event;
    pthread_mutex_lock(&lock);
    held = true;
    pthread_cond_broadcast(&changed);
    while (!let_go)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* A running request whose first event holds the thread. */
static client *hold_thread(tern_scheduler *s, int64_t max_tokens) {
    client *c = new_client(4, 10, max_tokens);
    c->on_event = hold;
    held = let_go = false;
    submit(s, c);
    pthread_mutex_lock(&lock);
    while (!held)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return c;
}

static void let_thread_go(void) {
    pthread_mutex_lock(&lock);
    let_go = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void test_queue_limit(void **state) {
    (void)state;
    client *waiting[3];
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 1, .max_waiting = 3});
    client *first = hold_thread(s, 5);
    for (int32_t i = 0; i < 3; i++) {
        waiting[i] = new_client(i, 5, 5);
        submit(s, waiting[i]);
    }
    client *refused = new_client(7, 5, 5);
    FAILS(TERN_ERR_BUSY, "try again", tern_scheduler_submit(s, &refused->params, NULL, err));
    assert_int_equal(stats_of(s).n_waiting, 3);
    assert_int_equal(stats_of(s).n_refused, 1);
    let_thread_go();
    wait_for(first);
    for (size_t i = 0; i < 3; i++) {
        wait_for(waiting[i]);
        assert_true(waiting[i]->result.queue_seconds > 0);
        assert_true(waiting[i]->result.first_token_seconds >= waiting[i]->result.queue_seconds);
        assert_true(waiting[i]->result.total_seconds >= waiting[i]->result.first_token_seconds);
        must_be_as_alone(waiting[i], TERN_KV_F16);
        free_client(waiting[i]);
    }
    assert_false(refused->done);
    run(s, refused); /* there is room again */
    must_be_idle(s);
    tern_scheduler_free(s);
    free_client(first);
    free_client(refused);
}

static void must_be_cancelled(const client *c, bool timed_out) {
    assert_int_equal(c->result.status, TERN_OK);
    assert_int_equal(c->result.reason, TERN_STOP_CANCELLED);
    assert_int_equal(c->result.timed_out, timed_out);
}

/* While it waits; in its prompt; between two tokens; by its callback. */
static void test_cancel(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 2, .chunk = 4});
    client *first = hold_thread(s, 200), *prompt = new_client(1, 200, 5), *waits = new_client(2, 200, 5);
    submit(s, prompt);
    submit(s, waits);
    tern_request_cancel(waits->request);
    let_thread_go();
    wait_for(waits);
    must_be_cancelled(waits, false);
    assert_int_equal(waits->got.n, 0);
    tern_request_cancel(prompt->request); /* 50 steps of four tokens */
    wait_for(prompt);
    must_be_cancelled(prompt, false);
    assert_int_equal(prompt->got.n, 0);
    assert_false(first->done);
    tern_request_cancel(first->request);
    wait_for(first);
    must_be_cancelled(first, false);
    must_be_idle(s);
    for (int refuse = 0; refuse < 2; refuse++) {
        client *c = new_client(3, 20, 100);
        *(refuse ? &c->refuse_at : &c->cancel_at) = 7;
        run(s, c);
        must_be_cancelled(c, false);
        assert_int_equal(c->got.n - (c->got.ids[c->got.n - 1] == -1), 7);
        must_be_idle(s);
        free_client(c);
    }
    assert_int_equal(stats_of(s).n_cancelled, 5);
    tern_scheduler_free(s);
    free_client(first);
    free_client(prompt);
    free_client(waits);
}

static void test_deadline(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 1});
    client *first = hold_thread(s, 20), *late = new_client(1, 5, 5), *in_time = new_client(2, 5, 5);
    late->params.deadline_seconds = 0.001;
    in_time->params.deadline_seconds = 1e6;
    submit(s, late);
    submit(s, in_time);
    usleep(2000);
    let_thread_go();
    wait_for(late);
    must_be_cancelled(late, true);
    wait_for(in_time);
    wait_for(first);
    assert_int_equal(in_time->result.reason, TERN_STOP_LENGTH);
    client *running = new_client(3, 5, 5); /* it starts, and has no more time after its first token */
    running->params.deadline_seconds = 0.2;
    running->on_event = hold;
    held = let_go = false;
    submit(s, running);
    usleep(300000);
    let_thread_go();
    wait_for(running);
    must_be_cancelled(running, true);
    must_be_idle(s);
    tern_scheduler_free(s);
    free_client(first);
    free_client(late);
    free_client(in_time);
    free_client(running);
}

/* Everything in it is told, then nothing is left. */
static void test_free_with_requests(void **state) {
    (void)state;
    client *clients[5];
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 2});
    for (int32_t i = 0; i < 5; i++) {
        clients[i] = new_client(i, 100, -1);
        submit(s, clients[i]);
    }
    tern_scheduler_free(s);
    for (size_t i = 0; i < 5; i++) {
        assert_true(clients[i]->done);
        must_be_as_alone(clients[i], TERN_KV_F16);
        free_client(clients[i]);
    }
    tern_scheduler_free(NULL);
}

/* ---------------------------------------------------------------- arguments */

static void test_bad_requests(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 1});
    client *c = new_client(1, 10, 5);
    const tern_request_params good = c->params;
    const char *empty[] = {""};
    const int32_t outside[] = {1, (int32_t)info.vocab_size};
#define BAD(status, part, ...)                                                                                         \
    do {                                                                                                               \
        tern_request_params p = good;                                                                                  \
        __VA_ARGS__;                                                                                                   \
        FAILS(status, part, tern_scheduler_submit(s, &p, NULL, err));                                                  \
    } while (0)
    BAD(TERN_ERR_ARGUMENT, "at least one token", p.n_ids = 0);
    BAD(TERN_ERR_ARGUMENT, "at least one token", p.ids = NULL);
    BAD(TERN_ERR_CONTEXT, "256", p.n_ids = N_CTX + 1);
    BAD(TERN_ERR_ARGUMENT, "vocabulary", p.ids = outside; p.n_ids = 2);
    BAD(TERN_ERR_ARGUMENT, "max tokens", p.max_tokens = -2);
    BAD(TERN_ERR_ARGUMENT, "embedding", p.embedding = true);
    BAD(TERN_ERR_ARGUMENT, "probable", p.n_top = info.vocab_size + 1);
    BAD(TERN_ERR_ARGUMENT, "deadline", p.deadline_seconds = -1);
    BAD(TERN_ERR_ARGUMENT, "deadline", p.deadline_seconds = NAN);
    BAD(TERN_ERR_ARGUMENT, "temperature", p.sampler.temperature = -1);
    BAD(TERN_ERR_ARGUMENT, "empty", p.stop = empty; p.n_stop = 1);
#undef BAD
    tern_scheduler *bad = NULL;
    tern_scheduler_params params = {.n_ctx = info.n_ctx + 1};
    FAILS(TERN_ERR_ARGUMENT, "context", tern_scheduler_create(model, &params, &bad, err));
    params = (tern_scheduler_params){.n_ctx = N_CTX, .kv_bytes = block_bytes};
    FAILS(TERN_ERR_ARGUMENT, "too little", tern_scheduler_create(model, &params, &bad, err));
    params = (tern_scheduler_params){.chunk = UINT32_MAX};
    FAILS(TERN_ERR_ARGUMENT, "chunk", tern_scheduler_create(model, &params, &bad, err));
    params = (tern_scheduler_params){.max_running = UINT32_MAX};
    FAILS(TERN_ERR_ARGUMENT, "too many", tern_scheduler_create(model, &params, &bad, err));
    params = (tern_scheduler_params){.kv_bytes = UINT64_MAX};
    assert_int_not_equal(tern_scheduler_create(model, &params, &bad, NULL), TERN_OK);
    assert_null(bad);
    run(s, c);
    must_be_as_alone(c, TERN_KV_F16);
    client *full = new_client(2, N_CTX, -1); /* one token behind a full context, as tern_generate does */
    run(s, full);
    assert_int_equal(full->result.reason, TERN_STOP_CONTEXT);
    must_be_as_alone(full, TERN_KV_F16);
    tern_request_params silent = good;
    silent.on_event = NULL;
    silent.on_done = NULL;
    OK(tern_scheduler_submit(s, &silent, NULL, err));
    tern_scheduler_free(s);
    free_client(c);
    free_client(full);
}

/* A sampler that can choose nothing fails alone. */
static void test_failing_alone(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 3});
    tern_logit_bias *bans = calloc(info.vocab_size, sizeof *bans);
    assert_non_null(bans);
    for (uint32_t i = 0; i < info.vocab_size; i++)
        bans[i] = (tern_logit_bias){(int32_t)i, -INFINITY};
    client *good = new_client(1, 30, 40), *bad = new_client(2, 30, 40);
    bad->params.sampler.logit_bias = bans;
    bad->params.sampler.n_logit_bias = info.vocab_size;
    submit(s, good);
    run(s, bad);
    free(bans);
    assert_int_equal(bad->result.status, TERN_ERR_ARGUMENT);
    assert_non_null(strstr(bad->result.err.message, "ban"));
    wait_for(good);
    must_be_as_alone(good, TERN_KV_F16);
    assert_int_equal(stats_of(s).n_failed, 1);
    must_be_idle(s);
    tern_scheduler_free(s);
    free_client(good);
    free_client(bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_limit),  cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_deadline),     cmocka_unit_test(test_free_with_requests),
        cmocka_unit_test(test_bad_requests), cmocka_unit_test(test_failing_alone),
    };
    return cmocka_run_group_tests(tests, load_with_blocks, free_model);
}
