/* Files that have to be unpacked before they can be read. */
#ifndef TERN_BASE_COMPRESSED_H
#define TERN_BASE_COMPRESSED_H

#include <stddef.h>

/* The program that unpacks a file that begins with these bytes ("xz", "gzip", ...); NULL: it is not compressed. */
const char *tern_unpacker_of(const void *bytes, size_t n_bytes);

#endif
