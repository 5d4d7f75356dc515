#include "hub/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"

#define MAGIC "ternpart"
#define NOTE_BYTES (UINT64_C(1) << 20) /* come between two notes: what a kill may cost */

typedef struct note {
    char magic[8];
    uint64_t chunk_bytes, n_chunks;
} note;

static bool write_all(int fd, const void *bytes, size_t n_bytes, uint64_t offset) {
    const char *at = bytes;
    while (n_bytes) {
        ssize_t wrote = pwrite(fd, at, n_bytes, (off_t)offset);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0) {
            errno = wrote == 0 ? ENOSPC : errno;
            return false;
        }
        at += wrote;
        offset += (uint64_t)wrote;
        n_bytes -= (size_t)wrote;
    }
    return true;
}

static tern_status fail_write(const tern_part *part, tern_error *err) {
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
        return tern_fail(
            err, TERN_ERR_IO,
            "%s: cannot write: %s; what has come stays: make room and pull again, or have the cache on another "
            "disk (HF_HUB_CACHE)",
            part->path, strerror(errno));
    return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", part->path, strerror(errno));
}

static uint64_t note_offset(const tern_part *part, size_t chunk) {
    return part->size + sizeof(note) + chunk * sizeof *part->come;
}

uint64_t tern_part_chunk_size(const tern_part *part, size_t chunk) {
    return chunk + 1 < part->n_chunks ? part->chunk_bytes : part->size - chunk * part->chunk_bytes;
}

uint64_t tern_part_done(const tern_part *part) {
    uint64_t done = 0;
    for (size_t i = 0; i < part->n_chunks; i++)
        done += part->come[i];
    return done;
}

/* Room for the note of so many chunks, all empty. */
static tern_status make_chunks(tern_part *part, uint64_t chunk_bytes, tern_error *err) {
    uint64_t n = part->size / chunk_bytes + (part->size % chunk_bytes != 0);
    free(part->come);
    part->n_chunks = 0;
    part->come = n > SIZE_MAX / 2 ? NULL : tern_calloc_array((size_t)n + 1, sizeof *part->come);
    if (!part->come)
        return tern_fail_memory(err, part->path);
    part->chunk_bytes = chunk_bytes;
    part->n_chunks = (size_t)n;
    return TERN_OK;
}

/* What an earlier process left. False: nothing that can be gone on with. */
static bool read_note(tern_part *part) {
    note head;
    struct stat info;
    tern_error ignored;
    if (fstat(part->fd, &info) || pread(part->fd, &head, sizeof head, (off_t)part->size) != sizeof head ||
        memcmp(head.magic, MAGIC, sizeof head.magic) != 0 || head.chunk_bytes == 0 ||
        head.n_chunks != part->size / head.chunk_bytes + (part->size % head.chunk_bytes != 0) ||
        head.n_chunks > (uint64_t)info.st_size / sizeof *part->come ||
        (uint64_t)info.st_size != part->size + sizeof head + head.n_chunks * sizeof *part->come ||
        make_chunks(part, head.chunk_bytes, &ignored))
        return false;
    size_t n_bytes = part->n_chunks * sizeof *part->come;
    if (pread(part->fd, part->come, n_bytes, (off_t)note_offset(part, 0)) != (ssize_t)n_bytes)
        return false;
    for (size_t i = 0; i < part->n_chunks; i++)
        if (part->come[i] > tern_part_chunk_size(part, i))
            return false;
    return true;
}

tern_status tern_part_restart(tern_part *part, uint64_t chunk_bytes, tern_error *err) {
    note head = {.magic = MAGIC, .chunk_bytes = chunk_bytes};
    tern_status status = make_chunks(part, chunk_bytes, err);
    if (status)
        return status;
    head.n_chunks = part->n_chunks;
    part->resumed = false;
    if (ftruncate(part->fd, 0) || !write_all(part->fd, &head, sizeof head, part->size) ||
        !write_all(part->fd, part->come, part->n_chunks * sizeof *part->come, note_offset(part, 0)))
        return fail_write(part, err);
    return TERN_OK;
}

static tern_status check_space(const tern_part *part, tern_error *err) {
    struct statvfs disk;
    uint64_t free_bytes, wanted = part->size - tern_part_done(part);
    if (fstatvfs(part->fd, &disk) || disk.f_blocks == 0 || !tern_mul_u64(disk.f_bavail, disk.f_frsize, &free_bytes) ||
        wanted <= free_bytes)
        return TERN_OK;
    return tern_fail(
        err, TERN_ERR_IO,
        "%s: needs %.1f MB more, but its disk has only %.1f MB free: make room, or have the cache on another "
        "disk (HF_HUB_CACHE)",
        part->path, (double)wanted / 1e6, (double)free_bytes / 1e6);
}

tern_status tern_part_open(const char *path, uint64_t size, uint64_t chunk_bytes, tern_part *part, tern_error *err) {
    tern_status status = TERN_OK;
    bool fresh = false;
    *part = (tern_part){.path = strdup(path), .size = size, .fd = -1};
    if (!part->path)
        return tern_fail_memory(err, path);
    part->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (part->fd < 0)
        status = fail_write(part, err);
    else if (read_note(part))
        part->resumed = tern_part_done(part) > 0;
    else {
        fresh = true;
        free(part->come);
        part->come = NULL;
        part->n_chunks = 0;
    }
    if (!status)
        status = check_space(part, err); /* before the list of chunks: an impossible size has an impossible list */
    if (!status && fresh)
        status = tern_part_restart(part, chunk_bytes, err);
    if (status)
        tern_part_close(part, fresh && part->fd >= 0);
    return status;
}

tern_status tern_part_write(tern_part *part, size_t chunk, const void *bytes, size_t n_bytes, tern_error *err) {
    uint64_t before = part->come[chunk], after = before + n_bytes;
    if (!write_all(part->fd, bytes, n_bytes, chunk * part->chunk_bytes + before))
        return fail_write(part, err);
    part->come[chunk] = after;
    if ((before / NOTE_BYTES != after / NOTE_BYTES || after == tern_part_chunk_size(part, chunk)) &&
        !write_all(part->fd, &part->come[chunk], sizeof after, note_offset(part, chunk)))
        return fail_write(part, err);
    return TERN_OK;
}

tern_status tern_part_commit(tern_part *part, const char *final, tern_error *err) {
    bool good = ftruncate(part->fd, (off_t)part->size) == 0 && fsync(part->fd) == 0;
    good = good && rename(part->path, final) == 0;
    if (!good)
        return fail_write(part, err);
    close(part->fd);
    part->fd = -1;
    return TERN_OK;
}

void tern_part_close(tern_part *part, bool remove) {
    if (part->fd >= 0) {
        if (remove)
            unlink(part->path);
        else if (part->come && part->n_chunks) /* best effort: without it a megabyte a chunk comes again */
            write_all(part->fd, part->come, part->n_chunks * sizeof *part->come, note_offset(part, 0));
        close(part->fd);
    }
    free(part->path);
    free(part->come);
    *part = (tern_part){.fd = -1};
}
