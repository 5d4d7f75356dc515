/* The training loop over an objective of known numbers: what is learnt and logged, and that a run that was stopped,
 * killed or made to fail goes on as if nothing had been. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "train/log.h"
#include "train/quadratic.h"

static char base[] = "/tmp/tern-loop-XXXXXX";
static char folder[64];
static quadratic q, unbroken;
static char *unbroken_log;

static int clear(void **state) {
    (void)state;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    memset(&q, 0, sizeof q);
    return 0;
}

/* The log without its times, which stand at the end of the lines. */
static char *read_log(void) {
    char path[96], *text;
    size_t n, out = 0;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    assert_int_equal(tern_read_file(path, 1 << 20, &text, &n, NULL), TERN_OK);
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n'), *times = strstr(line, ", \"seconds\"");
        assert_true(end && times && times < end);
        memmove(text + out, line, (size_t)(times - line));
        out += (size_t)(times - line);
        text[out++] = '\n';
        line = end + 1;
    }
    text[out] = 0;
    return text;
}

static tern_status train(const tern_loop_hooks *how, tern_error *err) {
    tern_train_config config;
    tern_comm *comm;
    assert_int_equal(quadratic_config(folder, &config, err), TERN_OK);
    assert_int_equal(tern_comm_create(&comm, err), TERN_OK);
    tern_status status = quadratic_run(&q, &config, how, 1, comm, err);
    tern_comm_free(comm, status);
    tern_train_config_free(&config);
    return status;
}

static void expect_unbroken(void) {
    char *log = read_log();
    assert_string_equal(log, unbroken_log);
    free(log);
    assert_memory_equal(q.values, unbroken.values, sizeof q.values);
    assert_memory_equal(q.m, unbroken.m, sizeof q.m);
    assert_memory_equal(q.v, unbroken.v, sizeof q.v);
}

static int make_unbroken(void **state) {
    clear(state);
    tern_error err = {0};
    if (train(NULL, &err))
        return 1;
    unbroken = q;
    unbroken_log = read_log();
    return 0;
}

static size_t count(const char *text, const char *part) {
    size_t n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void test_learns(void **state) {
    (void)state;
    for (size_t i = 0; i < N; i++)
        assert_float_equal(unbroken.values[i], 2.5, 1); /* from 0 */
    assert_int_equal(unbroken.changed_at, 40);
    assert_int_equal(unbroken.n_finished, 1);
    assert_int_equal(unbroken.n_samples, 2);
    assert_int_equal(unbroken.n_progress, 40);
    assert_int_equal(count(unbroken_log, "\n"), 40);
    assert_int_equal(count(unbroken_log, "\"validation\": "), 4);
    assert_int_equal(count(unbroken_log, "\"ffn_zeros\": [0.5, 0.625], \"closed_gates\": [0.25, 0.25]"), 4);
    assert_int_equal(count(unbroken_log, "\"threes\": 3"), 40);
    const char *first = "{\"step\": 1, \"loss\": 3.1";
    assert_memory_equal(unbroken_log, first, strlen(first));
    assert_non_null(strstr(unbroken_log, "\"lr\": 0.0199999996, \"weight_decay\": 0.1"));
}

static void test_stop_and_go_on(void **state) {
    (void)state;
    for (uint64_t stop = 3; stop < 40; stop += 9) {
        tern_error err = {0};
        clear(NULL);
        q.stop_after = stop;
        assert_int_equal(train(NULL, &err), TERN_ERR_CANCELLED);
        assert_non_null(strstr(err.message, "the state is saved"));
        memset(&q, 0, sizeof q); /* a new process */
        assert_int_equal(train(NULL, &err), TERN_OK);
        assert_int_equal(q.n_progress, 40 - stop);
        expect_unbroken();
    }
}

static void test_kill_and_go_on(void **state) {
    (void)state;
    for (uint64_t kill = 1; kill <= 40; kill += 3) {
        clear(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            q.kill_after = kill;
            train(NULL, NULL);
            _Exit(0);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 9);
        tern_error err = {0};
        assert_int_equal(train(NULL, &err), TERN_OK);
        assert_int_equal(q.n_progress, kill == 40 ? 0 : 40 - kill / 7 * 7);
        assert_int_equal(q.n_warnings, 0);
        expect_unbroken();
    }
}

/* A run that is over is finished once more: it may have been killed in the middle of that. */
static void test_finished_again(void **state) {
    (void)state;
    tern_error err = {0};
    assert_int_equal(train(NULL, &err), TERN_OK);
    memset(&q, 0, sizeof q);
    assert_int_equal(train(NULL, &err), TERN_OK);
    assert_int_equal(q.n_finished, 1);
    assert_int_equal(q.n_progress, 0);
    expect_unbroken();
    const tern_loop_hooks anew = {.restart = true};
    memset(&q, 0, sizeof q);
    assert_int_equal(train(&anew, &err), TERN_OK);
    assert_int_equal(q.n_progress, 40);
    expect_unbroken();
}

/* Whatever is not finite stops the run, says which step and tensor, and the state before it goes on. */
static void test_not_finite(void **state) {
    (void)state;
    static const struct {
        size_t field;
        const char *what, *tensor;
    } cases[] = {
        {offsetof(quadratic, bad_loss_step), "the loss is not finite", "no gradient"},
        {offsetof(quadratic, bad_gradient_step), "the gradient is not finite", "second"},
        {offsetof(quadratic, bad_weight_step), "the weight is not finite", "second"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_error err = {0};
        clear(NULL);
        *(uint64_t *)((char *)&q + cases[i].field) = 17;
        assert_int_equal(train(NULL, &err), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "step 17"));
        assert_non_null(strstr(err.message, cases[i].what));
        assert_non_null(strstr(err.message, cases[i].tensor));
        assert_non_null(strstr(err.message, "state of step 14"));
        memset(&q, 0, sizeof q);
        assert_int_equal(train(NULL, &err), TERN_OK);
        expect_unbroken();
    }
}

static void test_objective_fails(void **state) {
    (void)state;
    tern_error err = {0};
    q.fail_step = 9;
    assert_int_equal(train(NULL, &err), TERN_ERR_IO);
    assert_string_equal(err.message, "row 3 cannot be read");
    memset(&q, 0, sizeof q);
    assert_int_equal(train(NULL, &err), TERN_OK);
    expect_unbroken();
}

static void test_changes(void **state) {
    (void)state;
    tern_train_config config;
    tern_comm *comm;
    tern_error err = {0};
    q.stop_after = 8;
    assert_int_equal(train(NULL, &err), TERN_ERR_CANCELLED);
    assert_int_equal(quadratic_config(folder, &config, &err), TERN_OK);
    assert_int_equal(tern_comm_create(&comm, &err), TERN_OK);
    memset(&q, 0, sizeof q);
    assert_int_equal(quadratic_run(&q, &config, NULL, 2, comm, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "other data"));
    config.adam.beta1 = 0.8f;
    assert_int_equal(quadratic_run(&q, &config, NULL, 1, comm, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "\"beta1\": 0.9, the configuration 0.8"));
    assert_int_equal(q.n_progress, 0);
    const tern_loop_hooks go_on = {.accept_changes = true};
    assert_int_equal(quadratic_run(&q, &config, &go_on, 1, comm, &err), TERN_OK);
    assert_int_equal(q.n_progress, 32);
    tern_comm_free(comm, TERN_OK);
    tern_train_config_free(&config);
}

/* A sample that fails is a warning: the run is the same. */
static void test_bad_sample(void **state) {
    (void)state;
    tern_error err = {0};
    q.bad_sample_step = 16;
    assert_int_equal(train(NULL, &err), TERN_OK);
    assert_int_equal(q.n_samples, 2);
    assert_int_equal(q.n_warnings, 1);
    assert_non_null(strstr(q.warning, "no sample of step 16: no room"));
    expect_unbroken();
}

/* The newest state damaged: the one before it, with a warning, and still the very same run. */
static void test_damaged_state(void **state) {
    (void)state;
    char path[96];
    tern_error err = {0};
    q.stop_after = 24;
    assert_int_equal(train(NULL, &err), TERN_ERR_CANCELLED);
    snprintf(path, sizeof path, "%s/state.tern", folder);
    assert_int_equal(truncate(path, 5000), 0);
    memset(&q, 0, sizeof q);
    assert_int_equal(train(NULL, &err), TERN_OK);
    assert_int_equal(q.n_warnings, 1);
    assert_non_null(strstr(q.warning, "step 21"));
    assert_int_equal(q.n_progress, 40 - 21);
    expect_unbroken();
}

static void test_lost_log(void **state) {
    (void)state;
    char path[96];
    tern_error err = {0};
    q.stop_after = 24;
    assert_int_equal(train(NULL, &err), TERN_ERR_CANCELLED);
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    assert_int_equal(unlink(path), 0);
    memset(&q, 0, sizeof q);
    assert_int_equal(train(NULL, &err), TERN_OK);
    assert_int_equal(q.n_warnings, 1);
    assert_memory_equal(q.values, unbroken.values, sizeof q.values);
    char *log = read_log();
    assert_int_equal(count(log, "\n"), 16);
    free(log);
}

/* Two processes in one folder would write over each other's states. */
static void test_locked(void **state) {
    (void)state;
    tern_error err = {0};
    tern_train_log log;
    q.stop_after = 5;
    assert_int_equal(train(NULL, &err), TERN_ERR_CANCELLED);
    assert_int_equal(tern_train_log_open(folder, &log, &err), TERN_OK);
    assert_int_equal(train(NULL, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another process is training"));
    tern_train_log_close(&log);
    memset(&q, 0, sizeof q);
    assert_int_equal(train(NULL, &err), TERN_OK);
    expect_unbroken();
}

static void test_bad_folder(void **state) {
    (void)state;
    char path[96];
    tern_error err = {0};
    snprintf(path, sizeof path, "%s/file", base);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    char old[64];
    memcpy(old, folder, sizeof old);
    snprintf(folder, sizeof folder, "%s/file", base);
    assert_int_equal(train(NULL, &err), TERN_ERR_IO);
    assert_non_null(strstr(err.message, "is a file"));
    snprintf(folder, sizeof folder, "%s/file/run", base);
    assert_int_equal(train(NULL, &err), TERN_ERR_IO);
    memcpy(folder, old, sizeof old);
    unlink(path);
}

int main(void) {
    if (!mkdtemp(base))
        return 1;
    snprintf(folder, sizeof folder, "%s/a/run", base);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_stop_and_go_on),
        cmocka_unit_test(test_kill_and_go_on),
        cmocka_unit_test_setup(test_finished_again, clear),
        cmocka_unit_test_setup(test_not_finite, clear),
        cmocka_unit_test_setup(test_objective_fails, clear),
        cmocka_unit_test_setup(test_changes, clear),
        cmocka_unit_test_setup(test_bad_sample, clear),
        cmocka_unit_test_setup(test_damaged_state, clear),
        cmocka_unit_test_setup(test_lost_log, clear),
        cmocka_unit_test_setup(test_locked, clear),
        cmocka_unit_test_setup(test_bad_folder, clear),
    };
    int failed = cmocka_run_group_tests(tests, make_unbroken, NULL);
    clear(NULL);
    free(unbroken_log);
    rmdir(folder);
    snprintf(folder, sizeof folder, "%s/a", base);
    rmdir(folder);
    rmdir(base);
    return failed;
}
