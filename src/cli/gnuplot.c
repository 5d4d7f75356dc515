#include "cli/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"

enum { MAX_SVG_BYTES = 1 << 28 };

void tern_gnuplot_quote(tern_buffer *script, const char *text) {
    json_t *valid = json_string(text);
    tern_buffer_text(script, "'");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char one[2] = {(char)(c < 0x20 || c == 0x7f ? ' ' : c >= 0x80 && !valid ? '?' : c), 0};
        tern_buffer_text(script, c == '\'' ? "\u2019" : one);
    }
    tern_buffer_text(script, "'");
    json_decref(valid);
}

extern char **environ;

typedef struct workplace {
    char folder[1000], script[1024], svg[1024], messages[1024];
} workplace;

/* How it went: no gnuplot (an errno), or a status as of waitpid(). */
typedef struct outcome {
    int spawn_error, status;
} outcome;

/* gnuplot on the script; what it draws and says goes to files. A signal ends it, too. */
static outcome run_gnuplot(const workplace *at) {
    char *const arguments[] = {"gnuplot", (char *)at->script, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    outcome how = {.spawn_error = posix_spawn_file_actions_init(&actions)};
    if (how.spawn_error)
        return how;
    how.spawn_error =
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, at->svg, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (!how.spawn_error)
        how.spawn_error =
            posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, at->messages, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (!how.spawn_error)
        how.spawn_error = posix_spawnp(&child, "gnuplot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    while (!how.spawn_error && waitpid(child, &how.status, 0) < 0) {
        if (errno != EINTR)
            how.spawn_error = errno;
        else if (tern_interrupted())
            kill(child, SIGTERM);
    }
    return how;
}

static bool write_script(const char *path, const char *script) {
    FILE *file = fopen(path, "we");
    bool good = file && fputs(script, file) >= 0;
    return (file && fclose(file) == 0) && good;
}

/* The last line that says something: gnuplot repeats the command first, and points at a place in it. */
static char *last_line(char *text) {
    char *last = text, *line;
    while ((line = strsep(&text, "\n")))
        if (line[strspn(line, " \t\r")])
            last = line;
    return last;
}

static void explain(outcome how, const char *messages) {
    char *text = NULL;
    size_t n_bytes = 0;
    if (how.spawn_error == ENOENT) {
        tern_cli_fail("gnuplot is not installed (Debian: apt install gnuplot-nox; Fedora: dnf install gnuplot; "
                      "macOS: brew install gnuplot)");
    } else if (how.spawn_error) {
        tern_cli_fail("gnuplot cannot be started: %s", strerror(how.spawn_error));
    } else if (how.status == 0) {
        tern_cli_fail("gnuplot drew nothing, or there is no memory for it");
    } else if (WIFSIGNALED(how.status)) {
        tern_cli_fail("gnuplot was ended by signal %d (%s)", WTERMSIG(how.status), strsignal(WTERMSIG(how.status)));
    } else {
        tern_read_file(messages, 1 << 16, &text, &n_bytes, NULL);
        const char *said = text ? last_line(text) : "";
        tern_cli_fail("gnuplot failed with status %d%s%s", WEXITSTATUS(how.status), *said ? ": " : "", said);
        free(text);
    }
}

/* What gnuplot makes of the script, freed with free(); NULL after a message. */
static char *draw(const char *script, size_t *n_bytes) {
    const char *place = getenv("TMPDIR");
    workplace at;
    char *svg = NULL;
    *n_bytes = 0;
    int length = snprintf(at.folder, sizeof at.folder, "%s/tern-plot-XXXXXX", place && *place ? place : "/tmp");
    if (length >= (int)sizeof at.folder)
        errno = ENAMETOOLONG;
    if (length >= (int)sizeof at.folder || !mkdtemp(at.folder)) {
        tern_cli_fail("%s: cannot make a folder: %s", at.folder, strerror(errno));
        return NULL;
    }
    snprintf(at.script, sizeof at.script, "%s/script", at.folder);
    snprintf(at.svg, sizeof at.svg, "%s/svg", at.folder);
    snprintf(at.messages, sizeof at.messages, "%s/messages", at.folder);
    if (!write_script(at.script, script)) {
        tern_cli_fail("%s: cannot write: %s", at.script, strerror(errno));
    } else {
        outcome how = run_gnuplot(&at);
        if (!how.spawn_error && !how.status && !tern_interrupted())
            tern_read_file(at.svg, MAX_SVG_BYTES, &svg, n_bytes, NULL);
        if (!*n_bytes) {
            if (!tern_interrupted())
                explain(how, at.messages);
            free(svg);
            svg = NULL;
        }
    }
    unlink(at.script);
    unlink(at.svg);
    unlink(at.messages);
    rmdir(at.folder);
    return svg;
}

int tern_gnuplot(const char *script, const char *out) {
    size_t n_bytes;
    tern_interrupt_watch(NULL); /* so that the folder of the work does not stay behind */
    char *svg = draw(script, &n_bytes);
    tern_interrupt_unwatch();
    if (!svg)
        return tern_interrupted() ? tern_interrupt_status() : TERN_EXIT_FAILURE;
    tern_error err;
    tern_writer writer;
    tern_status status = tern_writer_open(out, &writer, &err);
    if (!status) {
        fwrite(svg, 1, n_bytes, writer.file);
        status = tern_writer_commit(&writer, &err);
    }
    free(svg);
    return status ? tern_cli_error(&err) : 0;
}
