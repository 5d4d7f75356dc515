/* Probabilities and embeddings of a scheduler's requests: those of a session of their own. */
#include <math.h>

#include "scheduler_fixture.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_embedding),
    };
    return cmocka_run_group_tests(tests, load_with_blocks, free_model);
}
