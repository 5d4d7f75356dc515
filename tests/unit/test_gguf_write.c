/* The GGUF writer: what it writes reads back, and every misuse or full disk leaves nothing behind. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/checkpoint.h"
#include "format/codec.h"
#include "format/gguf_write.h"

typedef struct fixture {
    char folder[64], path[128];
} fixture;

static int set_up(void **state) {
    fixture *f = malloc(sizeof *f);
    if (!f)
        return 1;
    strcpy(f->folder, "/tmp/tern-gguf-write-XXXXXX");
    if (!mkdtemp(f->folder))
        return 1;
    snprintf(f->path, sizeof f->path, "%s/model.gguf", f->folder);
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

static int count_files(const char *folder) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static tern_gguf_writer *create(const fixture *f) {
    tern_gguf_writer *writer = NULL;
    assert_int_equal(tern_gguf_writer_create(f->path, &writer, NULL), TERN_OK);
    tern_gguf_put_string(writer, "general.architecture", "bitnet-b1.58");
    return writer;
}

static void test_round_trip(void **state) {
    const fixture *f = *state;
    static const tern_view tokens[] = {{"a", 1}, {"", 0}, {"b\0c", 3}};
    static const int32_t types[] = {1, 3, -1};
    static const float scores[] = {0, 0.5f, -1}, norm[] = {1, 2, 3};
    int8_t trits[256] = {1, -1};
    uint8_t codes[96];
    tern_codec_named("I2_S")->encode_trits(trits, 2, 128, 0.25f, codes);

    tern_gguf_writer *writer = create(f);
    tern_gguf_put_u32(writer, "bitnet-b1.58.block_count", 7);
    tern_gguf_put_f32(writer, "bitnet-b1.58.rope.freq_base", 500000);
    tern_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", true);
    tern_gguf_put_string(writer, "tokenizer.ggml.model", "gpt2");
    tern_gguf_put_strings(writer, "tokenizer.ggml.tokens", tokens, 3);
    tern_gguf_put_i32s(writer, "tokenizer.ggml.token_type", types, 3);
    tern_gguf_put_f32s(writer, "tokenizer.ggml.scores", scores, 3);
    tern_gguf_put_tensor(writer, "output_norm.weight", 0, 1, 3, true, sizeof norm);
    tern_gguf_put_tensor(writer, "blk.0.attn_q.weight", 36, 2, 128, false, sizeof codes);
    tern_error err = {0};
    assert_int_equal(tern_gguf_begin_data(writer, &err), TERN_OK);
    uint8_t both[sizeof norm + sizeof codes]; /* calls need not keep to the borders of tensors */
    memcpy(both, norm, sizeof norm);
    memcpy(both + sizeof norm, codes, sizeof codes);
    assert_int_equal(tern_gguf_write_data(writer, both, 5, &err), TERN_OK);
    assert_int_equal(tern_gguf_write_data(writer, both + 5, 20, &err), TERN_OK);
    assert_int_equal(tern_gguf_write_data(writer, both + 25, sizeof both - 25, &err), TERN_OK);
    assert_int_equal(tern_gguf_writer_finish(writer, &err), TERN_OK);

    tern_checkpoint *checkpoint = NULL;
    if (tern_checkpoint_open(f->path, &checkpoint, &err))
        fail_msg("%s", err.message);
    assert_int_equal(checkpoint->config.n_layers, 7);
    assert_true(checkpoint->config.rope_theta == 500000);
    assert_int_equal(checkpoint->vocab.add_bos, 1);
    assert_int_equal(checkpoint->vocab.n_tokens, 3);
    assert_int_equal(checkpoint->vocab.tokens[2].size, 3);
    assert_memory_equal(checkpoint->vocab.tokens[2].bytes, "b\0c", 3);
    assert_int_equal(checkpoint->vocab.types[2], -1);
    const tern_tensor *first = tern_checkpoint_find(checkpoint, "output_norm.weight");
    const tern_tensor *second = tern_checkpoint_find(checkpoint, "blk.0.attn_q.weight");
    assert_non_null(first);
    assert_non_null(second);
    assert_int_equal(first->n_dims, 1);
    assert_memory_equal(first->data, norm, sizeof norm);
    assert_int_equal(second->shape[0], 2);
    assert_memory_equal(second->data, codes, sizeof codes);
    assert_int_equal((uintptr_t)second->data % 32, 0);
    tern_checkpoint_close(checkpoint);
    assert_int_equal(count_files(f->folder), 1);
}

static void test_missing_data(void **state) {
    const fixture *f = *state;
    tern_gguf_writer *writer = create(f);
    tern_error err = {0};
    float row[4] = {0};
    tern_gguf_put_tensor(writer, "x", 0, 1, 4, true, 16);
    assert_int_equal(tern_gguf_begin_data(writer, &err), TERN_OK);
    assert_int_equal(tern_gguf_write_data(writer, row, 15, &err), TERN_OK);
    assert_int_equal(tern_gguf_writer_finish(writer, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "0 of 1 tensors"));
    assert_int_equal(count_files(f->folder), 0);
}

static void test_too_much_data(void **state) {
    const fixture *f = *state;
    tern_gguf_writer *writer = create(f);
    tern_error err = {0};
    float row[5] = {0};
    tern_gguf_put_tensor(writer, "x", 0, 1, 4, true, 16);
    assert_int_equal(tern_gguf_begin_data(writer, &err), TERN_OK);
    assert_int_equal(tern_gguf_write_data(writer, row, sizeof row, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "more data"));
    tern_gguf_writer_abort(writer);
    tern_gguf_writer_abort(NULL);
    assert_int_equal(count_files(f->folder), 0);
}

static void test_impossible_tensors(void **state) {
    const fixture *f = *state;
    static const struct {
        uint32_t type;
        uint64_t rows, cols, bytes;
        bool vector;
    } cases[] = {{0, 1, 4, 15, true},
                 {36, 1, 100, 57, false},
                 {12, 1, 256, 144, false},
                 {0, 2, 4, 32, true},
                 {35, 1, 0, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tern_gguf_writer *writer = create(f);
        tern_error err = {0};
        tern_gguf_put_tensor(writer, "x", cases[i].type, cases[i].rows, cases[i].cols, cases[i].vector, cases[i].bytes);
        assert_int_equal(tern_gguf_begin_data(writer, &err), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "'x'"));
        tern_gguf_writer_abort(writer);
        assert_int_equal(count_files(f->folder), 0);
    }
}

/* A full disk, by way of a limit on the size of files. */
static void test_full_disk(void **state) {
    const fixture *f = *state;
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    small = old;
    small.rlim_cur = 64 << 10;
    enum { BYTES = 1 << 20 };
    float *row = calloc(1, BYTES);
    assert_non_null(row);
    tern_gguf_writer *writer = create(f);
    tern_gguf_put_tensor(writer, "x", 0, 1, BYTES / 4, true, BYTES);
    assert_int_equal(tern_gguf_begin_data(writer, NULL), TERN_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tern_error err = {0};
    tern_status status = tern_gguf_write_data(writer, row, BYTES, &err);
    if (status)
        tern_gguf_writer_abort(writer);
    else
        status = tern_gguf_writer_finish(writer, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    free(row);
    assert_int_equal(status, TERN_ERR_IO);
    assert_non_null(strstr(err.message, "cannot write"));
    assert_int_equal(count_files(f->folder), 0);
}

static void test_no_such_folder(void **state) {
    (void)state;
    tern_gguf_writer *writer = NULL;
    tern_error err = {0};
    assert_int_equal(tern_gguf_writer_create("/nonexistent-folder/model.gguf", &writer, &err), TERN_ERR_IO);
    assert_null(writer);
    assert_non_null(strstr(err.message, "/nonexistent-folder/model.gguf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_much_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_impossible_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test(test_no_such_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
