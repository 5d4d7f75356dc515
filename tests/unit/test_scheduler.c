/* The scheduler by the words of tern.h, on the built-in model: what a request gets is, bit by bit, what tern_generate()
 * gives it alone. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/rng.h"
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

#ifdef TERN_SLOW_TESTS
enum { N_MIXED = 8 };
#else
enum { N_MIXED = 24 };
#endif
enum { N_CTX = 256, BLOCK = 64, MAX_TEXT = 4096, MAX_EVENTS = 600 };

static tern_model *model;
static tern_model_info info;
static uint64_t block_bytes;

static int setup(void **state) {
    (void)state;
    tern_scheduler *scheduler = NULL;
    tern_scheduler_stats stats;
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = 1}, &model, NULL))
        return -1;
    tern_model_get_info(model, &info);
    if (tern_scheduler_create(model, NULL, &scheduler, NULL))
        return -1;
    tern_scheduler_get_stats(scheduler, &stats);
    tern_scheduler_free(scheduler);
    block_bytes = stats.kv_bytes / stats.kv_blocks;
    return stats.kv_block_tokens == BLOCK && stats.kv_blocks % 4 == 0 ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

/* ------------------------------------------------------------------ a client */

/* What came back, from a scheduler or from tern_generate. */
typedef struct output {
    char text[MAX_TEXT]; /* all of it, and where each call's part ends */
    size_t size, ends[MAX_EVENTS];
    int32_t ids[MAX_EVENTS];
    size_t n;
} output;

static bool add(output *out, const char *text, size_t n_bytes, int32_t id) {
    if (!text || out->n == MAX_EVENTS || out->size + n_bytes > MAX_TEXT)
        return false;
    memcpy(out->text + out->size, text, n_bytes);
    out->size += n_bytes;
    out->ids[out->n] = id;
    out->ends[out->n++] = out->size;
    return true;
}

typedef struct client client;
struct client {
    int32_t ids[N_CTX + 1];
    char stop_text[8];
    const char *stop[1];
    tern_request_params params;
    tern_request *request;
    size_t cancel_at, refuse_at; /* the event in which it wants no more; 0: none */
    void (*on_event)(client *c, const tern_request_event *event);

    output got;
    tern_request_result result;
    float *embedding;
    bool done;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static bool on_event(void *user, const tern_request_event *event) {
    client *c = user;
    if (c->on_event)
        c->on_event(c, event);
    if (event->prompt)
        return true;
    if (!add(&c->got, event->text, event->n_bytes, event->id))
        return false;
    if (c->cancel_at == c->got.n)
        tern_request_cancel(c->request);
    return c->refuse_at != c->got.n;
}

static void on_done(void *user, const tern_request_result *result) {
    client *c = user;
    pthread_mutex_lock(&lock);
    c->result = *result;
    if (result->embedding) {
        c->embedding = malloc(info.hidden_size * sizeof *c->embedding);
        if (c->embedding)
            memcpy(c->embedding, result->embedding, info.hidden_size * sizeof *c->embedding);
    }
    c->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(client *c) {
    pthread_mutex_lock(&lock);
    while (!c->done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* A greedy request for n ids, which begin with `first` and go on in a way of their own. */
static client *new_client(int32_t first, size_t n, int64_t max_tokens) {
    client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < n; i++)
        c->ids[i] = (int32_t)((uint32_t)first * 31 + i * 7919 % 1009) % (int32_t)info.vocab_size;
    c->params = (tern_request_params){.ids = c->ids,
                                      .n_ids = n,
                                      .max_tokens = max_tokens,
                                      .sampler = tern_sampler_defaults(),
                                      .ignore_end = true,
                                      .on_event = on_event,
                                      .on_done = on_done,
                                      .user = c};
    c->params.sampler.temperature = 0;
    return c;
}

static void free_client(client *c) {
    free(c->embedding);
    free(c);
}

static void submit(tern_scheduler *s, client *c) { OK(tern_scheduler_submit(s, &c->params, &c->request, err)); }

static void run(tern_scheduler *s, client *c) {
    submit(s, c);
    wait_for(c);
}

static tern_scheduler *new_scheduler(tern_scheduler_params params) {
    tern_scheduler *s = NULL;
    params.n_ctx = params.n_ctx ? params.n_ctx : N_CTX;
    OK(tern_scheduler_create(model, &params, &s, err));
    return s;
}

static tern_scheduler_stats stats_of(tern_scheduler *s) {
    tern_scheduler_stats stats;
    tern_scheduler_get_stats(s, &stats);
    return stats;
}

/* Nobody holds a block; what is there is kept or free. */
static void must_be_idle(tern_scheduler *s) {
    tern_scheduler_stats stats = stats_of(s);
    assert_int_equal(stats.kv_blocks_used, 0);
    assert_int_equal(stats.n_waiting, 0);
    assert_int_equal(stats.n_running, 0);
}

/* ------------------------------------------------------------- bit identity */

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) { return add(user, text, n_bytes, id); }

/* What the client's request gets alone, and that it got this: all, or up to where it was cancelled. */
static void must_be_as_alone(const client *c, tern_kv_type kv_type) {
    static output alone;
    tern_generate_params params = {.sampler = c->params.sampler,
                                   .max_tokens = c->params.max_tokens,
                                   .stop = c->params.stop,
                                   .n_stop = c->params.n_stop,
                                   .ignore_end = c->params.ignore_end,
                                   .show_special = c->params.show_special};
    tern_generate_result result;
    tern_session *session = NULL;
    alone.n = alone.size = 0;
    OK(tern_session_create(model, &(tern_session_params){.n_ctx = N_CTX, .kv_type = kv_type}, &session, err));
    OK(tern_generate_ids(session, c->ids, c->params.n_ids, &params, on_text, &alone, &result, err));
    tern_session_free(session);
    assert_int_equal(c->result.status, TERN_OK);
    assert_int_equal(c->result.n_prompt, c->params.n_ids);
    if (c->result.reason == TERN_STOP_CANCELLED) { /* the last call may be a flush */
        size_t n = c->got.n && c->got.ids[c->got.n - 1] == -1 ? c->got.n - 1 : c->got.n;
        assert_true(n <= alone.n);
        assert_memory_equal(c->got.ids, alone.ids, n * sizeof *alone.ids);
        assert_memory_equal(c->got.ends, alone.ends, n * sizeof *alone.ends);
        return;
    }
    assert_int_equal(c->result.reason, result.reason);
    assert_int_equal(c->result.n_generated, result.n_generated);
    assert_int_equal(c->got.n, alone.n);
    assert_memory_equal(c->got.ids, alone.ids, alone.n * sizeof *alone.ids);
    assert_memory_equal(c->got.ends, alone.ends, alone.n * sizeof *alone.ends);
    assert_memory_equal(c->got.text, alone.text, alone.size);
}

static size_t below(tern_rng *rng, size_t n) { return (size_t)(tern_rng_u64(rng) % n); }

/* Some of everything. Prompts begin alike by whole and half blocks. */
static client *random_client(tern_rng *rng) {
    static const tern_logit_bias bias[] = {{5, 3}, {77, -2}};
    client *c =
        new_client((int32_t)below(rng, 3), 1 + below(rng, below(rng, 4) ? 150 : N_CTX), (int64_t)below(rng, 70));
    for (size_t i = BLOCK * below(rng, 4) / 2; i < c->params.n_ids; i++)
        if (below(rng, 8) == 0)
            c->ids[i] = (int32_t)below(rng, info.vocab_size);
    tern_sampler_params *p = &c->params.sampler;
    p->seed = tern_rng_u64(rng);
    p->temperature = below(rng, 3) ? 0.9f : 0;
    p->top_k = below(rng, 2) ? 20 : 0;
    p->top_p = below(rng, 3) ? 1 : 0.9f;
    p->min_p = below(rng, 2) ? 0.02f : 0;
    p->repeat_penalty = below(rng, 3) ? 1 : 1.2f;
    if (below(rng, 4) == 0)
        p->logit_bias = bias, p->n_logit_bias = 2;
    if (below(rng, 8) == 0)
        c->params.max_tokens = -1;
    if (below(rng, 4) == 0) {
        c->stop_text[0] = (char)('a' + below(rng, 26));
        c->stop[0] = c->stop_text;
        c->params.stop = c->stop;
        c->params.n_stop = 1;
    }
    c->params.ignore_end = below(rng, 2);
    c->params.show_special = below(rng, 2);
    c->params.logprobs = below(rng, 4) == 0;
    c->params.n_top = c->params.logprobs ? (uint32_t)below(rng, 5) : 0;
    c->params.prompt_logprobs = below(rng, 8) == 0;
    c->cancel_at = below(rng, 6) ? 0 : 1 + below(rng, 20);
    c->refuse_at = below(rng, 8) ? 0 : 1 + below(rng, 20);
    return c;
}

typedef struct mix {
    uint32_t max_running, chunk, n_blocks;
    tern_kv_type kv_type;
    bool no_prefix_cache;
} mix;

static uint64_t run_mix(const mix *m, uint64_t seed, size_t n) {
    client *clients[64];
    tern_rng rng;
    tern_rng_seed(&rng, seed);
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.max_running = m->max_running,
                                                              .chunk = m->chunk,
                                                              .kv_bytes = m->n_blocks * block_bytes * 4,
                                                              .kv_type = m->kv_type,
                                                              .no_prefix_cache = m->no_prefix_cache});
    for (size_t i = 0; i < n; i++) {
        clients[i] = random_client(&rng);
        submit(s, clients[i]);
        if (below(&rng, 3) == 0)
            usleep((useconds_t)below(&rng, 3000));
        if (below(&rng, 10) == 0) { /* cancelled from here, at whatever stage it is; not after its end */
            pthread_mutex_lock(&lock);
            if (!clients[i]->done)
                tern_request_cancel(clients[i]->request);
            pthread_mutex_unlock(&lock);
        }
    }
    for (size_t i = 0; i < n; i++)
        wait_for(clients[i]);
    must_be_idle(s);
    tern_scheduler_stats stats = stats_of(s);
    assert_int_equal(stats.n_finished + stats.n_cancelled, n);
    tern_scheduler_free(s);
    for (size_t i = 0; i < n; i++) {
        must_be_as_alone(clients[i], m->kv_type);
        free_client(clients[i]);
    }
    return stats.n_preempted;
}

/* n_blocks counts full contexts' blocks of the 8-bit cache, a fourth of the float one's. */
static void test_random_mixes(void **state) {
    (void)state;
    static const mix mixes[] = {
        {.max_running = 6, .chunk = 40, .n_blocks = 6, .kv_type = TERN_KV_Q8},
        {.max_running = 1, .chunk = 7, .n_blocks = 6, .kv_type = TERN_KV_Q8},
        {.max_running = 16, .chunk = 1, .n_blocks = 3, .kv_type = TERN_KV_Q8},
        {.max_running = 8, .chunk = 64, .n_blocks = 8, .kv_type = TERN_KV_F16, .no_prefix_cache = true},
        {.max_running = 12, .chunk = 200, .n_blocks = 5, .kv_type = TERN_KV_F32},
    };
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        run_mix(&mixes[i], 100 + i, N_MIXED);
}

/* Six blocks for eight requests that grow to three each: some have to step back, and nobody can tell from the text. */
static void test_preemption(void **state) {
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        client *clients[8];
        tern_scheduler *s = new_scheduler((tern_scheduler_params){
            .max_running = 8, .kv_bytes = 6 * block_bytes, .kv_type = TERN_KV_Q8, .no_prefix_cache = !cached});
        for (int32_t i = 0; i < 8; i++) {
            clients[i] = new_client(i, 20 + (size_t)i, 130);
            clients[i]->params.sampler.temperature = i % 2 ? 0.8f : 0;
            clients[i]->params.sampler.seed = (uint64_t)i;
            clients[i]->params.sampler.repeat_penalty = i % 4 == 1 ? 1.3f : 1;
            submit(s, clients[i]);
        }
        for (size_t i = 0; i < 8; i++)
            wait_for(clients[i]);
        must_be_idle(s);
        assert_true(stats_of(s).n_preempted > 0);
        for (size_t i = 0; i < 8; i++) {
            assert_int_equal(clients[i]->result.n_generated, 130);
            must_be_as_alone(clients[i], TERN_KV_Q8);
            free_client(clients[i]);
        }
        tern_scheduler_free(s);
    }
}

/* ------------------------------------------------------------------ prefixes */

static void test_second_turn(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.kv_type = TERN_KV_Q8});
    client *first = new_client(1, 150, 50);
    run(s, first);
    assert_int_equal(first->result.n_cached, 0);
    assert_int_equal(stats_of(s).prompt_tokens, 150);
    assert_int_equal(stats_of(s).kv_blocks_cached, 199 / BLOCK);
    client *second = new_client(1, 150, 20); /* the first one's prompt and answer, and something new */
    for (size_t i = 0; i < 50; i++)
        second->ids[150 + i] = first->got.ids[i];
    for (size_t i = 200; i < 215; i++)
        second->ids[i] = (int32_t)i;
    second->params.n_ids = 215;
    run(s, second);
    assert_int_equal(second->result.n_cached, 199 / BLOCK * BLOCK);
    assert_int_equal(stats_of(s).prompt_tokens, 150 + 215 - 199 / BLOCK * BLOCK);
    assert_int_equal(stats_of(s).cached_tokens, 199 / BLOCK * BLOCK);
    must_be_as_alone(first, TERN_KV_Q8);
    must_be_as_alone(second, TERN_KV_Q8);
    client *other = new_client(1, 150, 4); /* differs in its first token, so in everything */
    other->ids[0]++;
    run(s, other);
    assert_int_equal(other->result.n_cached, 0);
    must_be_as_alone(other, TERN_KV_Q8);
    client *same = new_client(1, 128, 4); /* whole blocks: the last token is still evaluated, with its block */
    run(s, same);
    assert_int_equal(same->result.n_cached, 64);
    must_be_as_alone(same, TERN_KV_Q8);
    for (uint64_t scope = 1; scope <= 2; scope++) /* which has nothing from others, and then from itself */
        for (int again = 0; again < 2; again++) {
            client *hidden = new_client(1, 128, 4);
            hidden->params.cache_scope = scope;
            run(s, hidden);
            assert_int_equal(hidden->result.n_cached, again ? 64 : 0);
            must_be_as_alone(hidden, TERN_KV_Q8);
            free_client(hidden);
        }
    must_be_idle(s);
    tern_scheduler_free(s);
    free_client(first);
    free_client(second);
    free_client(other);
    free_client(same);
}

/* Many at once with one system prompt: it is computed once, the others wait that long. */
static void test_prefix_under_way(void **state) {
    (void)state;
    enum { N = 6 };
    client *clients[N];
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.kv_type = TERN_KV_Q8, .chunk = 16});
    for (int32_t i = 0; i < N; i++) {
        clients[i] = new_client(9, 140, 10);
        clients[i]->ids[135] = i;
        submit(s, clients[i]);
    }
    for (size_t i = 0; i < N; i++)
        wait_for(clients[i]);
    assert_int_equal(stats_of(s).prompt_tokens, 140 + (N - 1) * (140 - 128));
    for (size_t i = 0; i < N; i++) {
        must_be_as_alone(clients[i], TERN_KV_Q8);
        free_client(clients[i]);
    }
    tern_scheduler_free(s);
}

/* What was used last stays. */
static void test_eviction(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.kv_bytes = 6 * block_bytes, .kv_type = TERN_KV_Q8});
    static const struct {
        int32_t first;
        size_t n_cached;
    } turns[] = {{1, 0}, {2, 0}, {1, 128}, {3, 0}, {1, 128}, {3, 128}, {2, 64}, {3, 128}, {1, 64}};
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        client *c = new_client(turns[i].first, 130, 1); /* three blocks, two of them kept */
        run(s, c);
        assert_int_equal(c->result.n_cached, turns[i].n_cached);
        must_be_as_alone(c, TERN_KV_Q8);
        free_client(c);
        must_be_idle(s);
    }
    tern_scheduler_free(s);
}

static void test_no_prefixes(void **state) {
    (void)state;
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.no_prefix_cache = true, .kv_type = TERN_KV_Q8});
    for (int i = 0; i < 2; i++) {
        client *c = new_client(1, 200, 3);
        run(s, c);
        assert_int_equal(c->result.n_cached, 0);
        assert_int_equal(stats_of(s).kv_blocks_cached, 0);
        free_client(c);
    }
    tern_scheduler_free(s);
}

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

/* --------------------------------------------------- probabilities, embeddings */

typedef struct told {
    float logprob;
    int32_t id;
    bool prompt;
    tern_token_logprob top[3];
    size_t n_top;
} told;

static told all_told[MAX_EVENTS];
static size_t n_told;

static void keep_told(client *c, const tern_request_event *event) {
    (void)c;
    told *t = &all_told[n_told++];
    *t = (told){.logprob = event->logprob, .id = event->id, .prompt = event->prompt, .n_top = event->n_top};
    for (size_t i = 0; i < event->n_top && i < 3; i++)
        t->top[i] = event->top[i];
    if (event->prompt) {
        size_t n_bytes;
        const char *bytes = tern_tokenizer_token(tern_model_tokenizer(model), event->id, &n_bytes);
        if (event->n_bytes == n_bytes && memcmp(event->text, bytes, n_bytes) == 0)
            return;
        t->id = -2;
    }
}

static double logprob_of(const float *logits, int32_t id) {
    double sum = 0;
    for (size_t i = 0; i < info.vocab_size; i++)
        sum += exp((double)logits[i] - logits[id]);
    return -log(sum);
}

/* [n, vocab_size] behind each of ids, by a session. */
static float *logits_of(const int32_t *ids, size_t n) {
    float *logits = malloc(n * info.vocab_size * sizeof *logits);
    tern_session *session = NULL;
    assert_non_null(logits);
    OK(tern_session_create(model, &(tern_session_params){.kv_type = TERN_KV_Q8}, &session, err));
    OK(tern_session_eval_logits(session, ids, n, logits, err));
    tern_session_free(session);
    return logits;
}

static void check_told(const told *t, int32_t id, const float *logits) {
    assert_int_equal(t->id, id);
    assert_int_equal(t->n_top, 3);
    assert_true(fabs(t->logprob - logprob_of(logits, id)) < 1e-5);
    for (size_t k = 0; k < 3; k++) {
        assert_true(fabs(t->top[k].logprob - logprob_of(logits, t->top[k].id)) < 1e-5);
        size_t n_better = 0;
        for (size_t i = 0; i < info.vocab_size; i++)
            n_better += logits[i] > logits[t->top[k].id];
        assert_int_equal(n_better, k);
    }
}

/* Also beside another one whose blocks could be taken over. */
static void test_logprobs(void **state) {
    (void)state;
    enum { N_PROMPT = 140, N_ANSWER = 12 };
    tern_scheduler *s = new_scheduler((tern_scheduler_params){.kv_type = TERN_KV_Q8, .chunk = 33});
    for (int round = 0; round < 2; round++) {
        client *c = new_client(1, N_PROMPT, N_ANSWER), *beside = new_client(1, N_PROMPT, 20);
        c->params.logprobs = c->params.prompt_logprobs = true;
        c->params.n_top = 3;
        c->on_event = keep_told;
        n_told = 0;
        submit(s, beside);
        run(s, c);
        wait_for(beside);
        assert_int_equal(c->result.n_cached, 0);
        must_be_as_alone(c, TERN_KV_Q8);
        for (size_t i = 0; i < N_ANSWER; i++)
            c->ids[N_PROMPT + i] = c->got.ids[i];
        float *logits = logits_of(c->ids, N_PROMPT + N_ANSWER);
        assert_true(n_told >= N_PROMPT + N_ANSWER);
        assert_true(isnan(all_told[0].logprob) && all_told[0].prompt && all_told[0].id == c->ids[0]);
        for (size_t i = 1; i < N_PROMPT + N_ANSWER; i++) {
            assert_int_equal(all_told[i].prompt, i < N_PROMPT);
            check_told(&all_told[i], c->ids[i], logits + (i - 1) * info.vocab_size);
        }
        free(logits);
        free_client(c);
        free_client(beside);
    }
    tern_scheduler_free(s);
}

/* Bit by bit the same in however many pieces, and what the states of a session come to. */
static void test_embedding(void **state) {
    (void)state;
    enum { N = 150 };
    static double sum[4096];
    double squares = 0;
    client *clients[2];
    for (int i = 0; i < 2; i++) {
        tern_scheduler *s = new_scheduler((tern_scheduler_params){.kv_type = TERN_KV_Q8, .chunk = i ? 9 : 200});
        client *before = new_client(1, N, 0); /* its blocks may not be used */
        run(s, before);
        assert_int_equal(before->result.reason, TERN_STOP_LENGTH);
        assert_int_equal(before->got.n, 0);
        free_client(before);
        clients[i] = new_client(1, N, 0);
        clients[i]->params.embedding = true;
        run(s, clients[i]);
        assert_non_null(clients[i]->embedding);
        assert_int_equal(clients[i]->result.n_cached, 0);
        must_be_idle(s);
        tern_scheduler_free(s);
    }
    assert_memory_equal(clients[0]->embedding, clients[1]->embedding, info.hidden_size * sizeof(float));
    tern_session *session = NULL;
    OK(tern_session_create(model, &(tern_session_params){.kv_type = TERN_KV_Q8}, &session, err));
    for (size_t i = 0; i < N; i++) {
        OK(tern_session_eval(session, &clients[0]->ids[i], 1, err));
        for (size_t j = 0; j < info.hidden_size; j++)
            sum[j] += tern_session_embedding(session)[j];
    }
    tern_session_free(session);
    for (size_t j = 0; j < info.hidden_size; j++)
        squares += sum[j] * sum[j];
    for (size_t j = 0; j < info.hidden_size; j++)
        assert_true(fabs(clients[0]->embedding[j] - sum[j] / sqrt(squares)) < 1e-6);
    free_client(clients[0]);
    free_client(clients[1]);
}

/* ------------------------------------------------------------ many threads */

static tern_scheduler *shared;

static void *submit_some(void *context) {
    tern_rng rng;
    tern_rng_seed(&rng, (uint64_t)(uintptr_t)context);
    client *last = NULL;
    for (int i = 0; i < 6; i++) {
        client *c = new_client((int32_t)below(&rng, 4), 1 + below(&rng, 100), (int64_t)below(&rng, 20));
        tern_error err;
        while (tern_scheduler_submit(shared, &c->params, &c->request, &err) == TERN_ERR_BUSY)
            usleep(500);
        if (below(&rng, 2))
            wait_for(c);
        if (last) {
            wait_for(last);
            free_client(last);
        }
        last = c;
    }
    wait_for(last);
    free_client(last);
    return NULL;
}

static void test_many_threads(void **state) {
    (void)state;
    enum { N = 8 };
    pthread_t threads[N];
    shared =
        new_scheduler((tern_scheduler_params){.max_running = 4, .max_waiting = 4, .kv_bytes = 8 * 4 * block_bytes});
    for (size_t i = 0; i < N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_some, (void *)(uintptr_t)(i + 1)), 0);
    tern_session *session = NULL; /* and somebody else uses the model */
    OK(tern_session_create(model, NULL, &session, err));
    for (int i = 0; i < 20; i++) {
        (void)stats_of(shared);
        OK(tern_session_eval(session, (int32_t[]){5, 7}, 2, err));
    }
    tern_session_free(session);
    for (size_t i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    must_be_idle(shared);
    assert_int_equal(stats_of(shared).n_finished, N * 6);
    tern_scheduler_free(shared);
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
        cmocka_unit_test(test_second_turn),   cmocka_unit_test(test_prefix_under_way),
        cmocka_unit_test(test_eviction),      cmocka_unit_test(test_no_prefixes),
        cmocka_unit_test(test_random_mixes),  cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_queue_limit),   cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_deadline),      cmocka_unit_test(test_free_with_requests),
        cmocka_unit_test(test_logprobs),      cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_many_threads),  cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_failing_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
