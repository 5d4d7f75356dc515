/* Files: mappings and their errors, small files read whole, writing that leaves
 * either the old file or the whole new one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

static char folder[] = "/tmp/tern-test-XXXXXX";

static const char *in_folder(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect_content(const char *path, const char *text) {
    char *content = NULL;
    size_t n = 0;
    assert_int_equal(tern_read_file(path, 1 << 20, &content, &n, NULL), TERN_OK);
    assert_string_equal(content, text);
    assert_int_equal(n, strlen(text));
    free(content);
}

static int count_files(void) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static int remove_files(void **state) {
    (void)state;
    DIR *dir = opendir(folder);
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            remove(in_folder(entry->d_name));
    closedir(dir);
    return 0;
}

static int create_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    remove_files(state);
    return rmdir(folder);
}

static void expect_message(const tern_error *err, const char *path, const char *part) {
    if (strncmp(err->message, path, strlen(path)) != 0 || !strstr(err->message, part))
        fail_msg("\"%s\" does not name %s or lacks \"%s\"", err->message, path, part);
}

/* ---------------------------------------------------------------- mappings */

static void test_map(void **state) {
    (void)state;
    const char *path = in_folder("mapped");
    enum { SIZE = 300000 };
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(putc(i * 7 & 0xff, file), i * 7 & 0xff);
    assert_int_equal(fclose(file), 0);
    tern_map map = {0};
    assert_int_equal(tern_map_open(path, &map, NULL), TERN_OK);
    assert_int_equal(map.size, SIZE);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < SIZE; i++)
            if (map.data[i] != (i * 7 & 0xff))
                fail_msg("byte %d differs in round %d", i, round);
        tern_map_release(map.data + 100, SIZE - 200); /* the bytes come back when touched */
        tern_map_release(map.data + 5, 10);           /* no whole page: nothing to do */
        tern_map_release(map.data, 0);
    }
    tern_map_close(&map);
    assert_null(map.data);
    tern_map_close(&map);
}

static void expect_map_error(const char *path, tern_status want, const char *part) {
    tern_error err;
    tern_map map = {0};
    assert_int_equal(tern_map_open(path, &map, &err), want);
    expect_message(&err, path, part);
    assert_int_equal(tern_map_open(path, &map, NULL), want);
    assert_null(map.data);
}

static void test_map_errors(void **state) {
    (void)state;
    expect_map_error(in_folder("missing"), TERN_ERR_IO, "No such file");
    expect_map_error(folder, TERN_ERR_IO, "is a directory");
    expect_map_error("/dev/null", TERN_ERR_IO, "not a regular file");
    put(in_folder("empty"), "");
    expect_map_error(in_folder("empty"), TERN_ERR_FORMAT, "the file is empty");
    expect_map_error(in_folder("empty/below"), TERN_ERR_IO, "Not a directory");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    expect_map_error(in_folder("pipe"), TERN_ERR_IO, "not a regular file"); /* and does not hang */
    put(in_folder("secret"), "x");
    assert_int_equal(chmod(in_folder("secret"), 0), 0);
    if (access(in_folder("secret"), R_OK) == 0)
        print_message("[  NOTE    ] root may read everything: the permission case is skipped\n");
    else
        expect_map_error(in_folder("secret"), TERN_ERR_IO, "Permission denied");
}

/* ----------------------------------------------------------------- reading */

static void expect_read_error(const char *path, size_t max_bytes, tern_status want, const char *part) {
    tern_error err;
    char *text = NULL;
    size_t n = 77;
    assert_int_equal(tern_read_file(path, max_bytes, &text, &n, &err), want);
    expect_message(&err, path, part);
    assert_null(text);
    assert_int_equal(n, 77);
}

static void test_read_file(void **state) {
    (void)state;
    const char *path = in_folder("text");
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 8191, 8192, 100000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        char *wanted = malloc(sizes[s] + 1);
        assert_non_null(wanted);
        memset(wanted, 'a' + (int)s, sizes[s]);
        wanted[sizes[s]] = 0;
        put(path, wanted);
        expect_content(path, wanted);
        char *text = NULL;
        size_t n = 0;
        assert_int_equal(tern_read_file(path, sizes[s], &text, &n, NULL), TERN_OK); /* just fits */
        free(text);
        if (sizes[s])
            expect_read_error(path, sizes[s] - 1, TERN_ERR_FORMAT, "larger than");
        free(wanted);
    }
    expect_read_error(in_folder("missing"), 100, TERN_ERR_IO, "No such file");
    expect_read_error(folder, 100, TERN_ERR_IO, "is a directory");
    if (access("/dev/zero", R_OK) == 0) /* endless: stopped by the limit */
        expect_read_error("/dev/zero", 1 << 20, TERN_ERR_FORMAT, "larger than 1048576 bytes");
    assert_true(tern_is_directory(folder) && !tern_is_directory(path) && !tern_is_directory(in_folder("missing")));
    assert_true(tern_file_exists(path) && !tern_file_exists(in_folder("missing")));
    assert_int_equal(symlink("nowhere", in_folder("dangling")), 0);
    assert_true(tern_file_exists(in_folder("dangling"))); /* so that opening it tells what is wrong */
}

static void test_read_standard_input(void **state) {
    (void)state;
    put(in_folder("input"), "from a pipe\n");
    int saved = dup(STDIN_FILENO), fd = open(in_folder("input"), O_RDONLY);
    assert_true(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
    close(fd);
    expect_content("-", "from a pipe\n");
    if (saved >= 0) {
        dup2(saved, STDIN_FILENO);
        close(saved);
    }
    clearerr(stdin);
}

/* What belongs to a model must be a regular file: a pipe that nobody writes to must not hang the reader. */
static void test_read_regular(void **state) {
    (void)state;
    static const struct {
        const char *name, *why;
    } refused[] = {{"pipe", "not a regular file"},
                   {"folder", "is a directory"},
                   {"missing", "No such file"},
                   {"loop", "symbolic links"},
                   {"-", "No such file"}};
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(mkdir(in_folder("folder"), 0700), 0);
    assert_int_equal(symlink("loop", in_folder("loop")), 0);
    char *text;
    size_t n;
    tern_error err;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *path = strcmp(refused[i].name, "-") ? in_folder(refused[i].name) : "-";
        assert_int_equal(tern_read_regular(path, 100, &text, &n, &err), TERN_ERR_IO);
        expect_message(&err, path, refused[i].why);
    }
    put(in_folder("text"), "12345");
    assert_int_equal(tern_read_regular(in_folder("text"), 4, &text, &n, &err), TERN_ERR_FORMAT);
    assert_int_equal(tern_read_regular(in_folder("text"), 5, &text, &n, &err), TERN_OK);
    assert_int_equal(n, 5);
    assert_string_equal(text, "12345");
    free(text);
}

/* ----------------------------------------------------------------- writing */

static void open_writer(tern_writer *writer, const char *path) {
    tern_error err;
    if (tern_writer_open(path, writer, &err))
        fail_msg("%s", err.message);
}

static void test_writer(void **state) {
    (void)state;
    const char *path = in_folder("out");
    put(path, "old");
    tern_writer writer;
    open_writer(&writer, path);
    fputs("new", writer.file);
    fflush(writer.file);
    expect_content(path, "old"); /* until the commit */
    assert_int_equal(tern_writer_commit(&writer, NULL), TERN_OK);
    expect_content(path, "new");
    assert_int_equal(count_files(), 1);
    tern_writer_abort(&writer); /* after a commit: nothing happens */
    expect_content(path, "new");

    open_writer(&writer, path);
    fputs("half", writer.file);
    tern_writer_abort(&writer);
    expect_content(path, "new");
    assert_int_equal(count_files(), 1);
    tern_writer_abort(&writer);

    tern_writer first, second; /* two at a time do not share a temporary file */
    open_writer(&first, path);
    open_writer(&second, path);
    fputs("first", first.file);
    fputs("second", second.file);
    assert_int_equal(tern_writer_commit(&second, NULL), TERN_OK);
    assert_int_equal(tern_writer_commit(&first, NULL), TERN_OK);
    expect_content(path, "first");
    assert_int_equal(count_files(), 1);
}

/* A program that is killed while it writes leaves nothing, where the file system has files without names. */
static void test_killed_writer(void **state) {
    (void)state;
    const char *path = in_folder("killed");
    put(path, "old");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        tern_writer writer;
        if (tern_writer_open(path, &writer, NULL))
            _exit(2);
        bool nameless = writer.nameless;
        fputs("half", writer.file);
        fflush(writer.file);
        if (!nameless)
            tern_writer_abort(&writer);
        _exit(nameless ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    expect_content(path, "old");
    assert_int_equal(count_files(), 1);
}

static void test_writer_mode(void **state) {
    (void)state;
    const char *path = in_folder("mode");
    mode_t before = umask(027);
    tern_writer writer;
    open_writer(&writer, path);
    assert_int_equal(tern_writer_commit(&writer, NULL), TERN_OK);
    mode_t after = umask(before);
    assert_int_equal(after, 027); /* left as it was */
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static void test_writer_open_errors(void **state) {
    (void)state;
    tern_error err;
    tern_writer writer;
    const char *path = in_folder("no/such/folder/file");
    assert_int_equal(tern_writer_open(path, &writer, &err), TERN_ERR_IO);
    expect_message(&err, path, "No such file");
    assert_null(writer.file);
    tern_writer_abort(&writer); /* harmless after a failed open */
    assert_int_equal(tern_writer_open(path, &writer, NULL), TERN_ERR_IO);
}

/* The disk is full: at the flush (a little text) and earlier (a lot of it). The
 * temporary file's descriptor is pointed at /dev/full for that. */
static void test_full_disk(void **state) {
    (void)state;
    const char *path = in_folder("kept");
    static const int lines[] = {1, 100000};
    int full = open("/dev/full", O_WRONLY);
    if (full < 0)
        skip();
    for (size_t i = 0; i < 2; i++) {
        put(path, "old");
        tern_writer writer;
        open_writer(&writer, path);
        assert_true(dup2(full, fileno(writer.file)) >= 0);
        for (int line = 0; line < lines[i]; line++)
            fputs("a line that does not fit\n", writer.file);
        tern_error err;
        assert_int_equal(tern_writer_commit(&writer, &err), TERN_ERR_IO);
        expect_message(&err, path, i ? "cannot write" : "No space left");
        expect_content(path, "old");
        assert_int_equal(count_files(), 1); /* no temporary file stays */
        assert_null(writer.file);
        tern_writer_abort(&writer);
    }
    close(full);
}

/* A limit on the file size is met in the middle of the file. */
static void test_file_size_limit(void **state) {
    (void)state;
    const char *path = in_folder("limited");
    put(path, "old");
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    tern_writer writer;
    open_writer(&writer, path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 30000; i++)
        fputs("0123456789", writer.file);
    tern_error err;
    tern_status status = tern_writer_commit(&writer, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(status, TERN_ERR_IO);
    expect_message(&err, path, "cannot write");
    expect_content(path, "old");
    assert_int_equal(count_files(), 1);
}

/* The last step, the renaming, can fail as well. */
static void test_writer_onto_directory(void **state) {
    (void)state;
    const char *path = in_folder("directory");
    assert_int_equal(mkdir(path, 0700), 0);
    tern_writer writer;
    tern_error err;
    assert_int_equal(tern_writer_open(path, &writer, &err), TERN_ERR_IO);
    expect_message(&err, path, "irectory");
    tern_writer_abort(&writer);
    /* and one that appears afterwards */
    const char *late = in_folder("late");
    open_writer(&writer, late);
    fputs("text", writer.file);
    assert_int_equal(mkdir(late, 0700), 0);
    assert_int_equal(tern_writer_commit(&writer, &err), TERN_ERR_IO);
    expect_message(&err, late, "irectory");
    assert_int_equal(rmdir(late), 0);
    assert_true(tern_is_directory(path));
    assert_int_equal(count_files(), 1);
}

#define FILE_TEST(function) cmocka_unit_test_teardown(function, remove_files)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_map),
        FILE_TEST(test_map_errors),
        FILE_TEST(test_read_file),
        FILE_TEST(test_read_standard_input),
        FILE_TEST(test_read_regular),
        FILE_TEST(test_writer),
        FILE_TEST(test_killed_writer),
        FILE_TEST(test_writer_mode),
        FILE_TEST(test_writer_open_errors),
        FILE_TEST(test_full_disk),
        FILE_TEST(test_file_size_limit),
        FILE_TEST(test_writer_onto_directory),
    };
    return cmocka_run_group_tests_name("files", tests, create_folder, remove_folder);
}
