/* Batches by the words of tern.h, on the built-in model: each session gets, bit by bit, what it gets alone. */
#include "base/rng.h"
#include "demo_model.h"

enum { N = 6, N_CTX = 200 };

static int setup(void **state) {
    (void)state;
    return load_model(2);
}

/* Different caches and chunks beside each other; chunk 0: the default for all. */
static tern_session *new_session(size_t i, uint32_t chunk) {
    static const tern_kv_type kv_types[] = {TERN_KV_F32, TERN_KV_F16, TERN_KV_Q8};
    tern_session_params params = {.n_ctx = N_CTX, .chunk = chunk ? chunk + (uint32_t)i : 0, .kv_type = kv_types[i % 3]};
    tern_session *session = NULL;
    OK(tern_session_create(model, &params, &session, err));
    return session;
}

static void must_be_alike(tern_session *a, tern_session *b) {
    assert_int_equal(tern_session_n_past(a), tern_session_n_past(b));
    assert_memory_equal(tern_session_tokens(a), tern_session_tokens(b), tern_session_n_past(a) * sizeof(int32_t));
    const float *x = tern_session_embedding(a), *y = tern_session_embedding(b);
    assert_int_equal(x != NULL, y != NULL);
    if (!x)
        return;
    assert_memory_equal(x, y, info.hidden_size * sizeof *x);
    assert_memory_equal(tern_session_logits(a), tern_session_logits(b), info.vocab_size * sizeof(float));
}

typedef struct pairs {
    tern_session *together[N], *alone[N];
    int32_t ids[N][N_CTX];
    const int32_t *pointers[N];
    size_t n_ids[N];
} pairs;

static void open_pairs(pairs *p, uint32_t chunk) {
    *p = (pairs){0};
    for (size_t i = 0; i < N; i++) {
        p->together[i] = new_session(i, chunk);
        p->alone[i] = new_session(i, 0);
        p->pointers[i] = p->ids[i];
    }
}

static void close_pairs(pairs *p) {
    for (size_t i = 0; i < N; i++) {
        tern_session_free(p->together[i]);
        tern_session_free(p->alone[i]);
    }
}

/* The next ids of each: at most `most`, as many as fit. */
static void next_ids(pairs *p, tern_rng *rng, size_t most) {
    for (size_t i = 0; i < N; i++) {
        p->n_ids[i] = 1 + tern_rng_u64(rng) % most;
        size_t room = N_CTX - tern_session_n_past(p->together[i]);
        p->n_ids[i] = p->n_ids[i] < room ? p->n_ids[i] : room;
        for (size_t j = 0; j < p->n_ids[i]; j++)
            p->ids[i][j] = (int32_t)(tern_rng_u64(rng) % info.vocab_size);
    }
}

static void eval_both(pairs *p, size_t n) {
    OK(tern_batch_eval(p->together, p->pointers, p->n_ids, n, err));
    for (size_t i = 0; i < n; i++) {
        OK(tern_session_eval(p->alone[i], p->ids[i], p->n_ids[i], err));
        must_be_alike(p->together[i], p->alone[i]);
    }
}

/* Prompts and single tokens mixed, in one pass and cut into several (chunks from 1 to 9 tokens). */
static void test_same_bits(void **state) {
    (void)state;
    static pairs p;
    static const uint32_t chunks[] = {0, 1, 4};
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        tern_rng rng;
        tern_rng_seed(&rng, c);
        open_pairs(&p, chunks[c]);
        for (int round = 0; round < 6; round++) {
            next_ids(&p, &rng, round % 3 == 2 ? 40 : 1 + 8 * (size_t)(round % 3));
            eval_both(&p, 1 + (size_t)(round + 3) % N);
        }
        next_ids(&p, &rng, 1); /* and one token for each, as in decoding */
        eval_both(&p, N);
        close_pairs(&p);
    }
}

/* What is cached behind a batch is as good as what is cached alone. */
static void test_going_on(void **state) {
    (void)state;
    static pairs p;
    tern_rng rng;
    tern_rng_seed(&rng, 10);
    open_pairs(&p, 0);
    next_ids(&p, &rng, 50);
    eval_both(&p, N);
    for (size_t i = 0; i < N; i++) {
        uint32_t kept = tern_session_n_past(p.alone[i]) / 2;
        OK(tern_session_truncate(p.alone[i], kept, err));
        OK(tern_session_truncate(p.together[i], kept, err));
        OK(tern_session_eval(p.alone[i], (int32_t[]){5, 7}, 2, err));
        OK(tern_session_eval(p.together[i], (int32_t[]){5, 7}, 2, err));
        must_be_alike(p.alone[i], p.together[i]);
    }
    close_pairs(&p);
}

static void must_be_unchanged(pairs *p) {
    for (size_t i = 0; i < N; i++)
        must_be_alike(p->together[i], p->alone[i]);
}

static void test_failures_change_nothing(void **state) {
    (void)state;
    static pairs p;
    tern_model *other_model = NULL;
    tern_session *stranger = NULL, *wrong[N];
    tern_rng rng;
    tern_rng_seed(&rng, 20);
    open_pairs(&p, 4);
    next_ids(&p, &rng, 30);
    eval_both(&p, N - 1); /* the last one stays empty */
    next_ids(&p, &rng, 30);

    FAILS(TERN_ERR_ARGUMENT, "0 sessions", tern_batch_eval(p.together, p.pointers, p.n_ids, 0, err));
    memcpy(wrong, p.together, sizeof wrong);
    wrong[2] = NULL;
    FAILS(TERN_ERR_ARGUMENT, "NULL", tern_batch_eval(wrong, p.pointers, p.n_ids, N, err));
    wrong[2] = p.together[4];
    FAILS(TERN_ERR_ARGUMENT, "twice", tern_batch_eval(wrong, p.pointers, p.n_ids, N, err));
    OK(tern_model_load(NULL, &(tern_model_params){.n_threads = 1}, &other_model, err));
    OK(tern_session_create(other_model, NULL, &stranger, err));
    wrong[2] = stranger;
    FAILS(TERN_ERR_ARGUMENT, "another model", tern_batch_eval(wrong, p.pointers, p.n_ids, N, err));
    tern_session_free(stranger);
    tern_model_free(other_model);

    size_t n_kept = p.n_ids[3];
    p.n_ids[3] = 0;
    FAILS(TERN_ERR_ARGUMENT, "no token", tern_batch_eval(p.together, p.pointers, p.n_ids, N, err));
    p.n_ids[3] = N_CTX - tern_session_n_past(p.together[3]) + 1;
    FAILS(TERN_ERR_CONTEXT, "context", tern_batch_eval(p.together, p.pointers, p.n_ids, N, err));
    p.n_ids[3] = n_kept;
    int32_t id_kept = p.ids[N - 1][0];
    p.ids[N - 1][0] = (int32_t)info.vocab_size;
    FAILS(TERN_ERR_ARGUMENT, "vocabulary", tern_batch_eval(p.together, p.pointers, p.n_ids, N, err));
    p.ids[N - 1][0] = id_kept;
    tern_session_cancel(p.together[1]);
    FAILS(TERN_ERR_CANCELLED, "cancelled", tern_batch_eval(p.together, p.pointers, p.n_ids, N, err));
    assert_int_equal(tern_batch_eval(p.together, p.pointers, p.n_ids, 0, NULL), TERN_ERR_ARGUMENT);
    must_be_unchanged(&p);
    eval_both(&p, N); /* and the next one works: the cancellation was for that one */
    close_pairs(&p);
}

/* A context that is full to the last token, in each way that memory grows. */
static void test_full_contexts(void **state) {
    (void)state;
    static pairs p;
    tern_rng rng;
    tern_rng_seed(&rng, 30);
    open_pairs(&p, 0);
    for (size_t i = 0; i < N; i++) {
        p.n_ids[i] = N_CTX;
        for (size_t j = 0; j < N_CTX; j++)
            p.ids[i][j] = (int32_t)(tern_rng_u64(&rng) % info.vocab_size);
    }
    eval_both(&p, N);
    for (size_t i = 0; i < N; i++)
        p.n_ids[i] = 1;
    FAILS(TERN_ERR_CONTEXT, "full", tern_batch_eval(p.together, p.pointers, p.n_ids, N, err));
    must_be_unchanged(&p);
    close_pairs(&p);
}

/* ---------------------------------------------------------------- sampling */

static tern_sampler_params settings(size_t i) {
    static const tern_logit_bias bias[] = {{11, 5}, {12, -3}};
    tern_sampler_params params = tern_sampler_defaults();
    params.seed = i;
    params.temperature = i == 0 ? 0 : 1;
    params.top_k = i == 1 ? 40 : 0;
    params.top_p = i == 2 ? 0.9f : 1;
    params.min_p = i == 3 ? 0.01f : 0;
    params.repeat_penalty = i == 4 ? 1.3f : 1; /* 4 and 5: by noise */
    params.logit_bias = i == 5 ? bias : NULL;
    params.n_logit_bias = i == 5 ? 2 : 0;
    return params;
}

/* A text of each, with one pass a token, against the logits of each alone. */
static void test_sample(void **state) {
    (void)state;
    static pairs p;
    tern_sampler *together[N], *alone[N];
    size_t ones[N];
    int32_t drawn[N];
    tern_rng rng;
    tern_rng_seed(&rng, 40);
    open_pairs(&p, 0);
    next_ids(&p, &rng, 20);
    eval_both(&p, N);
    for (size_t i = 0; i < N; i++) {
        tern_sampler_params params = settings(i);
        OK(tern_sampler_create(&params, info.vocab_size, &together[i], err));
        OK(tern_sampler_create(&params, info.vocab_size, &alone[i], err));
        ones[i] = 1;
        p.pointers[i] = &drawn[i];
    }
    for (int step = 0; step < 40; step++) {
        OK(tern_batch_sample(p.together, together, N, drawn, err));
        for (size_t i = 0; i < N; i++) {
            int32_t id = -1;
            OK(tern_sampler_sample(alone[i], tern_session_logits(p.alone[i]), &id, err));
            assert_int_equal(drawn[i], id);
            OK(tern_sampler_accept(alone[i], id, err));
            OK(tern_sampler_accept(together[i], id, err));
            OK(tern_session_eval(p.alone[i], &id, 1, err));
        }
        OK(tern_batch_eval(p.together, p.pointers, ones, N, err));
    }
    int32_t one = -1, other = -2;
    OK(tern_session_sample(p.together[2], together[2], &one, err));
    OK(tern_sampler_sample(alone[2], tern_session_logits(p.alone[2]), &other, err));
    assert_int_equal(one, other);
    for (size_t i = 0; i < N; i++) {
        tern_sampler_free(together[i]);
        tern_sampler_free(alone[i]);
    }
    close_pairs(&p);
}

static void test_bad_samples(void **state) {
    (void)state;
    static pairs p;
    tern_sampler *samplers[N] = {0}, *small = NULL;
    int32_t drawn[N] = {-7};
    open_pairs(&p, 0);
    tern_rng rng;
    tern_rng_seed(&rng, 50);
    next_ids(&p, &rng, 3);
    for (size_t i = 0; i < N; i++)
        OK(tern_sampler_create(NULL, info.vocab_size, &samplers[i], err));
    OK(tern_sampler_create(NULL, info.vocab_size - 1, &small, err));
    FAILS(TERN_ERR_ARGUMENT, "no logits", tern_batch_sample(p.together, samplers, N, drawn, err));
    eval_both(&p, N);
    FAILS(TERN_ERR_ARGUMENT, "0 sessions", tern_batch_sample(p.together, samplers, 0, drawn, err));
    tern_sampler *wrong[N];
    memcpy(wrong, samplers, sizeof wrong);
    wrong[1] = NULL;
    FAILS(TERN_ERR_ARGUMENT, "sampler 1 is NULL", tern_batch_sample(p.together, wrong, N, drawn, err));
    wrong[1] = small;
    FAILS(TERN_ERR_ARGUMENT, "sampler 1 is for", tern_batch_sample(p.together, wrong, N, drawn, err));
    wrong[1] = samplers[0];
    FAILS(TERN_ERR_ARGUMENT, "twice", tern_batch_sample(p.together, wrong, N, drawn, err));
    assert_int_equal(drawn[0], -7);
    OK(tern_batch_sample(p.together, samplers, N, drawn, err));
    OK(tern_session_truncate(p.together[5], 0, err));
    FAILS(TERN_ERR_ARGUMENT, "session 5", tern_batch_sample(p.together, samplers, N, drawn, err));
    for (size_t i = 0; i < N; i++)
        tern_sampler_free(samplers[i]);
    tern_sampler_free(small);
    close_pairs(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_going_on),
        cmocka_unit_test(test_failures_change_nothing),
        cmocka_unit_test(test_full_contexts),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_bad_samples),
    };
    return cmocka_run_group_tests_name("batch", tests, setup, free_model);
}
