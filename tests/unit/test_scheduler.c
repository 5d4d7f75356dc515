/* The scheduler by the words of tern.h, on the built-in model: what a request gets is, bit by bit, what tern_generate()
 * gives it alone. */
#include <unistd.h>

#include "base/rng.h"
#include "scheduler_fixture.h"

#ifdef TERN_SLOW_TESTS
enum { N_MIXED = 8 };
#else
enum { N_MIXED = 24 };
#endif

/* ------------------------------------------------------------- bit identity */

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_turn),  cmocka_unit_test(test_prefix_under_way), cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_no_prefixes),  cmocka_unit_test(test_random_mixes),     cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, load_with_blocks, free_model);
}
