/* The parameters: their layout, their beginning, and what a checkpoint puts there (its refusals: test_export.c). */
#include "train_fixture.h"

#include "base/half.h"

#define FIRST (0.0226442982 / 0.02 / sqrt(128)) /* the first value that seed 1 gives */
#define MASTER TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16"

static void test_layout(void **state) {
    (void)state;
    const tern_dims dims = golden_dims();
    tern_params params;
    MUST(tern_params_create(&dims, true, &params, err));
    assert_int_equal(params.n, 2 * TERN_PARAMS_PER_LAYER + 2);
    size_t end = 0, n_ternary = 0;
    for (size_t i = 0; i < params.n; i++) {
        const tern_param *param = &params.list[i];
        assert_true(param->offset % 16 == 0 && param->offset >= end && param->offset < end + 16);
        end = param->offset + (size_t)param->rows * param->cols;
        assert_true(param->decay == (param->rows > 1));
        n_ternary += param->ternary;
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(param->name, params.list[j].name);
    }
    assert_true(params.n_values >= end && params.n_values < end + 16);
    assert_int_equal(n_ternary, 2 * 7);
    assert_string_equal(tern_param_of(&params, 1, TERN_PARAM_DOWN)->name, "model.layers.1.mlp.down_proj.weight");
    assert_int_equal(tern_param_of(&params, 1, TERN_PARAM_DOWN)->cols, dims.ffn_size);
    assert_int_equal(tern_param_of(&params, 0, TERN_PARAM_K)->rows, 16);
    assert_string_equal(tern_param_embedding(&params)->name, "model.embed_tokens.weight");
    assert_string_equal(tern_param_output_norm(&params)->name, "model.norm.weight");
    for (size_t i = 0; i < params.n_values; i++)
        assert_true(params.values[i] == 0 && params.grads[i] == 0 && params.m[i] == 0 && params.v[i] == 0);
    tern_params_free(&params);
    MUST(tern_params_create(&dims, false, &params, err));
    assert_true(params.values && !params.grads && !params.m && !params.v);
    tern_params_free(&params);
}

static void test_too_large(void **state) {
    (void)state;
    tern_dims dims = golden_dims();
    tern_params params;
    tern_error error;
    dims.hidden_size = dims.ffn_size = UINT32_MAX;
    dims.n_layers = 1000;
    assert_int_not_equal(tern_params_create(&dims, true, &params, &error), TERN_OK);
    assert_null(params.list);
#ifndef __SANITIZE_ADDRESS__ /* which ends a program that asks for so much */
    dims = golden_dims();
    dims.vocab_size = UINT32_MAX; /* 70 PB: more than an address space */
    dims.hidden_size = 1 << 22;
    assert_int_equal(tern_params_create(&dims, true, &params, &error), TERN_ERR_MEMORY);
    assert_non_null(strstr(error.message, "with gradients and moments"));
#endif
}

static double deviation(const tern_params *params, const tern_param *param) {
    double sum = 0;
    size_t n = (size_t)param->rows * param->cols;
    for (size_t i = 0; i < n; i++)
        sum += pow((double)params->values[param->offset + i], 2);
    return sqrt(sum / (double)n);
}

static void test_init(void **state) {
    (void)state;
    tern_dims dims = golden_dims();
    dims.hidden_size = 128;
    dims.head_dim = 32;
    dims.n_layers = 8;
    tern_params params, other;
    MUST(tern_params_create(&dims, false, &params, err));
    MUST(tern_params_create(&dims, false, &other, err));
    tern_params_init(&params, 1);
    for (size_t i = 0; i < params.n; i++) {
        const tern_param *param = &params.list[i];
        double expected = param->rows == 1 ? 1 : param->ternary ? 1 / sqrt(param->cols) : 0.02;
        double found = deviation(&params, param);
        assert_true(fabs(found / expected - 1) < (param->rows == 1 ? 1e-12 : 0.05));
    }
    tern_params_init(&other, 1);
    assert_memory_equal(params.values, other.values, params.n_values * sizeof(float));
    assert_true(fabs((double)params.values[0] - FIRST) < 1e-8); /* the same on every platform */
    tern_params_init(&other, 2);
    size_t equal = 0, n = (size_t)dims.hidden_size * dims.hidden_size;
    for (size_t i = 0; i < n; i++)
        equal += params.values[i] == other.values[i];
    assert_true(equal < n / 1000);
    tern_params_free(&params);
    tern_params_free(&other);
}

static void test_find_bad(void **state) {
    (void)state;
    const tern_dims dims = golden_dims();
    tern_params params;
    MUST(tern_params_create(&dims, true, &params, err));
    for (size_t i = params.n; i-- > 0;) {
        const tern_param *param = &params.list[i];
        params.grads[param->offset + (i % 2 ? 0 : (size_t)param->rows * param->cols - 1)] = i % 3 ? NAN : -INFINITY;
        assert_ptr_equal(tern_params_find_bad(&params, params.grads), param);
        assert_null(tern_params_find_bad(&params, params.values));
    }
    tern_params_free(&params);
}

/* Every tensor is the file's, by name. */
static void test_load(void **state) {
    (void)state;
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights;
    tern_params params;
    MUST(tern_checkpoint_open(MASTER, &checkpoint, err));
    MUST(tern_weights_bind(checkpoint, &weights, err));
    MUST(tern_params_create(&weights.dims, true, &params, err));
    MUST(tern_params_load(checkpoint, &params, err));
    for (size_t i = 0; i < params.n; i++) {
        const tern_param *param = &params.list[i];
        const tern_tensor *tensor = tern_checkpoint_find(checkpoint, param->name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type, TERN_TYPE_BF16);
        for (size_t j = 0; j < (size_t)param->rows * param->cols; j++) {
            uint16_t stored;
            memcpy(&stored, tensor->data + 2 * j, sizeof stored);
            assert_true(params.values[param->offset + j] == tern_bf16_to_f32(stored));
        }
    }
    tern_params_free(&params);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),   cmocka_unit_test(test_too_large), cmocka_unit_test(test_init),
        cmocka_unit_test(test_find_bad), cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
