/* The whole way: the forward pass in floats against the one of `tern run`, and what is no model of floats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/demo.h"
#include "quant/passage.h"
#include "quant/quantize.h"

#define FLOATS TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16"

static tern_error err;
static tern_pool *pool;
static const tern_kernels *kernels;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call)                                                                                                      \
            fail_msg("%s", err.message);                                                                               \
    } while (0)

enum { N_IDS = 70, WINDOW = 32 };

static double nll_of(const float *logits, size_t n, int32_t id) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i]);
    return log(sum) - (double)logits[id];
}

/* The mean loss of ids in windows of WINDOW tokens behind a BOS, by the runtime. */
static double run_loss(const char *path, const int32_t *ids, int32_t bos) {
    tern_model *model;
    tern_session *session;
    tern_model_info info;
    tern_session_params params = tern_session_defaults();
    params.kv_type = TERN_KV_F32;
    OK(tern_model_load(path, NULL, &model, &err));
    tern_model_get_info(model, &info);
    OK(tern_session_create(model, &params, &session, &err));
    float *logits = malloc(sizeof *logits * WINDOW * info.vocab_size);
    assert_non_null(logits);
    double sum = 0;
    for (size_t at = 0; at < N_IDS; at += WINDOW) {
        size_t n = N_IDS - at < WINDOW ? N_IDS - at : WINDOW;
        int32_t inputs[WINDOW];
        inputs[0] = bos;
        memcpy(inputs + 1, ids + at, (n - 1) * sizeof *inputs);
        OK(tern_session_truncate(session, 0, &err));
        OK(tern_session_eval_logits(session, inputs, n, logits, &err));
        for (size_t t = 0; t < n; t++)
            sum += nll_of(logits + t * info.vocab_size, info.vocab_size, ids[at + t]);
    }
    free(logits);
    tern_session_free(session);
    tern_model_free(model);
    return sum / N_IDS;
}

/* A master is run with ternary matrices: what a passage with the same ones and int8 inputs gives. */
static void test_passage(void **state) {
    (void)state;
    tern_checkpoint *checkpoint;
    tern_weights weights;
    tern_quant_layer layer;
    tern_passage passage;
    int32_t ids[N_IDS];
    double loss, compensated;
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((i * i * 7 + 3) % 250);
    OK(tern_open_model(FLOATS, &checkpoint, &err));
    OK(tern_weights_bind(checkpoint, &weights, &err));
    OK(tern_quant_layer_create(&weights, &(tern_quant_scales){0}, &layer, &err));
    OK(tern_passage_create(&weights, kernels, pool, ids, N_IDS, 265, WINDOW, true, &passage, &err));
    for (uint32_t i = 0; i < weights.dims.n_layers; i++) {
        OK(tern_quant_layer_load(&weights, pool, i, &layer, &err));
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            OK(tern_quant_round(pool, &layer.matrices[j], &err));
            tern_quant_layer_settle(pool, &layer, j);
        }
        OK(tern_passage_layer(&passage, &layer, &err));
    }
    OK(tern_passage_loss(&passage, &loss, &err));
    double wanted = run_loss(FLOATS, ids, 265);
    print_message("loss %.6f, by the runtime %.6f\n", loss, wanted);
    assert_true(fabs(loss - wanted) < 1e-4 * wanted);
    tern_passage_free(&passage);

    /* a passage that quantises ends as one does through the matrices that it has made */
    float *end = NULL;
    for (int round = 0; round < 2; round++) {
        OK(tern_passage_create(&weights, kernels, pool, ids, N_IDS, 265, WINDOW, true, &passage, &err));
        OK(tern_quant_layer_load(&weights, pool, 0, &layer, &err));
        OK(tern_passage_quantize(&passage, &layer, &err));
        size_t n = (size_t)N_IDS * weights.dims.hidden_size;
        if (round) { /* deterministic */
            assert_memory_equal(passage.x, end, n * sizeof *end);
            break;
        }
        end = malloc(n * sizeof *end);
        assert_non_null(end);
        memcpy(end, passage.x, n * sizeof *end);
        tern_passage_free(&passage);
        OK(tern_passage_create(&weights, kernels, pool, ids, N_IDS, 265, WINDOW, true, &passage, &err));
        OK(tern_passage_layer(&passage, &layer, &err));
        assert_memory_equal(passage.x, end, n * sizeof *end);
        tern_passage_free(&passage);
    }
    OK(tern_passage_loss(&passage, &compensated, &err)); /* of one layer only: finite is all there is to say */
    tern_passage_free(&passage);
    tern_quant_layer_free(&layer);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
    free(end);
}

static bool count_down(void *user) { return --*(int *)user > 0; }

/* Within a layer, not only behind it: Ctrl-C comes that way. */
static void test_cancelled(void **state) {
    (void)state;
    tern_checkpoint *checkpoint;
    tern_weights weights;
    tern_quant_layer layer;
    tern_passage passage;
    int32_t ids[3 * WINDOW];
    for (size_t i = 0; i < 3 * WINDOW; i++)
        ids[i] = (int32_t)(i % 250);
    OK(tern_open_model(FLOATS, &checkpoint, &err));
    OK(tern_weights_bind(checkpoint, &weights, &err));
    OK(tern_quant_layer_create(&weights, &(tern_quant_scales){0}, &layer, &err));
    OK(tern_passage_create(&weights, kernels, pool, ids, 3 * WINDOW, 265, WINDOW, true, &passage, &err));
    OK(tern_quant_layer_load(&weights, pool, 0, &layer, &err));
    int left = 2; /* of the three windows' questions */
    passage.goes_on = count_down;
    passage.user = &left;
    assert_int_equal(tern_passage_layer(&passage, &layer, &err), TERN_ERR_CANCELLED);
    assert_int_equal(left, 0);
    left = 5; /* behind the first matrices' windows, before they are all rounded */
    assert_int_equal(tern_passage_quantize(&passage, &layer, &err), TERN_ERR_CANCELLED);
    assert_int_equal(left, 0);
    tern_passage_free(&passage);
    tern_quant_layer_free(&layer);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
}

static void test_bad(void **state) {
    (void)state;
    char out[] = "/tmp/tern-quantize-XXXXXX";
    int file = mkstemp(out);
    assert_true(file >= 0);
    close(file);
    unlink(out);
    tern_quantize_params params = {.type = "i2_s"};
    double loss;
    assert_int_equal(tern_quantize(FLOATS, out, &params, NULL, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "quantization_config"));
    const tern_convert_params floats = {.type = "F32"}; /* 0 and one magnitude, both signs */
    char ternary[sizeof out + 8];
    snprintf(ternary, sizeof ternary, "%s-f32", out);
    OK(tern_convert(FLOATS, ternary, &floats, &err));
    params.type = "f16";
    assert_int_equal(tern_quantize(ternary, out, &params, NULL, &err), TERN_ERR_UNSUPPORTED);
    unlink(ternary);
    assert_non_null(strstr(err.message, "ternary already"));
    assert_int_equal(tern_quantize("demo", out, &params, NULL, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ternary already"));
    assert_int_equal(tern_float_loss("demo", "text", 4, 64, 1, NULL, NULL, &loss, NULL, &err), TERN_ERR_UNSUPPORTED);
    assert_int_equal(access(out, F_OK), -1);
}

static int set_up(void **state) {
    (void)state;
    return tern_kernels_choose(NULL, &kernels, &err) || tern_pool_create(2, &pool, &err);
}

static int tear_down(void **state) {
    (void)state;
    tern_pool_free(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_passage), cmocka_unit_test(test_cancelled),
                                       cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
