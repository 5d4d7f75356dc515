/* Four processes under mpirun train as one does: started by hand, this program starts itself again as the ranks of
 * runs. Skipped where there is no mpirun or no MPI module. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "train/quadratic.h"

static char folder[] = "/tmp/tern-ranks-XXXXXX";
static const char *self;
static quadratic q;

/* What a rank does: "train FOLDER [FAIL_STEP RANK]" or "functions". Its exit status. */
static int rank_train(tern_comm *comm, int argc, char **argv) {
    tern_train_config config;
    tern_error err = {0};
    if (quadratic_config(argv[2], &config, &err))
        return 3;
    if (argc > 4 && atoi(argv[4]) == tern_comm_rank(comm))
        q.fail_step = (uint64_t)atoi(argv[3]);
    if (argc > 4 && atoi(argv[4]) < 0) /* all of them see the sum */
        q.bad_loss_step = (uint64_t)atoi(argv[3]);
    tern_status status = quadratic_run(&q, &config, NULL, 1, comm, &err);
    if (status)
        fprintf(stderr, "rank %d: %s\n", tern_comm_rank(comm), err.message);
    tern_train_config_free(&config);
    tern_comm_free(comm, status);
    return status ? 4 : 0;
}

static int rank_functions(tern_comm *comm) {
    enum { N_VALUES = 100000 };
    static float values[N_VALUES];
    static uint8_t bytes[1000];
    tern_error err = {0};
    int rank = tern_comm_rank(comm), size = tern_comm_size(comm), sum = size * (size - 1) / 2;
    if (tern_comm_local_size(comm) != size) /* all on this machine */
        return 9;
    for (size_t i = 0; i < N_VALUES; i++)
        values[i] = (float)(rank * (int)(i % 100));
    for (size_t i = 0; i < N_VALUES; i += 100) /* more than there are requests */
        tern_comm_start_sum(comm, values + i, 100);
    if (tern_comm_wait(comm, &err))
        return 10;
    for (size_t i = 0; i < N_VALUES; i++)
        if (values[i] != (float)(sum * (int)(i % 100)))
            return 11;
    double numbers[2] = {rank, 1};
    if (tern_comm_sum_double(comm, numbers, 2, &err) || numbers[0] != sum || numbers[1] != size)
        return 12;
    memset(bytes, rank + 1, sizeof bytes);
    if (tern_comm_broadcast(comm, bytes, sizeof bytes, &err) || bytes[0] != 1 || bytes[999] != 1)
        return 13;
    if (tern_comm_agree(comm, TERN_OK, &err))
        return 14;
    tern_status mine = rank == 1 ? tern_fail(&err, TERN_ERR_IO, "mine") : TERN_OK;
    tern_status told = tern_comm_agree(comm, mine, &err);
    if (rank == 1 ? told != TERN_ERR_IO || strcmp(err.message, "mine") != 0
                  : told != TERN_ERR_CANCELLED || !strstr(err.message, "another process"))
        return 15;
    tern_comm_free(comm, told); /* all know: no process is killed */
    return 0;
}

/* mpirun -n N self ARGUMENTS; the exit status, output in folder/out. */
static int launch(int n, const char *arguments) {
    char command[1024];
    snprintf(command, sizeof command,
             "LSAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root --oversubscribe -n %d '%s' %s >%s/out 2>&1 "
             "</dev/null",
             n, self, arguments, folder);
    int how = system(command);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 255;
}

static char *read_text(const char *name) {
    char path[128], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(tern_read_file(path, 1 << 20, &text, &n, NULL), TERN_OK);
    return text;
}

static bool can_launch(void) {
    static int known = -1;
    char module[1024];
    snprintf(module, sizeof module, "%s", self);
    strcpy(strrchr(module, '/') + 1, "tern_mpi.so");
    if (known < 0)
        known = system("mpirun --version >/dev/null 2>&1") == 0 && tern_file_exists(module);
    if (!known)
        print_message("no mpirun, or built without MPI: skipped\n");
    return known;
}

static void test_functions(void **state) {
    (void)state;
    if (!can_launch())
        skip();
    assert_int_equal(launch(4, "functions"), 0);
    assert_int_equal(launch(3, "functions"), 0);
}

/* "name": value of the line that `log` begins with. */
static double figure(const char *log, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *at = strstr(log, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

static void test_same_curve(void **state) {
    (void)state;
    char one[128], four[128];
    if (!can_launch())
        skip();
    snprintf(one, sizeof one, "train %s/one", folder);
    snprintf(four, sizeof four, "train %s/four", folder);
    assert_int_equal(launch(1, one), 0);
    assert_int_equal(launch(4, four), 0);
    char *log_one = read_text("one/log.jsonl"), *log_four = read_text("four/log.jsonl");
    const char *a = log_one, *b = log_four;
    int lines = 0;
    for (; *a && *b; a = strchr(a, '\n') + 1, b = strchr(b, '\n') + 1, lines++) {
        assert_true(figure(a, "step") == figure(b, "step"));
        assert_true(figure(a, "tokens") == figure(b, "tokens"));
        assert_true(figure(a, "threes") == 3 && figure(b, "threes") == 3);
        assert_float_equal(figure(a, "loss"), figure(b, "loss"), 1e-5 * figure(a, "loss"));
        assert_float_equal(figure(a, "grad_norm"), figure(b, "grad_norm"), 1e-5 * figure(a, "grad_norm"));
    }
    assert_int_equal(lines, 40);
    assert_true(!*a && !*b); /* one rank wrote */
    free(log_one);
    free(log_four);
    /* and a run of four goes on as a run of one, which has nothing more to do */
    assert_int_equal(launch(1, four), 0);
}

/* A rank that fails alone ends all, soon; what was saved goes on. */
static void test_failing_rank(void **state) {
    (void)state;
    char command[160];
    if (!can_launch())
        skip();
    snprintf(command, sizeof command, "train %s/fail 20 2", folder);
    assert_int_not_equal(launch(4, command), 0);
    char *out = read_text("out");
    assert_non_null(strstr(out, "rank 2: row 3 cannot be read"));
    free(out);
    snprintf(command, sizeof command, "train %s/fail", folder);
    assert_int_equal(launch(4, command), 0);
}

static void test_not_finite(void **state) {
    (void)state;
    char command[160];
    if (!can_launch())
        skip();
    snprintf(command, sizeof command, "train %s/nan 20 -1", folder);
    assert_int_equal(launch(4, command), 4);
    char *out = read_text("out");
    assert_non_null(strstr(out, "rank 0: step 20: the loss is not finite"));
    assert_null(strstr(out, "MPI_ABORT")); /* they all ended by themselves */
    free(out);
}

/* Started by mpirun without the module: an error, not four runs that know nothing of each other. */
static void test_no_module(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "'%s' probe 2>/dev/null", self);
    if (access("/proc/self/exe", R_OK) || system(command) != 0)
        skip(); /* under an emulator that programs do not start by themselves */
    snprintf(command, sizeof command,
             "mkdir %s/alone && cp '%s' %s/alone/ && OMPI_COMM_WORLD_SIZE=2 %s/alone/test_ranks functions >%s/out 2>&1",
             folder, self, folder, folder, folder);
    int how = system(command);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 9);
    char *out = read_text("out");
    assert_non_null(strstr(out, "libopenmpi-dev"));
    free(out);
}

static int as_rank(int argc, char **argv) {
    tern_comm *comm;
    tern_error err = {0};
    if (strcmp(argv[1], "probe") == 0)
        return 0;
    if (tern_comm_create(&comm, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 9;
    }
    return strcmp(argv[1], "functions") == 0 ? rank_functions(comm) : rank_train(comm, argc, argv);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return as_rank(argc, argv);
    self = realpath(argv[0], NULL);
    if (!self || !mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),  cmocka_unit_test(test_same_curve), cmocka_unit_test(test_failing_rank),
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_no_module),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    failed += system(command) != 0;
    free((char *)self);
    return failed;
}
