/* The state of a run on disk: what is written is read again, whatever happens to the files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/state.h"

enum { N_ARRAYS = 3, N_VALUES = 100 };

static char folder[] = "/tmp/tern-state-XXXXXX";
static float values[N_ARRAYS][N_VALUES];
static float *arrays[N_ARRAYS] = {values[0], values[1], values[2]};

static const char *in_folder(const char *name) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static float value_of(uint64_t step, size_t array, size_t i) {
    return (float)(step * 1000 + array * 100) + (float)i * 0.37f;
}

static void save(uint64_t step) {
    for (size_t a = 0; a < N_ARRAYS; a++)
        for (size_t i = 0; i < N_VALUES; i++)
            values[a][i] = value_of(step, a, i);
    tern_train_state state = {.step = step,
                              .tokens = step * 512,
                              .seconds = 1.25 * (double)step,
                              .log_bytes = step * 77,
                              .config = "{\"steps\": 100}",
                              .data_hash = 0x8123456789abcdef};
    tern_error err = {0};
    assert_int_equal(tern_state_save(folder, &state, arrays, N_ARRAYS, N_VALUES, &err), TERN_OK);
}

/* The step of the state that is found there, whose values must be that step's; 0: there is none. */
static uint64_t load(tern_error *warning) {
    tern_state_file file;
    tern_error err = {0}, unheard;
    bool found;
    assert_int_equal(tern_state_open(folder, &file, &found, warning ? warning : &unheard, &err), TERN_OK);
    if (!found)
        return 0;
    uint64_t step = file.state.step;
    assert_true(file.state.tokens == step * 512);
    assert_true(file.state.seconds == 1.25 * (double)step);
    assert_true(file.state.log_bytes == step * 77);
    assert_string_equal(file.state.config, "{\"steps\": 100}");
    assert_true(file.state.data_hash == 0x8123456789abcdef);
    memset(values, 0, sizeof values);
    assert_int_equal(tern_state_copy(&file, arrays, N_ARRAYS, N_VALUES, &err), TERN_OK);
    for (size_t a = 0; a < N_ARRAYS; a++)
        for (size_t i = 0; i < N_VALUES; i++)
            assert_true(values[a][i] == value_of(step, a, i));
    tern_state_close(&file);
    return step;
}

static size_t read_bytes(const char *path, uint8_t bytes[static 4096]) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, 4096, file);
    fclose(file);
    return n;
}

static void write_bytes(const char *path, const uint8_t *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static int clear(void **state) {
    (void)state;
    return tern_state_remove(folder, NULL) != TERN_OK;
}

static void test_round_trip(void **state) {
    (void)state;
    tern_error warning;
    assert_int_equal(load(&warning), 0);
    for (uint64_t step = 1; step <= 3; step++) {
        save(step);
        assert_int_equal(load(&warning), step);
        assert_string_equal(warning.message, "");
    }
    assert_true(tern_file_exists(in_folder(TERN_STATE_PREVIOUS)));
    assert_int_equal(tern_state_remove(folder, NULL), TERN_OK);
    assert_int_equal(load(&warning), 0);
}

static void test_other_sizes(void **state) {
    (void)state;
    save(1);
    tern_state_file file;
    tern_error warning, err = {0};
    bool found;
    assert_int_equal(tern_state_open(folder, &file, &found, &warning, &err), TERN_OK);
    assert_int_equal(tern_state_copy(&file, arrays, N_ARRAYS, N_VALUES + 1, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "3 arrays of 100"));
    assert_int_equal(tern_state_copy(&file, arrays, 2, N_VALUES, &err), TERN_ERR_ARGUMENT);
    tern_state_close(&file);
}

/* Whatever byte is changed, and wherever the file is cut off: the one before it is taken, and somebody is told. */
static void test_damage(void **state) {
    (void)state;
    uint8_t good[4096], bad[4096];
    save(1);
    save(2);
    size_t n = read_bytes(in_folder(TERN_STATE_NAME), good);
    for (size_t at = 0; at < n + n / 16; at++) {
        bool cut = at >= n;
        memcpy(bad, good, n);
        if (!cut)
            bad[at] ^= 0x10;
        write_bytes(in_folder(TERN_STATE_NAME), bad, cut ? (at - n) * 16 : n);
        tern_error warning;
        assert_int_equal(load(&warning), 1);
        assert_non_null(strstr(warning.message, "step 1"));
        assert_true(tern_file_exists(in_folder(TERN_STATE_DAMAGED)));
        assert_false(tern_file_exists(in_folder(TERN_STATE_NAME)));
    }
    /* a run that goes on from there makes a new newest one, and keeps the good one */
    save(3);
    assert_int_equal(load(NULL), 3);
    write_bytes(in_folder(TERN_STATE_NAME), good, n / 2);
    assert_int_equal(load(NULL), 1);
}

static void test_missing_newest(void **state) {
    (void)state;
    tern_error warning;
    save(1);
    save(2);
    assert_int_equal(unlink(in_folder(TERN_STATE_NAME)), 0);
    assert_int_equal(load(&warning), 1);
    assert_non_null(strstr(warning.message, "missing"));
}

static void test_all_damaged(void **state) {
    (void)state;
    tern_state_file file;
    tern_error warning, err = {0};
    bool found;
    write_bytes(in_folder(TERN_STATE_NAME), (const uint8_t *)"rubbish", 7);
    assert_int_equal(tern_state_open(folder, &file, &found, &warning, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "--restart"));
    write_bytes(in_folder(TERN_STATE_PREVIOUS), (const uint8_t *)"", 0);
    assert_int_equal(tern_state_open(folder, &file, &found, &warning, &err), TERN_ERR_FORMAT);
    assert_true(tern_file_exists(in_folder(TERN_STATE_NAME))); /* nothing was thrown away */
}

/* A disk that is full in the middle of the file, as a limit on files' sizes. */
static void test_full_disk(void **state) {
    (void)state;
    save(1);
    save(2);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 600;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tern_train_state bigger = {.step = 3, .config = "{}"};
    tern_error err = {0};
    tern_status status = tern_state_save(folder, &bigger, arrays, N_ARRAYS, N_VALUES, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, TERN_ERR_IO);
    assert_non_null(strstr(err.message, "untouched"));
    assert_int_equal(load(NULL), 2);
    unlink(in_folder(TERN_STATE_NAME));
    assert_int_equal(load(NULL), 1);
}

/* Killed at any moment: there is always a good newest state, and it is one that was saved. */
static void test_kill(void **state) {
    (void)state;
    uint64_t last = 1;
    useconds_t wait = 500;
    save(last);
    for (int round = 0; round < 25; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child)
            for (uint64_t step = last + 1;; step++)
                save(step);
        usleep(wait);
        kill(child, SIGKILL);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how));
        tern_error warning;
        uint64_t step = load(&warning);
        assert_true(step >= last);
        assert_string_equal(warning.message, "");
        /* long enough for a few states, on a machine that is slow today, too */
        wait = step > last ? (useconds_t)(500 + round * 431) : wait < 400000 ? wait * 2 : wait;
        last = step;
    }
    assert_true(last > 1);
}

static void test_no_folder(void **state) {
    (void)state;
    tern_train_state none = {.config = "{}"};
    tern_error err = {0};
    assert_int_equal(tern_state_save("/nonexistent/run", &none, arrays, 1, 1, &err), TERN_ERR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/run"));
}

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trip, clear),
        cmocka_unit_test_setup(test_other_sizes, clear),
        cmocka_unit_test_setup(test_damage, clear),
        cmocka_unit_test_setup(test_missing_newest, clear),
        cmocka_unit_test_setup(test_all_damaged, clear),
        cmocka_unit_test_setup(test_full_disk, clear),
        cmocka_unit_test_setup_teardown(test_kill, clear, clear),
        cmocka_unit_test(test_no_folder),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
