/* tern_generate() by the words of tern.h, on the built-in model. Most tests force what the model says: a bias for each
 * token of a sequence, less for later ones, and a frequency penalty larger than all the differences take the tokens
 * in turn, again and again (a dozen times). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tern/tern.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        tern_error error = {0}, *err = &error;                                                                         \
        if ((call) != TERN_OK)                                                                                         \
            fail_msg("%s: %s", #call, error.message);                                                                  \
    } while (0)

#define FAILS(wanted, call)                                                                                            \
    do {                                                                                                               \
        tern_error error = {0}, *err = &error;                                                                         \
        assert_int_equal((call), (wanted));                                                                            \
        assert_int_equal(error.status, (wanted));                                                                      \
        assert_true(error.message[0] != 0 && !strchr(error.message, '\n'));                                            \
    } while (0)

enum { MAX_FORCED = 16, MAX_CALLS = 600 };

static tern_model *model;
static tern_model_info info;
static const tern_tokenizer *tokenizer;
static int32_t bos, eos, eot;

static int setup(void **state) {
    (void)state;
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = 2}, &model, NULL))
        return -1;
    tern_model_get_info(model, &info);
    tokenizer = tern_model_tokenizer(model);
    bos = tern_tokenizer_bos(tokenizer);
    eos = tern_tokenizer_eos(tokenizer);
    eot = tern_tokenizer_find_special(tokenizer, "<|eot_id|>");
    return bos < 0 || eos < 0 || eot < 0;
}

static int teardown(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

static tern_session *new_session(uint32_t n_ctx) {
    tern_session *session = NULL;
    OK(tern_session_create(model, &(tern_session_params){.n_ctx = n_ctx}, &session, err));
    return session;
}

/* ------------------------------------------------------ what the callback got */

typedef struct output {
    char text[4096]; /* all of it, and where each call's part ends */
    size_t size, ends[MAX_CALLS];
    int32_t ids[MAX_CALLS];
    size_t n_calls;
    size_t refuse_at;      /* the call that returns false; 0: none */
    tern_session *session; /* cancel it in call cancel_at */
    size_t cancel_at;
} output;

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    output *out = user;
    assert_non_null(text);
    assert_true(out->n_calls < MAX_CALLS && out->size + n_bytes < sizeof out->text);
    memcpy(out->text + out->size, text, n_bytes);
    out->size += n_bytes;
    out->ids[out->n_calls] = id;
    out->ends[out->n_calls++] = out->size;
    if (out->cancel_at == out->n_calls)
        tern_session_cancel(out->session);
    return out->refuse_at != out->n_calls;
}

static void must_be_text(const output *out, const char *text) {
    if (out->size != strlen(text) || memcmp(out->text, text, out->size) != 0)
        fail_msg("\"%.*s\" where \"%s\" is wanted", (int)out->size, out->text, text);
}

/* ----------------------------------------------------------- forced sequences */

typedef struct forced {
    tern_logit_bias bias[MAX_FORCED];
    tern_generate_params params;
} forced;

static void force(forced *f, const int32_t *ids, size_t n, int64_t max_tokens) {
    assert_true(n <= MAX_FORCED);
    *f = (forced){.params = tern_generate_defaults()};
    for (size_t i = 0; i < n; i++)
        f->bias[i] = (tern_logit_bias){ids[i], 2e7f - 1e4f * (float)i};
    f->params.max_tokens = max_tokens;
    f->params.sampler.temperature = 0;
    f->params.sampler.frequency_penalty = 1e6f;
    f->params.sampler.penalty_window = -1;
    f->params.sampler.logit_bias = f->bias;
    f->params.sampler.n_logit_bias = n;
}

/* The token of one byte. */
static int32_t byte_token(unsigned char byte) {
    int32_t *ids = NULL;
    size_t n = 0;
    OK(tern_tokenize(tokenizer, (const char *)&byte, 1, 0, &ids, &n, err));
    assert_int_equal(n, 1);
    int32_t id = ids[0];
    tern_free(ids);
    return id;
}

static void force_bytes(forced *f, const char *bytes, int64_t max_tokens) {
    int32_t ids[MAX_FORCED];
    size_t n = strlen(bytes);
    assert_true(n <= MAX_FORCED);
    for (size_t i = 0; i < n; i++)
        ids[i] = byte_token((unsigned char)bytes[i]);
    force(f, ids, n, max_tokens);
}

/* From BOS alone. */
static tern_generate_result run(const forced *f, output *out) {
    tern_generate_result result = {0};
    tern_session *session = new_session(0);
    out->session = session;
    OK(tern_generate_ids(session, &bos, 1, &f->params, on_text, out, &result, err));
    assert_int_equal(result.n_prompt, 1);
    tern_session_free(session);
    return result;
}

/* ------------------------------------------------------------------- prompts */

static int32_t best(tern_session *session) {
    const float *logits = tern_session_logits(session);
    int32_t id = 0;
    assert_non_null(logits);
    for (int32_t i = 1; i < (int32_t)info.vocab_size; i++)
        if (logits[i] > logits[id])
            id = i;
    return id;
}

/* Greedy text is the argmax again and again; in one call, or cut and continued as the header says. */
static void test_greedy(void **state) {
    (void)state;
    enum { N = 25 };
    static const char prompt[] = "Once upon a time";
    tern_session *by_hand = new_session(0), *session = new_session(0);
    int32_t *ids = NULL, wanted[N];
    size_t n_ids;
    OK(tern_tokenize(tokenizer, prompt, strlen(prompt), TERN_TOKENIZE_BOS, &ids, &n_ids, err));
    assert_int_equal(ids[0], bos);
    OK(tern_session_eval(by_hand, ids, n_ids, err));
    for (size_t i = 0; i < N; i++) {
        wanted[i] = best(by_hand);
        OK(tern_session_eval(by_hand, &wanted[i], 1, err));
    }
    tern_generate_params params = tern_generate_defaults();
    params.sampler.temperature = 0;
    params.max_tokens = N;
    tern_generate_result result = {0};
    output out = {0};
    OK(tern_generate(session, prompt, strlen(prompt), &params, on_text, &out, &result, err));
    assert_int_equal(result.reason, TERN_STOP_LENGTH);
    assert_int_equal(result.n_prompt, n_ids);
    assert_int_equal(result.n_generated, N);
    assert_true(result.prefill_seconds > 0 && result.decode_seconds > 0);
    assert_true(result.first_token_seconds >= result.prefill_seconds);
    assert_int_equal(out.n_calls, N);
    assert_memory_equal(out.ids, wanted, sizeof wanted);
    assert_int_equal(tern_session_n_past(session), n_ids + N - 1); /* all but the last one */
    assert_memory_equal(tern_session_tokens(session), ids, n_ids * sizeof *ids);
    assert_memory_equal(tern_session_tokens(session) + n_ids, wanted, (N - 1) * sizeof *wanted);

    char *text;
    size_t n_bytes;
    OK(tern_detokenize(tokenizer, wanted, N, true, &text, &n_bytes, err));
    must_be_text(&out, text);
    tern_free(text);

    OK(tern_session_truncate(session, 0, err));
    params.max_tokens = 10;
    out = (output){0};
    OK(tern_generate_ids(session, ids, n_ids, &params, on_text, &out, NULL, err));
    params.max_tokens = N - 10;
    OK(tern_generate_ids(session, &out.ids[9], 1, &params, on_text, &out, NULL, err));
    assert_memory_equal(out.ids, wanted, sizeof wanted);
    tern_free(ids);
    tern_session_free(by_hand);
    tern_session_free(session);
}

static void test_prompts(void **state) {
    (void)state;
    tern_generate_result result = {.n_prompt = 99};
    tern_session *session = new_session(0);
    tern_generate_params params = tern_generate_defaults();
    params.max_tokens = 0;
    output out = {0};
    FAILS(TERN_ERR_ARGUMENT, tern_generate_ids(session, NULL, 0, &params, on_text, &out, &result, err));
    assert_int_equal(result.n_prompt, 99); /* untouched */

    /* no text: BOS alone, and max_tokens 0 only evaluates */
    OK(tern_generate(session, NULL, 0, &params, on_text, &out, &result, err));
    assert_int_equal(result.reason, TERN_STOP_LENGTH);
    assert_int_equal(result.n_prompt, 1);
    assert_int_equal(result.n_generated, 0);
    assert_int_equal(out.n_calls, 0);
    assert_int_equal(tern_session_n_past(session), 1);
    assert_int_equal(tern_session_tokens(session)[0], bos);

    /* no ids behind a session that has logits: go on */
    params.max_tokens = 1;
    params.sampler.temperature = 0;
    int32_t next = best(session);
    OK(tern_generate_ids(session, NULL, 0, &params, on_text, &out, &result, err));
    assert_int_equal(result.n_prompt, 0);
    assert_int_equal(out.ids[0], next);
    assert_int_equal(tern_session_n_past(session), 1);

    /* no BOS in front of what follows; special tokens in the text are parsed */
    params.max_tokens = 0;
    OK(tern_generate(session, "<|eot_id|>", 10, &params, on_text, &out, &result, err));
    assert_int_equal(result.n_prompt, 1);
    assert_int_equal(tern_session_n_past(session), 2);
    assert_int_equal(tern_session_tokens(session)[1], eot);

    /* the logits are gone with their token: nothing to go on from, until there is a prompt */
    OK(tern_session_truncate(session, 1, err));
    FAILS(TERN_ERR_ARGUMENT, tern_generate_ids(session, NULL, 0, &params, on_text, &out, &result, err));
    assert_int_equal(tern_session_n_past(session), 1);
    OK(tern_generate_ids(session, &eot, 1, &params, on_text, &out, &result, err));
    assert_int_equal(tern_session_n_past(session), 2);
    tern_session_free(session);
}

/* Everything that may be NULL. */
static void test_defaults(void **state) {
    (void)state;
    tern_session *session = new_session(40);
    assert_int_equal(tern_generate(session, "The", 3, NULL, NULL, NULL, NULL, NULL), TERN_OK);
    assert_in_range(tern_session_n_past(session), 2, 40);
    tern_session_free(session);
}

/* What is refused at once changes neither result nor session. */
static void test_refusals(void **state) {
    (void)state;
    tern_session *session = new_session(8);
    tern_generate_result result = {.n_prompt = 99};
    output out = {0};
    tern_generate_params params = tern_generate_defaults();
    params.sampler.top_p = 2;
    FAILS(TERN_ERR_ARGUMENT, tern_generate_ids(session, &bos, 1, &params, on_text, &out, &result, err));
    params = tern_generate_defaults();
    params.n_stop = 1;
    FAILS(TERN_ERR_ARGUMENT, tern_generate_ids(session, &bos, 1, &params, on_text, &out, &result, err));
    params.stop = (const char *const[]){""};
    FAILS(TERN_ERR_ARGUMENT, tern_generate_ids(session, &bos, 1, &params, on_text, &out, &result, err));
    params = tern_generate_defaults();
    const int32_t bad[] = {bos, (int32_t)info.vocab_size}, nine[9] = {0};
    FAILS(TERN_ERR_ARGUMENT, tern_generate_ids(session, bad, 2, &params, on_text, &out, &result, err));
    FAILS(TERN_ERR_CONTEXT, tern_generate_ids(session, nine, 9, &params, on_text, &out, &result, err));
    assert_int_equal(result.n_prompt, 99);
    assert_int_equal(out.n_calls, 0);
    assert_int_equal(tern_session_n_past(session), 0);
    tern_session_free(session);
}

/* ------------------------------------------------------------ ways to an end */

/* Penalties reach the sampler: without them the first letter would come again and again. They know the prompt too. */
static void test_penalties(void **state) {
    (void)state;
    forced f;
    force_bytes(&f, "qxz", 7);
    output out = {0};
    run(&f, &out);
    must_be_text(&out, "qxzqxzq");

    f.params.sampler.frequency_penalty = 0;
    out = (output){0};
    run(&f, &out);
    must_be_text(&out, "qqqqqqq");

    f.params.sampler.presence_penalty = 1e6f; /* of tokens in the prompt */
    const int32_t prompt[] = {bos, byte_token('q'), byte_token('x')};
    tern_session *session = new_session(0);
    f.params.max_tokens = 1;
    out = (output){0};
    OK(tern_generate_ids(session, prompt, 3, &f.params, on_text, &out, NULL, err));
    must_be_text(&out, "z");
    out = (output){0}; /* and of what the session holds, not only of this call's */
    OK(tern_generate_ids(session, &prompt[0], 1, &f.params, on_text, &out, NULL, err));
    must_be_text(&out, "z");
    tern_session_free(session);
}

static void test_end_tokens(void **state) {
    (void)state;
    const int32_t ends[] = {eot, eos};
    for (int i = 0; i < 2; i++) {
        const int32_t ids[] = {byte_token('q'), ends[i], byte_token('x')};
        forced f;
        force(&f, ids, 3, 5);
        output out = {0};
        tern_generate_result result = run(&f, &out);
        assert_int_equal(result.reason, TERN_STOP_END);
        assert_int_equal(result.n_generated, 1);
        assert_int_equal(out.n_calls, 1);
        must_be_text(&out, "q");

        f.params.ignore_end = true; /* a token like another, without text */
        out = (output){0};
        result = run(&f, &out);
        assert_int_equal(result.reason, TERN_STOP_LENGTH);
        assert_int_equal(result.n_generated, 5);
        assert_int_equal(out.ids[1], ends[i]);
        must_be_text(&out, "qxq");

        f.params.show_special = true;
        f.params.max_tokens = 3;
        out = (output){0};
        run(&f, &out);
        must_be_text(&out, i ? "q<|end_of_text|>x" : "q<|eot_id|>x");
    }
}

static void test_stop_strings(void **state) {
    (void)state;
    static const char *const stop[] = {"zw", "never"};
    forced f;
    force_bytes(&f, "qxzw", 20);
    f.params.stop = stop;
    f.params.n_stop = 2;
    output out = {0};
    tern_generate_result result = run(&f, &out);
    assert_int_equal(result.reason, TERN_STOP_STRING);
    assert_int_equal(result.n_generated, 4);
    must_be_text(&out, "qx"); /* without the stop string */
    assert_int_equal(out.n_calls, 4);
    assert_int_equal(out.ends[2], 2); /* the z was held back */

    f.params.max_tokens = 3; /* ends while the z is held back: it is text after all */
    out = (output){0};
    result = run(&f, &out);
    assert_int_equal(result.reason, TERN_STOP_LENGTH);
    must_be_text(&out, "qxz");
    assert_int_equal(out.n_calls, 4);
    assert_int_equal(out.ends[2], 2);
    assert_int_equal(out.ids[3], -1);
}

/* A character of three tokens comes out whole; invalid bytes pass as they are; what is left open goes out at the end.
 */
static void test_utf8(void **state) {
    (void)state;
    forced f;
    force_bytes(&f, "q\xe2\x82\xac!", 5);
    output out = {0};
    run(&f, &out);
    must_be_text(&out, "q\xe2\x82\xac!");
    static const size_t ends[] = {1, 1, 1, 4, 5};
    assert_int_equal(out.n_calls, 5);
    assert_memory_equal(out.ends, ends, sizeof ends);

    f.params.max_tokens = 3;
    out = (output){0};
    run(&f, &out);
    must_be_text(&out, "q\xe2\x82");
    assert_int_equal(out.n_calls, 4);
    assert_int_equal(out.ends[2], 1);
    assert_int_equal(out.ids[3], -1);

    force_bytes(&f, "\xff\xe2q\x82", 4);
    out = (output){0};
    run(&f, &out);
    must_be_text(&out, "\xff\xe2q\x82");
    static const size_t bad_ends[] = {1, 1, 3, 4};
    assert_memory_equal(out.ends, bad_ends, sizeof bad_ends);

    /* held back for two reasons at once: the character completes a stop string's beginning */
    static const char *const stop[] = {"\xe2\x82\xac"
                                       "5"};
    force_bytes(&f, "\xe2\x82\xac!", 4);
    f.params.stop = stop;
    f.params.n_stop = 1;
    out = (output){0};
    run(&f, &out);
    must_be_text(&out, "\xe2\x82\xac!");
    static const size_t held_ends[] = {0, 0, 0, 4};
    assert_memory_equal(out.ends, held_ends, sizeof held_ends);
}

/* A callback that says no is not called again, not even for text that was held back. */
static void test_callback_stops(void **state) {
    (void)state;
    static const char *const stop[] = {"zw"};
    forced f;
    force_bytes(&f, "qxzw", 20);
    f.params.stop = stop;
    f.params.n_stop = 1;
    output out = {.refuse_at = 3}; /* the z is held back then */
    tern_generate_result result = run(&f, &out);
    assert_int_equal(result.reason, TERN_STOP_CANCELLED);
    assert_int_equal(result.n_generated, 3);
    assert_int_equal(out.n_calls, 3);
    must_be_text(&out, "qx");
}

static void test_cancel(void **state) {
    (void)state;
    forced f;
    force_bytes(&f, "qxzw", 20);
    f.params.stop = (const char *const[]){"zw"};
    f.params.n_stop = 1;
    tern_session *session = new_session(0);
    output out = {.session = session, .cancel_at = 3};
    tern_generate_result result = {0};
    const int32_t prompt[] = {bos, 5, 6};
    OK(tern_generate_ids(session, prompt, 3, &f.params, on_text, &out, &result, err));
    assert_int_equal(result.reason, TERN_STOP_CANCELLED);
    assert_int_equal(result.n_generated, 3);
    assert_int_equal(tern_session_n_past(session), 3 + 2);
    must_be_text(&out, "qxz"); /* here what was held back comes */
    assert_int_equal(out.ids[3], -1);

    tern_session_cancel(session); /* before it begins */
    out = (output){0};
    OK(tern_generate_ids(session, prompt, 3, &f.params, on_text, &out, &result, err));
    assert_int_equal(result.reason, TERN_STOP_CANCELLED);
    assert_int_equal(result.n_prompt, 0);
    assert_int_equal(result.n_generated, 0);
    assert_int_equal(out.n_calls, 0);
    assert_int_equal(tern_session_n_past(session), 3 + 2);

    OK(tern_generate_ids(session, prompt, 3, &f.params, on_text, &out, &result, err)); /* the next one runs */
    assert_int_equal(result.n_prompt, 3);
    assert_true(result.n_generated > 0);
    tern_session_free(session);
}

static void test_context_fills_up(void **state) {
    (void)state;
    forced f;
    force_bytes(&f, "qx", -1);
    const int32_t prompt[] = {bos, 5, 6};
    for (uint32_t n_ctx = 3; n_ctx <= 6; n_ctx++) {
        tern_session *session = new_session(n_ctx);
        tern_generate_result result = {0};
        output out = {0};
        OK(tern_generate_ids(session, prompt, 3, &f.params, on_text, &out, &result, err));
        assert_int_equal(result.reason, TERN_STOP_CONTEXT);
        assert_int_equal(result.n_generated, n_ctx - 3 + 1); /* the last one needs no place */
        assert_int_equal(out.size, n_ctx - 3 + 1);
        assert_int_equal(tern_session_n_past(session), n_ctx);
        FAILS(TERN_ERR_CONTEXT, tern_generate_ids(session, prompt, 1, &f.params, on_text, &out, &result, err));
        tern_session_free(session);
    }
}

/* ----------------------------------------------------------- tokens and text */

static void test_detokenize(void **state) {
    (void)state;
    static const char text[] = "Na\xc3\xafve <|eot_id|> \xff\xe2\x82 \xe2\x82\xac 12345\r\n\ttabs  \xf0\x9f\x90\xa6";
    for (unsigned flags = 0; flags <= TERN_TOKENIZE_SPECIAL; flags += TERN_TOKENIZE_SPECIAL) {
        int32_t *ids = NULL;
        size_t n_ids, n_bytes;
        char *back;
        OK(tern_tokenize(tokenizer, text, sizeof text - 1, flags, &ids, &n_ids, err));
        OK(tern_detokenize(tokenizer, ids, n_ids, false, &back, &n_bytes, err));
        assert_int_equal(n_bytes, sizeof text - 1);
        assert_memory_equal(back, text, sizeof text); /* and zero-terminated */
        tern_free(back);
        OK(tern_detokenize(tokenizer, ids, n_ids, true, &back, &n_bytes, err));
        assert_int_equal(n_bytes, sizeof text - 1 - (flags ? strlen("<|eot_id|>") : 0));
        tern_free(back);
        tern_free(ids);
    }
    const int32_t bad[] = {5, (int32_t)tern_tokenizer_vocab_size(tokenizer)}, negative = -1;
    char *untouched = (char *)&model, *back = untouched;
    size_t n_bytes = 77;
    FAILS(TERN_ERR_ARGUMENT, tern_detokenize(tokenizer, bad, 2, false, &back, &n_bytes, err));
    FAILS(TERN_ERR_ARGUMENT, tern_detokenize(tokenizer, &negative, 1, true, &back, &n_bytes, err));
    assert_ptr_equal(back, untouched);
    assert_int_equal(n_bytes, 77);
    OK(tern_detokenize(tokenizer, NULL, 0, false, &back, &n_bytes, err));
    assert_string_equal(back, "");
    tern_free(back);
}

static void link_into(const char *folder, const char *name, const char *target) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(symlink(target, path), 0);
}

/* A vocabulary padded beyond the tokenizer: the model may say an id that has no text. */
static void test_ids_without_a_token(void **state) {
    (void)state;
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
    static const char *const targets[] = {TERN_SOURCE_DIR "/tests/data/golden/odd/hf-packed/config.json",
                                          TERN_SOURCE_DIR "/tests/data/golden/odd/hf-packed/model.safetensors",
                                          TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16/tokenizer.json"};
    char folder[] = "/tmp/tern-test-XXXXXX", path[256];
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 3; i++)
        link_into(folder, names[i], targets[i]);
    tern_model *padded = NULL;
    tern_error failure;
    tern_status status = tern_model_load(folder, &(tern_model_params){.n_threads = 1}, &padded, &failure);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    if (status)
        fail_msg("%s", failure.message);
    tern_model_info padded_info;
    tern_model_get_info(padded, &padded_info);
    const tern_tokenizer *small = tern_model_tokenizer(padded);
    int32_t last = (int32_t)padded_info.vocab_size - 1;
    assert_true(tern_tokenizer_vocab_size(small) <= (size_t)last);
    size_t size = 1;
    assert_null(tern_tokenizer_token(small, last, &size));
    assert_int_equal(size, 0);
    assert_false(tern_tokenizer_is_special(small, last));
    assert_false(tern_tokenizer_is_end(small, last));

    forced f;
    const int32_t ids[] = {last, 40};
    force(&f, ids, 2, 4);
    f.params.show_special = true;
    tern_session *session = NULL;
    tern_generate_result result = {0};
    output out = {0};
    OK(tern_session_create(padded, NULL, &session, err));
    OK(tern_generate_ids(session, ids, 2, &f.params, on_text, &out, &result, err));
    assert_int_equal(result.n_generated, 4);
    assert_int_equal(out.ids[0], last);
    assert_int_equal(out.ends[0], 0);
    tern_session_free(session);
    tern_model_free(padded);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_end_tokens),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_callback_stops),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_context_fills_up),
        cmocka_unit_test(test_detokenize),
        cmocka_unit_test(test_ids_without_a_token),
    };
    return cmocka_run_group_tests_name("generate", tests, setup, teardown);
}
