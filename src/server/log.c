#include "server/log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "server/json.h"

void tern_log_begin(tern_log_line *line, const char *level, const char *event) {
    struct timespec now;
    struct tm utc;
    char date[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    line->text = (tern_buffer){0};
    tern_buffer_printf(&line->text, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"event\":\"%s\"", date,
                       (int)(now.tv_nsec / 1000000), level, event);
}

void tern_log_bytes(tern_log_line *line, const char *name, const char *bytes, size_t n_bytes) {
    tern_buffer_printf(&line->text, ",\"%s\":", name);
    tern_json_write_string(&line->text, bytes, n_bytes);
}

void tern_log_text(tern_log_line *line, const char *name, const char *value) {
    tern_log_bytes(line, name, value, strlen(value));
}

void tern_log_int(tern_log_line *line, const char *name, int64_t value) {
    tern_buffer_printf(&line->text, ",\"%s\":%lld", name, (long long)value);
}

void tern_log_ms(tern_log_line *line, const char *name, double seconds) {
    tern_buffer_printf(&line->text, ",\"%s\":%.2f", name, seconds * 1e3);
}

void tern_log_end(tern_log_line *line) {
    tern_buffer_text(&line->text, "}\n");
    /* One write, so that lines of several threads do not mix. A line that cannot be written is lost: there is nowhere
     * to say so. */
    if (!line->text.failed) {
        ssize_t written;
        do
            written = write(STDERR_FILENO, line->text.bytes, line->text.size);
        while (written < 0 && errno == EINTR);
    }
    tern_buffer_free(&line->text);
}
