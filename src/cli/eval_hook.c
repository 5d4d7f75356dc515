/* tern eval: answers that others judge. Code that a model wrote is never run here: a command of the user's does, in
 * whatever sandbox it has. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/eval.h"

enum { MAX_FILE_BYTES = 1 << 30, READ_BYTES = 4096, POLL_MILLISECONDS = 100 };

/* Call `use` for each line of the text that is a JSON object; false stops. */
static bool each_object(const char *text, size_t n_bytes, bool (*use)(void *user, json_t *object), void *user) {
    bool good = true;
    for (const char *line = text, *stop = text + n_bytes, *end; good && line < stop; line = end + 1) {
        end = memchr(line, '\n', (size_t)(stop - line));
        end = end ? end : stop;
        json_error_t where;
        json_t *object = tern_json_load(line, (size_t)(end - line), 0, &where);
        good = !json_is_object(object) || use(user, object);
        json_decref(object);
    }
    return good;
}

static bool is_of(const json_t *line, const char *task) {
    const char *name = json_string_value(json_object_get(line, "task"));
    return name && strcmp(name, task) == 0;
}

/* ---------------------------------------------------------------------- samples */

typedef struct samples {
    const char *task;
    FILE *file;
} samples;

static bool write_sample(void *user, json_t *line) {
    const samples *s = user;
    const json_t *sample = json_object_get(line, "sample");
    if (!sample || !is_of(line, s->task))
        return true;
    return json_dumpf(sample, s->file, JSON_COMPACT) == 0 && fputc('\n', s->file) != EOF;
}

int tern_eval_write_samples(const char *results_path, const char *task, const char *path) {
    char *text;
    size_t n_bytes;
    tern_error err;
    tern_writer writer;
    tern_status status = tern_check_output(path, &results_path, 1, &err);
    if (!status)
        status = tern_read_file(results_path, MAX_FILE_BYTES, &text, &n_bytes, &err);
    if (status)
        return tern_cli_error(&err);
    status = tern_writer_open(path, &writer, &err);
    if (!status) {
        samples s = {task, writer.file};
        each_object(text, n_bytes, write_sample, &s); /* a failed write shows in commit */
        status = tern_writer_commit(&writer, &err);
        if (status)
            tern_writer_abort(&writer);
    }
    free(text);
    return status ? tern_cli_error(&err) : 0;
}

/* ------------------------------------------------------------------------- hook */

extern char **environ;

/* What comes until the end or until Ctrl-C, which does not wait for what the command has started itself: that holds the
 * pipe, too. -> errno or 0 */
static int read_all(int fd, tern_buffer *out) {
    char buffer[READ_BYTES];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while (!tern_interrupted()) {
        int ready = poll(&wait, 1, POLL_MILLISECONDS); /* a signal may come between the look and the wait */
        if (ready < 0 && errno != EINTR)
            return errno;
        if (ready <= 0)
            continue;
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0)
            tern_buffer_append(out, buffer, (size_t)n);
    }
    return 0;
}

/* What `sh -c 'COMMAND "$@"' sh SAMPLES DATA` prints -> *out. */
static int run_command(const char *command, const char *sample_path, const char *data, tern_buffer *out) {
    tern_buffer line = {0};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int ends[2], status = 0, failure;
    if (!tern_buffer_printf(&line, "%s \"$@\"", command))
        return tern_cli_fail("out of memory");
    char *const arguments[] = {"sh", "-c", line.bytes, "sh", (char *)sample_path, (char *)data, NULL};
    if (pipe(ends)) {
        tern_buffer_free(&line);
        return tern_cli_fail("--hook: no pipe: %s", strerror(errno));
    }
    failure = posix_spawn_file_actions_init(&actions);
    if (!failure) {
        failure = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        if (!failure)
            failure = posix_spawn_file_actions_addclose(&actions, ends[0]);
        if (!failure)
            failure = posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (!failure)
        failure = read_all(ends[0], out);
    if (!failure && tern_interrupted())
        kill(child, SIGTERM);
    close(ends[0]);
    while (!failure && waitpid(child, &status, 0) < 0)
        failure = errno == EINTR ? 0 : errno;
    tern_buffer_free(&line);
    if (tern_interrupted())
        return tern_interrupt_status();
    if (failure)
        return tern_cli_fail("--hook: %s cannot be run: %s", command, strerror(failure));
    if (WIFSIGNALED(status))
        return tern_cli_fail("--hook: %s was ended by signal %d", command, WTERMSIG(status));
    return WEXITSTATUS(status) ? tern_cli_fail("--hook: %s failed with status %d", command, WEXITSTATUS(status)) : 0;
}

/* Which record is called so, from the file of results: {"id": item}. */
typedef struct judging {
    const char *task;
    json_t *items;
    tern_results *results;
    tern_tally *tally;
    tern_error err;
    size_t n;
} judging;

static bool note_id(void *user, json_t *line) {
    judging *j = user;
    const char *id = json_string_value(json_object_get(line, "id"));
    json_t *item = json_object_get(line, "item");
    return !id || !item || !is_of(line, j->task) || json_object_set(j->items, id, item) == 0;
}

static bool take_verdict(void *user, json_t *line) {
    judging *j = user;
    const json_t *id = json_object_get(line, "id"), *value = json_object_get(line, "value");
    char number[32];
    const char *name = json_string_value(id);
    if (json_is_integer(id)) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
        name = number;
    }
    const json_t *item = name ? json_object_get(j->items, name) : NULL;
    if (!item || (!json_is_number(value) && !json_is_boolean(value)))
        return true; /* a line about something else */
    double judged = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
    size_t index = (size_t)json_integer_value(item);
    if (index >= j->tally->n_records || !j->tally->done[index])
        return true;
    j->n++;
    return !tern_results_add(j->results, j->tally, index, &judged, NULL, &j->err);
}

int tern_eval_hook(const char *command, const char *sample_path, const char *data, tern_results *results,
                   const char *task) {
    char *text;
    size_t n_bytes;
    tern_buffer out = {0};
    judging j = {.task = task, .results = results, .tally = tern_results_find(results, task), .items = json_object()};
    int status = run_command(command, sample_path, data, &out);
    if (!status && tern_read_file(results->path, MAX_FILE_BYTES, &text, &n_bytes, &j.err))
        status = tern_cli_error(&j.err);
    else if (!status) {
        each_object(text, n_bytes, note_id, &j);
        free(text);
        if (!each_object(out.bytes ? out.bytes : "", out.size, take_verdict, &j))
            status = tern_cli_error(&j.err);
        else if (j.n == 0)
            status = tern_cli_fail(
                "--hook: %s judged none of the answers: it prints {\"id\": ..., \"value\": ...} for each", command);
    }
    tern_buffer_free(&out);
    json_decref(j.items);
    return status;
}
