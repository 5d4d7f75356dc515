/* Several shards of one list of documents: none larger than it may be, every document whole and in its order, pairs
 * together; and nothing on the disk before all of them are made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "train/shard_set.h"

enum { N = 60, VOCAB = 1000, BOS = 998, EOS = 999 };
static tern_error err;
static char folder[] = "/tmp/tern-set-XXXXXX";
static char base[64];

static int setup(void **state) {
    (void)state;
    bool good = mkdtemp(folder) != NULL;
    snprintf(base, sizeof base, "%s/a.b.shard", folder);
    return !good;
}

/* How many files are there. */
static int files(bool remove_them) {
    int n = 0;
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char name[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        n++;
        if (remove_them)
            unlink(name);
    }
    closedir(directory);
    return n;
}

static int teardown(void **state) {
    (void)state;
    files(true);
    return rmdir(folder);
}

static tern_shard_set *open_set(tern_shard_kind kind, uint64_t max_bytes) {
    tern_shard_set *set = NULL;
    tern_shard_params params = {kind, VOCAB, BOS, EOS, 42};
    assert_int_equal(tern_shard_set_create(base, &params, max_bytes, &set, &err), TERN_OK);
    return set;
}

/* The i-th document: BOS and some tokens i; every fifth is held out. */
static size_t make(int i, int32_t *ids) {
    size_t n = 2 + (size_t)(i * 7 % 23);
    ids[0] = BOS;
    for (size_t k = 1; k < n; k++)
        ids[k] = i;
    return n;
}

static tern_status add_documents(tern_shard_set *set, tern_shard_kind kind) {
    tern_status status = TERN_OK;
    int together = kind == TERN_SHARD_PAIRS ? 2 : 1;
    uint8_t mask[32];
    memset(mask, 1, sizeof mask);
    for (int i = 0; !status && i < N; i += together) {
        int32_t ids[2][32];
        tern_shard_item items[2];
        for (int k = 0; k < together; k++)
            items[k] = (tern_shard_item){ids[k], kind ? mask : NULL, make(i + k, ids[k]), 10};
        status = tern_shard_set_add(set, i / together % 5 == 4 ? TERN_SPLIT_HELD_OUT : TERN_SPLIT_TRAIN, items,
                                    (size_t)together, &err);
    }
    return status;
}

typedef struct seen {
    tern_shard *shards[N];
    size_t n;
    uint64_t max_bytes;
} seen;

static void on_shard(void *user, const char *name, const tern_shard_info *info) {
    seen *s = user;
    tern_map map;
    assert_int_equal(tern_map_open(name, &map, &err), TERN_OK);
    uint64_t n_documents = info->n_documents[0] + info->n_documents[1];
    assert_true(!s->max_bytes || map.size <= s->max_bytes || n_documents <= 2);
    tern_map_close(&map);
    if (tern_shard_open(name, &s->shards[s->n++], &err))
        fail_msg("%s", err.message);
}

static void read_again(tern_shard_kind kind, uint64_t max_bytes, size_t least, size_t most) {
    seen s = {.max_bytes = max_bytes};
    tern_shard_info info;
    tern_shard_set *set = open_set(kind, max_bytes);
    assert_int_equal(add_documents(set, kind), TERN_OK);
    size_t count = tern_shard_set_count(set);
    char *last = tern_shard_set_name(set, count - 1), wanted[128];
    snprintf(wanted, sizeof wanted, "%s/a.b-%05zu-of-%05zu.shard", folder, count, count);
    assert_string_equal(last, max_bytes ? wanted : base);
    free(last);
    assert_int_equal(files(false), 0); /* none has its name before the end */
    assert_int_equal(tern_shard_set_finish(set, on_shard, &s, &info, &err), TERN_OK);
    assert_int_equal(s.n, count);
    assert_true(count >= least && count <= most);
    assert_int_equal(files(false), count);

    tern_shard *joined = NULL;
    assert_int_equal(tern_shard_join(s.shards, s.n, &joined, &err), TERN_OK);
    const tern_shard_info *all = tern_shard_describe(joined);
    int together = kind == TERN_SHARD_PAIRS ? 2 : 1;
    assert_int_equal(all->n_documents[0] + all->n_documents[1], N);
    uint64_t at[2] = {0, 0};
    for (int i = 0; i < N; i++) {
        int split = i / together % 5 == 4;
        int32_t ids[32], want[32];
        const uint8_t *mask;
        size_t n, size = make(i, want);
        assert_int_equal(tern_shard_document(joined, (tern_split)split, at[split]++, ids, &mask, &n, &err), TERN_OK);
        assert_int_equal(n, size);
        assert_memory_equal(ids, want, n * sizeof *ids);
    }
    for (int split = 0; split < 2; split++) {
        assert_int_equal(info.n_documents[split], all->n_documents[split]);
        assert_int_equal(info.n_tokens[split], all->n_tokens[split]);
        assert_int_equal(info.text_bytes[split], all->text_bytes[split]);
    }
    tern_shard_close(joined);
    for (size_t i = 0; i < s.n; i++) {
        const tern_shard_info *one = tern_shard_describe(s.shards[i]);
        assert_int_equal(one->n_documents[0] % (uint64_t)together, 0); /* no pair is parted */
        tern_shard_close(s.shards[i]);
    }
    files(true);
}

static void sizes(void **state) {
    (void)state;
    for (int kind = TERN_SHARD_TEXT; kind <= TERN_SHARD_PAIRS; kind++) {
        read_again((tern_shard_kind)kind, 0, 1, 1);
        read_again((tern_shard_kind)kind, 1 << 20, 1, 1);
        read_again((tern_shard_kind)kind, 1000, 2, N / 3);
        read_again((tern_shard_kind)kind, 300, 10, N);
        /* smaller than any document: one in each */
        read_again((tern_shard_kind)kind, 1, kind == TERN_SHARD_PAIRS ? N / 2 : N, N);
    }
}

/* The limit is the file's size, to the byte. */
static void exact(void **state) {
    (void)state;
    for (int less = 0; less < 2; less++) {
        int32_t ids[] = {BOS, 1, 2, EOS};
        const tern_shard_item item = {ids, NULL, 4, 2};
        tern_shard_info info;
        tern_shard_set *set = open_set(TERN_SHARD_TEXT, 128 + 3 * (8 + 16) - (uint64_t)less);
        for (int i = 0; i < 3; i++)
            assert_int_equal(tern_shard_set_add(set, TERN_SPLIT_TRAIN, &item, 1, &err), TERN_OK);
        assert_int_equal(tern_shard_set_count(set), 1 + less);
        assert_int_equal(tern_shard_set_finish(set, NULL, NULL, &info, &err), TERN_OK);
        assert_int_equal(info.n_documents[0], 3);
        files(true);
    }
}

static void nothing_left(void **state) {
    (void)state;
    tern_shard_set *set = open_set(TERN_SHARD_TEXT, 300);
    assert_int_equal(add_documents(set, TERN_SHARD_TEXT), TERN_OK);
    assert_true(tern_shard_set_count(set) > 3);
    tern_shard_set_abort(set);
    assert_int_equal(files(false), 0);
    tern_shard_set_abort(NULL);
}

static void too_many(void **state) {
    (void)state;
    int32_t ids[] = {BOS, 1};
    const tern_shard_item item = {ids, NULL, 2, 1};
    tern_status status = TERN_OK;
    tern_shard_set *set = open_set(TERN_SHARD_TEXT, 1);
    for (int i = 0; !status && i <= TERN_SHARD_SET_MOST; i++)
        status = tern_shard_set_add(set, TERN_SPLIT_TRAIN, &item, 1, &err);
    /* whichever comes first: this limit or the system's of open files */
    assert_true(status == TERN_ERR_ARGUMENT || status == TERN_ERR_IO);
    assert_non_null(strstr(err.message, status == TERN_ERR_IO ? "cannot write" : "more than 999 shards"));
    tern_shard_set_abort(set);
    assert_int_equal(files(false), 0);
}

static void bad_places(void **state) {
    (void)state;
    tern_shard_params params = {TERN_SHARD_TEXT, VOCAB, BOS, EOS, 42};
    tern_shard_set *set = NULL;
    assert_int_equal(tern_shard_set_create("/dev/null", &params, 1000, &set, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "cannot stand for several shards"));
    assert_int_equal(tern_shard_set_create("/nowhere/a.shard", &params, 1000, &set, &err), TERN_ERR_IO);
    assert_null(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),    cmocka_unit_test(exact),      cmocka_unit_test(nothing_left),
        cmocka_unit_test(too_many), cmocka_unit_test(bad_places),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
