/* Guessed tokens must not show: with and without them tern_generate_ids() gives the same calls, the same result and
 * leaves the same session, on the built-in model, however the text ends. */
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

enum { MAX_CALLS = 300, N_REPEATS = 3 };

static tern_model *model;
static tern_model_info info;
static int32_t *prompt; /* a text that repeats itself */
static size_t n_prompt;
static int32_t eos;

static int setup(void **state) {
    (void)state;
    static const char sentence[] = "One day, a little girl named Lily found a needle in her room. ";
    char text[N_REPEATS * sizeof sentence] = "";
    for (int i = 0; i < N_REPEATS; i++)
        strcat(text, sentence);
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = 2}, &model, NULL))
        return -1;
    tern_model_get_info(model, &info);
    eos = tern_tokenizer_eos(tern_model_tokenizer(model));
    return tern_tokenize(tern_model_tokenizer(model), text, strlen(text), TERN_TOKENIZE_BOS, &prompt, &n_prompt, NULL);
}

static int teardown(void **state) {
    (void)state;
    tern_free(prompt);
    tern_model_free(model);
    return 0;
}

/* ---------------------------------------------------------------- one run */

typedef struct setting {
    tern_generate_params params;
    tern_session_params session;
    size_t refuse_at, cancel_at; /* the call of the callback that does so; 0: none */
} setting;

typedef struct outcome {
    char text[8192];
    size_t size, n_calls, ends[MAX_CALLS];
    int32_t ids[MAX_CALLS];
    tern_generate_result result, second;
    tern_session *session;
    const setting *setting;
} outcome;

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    outcome *out = user;
    assert_true(out->n_calls < MAX_CALLS && out->size + n_bytes < sizeof out->text);
    memcpy(out->text + out->size, text, n_bytes);
    out->size += n_bytes;
    out->ids[out->n_calls] = id;
    out->ends[out->n_calls++] = out->size;
    if (out->n_calls == out->setting->cancel_at)
        tern_session_cancel(out->session);
    return out->n_calls != out->setting->refuse_at;
}

/* Generate, and go on for five tokens from the logits that are left. */
static void generate(const setting *s, int32_t draft, outcome *out) {
    *out = (outcome){.setting = s};
    tern_generate_params params = s->params;
    params.draft = draft;
    OK(tern_session_create(model, &s->session, &out->session, err));
    OK(tern_generate_ids(out->session, prompt, n_prompt, &params, on_text, out, &out->result, err));
    params.max_tokens = 5;
    setting plain = *s;
    plain.cancel_at = plain.refuse_at = 0;
    out->setting = &plain;
    OK(tern_generate_ids(out->session, NULL, 0, &params, on_text, out, &out->second, err));
}

static void must_be_alike(const outcome *a, const outcome *b) {
    assert_int_equal(a->n_calls, b->n_calls);
    assert_memory_equal(a->ids, b->ids, a->n_calls * sizeof *a->ids);
    assert_memory_equal(a->ends, b->ends, a->n_calls * sizeof *a->ends);
    assert_memory_equal(a->text, b->text, a->size);
    assert_int_equal(a->result.reason, b->result.reason);
    assert_int_equal(a->result.n_generated, b->result.n_generated);
    assert_int_equal(a->result.n_prompt, b->result.n_prompt);
    assert_int_equal(a->second.reason, b->second.reason);
    uint32_t n_past = tern_session_n_past(a->session);
    assert_int_equal(n_past, tern_session_n_past(b->session));
    assert_memory_equal(tern_session_tokens(a->session), tern_session_tokens(b->session), n_past * sizeof(int32_t));
    assert_memory_equal(tern_session_logits(a->session), tern_session_logits(b->session),
                        info.vocab_size * sizeof(float));
}

static uint64_t n_drafted, n_accepted; /* of the test that runs */

/* Plain, then with drafts of several sizes. */
static tern_generate_result check(const setting *s) {
    static outcome plain, guessed;
    static const int32_t drafts[] = {1, 2, 5, -1, 64};
    generate(s, 0, &plain);
    assert_int_equal(plain.result.n_drafted, 0);
    for (size_t i = 0; i < sizeof drafts / sizeof *drafts; i++) {
        generate(s, drafts[i], &guessed);
        must_be_alike(&plain, &guessed);
        assert_true(guessed.result.n_accepted <= guessed.result.n_drafted);
        assert_true(guessed.result.n_steps <= plain.result.n_steps);
        n_drafted += guessed.result.n_drafted;
        n_accepted += guessed.result.n_accepted;
        tern_session_free(guessed.session);
    }
    tern_session_free(plain.session);
    return plain.result;
}

static int start(void **state) {
    (void)state;
    n_drafted = n_accepted = 0;
    return 0;
}

/* Some guesses were right and some wrong, or the test has shown nothing. */
static void must_have_guessed(void) {
    print_message("%llu of %llu guesses were right\n", (unsigned long long)n_accepted, (unsigned long long)n_drafted);
    assert_true(n_accepted >= 10);
    assert_true(n_drafted >= n_accepted + 10);
}

/* A text of a few words of the prompt, drawn: much of it repeats, and little of it is sure. */
static setting babble(int64_t max_tokens) {
    static tern_logit_bias few[8];
    setting s = {.params = tern_generate_defaults(), .session = {.kv_type = TERN_KV_F16}};
    for (size_t i = 0; i < 8; i++)
        few[i] = (tern_logit_bias){prompt[1 + i], 10};
    s.params.sampler.temperature = 0.5f;
    s.params.sampler.logit_bias = few;
    s.params.sampler.n_logit_bias = 8;
    s.params.max_tokens = max_tokens;
    s.params.ignore_end = true;
    return s;
}

/* --------------------------------------------------------------- sampling */

/* All ways to draw. */
static void test_settings(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 36; seed++) {
        setting s = babble(40);
        tern_sampler_params *p = &s.params.sampler;
        p->seed = seed;
        p->temperature = (float)(seed % 4) * 0.4f;
        p->top_k = seed % 3 == 0 ? 3 : 0;
        p->top_p = seed % 3 == 1 ? 0.6f : 1;
        p->min_p = seed % 6 == 2 ? 0.2f : 0;
        p->n_logit_bias = seed % 5 ? 8 : 0;
        if (seed % 5 == 1)
            p->repeat_penalty = 1.05f;
        if (seed % 5 == 2)
            p->frequency_penalty = 0.3f;
        if (seed % 5 == 3)
            p->presence_penalty = -0.2f;
        p->penalty_window = seed % 7 == 0 ? -1 : (int32_t)(seed % 7) * 3;
        s.session.kv_type = seed % 3 == 0 ? TERN_KV_F32 : seed % 3 == 1 ? TERN_KV_F16 : TERN_KV_Q8;
        check(&s);
    }
    must_have_guessed();
}

/* Drafts are cut to what the session evaluates at once. */
static void test_small_chunks(void **state) {
    (void)state;
    for (uint32_t chunk = 1; chunk <= 4; chunk++) {
        setting s = babble(40);
        s.session.chunk = chunk;
        check(&s);
    }
    must_have_guessed();
}

/* ----------------------------------------------------------------- endings */

static void test_every_length(void **state) {
    (void)state;
    for (int64_t n = 0; n < 24; n++) {
        setting s = babble(n);
        tern_generate_result result = check(&s);
        assert_int_equal(result.reason, TERN_STOP_LENGTH);
        assert_int_equal(result.n_generated, n);
    }
    must_have_guessed();
}

static void test_every_context(void **state) {
    (void)state;
    for (uint32_t n_ctx = (uint32_t)n_prompt; n_ctx < n_prompt + 18; n_ctx++) {
        setting s = babble(-1);
        s.session.n_ctx = n_ctx;
        tern_generate_result result = check(&s);
        assert_int_equal(result.reason, TERN_STOP_CONTEXT);
        assert_int_equal(result.n_generated, n_ctx - n_prompt + 1);
    }
    must_have_guessed();
}

static void test_callback_stops_anywhere(void **state) {
    (void)state;
    for (size_t at = 1; at < 18; at++) {
        setting s = babble(50);
        s.refuse_at = at;
        assert_int_equal(check(&s).reason, TERN_STOP_CANCELLED);
    }
    must_have_guessed();
}

static void test_cancelled_anywhere(void **state) {
    (void)state;
    for (size_t at = 1; at < 18; at++) {
        setting s = babble(50);
        s.cancel_at = at;
        tern_generate_result result = check(&s);
        assert_int_equal(result.reason, TERN_STOP_CANCELLED);
        assert_int_equal(result.n_generated, at);
    }
    must_have_guessed();
}

/* Each piece of the text as the stop string. */
static void test_stop_strings(void **state) {
    (void)state;
    static outcome plain;
    setting s = babble(50);
    generate(&s, 0, &plain);
    tern_session_free(plain.session);
    size_t n_stopped = 0;
    for (size_t at = 0; at + 4 < plain.size && at < 100; at += 3) {
        char piece[5] = "";
        memcpy(piece, plain.text + at, 4);
        if ((piece[0] & 0xc0) == 0x80)
            continue;
        const char *stop[] = {piece};
        setting with_stop = babble(50);
        with_stop.params.stop = stop;
        with_stop.params.n_stop = 1;
        n_stopped += check(&with_stop).reason == TERN_STOP_STRING;
    }
    assert_true(n_stopped > 10);
    must_have_guessed();
}

/* The end token comes up in the middle of repetitions. */
static void test_end_tokens(void **state) {
    (void)state;
    size_t n_ended = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        setting s = babble(50);
        tern_logit_bias likely[9];
        memcpy(likely, s.params.sampler.logit_bias, 8 * sizeof *likely);
        likely[8] = (tern_logit_bias){eos, 6 + (float)seed * 2}; /* what it takes depends on the model */
        s.params.ignore_end = false;
        s.params.sampler.seed = seed;
        s.params.sampler.logit_bias = likely;
        s.params.sampler.n_logit_bias = 9;
        n_ended += check(&s).reason == TERN_STOP_END;
    }
    assert_true(n_ended >= 4);
    must_have_guessed();
}

static void test_bad_drafts(void **state) {
    (void)state;
    static const int32_t bad[] = {-2, 65, INT32_MAX, INT32_MIN};
    tern_session *session = NULL;
    OK(tern_session_create(model, NULL, &session, err));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tern_error err = {0};
        tern_generate_params params = tern_generate_defaults();
        params.draft = bad[i];
        assert_int_equal(tern_generate_ids(session, prompt, n_prompt, &params, NULL, NULL, NULL, &err),
                         TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "draft"));
        assert_int_equal(tern_session_n_past(session), 0);
    }
    tern_session_free(session);
}

/* A text that is one loop takes few steps. */
static void test_loops_take_few_steps(void **state) {
    (void)state;
    setting s = babble(150);
    const tern_logit_bias always = {prompt[5], 1000};
    s.params.sampler.logit_bias = &always;
    s.params.sampler.n_logit_bias = 1;
    s.params.draft = 8;
    tern_session *session = NULL;
    tern_generate_result result;
    OK(tern_session_create(model, NULL, &session, err));
    OK(tern_generate_ids(session, prompt, n_prompt, &s.params, NULL, NULL, &result, err));
    assert_int_equal(result.n_generated, 150);
    assert_true(result.n_steps < 40); /* 149 without guesses */
    assert_int_equal(result.n_steps + result.n_accepted, 149);
    tern_session_free(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_settings, start),
        cmocka_unit_test_setup(test_small_chunks, start),
        cmocka_unit_test_setup(test_every_length, start),
        cmocka_unit_test_setup(test_every_context, start),
        cmocka_unit_test_setup(test_callback_stops_anywhere, start),
        cmocka_unit_test_setup(test_cancelled_anywhere, start),
        cmocka_unit_test_setup(test_stop_strings, start),
        cmocka_unit_test_setup(test_end_tokens, start),
        cmocka_unit_test_setup(test_bad_drafts, start),
        cmocka_unit_test_setup(test_loops_take_few_steps, start),
    };
    return cmocka_run_group_tests_name("speculation", tests, setup, teardown);
}
