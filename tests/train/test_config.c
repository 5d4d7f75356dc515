/* The configuration file: keys, ranges, errors, and the text that a run is stored with. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "train/config.h"

static char folder[] = "/tmp/tern-config-XXXXXX";
static char path[64];

static tern_status read_text(const char *text, tern_train_config *config, tern_error *err) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return tern_train_config_read(path, config, err);
}

static void test_values(void **state) {
    (void)state;
    tern_train_config config;
    tern_error err = {0};
    char wanted[96];
    assert_int_equal(
        read_text("{\"layers\": 2, \"hidden\": 256, \"heads\": 2, \"kv_heads\": 1, \"ffn\": 384,"
                  " \"context\": 128, \"shape\": \"tern-small\", \"data\": \"a.shard\", \"out\": \"/tmp/x\","
                  " \"lr\": 1e-3, \"stage2_at\": 0.25, \"decay\": \"cosine\", \"weights\": \"binary\","
                  " \"recompute\": true, \"steps\": 7, \"warmup_steps\": 2, \"batch\": 5, \"seed\": 99}",
                  &config, &err),
        TERN_OK);
    assert_int_equal(config.dims.n_layers, 2); /* a key beats the shape, wherever it stands */
    assert_int_equal(config.dims.head_dim, 128);
    assert_int_equal(config.dims.vocab_size, 0);
    assert_int_equal(config.dims.n_ctx, 128);
    snprintf(wanted, sizeof wanted, "%s/a.shard", folder);
    assert_int_equal(config.data.n, 1);
    assert_string_equal(config.data.list[0], wanted);
    assert_int_equal(config.data_stage2.n, 0);
    assert_string_equal(config.out, "/tmp/x");
    assert_null(config.tokenizer);
    assert_true(config.schedule.lr[0] == 1e-3f);
    assert_true(config.schedule.switch_at == 0.25);
    assert_int_equal(config.schedule.shape, TERN_DECAY_COSINE);
    assert_int_equal(config.weights, TERN_WEIGHTS_BINARY);
    assert_true(config.recompute);
    assert_int_equal(config.micro, 5); /* chosen: no more than the batch */
    tern_train_config_free(&config);

    /* lists, of which each path is relative to the file */
    assert_int_equal(
        read_text("{\"data\": [\"a.shard\", \"/b.shard\"], \"data_stage2\": [\"c.shard\"], \"steps\": 100}", &config,
                  &err),
        TERN_OK);
    assert_int_equal(config.data.n, 2);
    assert_string_equal(config.data.list[0], wanted);
    assert_string_equal(config.data.list[1], "/b.shard");
    assert_int_equal(config.data_stage2.n, 1);
    assert_int_equal(tern_schedule_switch(&config.schedule), 50);
    tern_train_config_free(&config);

    /* the utmost that is allowed */
    assert_int_equal(read_text("{\"steps\": 90, \"fp_steps\": 89, \"beta2\": 0.9999999, \"hidden\": 128,"
                               " \"heads\": 64, \"kv_heads\": 2}",
                               &config, &err),
                     TERN_OK);
    assert_true(config.adam.beta2 < 1);
    tern_train_config_free(&config);
    assert_int_equal(read_text("{\"steps\": 90, \"fp_steps\": 90, \"weights\": \"float\"}", &config, &err), TERN_OK);
    tern_train_config_free(&config);
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{\"learnig_rate\": 1}", "unknown key \"learnig_rate\""},
        {"{\"warmup_step\": 1}", "nearest known one is \"warmup_steps\""},
        {"{\"vocabulary_size_of_the_tokenizer_in_tokens\": 1}", "unknown key"},
        {"{\"lr\": \"fast\"}", "\"lr\" is \"fast\", but must be 0 to 1"},
        {"{\"lr\": 2}", "\"lr\" is 2, but must be 0 to 1"},
        {"{\"lr\": -1e-3}", "\"lr\" is -0.001"},
        {"{\"layers\": 1.5}", "\"layers\" is 1.5, but must be a whole number, 1 to 512"},
        {"{\"layers\": 0}", "\"layers\" is 0"},
        {"{\"layers\": 99999999999}", "\"layers\" is 99999999999"},
        {"{\"layers\": 99999999999999999999}", "not JSON"},
        {"{\"weights\": \"quaternary\"}", "ternary, binary, float"},
        {"{\"weights\": 1}", "ternary, binary, float"},
        {"{\"recompute\": 1}", "true or false"},
        {"{\"data\": \"\"}", "a path"},
        {"{\"data\": [1, 2]}", "\"data\" is [1,2]"},
        {"{\"data\": [\"a\", \"\"]}", "a path or a list of paths"},
        {"{\"data_stage2\": {}}", "a path or a list of paths"},
        {"{\"data_stage2\": \"b\", \"stage2_at\": 1}", "\"data_stage2\" would never be used: by \"stage2_at\" 1 all"},
        {"{\"data_stage2\": \"b\", \"stage2_at\": 0}", "\"data\" would never be used"},
        {"{\"data_stage2\": \"b\", \"steps\": 1, \"warmup_steps\": 0}", "never be used"},
        {"{\"shape\": \"huge\"}", "tern-tiny"},
        {"{\"shape\": 3}", "tern-tiny"},
        {"{\"seed\": 1, \"seed\": 2}", "duplicate"},
        {"{\"seed\": 1", "line 1"},
        {"[]", "no object"},
        {"", "not JSON"},
        {"{\"hidden\": 256, \"heads\": 3}", "cannot be cut into 3"},
        {"{\"heads\": 4, \"kv_heads\": 3}", "cannot share 3"},
        {"{\"hidden\": 192, \"heads\": 4}", "multiples of 128"},
        {"{\"ffn\": 300}", "multiples of 128"},
        {"{\"steps\": 10, \"warmup_steps\": 11}", "more than all"},
        {"{\"steps\": 90, \"fp_steps\": 90}", "with 90 \"fp_steps\" none of the 90 \"steps\""},
        {"{\"hidden\": 128, \"heads\": 64, \"kv_heads\": 1}", "1 \"kv_heads\" of 2 values"},
        {"{\"beta2\": 0.99999999}", "must be 0 to 0.9999999"}, /* 1 as a float: Adam divides by 0 */
        {"{\"batch\": 4, \"micro_batch\": 5}", "more than \"batch\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_train_config config;
        tern_error err = {0};
        assert_int_equal(read_text(cases[i].text, &config, &err), TERN_ERR_FORMAT);
        if (!strstr(err.message, cases[i].part) || strncmp(err.message, path, strlen(path)) != 0)
            fail_msg("%s: '%s' is not in '%s'", cases[i].text, cases[i].part, err.message);
    }
    tern_train_config config;
    tern_error err = {0};
    assert_int_equal(tern_train_config_read("/nonexistent.json", &config, &err), TERN_ERR_IO);
}

/* The text of a configuration gives the same one, and the same text, again. */
static void test_text(void **state) {
    (void)state;
    tern_train_config config, again;
    tern_error err = {0};
    assert_int_equal(read_text("{\"lr\": 0.0012345678, \"stage2_at\": 0.3333333333333333, \"out\": \"/a \\\"b\\\"\","
                               " \"data\": \"/one\", \"data_stage2\": [\"/two\", \"/th\\\"ree\"],"
                               " \"sample_prompt\": \"Tern\\n\\u00e9\", \"micro_batch\": 3, \"adam_eps\": 3e-9}",
                               &config, &err),
                     TERN_OK);
    char *text = tern_train_config_text(&config);
    assert_non_null(text);
    assert_int_equal(read_text(text, &again, &err), TERN_OK);
    char *text_again = tern_train_config_text(&again);
    assert_string_equal(text, text_again);
    assert_true(config.schedule.lr[0] == again.schedule.lr[0]);
    assert_true(config.schedule.switch_at == again.schedule.switch_at);
    assert_string_equal(again.sample_prompt, "Tern\n\xc3\xa9");
    assert_non_null(strstr(text, "\"data\": \"/one\",")); /* as it was before there were lists */
    assert_int_equal(again.data_stage2.n, 2);
    assert_string_equal(again.data_stage2.list[1], "/th\"ree");
    assert_non_null(strstr(text, "\"weight_decay\": 0.1,")); /* short, not 0.10000000149 */
    assert_int_equal(tern_train_config_check_same(&config, text, "state.tern", &err), TERN_OK);
    free(text_again);
    tern_train_config_free(&again);

    /* what may change while a run goes on, and what may not */
    config.save_every = 5;
    config.recompute = true;
    assert_int_equal(tern_train_config_check_same(&config, text, "state.tern", &err), TERN_OK);
    config.schedule.lr[1] *= 2;
    assert_int_equal(tern_train_config_check_same(&config, text, "state.tern", &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "state.tern: this run has \"lr_stage2\": 0.002, the configuration 0.004"));
    free(text);
    tern_train_config_free(&config);
}

static void test_keys(void **state) {
    (void)state;
    tern_config_key key;
    size_t n = 0;
    bool rates = false;
    for (; tern_train_config_key(n, &key); n++) {
        assert_true(key.help && *key.help && *key.allowed);
        rates |= strcmp(key.name, "lr") == 0 && strcmp(key.preset, "0.003") == 0 && strcmp(key.allowed, "0 to 1") == 0;
    }
    assert_true(rates);
    assert_true(n > 30);
}

/* Rates of a run of 100 steps by hand: the published line, eta_k (1 - t / T), and the cosine. */
static void test_schedule(void **state) {
    (void)state;
    tern_schedule s = {
        .n_steps = 100, .warmup_steps = 10, .switch_at = 0.5, .lr = {1e-3f, 5e-4f}, .weight_decay = {0.1f, 0.01f}};
    assert_float_equal(tern_schedule_lr(&s, 0), 1e-4, 1e-9);
    assert_float_equal(tern_schedule_lr(&s, 9), 0.91e-3, 1e-9);
    assert_float_equal(tern_schedule_lr(&s, 40), 0.6e-3, 1e-9);
    assert_float_equal(tern_schedule_lr(&s, 49), 0.51e-3, 1e-9);
    assert_float_equal(tern_schedule_lr(&s, 50), 0.25e-3, 1e-9);
    assert_float_equal(tern_schedule_lr(&s, 99), 5e-6, 1e-9);
    assert_float_equal(tern_schedule_weight_decay(&s, 49), 0.1, 1e-8);
    assert_float_equal(tern_schedule_weight_decay(&s, 50), 0.01, 1e-8);
    s.decay_follows = true;
    assert_float_equal(tern_schedule_weight_decay(&s, 25), 0.05, 1e-8);
    s.shape = TERN_DECAY_COSINE;
    s.switch_at = 1;
    s.final_fraction = 0.1f;
    assert_float_equal(tern_schedule_lr(&s, 50), 0.55e-3, 1e-8);
    assert_float_equal(tern_schedule_weight_decay(&s, 50), 0.05, 1e-8);
}

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/run.json", folder);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_text), cmocka_unit_test(test_keys),
                                       cmocka_unit_test(test_schedule)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
