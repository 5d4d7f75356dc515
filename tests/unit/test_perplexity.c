/* Perplexity against its definition, computed here token by token, on the built-in model. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The eval room is part of the command, not of the library that tests link with. */
#include "eval/perplexity.c"

static tern_model *model;
static tern_model_info info;

static int load(void **state) {
    (void)state;
    tern_model_params params = tern_model_defaults();
    params.n_threads = 2;
    if (tern_model_load(NULL, &params, &model, NULL))
        return -1;
    tern_model_get_info(model, &info);
    return 0;
}

static int unload(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

static tern_session *new_session_of(tern_kv_type kv_type, uint32_t n_ctx, uint32_t chunk) {
    tern_session_params params = tern_session_defaults();
    tern_session *session;
    tern_error err;
    params.n_ctx = n_ctx;
    params.chunk = chunk;
    params.kv_type = kv_type;
    if (tern_session_create(model, &params, &session, &err))
        fail_msg("%s", err.message);
    return session;
}

static tern_session *new_session(uint32_t n_ctx, uint32_t chunk) { return new_session_of(TERN_KV_F32, n_ctx, chunk); }

static const char text[] = "Once upon a time, there was a little girl named Lily. She loved to play in the rain.\n"
                           "\"Why?\" said the bird <|eot_id|> on the tree. Na\xc3\xafve \xff bytes count too. The end.";

static const char story[] =
    "Once upon a time, there was a little girl named Lily. She had a red ball and a small dog. One day, Lily and her "
    "dog went to the park to play. The dog saw a big bird in a tree and began to bark. \"Do not be sad,\" said Lily. "
    "\"The bird is our friend.\" The bird came down and sat on the red ball. Then a boy named Tom came to the park. "
    "He wanted to play with the ball too. Lily gave him the ball, and they played until the sun went down. Her mom "
    "was waiting at home with a warm cake. Lily told her mom about the bird, the dog and her new friend. They were "
    "all very happy, and Lily learned that it is good to share.";
static const char *const kv_names[] = {[TERN_KV_F32] = "f32", [TERN_KV_F16] = "f16", [TERN_KV_Q8] = "q8"};

/* The definition in eval/perplexity.h, with a session of its own for every window, token by token. */
static double by_definition(uint32_t n_window, size_t *n_tokens) {
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    int32_t *ids, bos = tern_tokenizer_bos(tokenizer);
    assert_int_equal(tern_tokenize(tokenizer, text, sizeof text - 1, 0, &ids, n_tokens, NULL), TERN_OK);
    double sum = 0;
    size_t per_window = n_window > 1 ? n_window - 1 : 1;
    tern_session *session = NULL;
    for (size_t i = 0; i < *n_tokens; i++) {
        if (i % per_window == 0) {
            tern_session_free(session);
            session = new_session(n_window, 0);
            assert_int_equal(tern_session_eval(session, &bos, 1, NULL), TERN_OK);
        } else {
            assert_int_equal(tern_session_eval(session, &ids[i - 1], 1, NULL), TERN_OK);
        }
        const float *logits = tern_session_logits(session);
        long double total = 0;
        for (size_t id = 0; id < info.vocab_size; id++)
            total += expl((long double)logits[id]);
        sum += (double)(logl(total) - (long double)logits[ids[i]]);
    }
    tern_session_free(session);
    tern_free(ids);
    return sum;
}

static void check_window(uint32_t n_window) {
    static const uint32_t chunks[] = {0, 1, 7};
    size_t n_tokens;
    double sum = by_definition(n_window, &n_tokens), first = 0;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        tern_session *session = new_session(n_window, chunks[i]);
        tern_perplexity_result result;
        tern_error err;
        if (tern_perplexity(model, session, text, sizeof text - 1, n_window, NULL, NULL, &result, &err))
            fail_msg("%s", err.message);
        assert_int_equal(result.tokens, n_tokens);
        assert_int_equal(result.bytes, sizeof text - 1);
        assert_true(fabs(result.mean_nll - sum / (double)n_tokens) < 1e-9);
        assert_true(fabs(result.perplexity - exp(result.mean_nll)) < 1e-9);
        assert_true(fabs(result.bits_per_byte - sum / log(2) / (double)(sizeof text - 1)) < 1e-9);
        assert_true(i == 0 || result.mean_nll == first); /* to the last bit, whatever the chunk */
        first = result.mean_nll;
        tern_session_free(session);
    }
}

static void test_one_window(void **state) {
    (void)state;
    check_window(512);
}
static void test_many_windows(void **state) {
    (void)state;
    check_window(16);
}
static void test_smallest_window(void **state) {
    (void)state;
    check_window(2); /* every token behind BOS alone */
}
static void test_whole_last_window(void **state) {
    (void)state;
    size_t n_tokens;
    by_definition(512, &n_tokens);
    check_window((uint32_t)n_tokens + 1); /* the text fills the window exactly */
    check_window((uint32_t)n_tokens);     /* and leaves one token for a second one */
}

static void test_negative_log_likelihood(void **state) {
    (void)state;
    float uniform[1000], offset[3] = {1000, 1001, 1002}, low[3] = {-1e30f, 0, 0}, inf[2] = {-INFINITY, 0};
    for (size_t i = 0; i < 1000; i++)
        uniform[i] = -12.5f;
    assert_true(fabs(tern_negative_log_likelihood(uniform, 1000, 7) - log(1000)) < 1e-12);
    assert_true(fabs(tern_negative_log_likelihood(offset, 3, 0) - log(1 + exp(1) + exp(2))) < 1e-12);
    assert_true(fabs(tern_negative_log_likelihood(low, 3, 1) - log(2)) < 1e-12);
    assert_true(tern_negative_log_likelihood(low, 3, 0) > 9e29);
    assert_true(tern_negative_log_likelihood(inf, 2, 1) == 0);
    assert_true(tern_negative_log_likelihood(inf, 2, 0) == INFINITY);
    float nan_first[2] = {NAN, 1}, nan_last[2] = {1, NAN};
    assert_true(isnan(tern_negative_log_likelihood(nan_first, 2, 1)));
    assert_true(isnan(tern_negative_log_likelihood(nan_last, 2, 0)));
}

static void test_slice(void **state) {
    (void)state;
    assert_int_equal(tern_logits_slice(128256, 4096), 128); /* 64 MB hold 130 */
    assert_int_equal(tern_logits_slice(128256, 100), 100);
    assert_int_equal(tern_logits_slice(1 << 24, 100), 1);
    assert_int_equal(tern_logits_slice(1 << 25, 100), 1);
    assert_int_equal(tern_logits_slice(301, 128), 128);
}

/* What 16 and 8 bits in the cache cost. Hardly anything by themselves, but now and then they put an activation on the
 * other side of a rounding tie, and this text is short: 3e-3 nats were measured on it, 3e-4 on 15,000 tokens. */
static void test_kv_types(void **state) {
    (void)state;
    double nll[3];
    for (int kv = 0; kv < 3; kv++) {
        tern_session *session = new_session_of((tern_kv_type)kv, 512, 0);
        tern_perplexity_result result;
        tern_error err;
        if (tern_perplexity(model, session, story, sizeof story - 1, 512, NULL, NULL, &result, &err))
            fail_msg("%s", err.message);
        nll[kv] = result.mean_nll;
        tern_session_free(session);
        print_message("%s: %.6f nats a token over %u tokens\n", kv_names[kv], nll[kv], (unsigned)result.tokens);
    }
    assert_true(nll[TERN_KV_F16] != nll[TERN_KV_F32] && nll[TERN_KV_Q8] != nll[TERN_KV_F32]);
    assert_true(fabs(nll[TERN_KV_F16] - nll[TERN_KV_F32]) < 1e-2);
    assert_true(fabs(nll[TERN_KV_Q8] - nll[TERN_KV_F32]) < 1e-2);
}

static bool stop_at_once(void *user, uint64_t done, uint64_t total) {
    *(uint64_t *)user = total;
    return done > total;
}

static void test_failures(void **state) {
    (void)state;
    tern_session *session = new_session(64, 0);
    tern_perplexity_result result;
    tern_error err;
    uint64_t total = 0;
    assert_int_equal(tern_perplexity(model, session, "", 0, 64, NULL, NULL, &result, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "empty"));
    assert_int_equal(tern_perplexity(model, session, text, 9, 65, NULL, NULL, &result, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_perplexity(model, session, text, 9, 1, NULL, NULL, &result, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_perplexity(model, session, text, sizeof text - 1, 64, stop_at_once, &total, &result, &err),
                     TERN_ERR_CANCELLED);
    assert_true(total > 10);
    tern_session_cancel(session);
    assert_int_equal(tern_perplexity(model, session, text, sizeof text - 1, 64, NULL, NULL, &result, &err),
                     TERN_ERR_CANCELLED);
    assert_int_equal(tern_perplexity(model, session, text, sizeof text - 1, 64, NULL, NULL, &result, &err), TERN_OK);
    tern_session_free(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_window),
        cmocka_unit_test(test_many_windows),
        cmocka_unit_test(test_smallest_window),
        cmocka_unit_test(test_whole_last_window),
        cmocka_unit_test(test_negative_log_likelihood),
        cmocka_unit_test(test_slice),
        cmocka_unit_test(test_kv_types),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
