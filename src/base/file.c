#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"

/* Open for reading what must be a regular file. */
static tern_status open_regular(const char *path, int *fd, struct stat *info, tern_error *err) {
    /* O_NONBLOCK: opening a named pipe must not hang before fstat can refuse it */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    tern_status status = TERN_OK;
    if (fstat(*fd, info))
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    else if (S_ISDIR(info->st_mode))
        status = tern_fail(err, TERN_ERR_IO, "%s: is a directory, not a file", path);
    else if (!S_ISREG(info->st_mode))
        status = tern_fail(err, TERN_ERR_IO, "%s: not a regular file", path);
    if (status)
        close(*fd);
    return status;
}

tern_status tern_map_open(const char *path, tern_map *map, tern_error *err) {
    int fd;
    struct stat info = {0};
    void *data = MAP_FAILED;
    tern_status status = open_regular(path, &fd, &info, err);
    if (status)
        return status;
    if (info.st_size == 0)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: the file is empty", path);
    else if ((data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size,
                           strerror(errno));
    if (status) {
        close(fd);
        return status;
    }
    *map = (tern_map){.data = data, .size = (size_t)info.st_size, .fd = fd};
    return TERN_OK;
}

void tern_map_close(tern_map *map) {
    if (map->data) {
        munmap((void *)map->data, map->size);
        close(map->fd);
    }
    *map = (tern_map){0};
}

bool tern_map_read(const tern_map *map, size_t offset, size_t n_bytes, void *buffer) {
    char *at = buffer;
    while (n_bytes) {
        ssize_t got = pread(map->fd, at, n_bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        offset += (size_t)got;
        n_bytes -= (size_t)got;
    }
    return true;
}

void tern_map_release(const void *bytes, size_t n_bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)bytes + n_bytes) / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void tern_file_reread(const char *path) {
#ifdef POSIX_FADV_DONTNEED
    enum { PIECE = 1 << 20 };
    tern_error ignored;
    struct stat info;
    int fd;
    char *piece = malloc(PIECE);
    if (piece && open_regular(path, &fd, &info, &ignored) == TERN_OK) {
        /* written pages are dropped only once they are on the disk */
        if (fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 &&
            posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL) == 0)
            while (read(fd, piece, PIECE) > 0)
                ;
        close(fd);
    }
    free(piece);
#else
    (void)path;
#endif
}

bool tern_is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool tern_file_exists(const char *path) {
    struct stat info; /* of a link itself: one that leads nowhere is to be told of, not passed over */
    return lstat(path, &info) == 0;
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

tern_status tern_read_regular(const char *path, size_t max_bytes, char **text, size_t *n_bytes, tern_error *err) {
    int fd;
    struct stat info;
    tern_status status = open_regular(path, &fd, &info, err);
    if (status)
        return status;
    FILE *file = fdopen(fd, "rb");
    if (!file) {
        close(fd);
        return tern_fail_memory(err, path);
    }
    status = read_stream(file, path, max_bytes, text, n_bytes, err);
    fclose(file);
    return status;
}

tern_status tern_check_output(const char *output, const char *const *inputs, size_t n, tern_error *err) {
    struct stat out, in;
    if (stat(output, &out) || !S_ISREG(out.st_mode))
        return TERN_OK;
    for (size_t i = 0; i < n; i++)
        if (inputs[i] && stat(inputs[i], &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is input and output at once; write to another file", output);
    return TERN_OK;
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

/* A file without a name: however the program ends before the commit, nothing stays. -1: this file system has none
 * (network file systems), or /proc, through which it gets its name, is not there. */
static int open_nameless(const char *target) {
    char link[32];
    char *folder = strdup(target);
    if (!folder)
        return -1;
    int fd = open(dirname(folder), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(folder);
    if (fd < 0)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (access(link, F_OK) == 0)
        return fd;
    close(fd);
    return -1;
}

/* mkstemp makes 0600; a new file should follow the user's umask */
static int open_named(char *template) {
    int fd = mkstemp(template);
    mode_t mask = umask(0);
    umask(mask);
    if (fd >= 0)
        fchmod(fd, 0666 & ~mask);
    return fd;
}

tern_status tern_writer_open(const char *path, tern_writer *writer, tern_error *err) {
    static const char suffix[] = ".tmpXXXXXX";
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        *writer = (tern_writer){0};
        return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(EISDIR));
    }
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
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
    int fd = open_nameless(target);
    writer->nameless = fd >= 0;
    if (fd < 0)
        fd = open_named(writer->temporary);
    if (fd >= 0)
        writer->file = fdopen(fd, "wb");
    if (writer->file)
        return TERN_OK;
    tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    writer->nameless |= fd < 0; /* there is no file to remove */
    tern_writer_abort(writer);
    return TERN_ERR_IO;
}

tern_status tern_writer_rename(tern_writer *writer, const char *path, tern_error *err) {
    char *copy = strdup(path);
    if (!copy)
        return tern_fail_memory(err, path);
    free(writer->path);
    writer->path = copy;
    return TERN_OK;
}

tern_status tern_writer_check_space(const tern_writer *writer, uint64_t n_bytes, tern_error *err) {
    struct statvfs disk;
    uint64_t free_bytes;
    if (!writer->temporary || fstatvfs(fileno(writer->file), &disk) || disk.f_blocks == 0)
        return TERN_OK; /* a pipe, or a file system that does not say: writing will show */
    if (!tern_mul_u64(disk.f_bfree, disk.f_frsize, &free_bytes) || n_bytes <= free_bytes)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_IO, "%s: needs %.1f MB, but its disk has only %.1f MB free", writer->path,
                     (double)n_bytes / 1e6, (double)free_bytes / 1e6);
}

/* Give a nameless file its temporary name: linkat() cannot replace the old file, rename() can. */
static bool name_file(tern_writer *writer) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fileno(writer->file));
    char *unique = writer->temporary + strlen(writer->temporary) - 6;
    for (int attempt = 0; attempt < 100; attempt++) {
        uint32_t random;
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            return false;
        for (int i = 0; i < 6; i++, random /= 26)
            unique[i] = (char)('a' + random % 26);
        if (linkat(AT_FDCWD, link, AT_FDCWD, writer->temporary, AT_SYMLINK_FOLLOW) == 0) {
            writer->nameless = false;
            return true;
        }
        if (errno != EEXIST)
            return false;
    }
    return false;
}

tern_status tern_writer_commit(tern_writer *writer, tern_error *err) {
    /* the first error is the telling one (a full disk shows at any of these) */
    errno = 0;
    bool bad = ferror(writer->file) || fflush(writer->file) || (writer->temporary && fsync(fileno(writer->file))) ||
               (writer->nameless && !name_file(writer));
    int code = errno;
    if (bad && !code && write(fileno(writer->file), "", 1) < 0)
        code = errno; /* of a write before, which kept no reason: the file, which goes away, is asked once more */
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
    if (writer->temporary && writer->path && !writer->nameless)
        unlink(writer->temporary);
    free(writer->temporary);
    free(writer->path);
    *writer = (tern_writer){0};
}
