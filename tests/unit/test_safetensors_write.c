/* The safetensors writer: what it writes reads back, and misuse leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/hf.h"
#include "format/safetensors_write.h"

typedef struct fixture {
    char folder[64], path[128];
} fixture;

static int set_up(void **state) {
    fixture *f = malloc(sizeof *f);
    if (!f)
        return 1;
    strcpy(f->folder, "/tmp/tern-safetensors-write-XXXXXX");
    if (!mkdtemp(f->folder))
        return 1;
    snprintf(f->path, sizeof f->path, "%s/model.safetensors", f->folder);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    unlink(f->path);
    int failed = rmdir(f->folder); /* fails if a temporary file is left */
    free(f);
    return failed;
}

static tern_safetensors_writer *create(const fixture *f) {
    tern_safetensors_writer *writer = NULL;
    assert_int_equal(tern_safetensors_writer_create(f->path, &writer, NULL), TERN_OK);
    return writer;
}

static const uint64_t shape[] = {2, 3};

static void test_round_trip(void **state) {
    const fixture *f = *state;
    static const float matrix[] = {1, -2, 3, 4.5f, 0, -0.25f};
    static const uint16_t scale = 0x3f80;
    static const uint64_t one = 1;
    tern_safetensors_writer *writer = create(f);
    tern_safetensors_put_tensor(writer, "a.weight", "F32", shape, 2);
    tern_safetensors_put_tensor(writer, "b", "BF16", &one, 1);
    assert_int_equal(tern_safetensors_begin_data(writer, NULL), TERN_OK);
    assert_int_equal(tern_safetensors_write_data(writer, matrix, 10, NULL), TERN_OK); /* in pieces */
    assert_int_equal(tern_safetensors_write_data(writer, (const char *)matrix + 10, sizeof matrix - 10, NULL), TERN_OK);
    assert_int_equal(tern_safetensors_write_data(writer, &scale, sizeof scale, NULL), TERN_OK);
    assert_int_equal(tern_safetensors_writer_finish(writer, NULL), TERN_OK);

    tern_store *store = NULL;
    tern_map map;
    assert_int_equal(tern_store_create(f->path, &store, NULL), TERN_OK);
    assert_int_equal(tern_store_map(store, f->path, &map, NULL), TERN_OK);
    assert_int_equal(tern_safetensors_read(store, map.data, map.size, NULL), TERN_OK);
    assert_int_equal(tern_store_seal(store, NULL), TERN_OK);
    assert_int_equal(store->checkpoint.n_tensors, 2);
    const tern_tensor *a = tern_checkpoint_find(&store->checkpoint, "a.weight");
    const tern_tensor *b = tern_checkpoint_find(&store->checkpoint, "b");
    assert_true(a && b && a->type == TERN_TYPE_F32 && b->type == TERN_TYPE_BF16);
    assert_true(a->rows == 2 && a->cols == 3 && b->n_dims == 1 && b->cols == 1);
    assert_memory_equal(a->data, matrix, sizeof matrix);
    assert_memory_equal(b->data, &scale, sizeof scale);
    assert_true((uintptr_t)a->data % 8 == 0);
    tern_store_free(store);
}

static void test_misuse(void **state) {
    const fixture *f = *state;
    static const struct { const char *name, *type; } bad[] = {{"a\"b", "F32"}, {"", "F32"}, {"a", "F31"}};
    static const uint64_t huge[] = {UINT64_MAX / 2, 4}, empty[] = {0, 4};
    tern_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tern_safetensors_writer *writer = create(f);
        tern_safetensors_put_tensor(writer, bad[i].name, bad[i].type, shape, 2);
        assert_int_equal(tern_safetensors_begin_data(writer, &err), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "cannot be written"));
        tern_safetensors_writer_abort(writer);
    }
    for (int i = 0; i < 2; i++) {
        tern_safetensors_writer *writer = create(f);
        tern_safetensors_put_tensor(writer, "a", "U8", i ? huge : empty, 2);
        assert_int_equal(tern_safetensors_begin_data(writer, NULL), TERN_ERR_ARGUMENT);
        tern_safetensors_writer_abort(writer);
    }
    tern_safetensors_writer_abort(NULL);
    assert_int_equal(access(f->path, F_OK), -1);
}

static void test_wrong_amount(void **state) {
    const fixture *f = *state;
    static const char bytes[7];
    for (int more = 0; more < 2; more++) {
        tern_safetensors_writer *writer = create(f);
        tern_safetensors_put_tensor(writer, "a", "U8", shape, 2);
        assert_int_equal(tern_safetensors_begin_data(writer, NULL), TERN_OK);
        if (more) {
            assert_int_equal(tern_safetensors_write_data(writer, bytes, 7, NULL), TERN_ERR_ARGUMENT);
            tern_safetensors_writer_abort(writer);
        } else {
            assert_int_equal(tern_safetensors_write_data(writer, bytes, 5, NULL), TERN_OK);
            assert_int_equal(tern_safetensors_writer_finish(writer, NULL), TERN_ERR_ARGUMENT);
        }
        assert_int_equal(access(f->path, F_OK), -1);
    }
}

static void test_full_disk(void **state) {
    (void)state;
    tern_safetensors_writer *writer = NULL;
    if (access("/dev/full", W_OK))
        skip();
    char *bytes = calloc(1, 1 << 20);
    static const uint64_t size = 1 << 20;
    assert_int_equal(tern_safetensors_writer_create("/dev/full", &writer, NULL), TERN_OK);
    tern_safetensors_put_tensor(writer, "a", "U8", &size, 1);
    tern_status status = tern_safetensors_begin_data(writer, NULL);
    if (!status)
        status = tern_safetensors_write_data(writer, bytes, size, NULL);
    if (status)
        tern_safetensors_writer_abort(writer);
    else
        status = tern_safetensors_writer_finish(writer, NULL);
    assert_int_equal(status, TERN_ERR_IO);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_amount, set_up, tear_down),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
