/* Files: read-only mappings and writing that leaves nothing half-written. */
#ifndef TERN_BASE_FILE_H
#define TERN_BASE_FILE_H

#include <stdio.h>

#include "base/status.h"

typedef struct tern_map {
    const uint8_t *data; /* [size]; never NULL after success */
    size_t size;
    int fd; /* stays open for tern_map_read() */
} tern_map;

/* Map a regular file read-only. A directory, an empty or an unreadable file is
 * an error that names the path. */
tern_status tern_map_open(const char *path, tern_map *map, tern_error *err);
void tern_map_close(tern_map *map);
/* The pages that lie wholly in [bytes, bytes + n_bytes) are not needed now:
 * drop them from memory (they come back from the file when touched). */
void tern_map_release(const void *bytes, size_t n_bytes);

/* Read [offset, offset + n_bytes), which lies inside the mapping, by system calls: unlike a touch of the mapping it
 * does not make the pages around resident. False: the file could not be read (it has changed, or the disk fails). */
bool tern_map_read(const tern_map *map, size_t offset, size_t n_bytes, void *buffer);

/* A regular file that was just written lies in memory in small pages, as it came: drop these and read the file anew,
 * from its beginning to its end, which fills larger ones. Mapped, they are read 5% faster. Nothing happens if the
 * system does not let it. */
void tern_file_reread(const char *path);

bool tern_is_directory(const char *path);
/* Something has that name, be it a link that leads nowhere. */
bool tern_file_exists(const char *path);

/* Read a small file whole (text, JSON): *text is zero-terminated, freed with
 * free(). Larger than max_bytes is an error. "-" is standard input. */
tern_status tern_read_file(const char *path, size_t max_bytes, char **text, size_t *n_bytes, tern_error *err);

/* The same of a model's own files, which must be regular files: one that is a
 * pipe would hang the reader for ever. "-" is a name like any other. */
tern_status tern_read_regular(const char *path, size_t max_bytes, char **text, size_t *n_bytes, tern_error *err);

/* Write to a file without a name in PATH's folder, or, where the file system
 * has none, to "PATH.tmpXXXXXX"; _commit flushes, checks every error and
 * renames it to PATH; _abort (also after a failed commit) removes it. */
typedef struct tern_writer {
    FILE *file;
    char *path, *temporary;
    bool nameless; /* `temporary` is not on the disk */
} tern_writer;

/* An error if `output` is one of the inputs, by whatever name: it would be lost. Anything but a regular file may be
 * both. */
tern_status tern_check_output(const char *output, const char *const *inputs, size_t n, tern_error *err);

/* A folder in the place of PATH is an error here, before anything is made. */
tern_status tern_writer_open(const char *path, tern_writer *writer, tern_error *err);
/* An error if the disk cannot hold n_bytes more: better told before they are made. */
tern_status tern_writer_check_space(const tern_writer *writer, uint64_t n_bytes, tern_error *err);
tern_status tern_writer_commit(tern_writer *writer, tern_error *err);
/* The file is to be called PATH, in the same folder, instead: for names that are known only at the end. */
tern_status tern_writer_rename(tern_writer *writer, const char *path, tern_error *err);
void tern_writer_abort(tern_writer *writer);

#endif
