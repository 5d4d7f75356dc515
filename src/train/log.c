#include "train/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static tern_status fail(const tern_train_log *log, const char *what, tern_error *err) {
    return tern_fail(err, TERN_ERR_IO, "%s: %s: %s", log->path, what, strerror(errno));
}

tern_status tern_train_log_open(const char *folder, tern_train_log *log, tern_error *err) {
    size_t length = strlen(folder) + sizeof "/" TERN_LOG_NAME;
    *log = (tern_train_log){.path = malloc(length), .first = true};
    if (!log->path)
        return tern_fail_memory(err, folder);
    snprintf(log->path, length, "%s/" TERN_LOG_NAME, folder);
    int fd = open(log->path, O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0666);
    tern_status status = fd < 0 ? fail(log, "cannot write", err) : TERN_OK;
    /* a file system without locks lets everybody in */
    if (!status && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: another process is training in this folder", log->path);
    if (!status && !(log->file = fdopen(fd, "ab")))
        status = tern_fail_memory(err, log->path);
    if (status && fd >= 0)
        close(fd);
    if (status)
        tern_train_log_close(log);
    return status;
}

tern_status tern_train_log_cut(tern_train_log *log, uint64_t bytes, uint64_t *short_by, tern_error *err) {
    struct stat info;
    if (fstat(fileno(log->file), &info))
        return fail(log, "cannot read", err);
    uint64_t size = (uint64_t)info.st_size;
    *short_by = size < bytes ? bytes - size : 0;
    log->bytes = size < bytes ? size : bytes;
    return size > bytes && ftruncate(fileno(log->file), (off_t)bytes) ? fail(log, "cannot cut off", err) : TERN_OK;
}

void tern_train_log_close(tern_train_log *log) {
    if (log->file)
        fclose(log->file); /* every line was flushed, and checked */
    free(log->path);
    *log = (tern_train_log){0};
}

TERN_PRINTF(2, 3) static void put(tern_train_log *log, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vfprintf(log->file, format, arguments);
    va_end(arguments);
    log->bytes += n > 0 ? (uint64_t)n : 0;
}

static void put_name(tern_train_log *log, const char *name) {
    put(log, "%s\"%s\": ", log->first ? "{" : ", ", name);
    log->first = false;
}

void tern_train_log_whole(tern_train_log *log, const char *name, uint64_t value) {
    put_name(log, name);
    put(log, "%" PRIu64, value);
}

void tern_train_log_real(tern_train_log *log, const char *name, double value) {
    if (!isfinite(value))
        return;
    put_name(log, name);
    put(log, "%.9g", value); /* as many digits as a float has */
}

void tern_train_log_list(tern_train_log *log, const char *name, size_t n, double (*get)(void *user, size_t i),
                         void *user) {
    put_name(log, name);
    for (size_t i = 0; i < n; i++) {
        double value = get(user, i);
        put(log, "%s%.4g", i ? ", " : "[", isfinite(value) ? value : 0);
    }
    put(log, "%s", n ? "]" : "[]");
}

tern_status tern_train_log_end(tern_train_log *log, tern_error *err) {
    put(log, "}\n");
    log->first = true;
    errno = 0;
    if (fflush(log->file) || ferror(log->file))
        return fail(log, "cannot write", err);
    return TERN_OK;
}

tern_status tern_train_log_sync(tern_train_log *log, tern_error *err) {
    return fsync(fileno(log->file)) && errno != EINVAL ? fail(log, "cannot write", err) : TERN_OK;
}
