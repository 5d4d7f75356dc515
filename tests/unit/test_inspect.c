/* tern_inspect() by the words of tern.h, on the built-in model and on a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tern/tern.h"

#define DATA TERN_SOURCE_DIR "/tests/data/golden/"

static tern_inspection *open_inspection(const char *path) {
    tern_inspection *inspection = NULL;
    tern_error err;
    if (tern_inspect(path, &inspection, &err))
        fail_msg("%s", err.message);
    return inspection;
}

static void test_built_in(void **state) {
    (void)state;
    tern_inspection *inspection = open_inspection(NULL);
    assert_string_equal(tern_inspection_format(inspection), "GGUF v3");
    assert_non_null(tern_inspection_chat_template(inspection));
    uint64_t sum = 0;
    size_t n_ternary = 0;
    for (size_t i = 0; i < tern_inspection_n_tensors(inspection); i++) {
        tern_tensor_info tensor;
        tern_inspection_tensor(inspection, i, &tensor);
        assert_true(tensor.name && tensor.type && tensor.n_dims >= 1 && tensor.n_dims <= 4);
        assert_int_equal(tensor.has_scale, strcmp(tensor.type, "TQ1_0") == 0);
        assert_true(!tensor.has_scale || tensor.scale > 0);
        n_ternary += tensor.has_scale;
        sum += tensor.bytes;
    }
    assert_int_equal(n_ternary, 8 * 7); /* layers, matrices */
    assert_true(sum > 0 && sum < tern_inspection_file_bytes(inspection));
    tern_inspection_free(inspection);
}

static void test_folder(void **state) {
    (void)state;
    tern_inspection *inspection = open_inspection(DATA "odd/hf-packed");
    assert_string_equal(tern_inspection_format(inspection), "Hugging Face (packed)");
    bool found = false;
    for (size_t i = 0; i < tern_inspection_n_metadata(inspection); i++) {
        tern_metadata_info entry;
        tern_inspection_metadata(inspection, i, &entry);
        assert_true(entry.key && entry.type && entry.value);
        found |= strcmp(entry.key, "model_type") == 0 && strcmp(entry.value, "bitnet") == 0;
    }
    assert_true(found);
    tern_inspection_free(inspection);
}

static void test_out_of_range(void **state) {
    (void)state;
    tern_inspection *inspection = open_inspection("demo");
    tern_tensor_info tensor;
    tern_metadata_info entry;
    size_t indices[] = {tern_inspection_n_tensors(inspection), tern_inspection_n_metadata(inspection), SIZE_MAX};
    memset(&tensor, 1, sizeof tensor);
    tern_inspection_tensor(inspection, indices[0], &tensor);
    assert_true(!tensor.name && !tensor.bytes && !tensor.has_scale);
    memset(&entry, 1, sizeof entry);
    tern_inspection_metadata(inspection, indices[1], &entry);
    assert_true(!entry.key && !entry.type && !entry.value);
    tern_inspection_tensor(inspection, indices[2], &tensor);
    assert_null(tensor.name);
    tern_inspection_metadata(inspection, indices[2], &entry);
    assert_null(entry.key);
    tern_inspection_free(inspection);
}

static void test_failure(void **state) {
    (void)state;
    tern_inspection *inspection = NULL;
    tern_error err = {0};
    assert_int_equal(tern_inspect(DATA "no-such-model", &inspection, &err), TERN_ERR_IO);
    assert_non_null(strstr(err.message, "no-such-model"));
    assert_int_equal(tern_inspect(DATA, &inspection, NULL), TERN_ERR_IO);
    assert_null(inspection);
    tern_inspection_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_failure),
    };
    return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
