/* Sampling under a grammar: the token is the one that a sampler without a grammar draws from logits in which all tokens
 * that are not allowed are -inf; from all logits and from candidates of the head alike; and guesses do not show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/str.h"
#include "grammar/matcher.h"
#include "tern/tern.h"

static tern_model *model;
static const tern_tokenizer *tokenizer;
static tern_model_info info;
static tern_grammar *grammars[3];

static int setup(void **state) {
    (void)state;
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},\"ages\":{\"type\":"
        "\"array\","
        "\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99},\"maxItems\":4},\"ok\":{\"type\":\"boolean\"}},"
        "\"required\":[\"name\",\"ages\",\"ok\"]}";
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = 2}, &model, NULL))
        return -1;
    tokenizer = tern_model_tokenizer(model);
    tern_model_get_info(model, &info);
    return tern_grammar_from_schema(tokenizer, schema, &grammars[0], NULL) ||
           tern_grammar_parse(tokenizer, "root ::= ([A-Za-z ,.]+ \"\\n\"?)+", &grammars[1], NULL) ||
           tern_grammar_parse(tokenizer, "root ::= (\" \"? [a-z]{1,5} (\",\" | \" and\"))* \" end\"", &grammars[2],
                              NULL);
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++)
        tern_grammar_free(grammars[i]);
    tern_model_free(model);
    return 0;
}

static const tern_logit_bias bias[] = {{100, 3}, {101, -2}, {102, 5}};

static const tern_sampler_params settings[] = {
    {.temperature = 0, .top_p = 1, .repeat_penalty = 1},
    {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 1},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1, .seed = 2},
    {.temperature = 1.5f, .top_k = 5, .top_p = 1, .repeat_penalty = 1, .seed = 3},
    {.temperature = 2, .top_p = 1, .min_p = 0.1f, .repeat_penalty = 1, .seed = 4},
    {.temperature = 1, .top_p = 0.9f, .repeat_penalty = 1, .seed = 5},
    {.temperature = 0, .top_p = 1, .repeat_penalty = 1.3f, .penalty_window = -1},
    {.temperature = 1, .top_p = 1, .repeat_penalty = 1.1f, .presence_penalty = 1, .penalty_window = 8, .seed = 6},
    {.temperature = 1,
     .top_k = 10,
     .top_p = 1,
     .repeat_penalty = 1,
     .frequency_penalty = 0.5f,
     .penalty_window = 20,
     .logit_bias = bias,
     .n_logit_bias = 3,
     .seed = 7},
    {.temperature = 0.7f,
     .top_p = 1,
     .min_p = 0.02f,
     .repeat_penalty = 1,
     .logit_bias = bias,
     .n_logit_bias = 3,
     .seed = 8},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

static void check_equal(const tern_sampler_params *given, const tern_grammar *grammar) {
    tern_sampler_params params = *given;
    tern_sampler *plain, *full, *screened;
    tern_session *session;
    tern_matcher *matcher;
    tern_error err = {0};
    int32_t id = tern_tokenizer_bos(tokenizer), *prompt;
    size_t n_prompt;
    float *logits = malloc(info.vocab_size * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(tern_sampler_create(&params, info.vocab_size, &plain, &err), TERN_OK);
    params.grammar = grammar;
    assert_int_equal(tern_sampler_create(&params, info.vocab_size, &full, &err), TERN_OK);
    assert_int_equal(tern_sampler_create(&params, info.vocab_size, &screened, &err), TERN_OK);
    assert_int_equal(tern_matcher_create(grammar, info.vocab_size, &matcher, &err), TERN_OK);
    assert_int_equal(tern_session_create(model, NULL, &session, &err), TERN_OK);
    assert_int_equal(tern_tokenize(tokenizer, "Once upon a time", 16, TERN_TOKENIZE_BOS, &prompt, &n_prompt, &err),
                     TERN_OK);
    assert_int_equal(tern_session_eval(session, prompt, n_prompt, &err), TERN_OK);
    for (size_t i = 0; i < n_prompt; i++) { /* no part of the grammar's text */
        tern_sampler_accept(plain, prompt[i], &err);
        assert_int_equal(tern_sampler_accept(full, prompt[i], &err), TERN_OK);
        assert_int_equal(tern_sampler_accept(screened, prompt[i], &err), TERN_OK);
    }
    for (int i = 0; i < 40; i++) {
        int32_t from_full, from_screen;
        const uint64_t *mask;
        size_t n_allowed;
        memcpy(logits, tern_session_logits(session), info.vocab_size * sizeof *logits);
        assert_int_equal(tern_sampler_sample(full, logits, &from_full, &err), TERN_OK);
        if (tern_session_sample(session, screened, &from_screen, &err))
            fail_msg("%s", err.message);
        assert_int_equal(tern_matcher_mask(matcher, &mask, &n_allowed, &err), TERN_OK);
        for (size_t k = 0; k < info.vocab_size; k++)
            if (!(mask[k / 64] >> (k % 64) & 1))
                logits[k] = -INFINITY;
        assert_int_equal(tern_sampler_sample(plain, logits, &id, &err), TERN_OK);
        if (from_full != id || from_screen != id)
            fail_msg("token %d: %d from masked logits, %d from all, %d from candidates", i, id, from_full, from_screen);
        if (tern_tokenizer_is_end(tokenizer, id))
            break;
        assert_int_equal(tern_sampler_accept(plain, id, &err), TERN_OK);
        assert_int_equal(tern_sampler_accept(full, id, &err), TERN_OK);
        assert_int_equal(tern_sampler_accept(screened, id, &err), TERN_OK);
        assert_int_equal(tern_matcher_accept(matcher, id, &err), TERN_OK);
        assert_int_equal(tern_session_eval(session, &id, 1, &err), TERN_OK);
    }
    tern_free(prompt);
    free(logits);
    tern_session_free(session);
    tern_matcher_free(matcher);
    tern_sampler_free(plain);
    tern_sampler_free(full);
    tern_sampler_free(screened);
}

static void test_equal(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++)
        for (size_t k = 0; k < 3; k++)
            check_equal(&settings[i], grammars[k]);
}

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    (void)id;
    return tern_buffer_append(user, text, n_bytes);
}

static void generate(const tern_sampler_params *sampler, const tern_grammar *grammar, int draft, tern_buffer *out,
                     tern_generate_result *result) {
    tern_session *session;
    tern_error err = {0};
    tern_generate_params params = tern_generate_defaults();
    static const char prompt[] = "cat and dog and cat and dog and cat and dog and cat and";
    params.sampler = *sampler;
    params.sampler.grammar = grammar;
    params.draft = draft;
    params.max_tokens = 120;
    out->size = 0;
    assert_int_equal(tern_session_create(model, NULL, &session, &err), TERN_OK);
    if (tern_generate(session, prompt, sizeof prompt - 1, &params, on_text, out, result, &err))
        fail_msg("%s", err.message);
    tern_session_free(session);
}

static void test_drafted(void **state) {
    (void)state;
    tern_buffer plain = {0}, drafted = {0};
    tern_generate_result result, other;
    uint64_t n_accepted = 0;
    json_error_t error;
    for (size_t i = 0; i < N_SETTINGS; i++)
        for (size_t k = 0; k < 3; k++) {
            generate(&settings[i], grammars[k], 0, &plain, &result);
            generate(&settings[i], grammars[k], 6, &drafted, &other);
            n_accepted += other.n_accepted;
            assert_int_equal(result.reason, other.reason);
            assert_int_equal(plain.size, drafted.size);
            assert_memory_equal(plain.bytes ? plain.bytes : "", drafted.bytes ? drafted.bytes : "", plain.size);
            if (k > 0 || result.reason != TERN_STOP_END)
                continue;
            json_t *value = json_loadb(plain.bytes, plain.size, 0, &error);
            if (!value)
                fail_msg("%s: %.*s", error.text, (int)plain.size, plain.bytes);
            assert_true(json_string_length(json_object_get(value, "name")) <= 12 * 4);
            assert_true(json_array_size(json_object_get(value, "ages")) <= 4);
            assert_true(json_is_boolean(json_object_get(value, "ok")));
            json_decref(value);
        }
    assert_true(n_accepted > 0); /* or nothing was tested */
    tern_buffer_free(&plain);
    tern_buffer_free(&drafted);
}

static void test_refused(void **state) {
    (void)state;
    tern_sampler_params params = settings[0];
    tern_sampler *sampler;
    tern_error err = {0};
    int32_t id, bos = tern_tokenizer_bos(tokenizer);
    float *logits = calloc(info.vocab_size, sizeof *logits);
    params.grammar = grammars[0];
    assert_int_equal(tern_sampler_create(&params, info.vocab_size, &sampler, &err), TERN_OK);
    assert_int_equal(tern_sampler_accept(sampler, bos, &err), TERN_OK); /* a prompt */
    assert_int_equal(tern_sampler_sample(sampler, logits, &id, &err), TERN_OK);
    assert_int_equal(tern_sampler_accept(sampler, bos, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_sampler_accept(sampler, id, &err), TERN_OK);
    tern_sampler_free(sampler);
    free(logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_drafted),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
