/* A 64-bit checksum of files, fast enough to cover all of them (XXH64: Collet, "xxHash fast digest algorithm",
 * specification 0.1.1). It finds damage, not malice. */
#ifndef TERN_BASE_HASH_H
#define TERN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct tern_hash {
    uint64_t lanes[4], total;
    uint8_t pending[32]; /* [total % 32] */
} tern_hash;

void tern_hash_start(tern_hash *hash);
void tern_hash_add(tern_hash *hash, const void *bytes, size_t n_bytes);
/* Of all bytes so far; more may be added afterwards. The same for every way of cutting them into pieces. */
uint64_t tern_hash_value(const tern_hash *hash);
/* Of one piece. */
uint64_t tern_hash_bytes(const void *bytes, size_t n_bytes);

#endif
