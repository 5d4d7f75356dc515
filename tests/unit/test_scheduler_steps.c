/* What a scheduler's steps are made of: a long prompt holds nobody up by more than a chunk, and probabilities are, bit
 * by bit, those of the request alone. */
#include <pthread.h>

#include "demo_model.h"

enum { N_CTX = 256, N_TOP = 5, MAX_TOLD = 300 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static int setup(void **state) {
    (void)state;
    return load_model(2);
}

/* An event, without padding between what is compared. */
typedef struct told {
    int32_t id, n_top;
    float logprob;
    int32_t ids[N_TOP];
    float logprobs[N_TOP];
} told;

typedef struct client {
    int32_t ids[N_CTX];
    tern_request_params params;
    told told[MAX_TOLD];
    size_t n;      /* events; written under the lock */
    bool steps;    /* each event waits until it may go on */
    size_t may_go; /* events that may */
    bool done;
    tern_status status;
} client;

static bool on_event(void *user, const tern_request_event *event) {
    client *c = user;
    pthread_mutex_lock(&lock);
    if (c->n < MAX_TOLD) {
        told *t = &c->told[c->n];
        t->id = event->id;
        t->n_top = (int32_t)event->n_top;
        t->logprob = event->logprob;
        for (size_t i = 0; i < event->n_top && i < N_TOP; i++) {
            t->ids[i] = event->top[i].id;
            t->logprobs[i] = event->top[i].logprob;
        }
    }
    c->n++;
    pthread_cond_broadcast(&changed);
    while (c->steps && c->may_go < c->n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return true;
}

static void on_done(void *user, const tern_request_result *result) {
    client *c = user;
    pthread_mutex_lock(&lock);
    c->status = result->status;
    c->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(client *c) {
    pthread_mutex_lock(&lock);
    while (!c->done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    assert_int_equal(c->status, TERN_OK);
}

static client *new_client(int32_t first, size_t n, int64_t max_tokens) {
    client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->params = greedy_request(first, n, max_tokens, c->ids);
    c->params.on_event = on_event;
    c->params.on_done = on_done;
    c->params.user = c;
    return c;
}

static tern_scheduler *new_scheduler(tern_scheduler_params params) {
    tern_scheduler *s = NULL;
    params.n_ctx = N_CTX;
    params.kv_type = TERN_KV_Q8;
    OK(tern_scheduler_create(model, &params, &s, err));
    return s;
}

static void submit(tern_scheduler *s, client *c) { OK(tern_scheduler_submit(s, &c->params, NULL, err)); }

/* Let the held client go on to its n-th event, where it is held again. */
static void go_to(client *c, size_t n) {
    pthread_mutex_lock(&lock);
    c->may_go = n - 1;
    pthread_cond_broadcast(&changed);
    while (c->n < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static size_t events_of(client *c) {
    pthread_mutex_lock(&lock);
    size_t n = c->n;
    pthread_mutex_unlock(&lock);
    return n;
}

/* Three answers run when two long prompts come: every step has a token for each of the answers, and a chunk of the
 * prompts at most. */
static void test_long_prompt(void **state) {
    (void)state;
    enum { CHUNK = 8, N_PROMPT = 200, N_ANSWER = 100, N_LONG = 2 };
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 8, .chunk = CHUNK});
    client *first = new_client(1, 4, N_ANSWER), *others[2] = {new_client(2, 4, N_ANSWER), new_client(3, 4, N_ANSWER)};
    client *late[N_LONG] = {new_client(4, N_PROMPT, 1), new_client(5, N_PROMPT, 1)};
    first->steps = true;
    submit(s, first);
    go_to(first, 1);
    submit(s, others[0]);
    submit(s, others[1]);
    size_t n = 2; /* both others run a few steps from now, whichever of them joins first */
    for (; events_of(others[0]) < 2 || events_of(others[1]) < 2; n++)
        go_to(first, n);
    size_t behind[2] = {n - events_of(others[0]), n - events_of(others[1])};
    for (size_t i = 0; i < N_LONG; i++)
        submit(s, late[i]);
    tern_scheduler_stats before = stats_of(s);
    const uint64_t prompt_before = before.prompt_tokens;
    size_t n_steps = 0;
    while (events_of(late[0]) == 0 || events_of(late[1]) == 0) {
        go_to(first, n++);
        tern_scheduler_stats now = stats_of(s);
        assert_int_equal(now.n_steps, before.n_steps + 1); /* no step without a token for it */
        assert_true(now.prompt_tokens - before.prompt_tokens <= CHUNK);
        for (size_t i = 0; i < 2; i++) { /* in a step it may be before or behind the first one */
            size_t is = n - events_of(others[i]);
            assert_true(is <= behind[i] + 1 && is + 1 >= behind[i]);
        }
        before = now;
        n_steps++;
    }
    assert_true(before.prompt_tokens - prompt_before >= N_LONG * N_PROMPT - CHUNK); /* but for the step just held */
    assert_true(n_steps >= N_LONG * N_PROMPT / CHUNK);
    pthread_mutex_lock(&lock);
    first->steps = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    client *all[] = {first, others[0], others[1], late[0], late[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        wait_for(all[i]);
    tern_scheduler_free(s);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* More of them than any part of a step takes at once, some greedy, some drawn, some with their prompt's. */
static client *asks_probabilities(int32_t i) {
    client *c = new_client(i, 5 + (size_t)i * 37 % 120, 6 + i % 9);
    c->params.logprobs = true;
    c->params.n_top = N_TOP;
    c->params.prompt_logprobs = i % 3 == 0;
    c->params.sampler.temperature = i % 2 ? 0.9f : 0;
    c->params.sampler.repeat_penalty = i % 5 ? 1 : 1.2f;
    c->params.sampler.seed = (uint64_t)i;
    return c;
}

static void test_probabilities(void **state) {
    (void)state;
    enum { N = 40 };
    client *clients[N];
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = 24, .chunk = 50});
    for (int32_t i = 0; i < N; i++) {
        clients[i] = asks_probabilities(i % 30); /* the last ten find prefixes of the first ten */
        submit(s, clients[i]);
    }
    for (size_t i = 0; i < N; i++)
        wait_for(clients[i]);
    tern_scheduler_free(s);
    s = new_scheduler((tern_scheduler_params){.max_running = 1, .chunk = 33, .no_prefix_cache = true});
    for (int32_t i = 0; i < N; i++) {
        client *alone = asks_probabilities(i % 30);
        submit(s, alone);
        wait_for(alone);
        assert_true(alone->n >= (size_t)alone->params.max_tokens && alone->n < MAX_TOLD);
        assert_int_equal(alone->told[alone->n - 2].n_top, N_TOP);
        assert_int_equal(clients[i]->n, alone->n);
        assert_memory_equal(clients[i]->told, alone->told, alone->n * sizeof *alone->told);
        free(alone);
        free(clients[i]);
    }
    tern_scheduler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_prompt),
        cmocka_unit_test(test_probabilities),
    };
    return cmocka_run_group_tests(tests, setup, free_model);
}
