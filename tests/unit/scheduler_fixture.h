/* Clients of a scheduler: what each asks for, what came back, and when. */
#ifndef TERN_TESTS_SCHEDULER_FIXTURE_H
#define TERN_TESTS_SCHEDULER_FIXTURE_H

#include <pthread.h>

#include "demo_model.h"

enum { N_CTX = 256, BLOCK = 64, MAX_TEXT = 4096, MAX_EVENTS = 600 };

static uint64_t block_bytes;

static inline int load_with_blocks(void **state) {
    (void)state;
    tern_scheduler *scheduler = NULL;
    tern_scheduler_stats stats;
    if (load_model(1) || tern_scheduler_create(model, NULL, &scheduler, NULL))
        return -1;
    tern_scheduler_get_stats(scheduler, &stats);
    tern_scheduler_free(scheduler);
    block_bytes = stats.kv_bytes / stats.kv_blocks;
    return stats.kv_block_tokens == BLOCK && stats.kv_blocks % 4 == 0 ? 0 : -1;
}

/* What came back, from a scheduler or from tern_generate. */
typedef struct output {
    char text[MAX_TEXT]; /* all of it, and where each call's part ends */
    size_t size, ends[MAX_EVENTS];
    int32_t ids[MAX_EVENTS];
    size_t n;
} output;

static inline bool add(output *out, const char *text, size_t n_bytes, int32_t id) {
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

static inline bool on_event(void *user, const tern_request_event *event) {
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

static inline void on_done(void *user, const tern_request_result *result) {
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

static inline void wait_for(client *c) {
    pthread_mutex_lock(&lock);
    while (!c->done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* A greedy request for n ids, which begin with `first` and go on in a way of their own. */
static inline client *new_client(int32_t first, size_t n, int64_t max_tokens) {
    client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->params = greedy_request(first, n, max_tokens, c->ids);
    c->params.on_event = on_event;
    c->params.on_done = on_done;
    c->params.user = c;
    return c;
}

static inline void free_client(client *c) {
    free(c->embedding);
    free(c);
}

static inline void submit(tern_scheduler *s, client *c) { OK(tern_scheduler_submit(s, &c->params, &c->request, err)); }

static inline void run(tern_scheduler *s, client *c) {
    submit(s, c);
    wait_for(c);
}

static inline tern_scheduler *new_scheduler(tern_scheduler_params params) {
    tern_scheduler *s = NULL;
    params.n_ctx = params.n_ctx ? params.n_ctx : N_CTX;
    OK(tern_scheduler_create(model, &params, &s, err));
    return s;
}

/* Nobody holds a block; what is there is kept or free. */
static inline void must_be_idle(tern_scheduler *s) {
    tern_scheduler_stats stats = stats_of(s);
    assert_int_equal(stats.kv_blocks_used, 0);
    assert_int_equal(stats.n_waiting, 0);
    assert_int_equal(stats.n_running, 0);
}

static inline bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    return add(user, text, n_bytes, id);
}

/* What the client's request gets alone, and that it got this: all, or up to where it was cancelled. */
static inline void must_be_as_alone(const client *c, tern_kv_type kv_type) {
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

#endif
