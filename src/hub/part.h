/* A file that is being downloaded in chunks, in any order. What has come is noted behind the contents, in the same
 * file, so that another process can go on with it, however this one ends:
 *
 *     contents [size]   "ternpart" | chunk size, number of chunks, all u64 | bytes that have come of each chunk, u64
 *
 * The note is written behind the contents that it is about. After a power failure it may promise more than the disk
 * has; the digest of the whole finds that. */
#ifndef TERN_HUB_PART_H
#define TERN_HUB_PART_H

#include "base/status.h"

typedef struct tern_part {
    char *path;
    int fd;
    uint64_t size, chunk_bytes; /* of the contents; of a chunk (the last one is smaller) */
    size_t n_chunks;
    uint64_t *come; /* [n_chunks] bytes that have come of each, from its beginning */
    bool resumed;   /* some of it came in an earlier process */
} tern_part;

/* Open or make PATH for `size` bytes in chunks of about chunk_bytes; what is there and fits is gone on with, in the
 * chunks it was begun with. An error if the disk cannot hold the rest. */
tern_status tern_part_open(const char *path, uint64_t size, uint64_t chunk_bytes, tern_part *part, tern_error *err);
/* Forget all that has come; from now on in chunks of chunk_bytes. */
tern_status tern_part_restart(tern_part *part, uint64_t chunk_bytes, tern_error *err);
/* The next bytes of a chunk. Noted on the disk when a megabyte is full or the chunk is. */
tern_status tern_part_write(tern_part *part, size_t chunk, const void *bytes, size_t n_bytes, tern_error *err);
uint64_t tern_part_chunk_size(const tern_part *part, size_t chunk);
uint64_t tern_part_done(const tern_part *part); /* bytes */
/* All has come: cut the note off and rename the file to `final`. */
tern_status tern_part_commit(tern_part *part, const char *final, tern_error *err);
/* Note what has come, or, with `remove`, remove the file. Accepts what failed to open, and what was committed. */
void tern_part_close(tern_part *part, bool remove);

#endif
