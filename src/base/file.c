#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

tern_status tern_map_open(const char *path, tern_map *map, tern_error *err) {
    /* O_NONBLOCK: opening a named pipe must not hang before fstat can refuse it */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    tern_status status = TERN_OK;
    void *data = MAP_FAILED;
    if (fstat(fd, &info))
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = tern_fail(err, TERN_ERR_IO, "%s: not a regular file", path);
    else if (info.st_size == 0)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: the file is empty", path);
    else if ((data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size,
                           strerror(errno));
    close(fd);
    if (status)
        return status;
    map->data = data;
    map->size = (size_t)info.st_size;
    return TERN_OK;
}

void tern_map_close(tern_map *map) {
    if (map->data)
        munmap((void *)map->data, map->size);
    *map = (tern_map){0};
}

void tern_map_release(const void *bytes, size_t n_bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)bytes + n_bytes) / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

bool tern_is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool tern_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

static tern_status read_stream(FILE *file, const char *name, size_t max_bytes, char **text, size_t *n_bytes,
                               tern_error *err) {
    char *bytes = NULL;
    size_t size = 0, capacity = 0;
    for (;;) {
        if (!tern_grow_array((void **)&bytes, &capacity, size + 4096 + 1, 1)) {
            free(bytes);
            return tern_fail_memory(err, name);
        }
        size_t got = fread(bytes + size, 1, capacity - size - 1, file);
        size += got;
        if (size > max_bytes) {
            free(bytes);
            return tern_fail(err, TERN_ERR_FORMAT, "%s: larger than %zu bytes", name, max_bytes);
        }
        if (got == 0)
            break;
    }
    if (ferror(file)) {
        free(bytes);
        return tern_fail(err, TERN_ERR_IO, "%s: cannot read: %s", name, strerror(errno));
    }
    bytes[size] = 0;
    *text = bytes;
    *n_bytes = size;
    return TERN_OK;
}

tern_status tern_read_file(const char *path, size_t max_bytes, char **text, size_t *n_bytes, tern_error *err) {
    if (strcmp(path, "-") == 0)
        return read_stream(stdin, "standard input", max_bytes, text, n_bytes, err);
    if (tern_is_directory(path))
        return tern_fail(err, TERN_ERR_IO, "%s: is a directory, not a file", path);
    FILE *file = fopen(path, "rbe");
    if (!file)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    tern_status status = read_stream(file, path, max_bytes, text, n_bytes, err);
    fclose(file);
    return status;
}

/* A pipe, terminal or device (/dev/stdout, /dev/null) takes the bytes as they
 * come: a rename would put a file in its place. */
static tern_status open_in_place(const char *path, tern_writer *writer, tern_error *err) {
    *writer = (tern_writer){.path = strdup(path), .file = fopen(path, "wbe")};
    if (writer->path && writer->file)
        return TERN_OK;
    tern_status status = writer->path ? tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno))
                                      : tern_fail_memory(err, path);
    tern_writer_abort(writer);
    return status;
}

tern_status tern_writer_open(const char *path, tern_writer *writer, tern_error *err) {
    static const char suffix[] = ".tmpXXXXXX";
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return open_in_place(path, writer, err);
    char *target = realpath(path, NULL); /* a link stays a link: what it points to is replaced */
    if (!target)
        target = strdup(path);
    size_t length = target ? strlen(target) : 0;
    *writer = (tern_writer){.path = target, .temporary = malloc(length + sizeof suffix)};
    if (!writer->path || !writer->temporary) {
        tern_writer_abort(writer);
        return tern_fail_memory(err, path);
    }
    memcpy(writer->temporary, target, length);
    memcpy(writer->temporary + length, suffix, sizeof suffix);
    int fd = mkstemp(writer->temporary);
    if (fd >= 0)
        writer->file = fdopen(fd, "wb");
    if (!writer->file) {
        tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
            unlink(writer->temporary);
        }
        free(writer->path);
        free(writer->temporary);
        *writer = (tern_writer){0};
        return TERN_ERR_IO;
    }
    mode_t mask = umask(0); /* mkstemp makes 0600; a new file should follow the user's umask */
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    return TERN_OK;
}

tern_status tern_writer_commit(tern_writer *writer, tern_error *err) {
    /* the first error is the telling one (a full disk shows at any of these) */
    errno = 0;
    bool bad = ferror(writer->file) || fflush(writer->file) || (writer->temporary && fsync(fileno(writer->file)));
    int code = errno;
    bad |= fclose(writer->file) != 0;
    writer->file = NULL;
    if (!bad && (!writer->temporary || rename(writer->temporary, writer->path) == 0)) {
        free(writer->temporary);
        free(writer->path);
        *writer = (tern_writer){0};
        return TERN_OK;
    }
    if (!bad || !code)
        code = errno;
    tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", writer->path, code ? strerror(code) : "write failed");
    tern_writer_abort(writer);
    return TERN_ERR_IO;
}

void tern_writer_abort(tern_writer *writer) {
    if (writer->file)
        fclose(writer->file);
    if (writer->temporary && writer->path)
        unlink(writer->temporary);
    free(writer->temporary);
    free(writer->path);
    *writer = (tern_writer){0};
}
