/* Documents to one shard or to several: a new one begins where the next document would make the last one larger than it
 * may be. All of them are put in their places at the end, or none. */
#ifndef TERN_TRAIN_SHARD_SET_H
#define TERN_TRAIN_SHARD_SET_H

#include "train/shard_write.h"

enum { TERN_SHARD_SET_MOST = 999 }; /* shards: all of them are open until the end */

typedef struct tern_shard_set tern_shard_set;

typedef struct tern_shard_item {
    const int32_t *ids;  /* [n] */
    const uint8_t *mask; /* [n]; NULL: TEXT */
    size_t n;
    uint64_t text_bytes;
} tern_shard_item;

/* What is told of each shard as it is put in its place. */
typedef void (*tern_shard_fn)(void *user, const char *path, const tern_shard_info *info);

/* max_bytes 0: one shard, `path`. Otherwise shards of at most so many bytes, if no document alone is larger, that are
 * called as tern_shard_set_name() says. */
tern_status tern_shard_set_create(const char *path, const tern_shard_params *params, uint64_t max_bytes,
                                  tern_shard_set **set, tern_error *err);
/* Documents of one split that are to stay in one shard (the answers of a pair). */
tern_status tern_shard_set_add(tern_shard_set *set, tern_split split, const tern_shard_item *items, size_t n,
                               tern_error *err);
size_t tern_shard_set_count(const tern_shard_set *set);
/* The name of the i-th shard as things are, "web-00001-of-00004.shard" of "web.shard"; freed with free(), NULL: no
 * memory. */
char *tern_shard_set_name(const tern_shard_set *set, size_t i);
/* Sums of all shards -> *info, whose hash is that of the last one. `told` may be NULL. Frees the set, also after a
 * failure. */
tern_status tern_shard_set_finish(tern_shard_set *set, tern_shard_fn told, void *user, tern_shard_info *info,
                                  tern_error *err);
/* Leave no file; frees the set. NULL is fine. */
void tern_shard_set_abort(tern_shard_set *set);

#endif
