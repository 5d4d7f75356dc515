/*
 * The shard file, version 1. Everything is little-endian.
 *
 *     0    8  "TERNDATA"
 *     8    4  version, 1
 *    12    4  kind: 0 text, 1 chat, 2 pairs
 *    16    4  bytes of an id: 2 where the vocabulary has at most 65536 ids, else 4
 *    20    4  vocabulary size
 *    24    8  hash of the tokenizer.json
 *    32    4  id of BOS
 *    36    4  id of EOS
 *    40   16  documents: training, held-out
 *    56   16  tokens: training, held-out
 *    72   16  bytes of source text: training, held-out
 *    88    8  size of the file
 *    96    8  where the index begins, a multiple of 8
 *   104    8  XXH64 of bytes [128, size)
 *   112    8  0
 *   120    8  XXH64 of bytes [0, 120)
 *   128       documents in the order of their coming, training and held-out ones mixed, so that they can be written
 *             as they come: ids; chat and pairs: one byte a token, 1 where it is learnt; zeros up to a multiple of 8
 *   index     the training documents' entries, then the held-out ones', 16 bytes each: 8 offset in the file,
 *             8 number of tokens
 */
#ifndef TERN_TRAIN_SHARD_LAYOUT_H
#define TERN_TRAIN_SHARD_LAYOUT_H

#include <stdint.h>

#define TERN_SHARD_MAGIC "TERNDATA"

enum {
    TERN_SHARD_VERSION = 1,
    TERN_SHARD_AT_VERSION = 8,
    TERN_SHARD_AT_KIND = 12,
    TERN_SHARD_AT_FILE_SIZE = 88,
    TERN_SHARD_AT_INDEX = 96,
    TERN_SHARD_AT_BODY_HASH = 104,
    TERN_SHARD_AT_HEAD_HASH = 120,
    TERN_SHARD_HEADER = 128, /* bytes */
    TERN_SHARD_ENTRY = 16,
};

/* Bytes that a document of n tokens takes; the caller knows that they fit. */
static inline uint64_t tern_shard_padded(uint64_t n, uint32_t id_bytes, int masked) {
    return (n * (id_bytes + (masked ? 1u : 0u)) + 7) / 8 * 8;
}

/* Little-endian numbers in memory of any alignment. */
static inline uint64_t tern_shard_get(const uint8_t *p, unsigned n_bytes) {
    uint64_t x = 0;
    for (unsigned i = 0; i < n_bytes; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}
static inline void tern_shard_put(uint8_t *p, uint64_t x, unsigned n_bytes) {
    for (unsigned i = 0; i < n_bytes; i++)
        p[i] = (uint8_t)(x >> 8 * i);
}

#endif
