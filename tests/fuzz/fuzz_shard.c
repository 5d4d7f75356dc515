/* Any bytes as a shard of tokens: an error of one line, or batches of ids within the vocabulary. A shard's checksums
 * are made good first, or no change would get past them; the first byte says whether. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "train/data.h"
#include "train/shard_layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CTX = 8, ROWS = 4 };

static void seal(uint8_t *bytes, size_t size) {
    if (size < TERN_SHARD_HEADER || memcmp(bytes, TERN_SHARD_MAGIC, 8) != 0)
        return;
    tern_shard_put(bytes + TERN_SHARD_AT_BODY_HASH,
                   tern_hash_bytes(bytes + TERN_SHARD_HEADER, size - TERN_SHARD_HEADER), 8);
    tern_shard_put(bytes + TERN_SHARD_AT_HEAD_HASH, tern_hash_bytes(bytes, TERN_SHARD_AT_HEAD_HASH), 8);
}

static void check_rows(const tern_rows *rows, const tern_shard_info *info) {
    for (size_t i = 0; i < rows->batch.n_tokens; i++)
        if (rows->inputs[i] < 0 || (uint32_t)rows->inputs[i] >= info->vocab_size || rows->targets[i] < -1 ||
            (rows->targets[i] >= 0 && (uint32_t)rows->targets[i] >= info->vocab_size))
            abort();
    if (rows->starts[rows->batch.seqs.n] != rows->batch.n_tokens)
        abort();
}

static void walk(const tern_shard *shard) {
    const tern_shard_info *info = tern_shard_describe(shard);
    tern_feed *feed = NULL;
    tern_rows rows;
    tern_error err;
    int32_t *ids = malloc((tern_shard_longest(shard) + 1) * sizeof *ids);
    if (!ids || tern_rows_create(ROWS, CTX, &rows, &err))
        abort();
    for (int split = 0; split < TERN_N_SPLITS; split++)
        for (uint64_t i = 0; i < info->n_documents[split]; i++) {
            const uint8_t *mask;
            size_t n;
            if (tern_shard_document(shard, (tern_split)split, i, ids, &mask, &n, &err))
                abort();
        }
    if (tern_feed_create(shard, CTX, ROWS, 1, &feed, &err) == TERN_OK) {
        for (uint64_t step = 0; step < 3; step++) {
            if (tern_feed_rows(feed, step, 0, ROWS, &rows, &err))
                abort();
            check_rows(&rows, info);
        }
        for (uint64_t row = 0; row < tern_feed_held_out_rows(feed); row += ROWS) {
            if (tern_feed_held_out(feed, row, ROWS, &rows, &err))
                abort();
            check_rows(&rows, info);
        }
    }
    tern_feed_free(feed);
    tern_rows_free(&rows);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tern_shard *shard = NULL;
    tern_error err = {0};
    if (size < 1)
        return 0;
    uint8_t *bytes = malloc(size - 1 ? size - 1 : 1); /* of exactly that size, for the sanitizers */
    if (!bytes)
        abort();
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & 1)
        seal(bytes, size - 1);
    if (tern_shard_open_memory("fuzz", bytes, size - 1, &shard, &err)) {
        if (!err.message[0] || strchr(err.message, '\n'))
            abort();
    } else {
        walk(shard);
    }
    tern_shard_close(shard);
    free(bytes);
    return 0;
}
