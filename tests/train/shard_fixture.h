/* Shards made in a temporary file, for the tests of the reader and of the feed. */
#ifndef TERN_TESTS_SHARD_FIXTURE_H
#define TERN_TESTS_SHARD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "train/data.h"
#include "train/shard_layout.h"
#include "train/shard_write.h"

enum { VOCAB = 1000, BOS = 998, EOS = 999 };

static tern_error err;
static char path[64];

static const char *temporary(void) {
    strcpy(path, "/tmp/tern-shard-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

static tern_shard_writer *begin(tern_shard_kind kind, uint32_t vocab) {
    tern_shard_writer *writer = NULL;
    tern_shard_params params = {kind, vocab, BOS, EOS, 0x1234567890abcdefu};
    assert_int_equal(tern_shard_writer_create(temporary(), &params, &writer, &err), TERN_OK);
    return writer;
}

/* BOS, n tokens first, first + 1, ..., EOS; mask: the last n_learnt of them. */
static void add(tern_shard_writer *writer, tern_shard_kind kind, tern_split split, int first, size_t n,
                size_t n_learnt) {
    int32_t *ids = malloc((n + 2) * sizeof *ids);
    uint8_t *mask = calloc(n + 2, 1);
    ids[0] = BOS;
    for (size_t i = 0; i < n; i++)
        ids[i + 1] = (int32_t)(((size_t)first + i) % BOS);
    ids[n + 1] = EOS;
    memset(mask + n + 2 - n_learnt, 1, n_learnt);
    assert_int_equal(tern_shard_writer_add(writer, split, ids, kind ? mask : NULL, n + 2, n, &err), TERN_OK);
    free(ids);
    free(mask);
}

static tern_shard *finish(tern_shard_writer *writer) {
    tern_shard *shard = NULL;
    assert_int_equal(tern_shard_writer_finish(writer, NULL, &err), TERN_OK);
    if (tern_shard_open(path, &shard, &err))
        fail_msg("%s", err.message);
    unlink(path);
    return shard;
}

#endif
