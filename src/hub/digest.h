/* The digests by which the hub names contents (FIPS 180-4): SHA-256 of large files, and SHA-1 of a git blob for small
 * ones. */
#ifndef TERN_HUB_DIGEST_H
#define TERN_HUB_DIGEST_H

#include <stddef.h>
#include <stdint.h>

typedef enum tern_digest_kind { TERN_SHA1 = 5, TERN_SHA256 = 8 } tern_digest_kind; /* the words of the result */

enum { TERN_DIGEST_HEX = 65 }; /* the longest result in hexadecimal, with its zero */

typedef struct tern_digest {
    uint32_t state[8]; /* SHA-1 uses five */
    uint64_t total;    /* bytes so far */
    uint8_t pending[64];
    tern_digest_kind kind;
} tern_digest;

void tern_digest_start(tern_digest *digest, tern_digest_kind kind);
void tern_digest_add(tern_digest *digest, const void *bytes, size_t n_bytes);
/* Lower case; nothing may be added afterwards. */
void tern_digest_end(tern_digest *digest, char hex[TERN_DIGEST_HEX]);

#endif
