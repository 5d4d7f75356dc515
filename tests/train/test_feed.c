/* Batches: every target of the training split once in an epoch, masks kept, rows that depend on (seed, step, row)
 * alone, held-out windows as `tern perplexity` cuts them. */
#include "shard_fixture.h"

enum { CTX = 16 };

static tern_rows rows;

static tern_feed *feed_of(const tern_shard *shard, uint32_t per_step, uint64_t seed) {
    tern_feed *feed = NULL;
    if (tern_feed_create(shard, CTX, per_step, seed, &feed, &err))
        fail_msg("%s", err.message);
    return feed;
}

/* Documents of 1 .. 40 tokens and one of 1000, some held out. */
static tern_shard *mixed(tern_shard_kind kind) {
    tern_shard_writer *writer = begin(kind, VOCAB);
    for (size_t i = 0; i < 40; i++)
        add(writer, kind, TERN_SPLIT_TRAIN, 7 * (int)i, i * 13 % 40 + 1, i % 3 + 1);
    add(writer, kind, TERN_SPLIT_TRAIN, 0, 1000, 5);
    add(writer, kind, TERN_SPLIT_TRAIN, 0, 10, 5);
    for (size_t i = 0; i < 4; i++)
        add(writer, kind, TERN_SPLIT_HELD_OUT, 100 * (int)i, i * 17 + 3, 2);
    return finish(writer);
}

/* What must hold of any batch. */
static void check_batch(const tern_shard *shard, uint32_t n_rows) {
    const tern_batch *batch = &rows.batch;
    uint64_t losses = 0;
    (void)shard;
    assert_true(batch->n_tokens <= (size_t)n_rows * CTX);
    assert_true(batch->n_tokens == 0 || batch->seqs.n >= 1);
    assert_int_equal(rows.starts[0], 0);
    assert_int_equal(rows.starts[batch->seqs.n], batch->n_tokens);
    for (size_t s = 0; s < batch->seqs.n; s++) {
        uint32_t from = rows.starts[s], to = rows.starts[s + 1];
        assert_true(to > from && to - from <= CTX);
        assert_int_equal(batch->inputs[from], BOS);
        for (uint32_t i = from; i + 1 < to; i++)
            if (batch->targets[i] >= 0)
                assert_int_equal(batch->inputs[i + 1], batch->targets[i]);
    }
    for (size_t i = 0; i < batch->n_tokens; i++)
        losses += batch->targets[i] >= 0;
    assert_int_equal(losses, rows.n_losses);
}

/* Counts of (document, target) pairs over whole epochs. */
static void check_each_target_once(const tern_shard *shard, uint64_t n_documents) {
    tern_feed *feed = feed_of(shard, 1, 3);
    uint64_t n_rows = tern_feed_rows_per_epoch(feed), all = 0;
    assert_int_equal(tern_feed_steps_per_epoch(feed), n_rows);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        static uint32_t seen[84][VOCAB];
        memset(seen, 0, sizeof seen);
        all = 0;
        for (uint64_t step = epoch * n_rows; step < (epoch + 1) * n_rows; step++) {
            assert_int_equal(tern_feed_rows(feed, step, 0, 1, &rows, &err), TERN_OK);
            check_batch(shard, 1);
            all += rows.n_losses;
            for (size_t s = 0; s < rows.batch.seqs.n; s++)
                for (uint32_t i = rows.starts[s]; i < rows.starts[s + 1]; i++)
                    seen[rows.documents[s]][rows.targets[i]]++;
        }
        int32_t ids[1002];
        const uint8_t *mask;
        for (uint64_t d = 0; d < n_documents; d++) {
            size_t n;
            assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, d, ids, &mask, &n, &err), TERN_OK);
            for (size_t i = 1; i < n; i++)
                assert_true(seen[d][ids[i]]-- > 0);
            for (size_t id = 0; id < VOCAB; id++)
                assert_int_equal(seen[d][id], 0);
        }
    }
    assert_int_equal(all, tern_shard_describe(shard)->n_tokens[0] - n_documents);
    /* best fit: no more than one row of waste for these lengths */
    assert_true(n_rows <= (all + CTX - 1) / CTX + 1);
    tern_feed_free(feed);
}

static void each_target_once(void **state) {
    (void)state;
    tern_shard *shard = mixed(TERN_SHARD_TEXT);
    check_each_target_once(shard, 42);
    tern_shard_close(shard);
}

/* Several files are one sequence of documents: packed together, in one order. */
static void several_files(void **state) {
    (void)state;
    tern_shard *parts[2] = {mixed(TERN_SHARD_TEXT), mixed(TERN_SHARD_TEXT)}, *joined = NULL;
    assert_int_equal(tern_shard_join(parts, 2, &joined, &err), TERN_OK);
    check_each_target_once(joined, 84);
    tern_feed *alone = feed_of(parts[0], 1, 3), *both = feed_of(joined, 1, 3);
    assert_true(tern_feed_rows_per_epoch(both) < 2 * tern_feed_rows_per_epoch(alone) + 1);
    bool first = false, second = false; /* files are not gone through one after the other */
    for (uint64_t step = 0; step < 12; step++) {
        assert_int_equal(tern_feed_rows(both, step, 0, 1, &rows, &err), TERN_OK);
        for (size_t s = 0; s < rows.batch.seqs.n; s++) {
            first |= rows.documents[s] < 42;
            second |= rows.documents[s] >= 42;
        }
    }
    assert_true(first && second);
    tern_feed_free(alone);
    tern_feed_free(both);
    tern_shard_close(joined);
    tern_shard_close(parts[0]);
    tern_shard_close(parts[1]);
}

/* A validation of some rows: of one file the first ones, of several evenly from all. */
static void some_held_out(void **state) {
    (void)state;
    tern_shard *parts[2] = {mixed(TERN_SHARD_TEXT), mixed(TERN_SHARD_TEXT)};
    for (size_t n_files = 1; n_files <= 2; n_files++) {
        tern_shard *joined = NULL;
        tern_feed *feed = NULL;
        assert_int_equal(tern_shard_join(parts, n_files, &joined, &err), TERN_OK);
        assert_int_equal(tern_feed_create_held_out(joined, CTX, &feed, &err), TERN_OK);
        uint64_t all = tern_feed_held_out_rows(feed), n_some = all / 2, last = 0, n_second = 0, n_seen = 0;
        assert_true(n_some >= 4);
        for (uint64_t from = 0; from < all + 3; from += 3) {
            assert_int_equal(tern_feed_held_out_some(feed, n_some, from, 3, &rows, &err), TERN_OK);
            for (size_t s = 0; s < rows.batch.seqs.n; s++, n_seen++) {
                assert_true(rows.documents[s] >= last);
                last = rows.documents[s];
                n_second += last >= 4;
            }
        }
        assert_int_equal(n_seen, n_some);
        assert_int_equal(n_second, n_files == 1 ? 0 : n_some / 2);
        tern_feed_free(feed);
        tern_shard_close(joined);
    }
    tern_shard_close(parts[0]);
    tern_shard_close(parts[1]);
}

typedef struct copy {
    int32_t inputs[64 * CTX], targets[64 * CTX];
    uint32_t starts[64 * CTX + 1];
    size_t n_tokens, n_seqs;
} copy;

static void take(tern_feed *feed, uint64_t step, uint32_t first, uint32_t n, copy *to) {
    assert_int_equal(tern_feed_rows(feed, step, first, n, &rows, &err), TERN_OK);
    check_batch(NULL, n);
    for (size_t s = 0; s <= rows.batch.seqs.n; s++)
        to->starts[to->n_seqs + s] = (uint32_t)to->n_tokens + rows.starts[s];
    memcpy(to->inputs + to->n_tokens, rows.inputs, rows.batch.n_tokens * sizeof(int32_t));
    memcpy(to->targets + to->n_tokens, rows.targets, rows.batch.n_tokens * sizeof(int32_t));
    to->n_tokens += rows.batch.n_tokens;
    to->n_seqs += rows.batch.seqs.n;
}

static bool same(const copy *a, const copy *b) {
    return a->n_tokens == b->n_tokens && a->n_seqs == b->n_seqs &&
           memcmp(a->inputs, b->inputs, a->n_tokens * sizeof(int32_t)) == 0 &&
           memcmp(a->targets, b->targets, a->n_tokens * sizeof(int32_t)) == 0 &&
           memcmp(a->starts, b->starts, (a->n_seqs + 1) * sizeof(uint32_t)) == 0;
}

/* The same step whole, in parts as ranks take them, by a fresh feed, and after others. */
static void any_order(void **state) {
    static copy whole, parts, fresh, other;
    (void)state;
    for (int kind = TERN_SHARD_TEXT; kind <= TERN_SHARD_PAIRS; kind++) {
        tern_shard *shard = mixed((tern_shard_kind)kind);
        tern_feed *feed = feed_of(shard, 8, 5), *second = feed_of(shard, 8, 6);
        bool differs_later = false, differs_by_seed = false;
        for (uint64_t step = 0; step < 60; step += 7) {
            whole = parts = fresh = other = (copy){0};
            take(feed, step, 0, 8, &whole);
            take(feed, step + 1000, 0, 8, &other);
            for (uint32_t r = 0; r < 8; r += 2)
                take(feed, step, r, 2, &parts);
            assert_true(same(&whole, &parts));
            tern_feed *again = feed_of(shard, 8, 5);
            take(again, step, 0, 8, &fresh);
            tern_feed_free(again);
            assert_true(same(&whole, &fresh));
            differs_later |= !same(&whole, &other);
            other = (copy){0};
            take(second, step, 0, 8, &other);
            differs_by_seed |= !same(&whole, &other);
        }
        assert_true(differs_later && differs_by_seed);
        tern_feed_free(feed);
        tern_feed_free(second);
        tern_shard_close(shard);
    }
}

/* A document that is longer than the context: later pieces begin with BOS, which takes the place of one token. */
static void long_document(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_TEXT, VOCAB);
    add(writer, TERN_SHARD_TEXT, TERN_SPLIT_TRAIN, 0, 20, 0); /* BOS 0 1 .. 19 EOS: 21 targets */
    tern_shard *shard = finish(writer);
    tern_feed *feed = feed_of(shard, 2, 1);
    static const int32_t first_in[] = {BOS, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    static const int32_t first_out[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const int32_t second_in[] = {BOS, 16, 17, 18, 19}, second_out[] = {16, 17, 18, 19, EOS};
    assert_int_equal(tern_feed_rows_per_epoch(feed), 2);
    assert_int_equal(tern_feed_rows(feed, 0, 0, 2, &rows, &err), TERN_OK);
    assert_int_equal(rows.batch.n_tokens, 21);
    size_t a = rows.starts[1] == 16 ? 0 : 5, b = a ? 0 : 16;
    assert_memory_equal(rows.inputs + a, first_in, sizeof first_in);
    assert_memory_equal(rows.targets + a, first_out, sizeof first_out);
    assert_memory_equal(rows.inputs + b, second_in, sizeof second_in);
    assert_memory_equal(rows.targets + b, second_out, sizeof second_out);
    tern_feed_free(feed);
    tern_shard_close(shard);
}

static void chat(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_CHAT, VOCAB);
    add(writer, TERN_SHARD_CHAT, TERN_SPLIT_TRAIN, 50, 4, 2);   /* BOS 50 51 52 53 EOS */
    add(writer, TERN_SHARD_CHAT, TERN_SPLIT_TRAIN, 100, 20, 8); /* answer begins at token 14: cut after 16 inputs */
    add(writer, TERN_SHARD_CHAT, TERN_SPLIT_TRAIN, 200, 40, 8); /* no answer within the context */
    tern_shard *shard = finish(writer);
    tern_feed *feed = feed_of(shard, 2, 0);
    assert_int_equal(tern_feed_left_out(feed), 1);
    assert_int_equal(tern_feed_cut(feed), 1);
    assert_int_equal(tern_feed_rows_per_epoch(feed), 2);
    assert_int_equal(tern_feed_rows(feed, 0, 0, 2, &rows, &err), TERN_OK);
    assert_int_equal(rows.batch.n_tokens, 5 + 16);
    size_t a = rows.documents[0] == 0 ? 0 : 16, b = a ? 0 : 5;
    assert_memory_equal(rows.inputs + a, ((int32_t[]){BOS, 50, 51, 52, 53}), 5 * sizeof(int32_t));
    assert_memory_equal(rows.targets + a, ((int32_t[]){-1, -1, -1, 53, EOS}), 5 * sizeof(int32_t));
    for (int i = 0; i < 13; i++)
        assert_int_equal(rows.targets[b + (size_t)i], -1);
    assert_memory_equal(rows.targets + b + 13, ((int32_t[]){113, 114, 115}), 3 * sizeof(int32_t));
    assert_int_equal(rows.n_losses, 5);
    tern_feed_free(feed);
    tern_shard_close(shard);
}

static void pairs(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_PAIRS, VOCAB);
    for (int i = 0; i < 5; i++) {
        add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_TRAIN, 100 * i, 4, 2);
        add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_TRAIN, 100 * i, i == 3 ? 30 : 6,
            4); /* pair 3: cut before the answer */
    }
    tern_shard *shard = finish(writer);
    tern_feed *feed = NULL;
    assert_int_equal(tern_feed_create(shard, CTX, 3, 0, &feed, &err), TERN_ERR_ARGUMENT);
    feed = feed_of(shard, 4, 0);
    assert_int_equal(tern_feed_left_out(feed), 2);
    assert_int_equal(tern_feed_rows_per_epoch(feed), 8);
    assert_int_equal(tern_feed_steps_per_epoch(feed), 2);
    uint32_t seen[10] = {0};
    for (uint64_t step = 0; step < 4; step++) {
        assert_int_equal(tern_feed_rows(feed, step, 0, 4, &rows, &err), TERN_OK);
        assert_int_equal(rows.batch.seqs.n, 4);
        for (size_t s = 0; s < 4; s += 2) {
            uint64_t d = rows.documents[s];
            assert_int_equal(d % 2, 0);
            assert_int_equal(rows.documents[s + 1], d + 1);
            assert_int_equal(rows.starts[s + 1] - rows.starts[s], 5);
            assert_int_equal(rows.starts[s + 2] - rows.starts[s + 1], 7);
            assert_int_equal(rows.inputs[rows.starts[s] + 1], 50 * (int)d);
            seen[d]++;
            seen[d + 1]++;
        }
    }
    assert_memory_equal(seen, ((uint32_t[]){2, 2, 2, 2, 2, 2, 0, 0, 2, 2}), sizeof seen);
    tern_feed_free(feed);
    tern_shard_close(shard);
}

static void held_out_windows(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_TEXT, VOCAB);
    add(writer, TERN_SHARD_TEXT, TERN_SPLIT_TRAIN, 0, 3, 0);
    add(writer, TERN_SHARD_TEXT, TERN_SPLIT_HELD_OUT, 100, 33, 0); /* 15 + 15 + 3 */
    add(writer, TERN_SHARD_TEXT, TERN_SPLIT_HELD_OUT, 200, 15, 0); /* 15 */
    add(writer, TERN_SHARD_TEXT, TERN_SPLIT_HELD_OUT, 300, 0, 0);  /* nothing */
    add(writer, TERN_SHARD_TEXT, TERN_SPLIT_HELD_OUT, 400, 1, 0);
    tern_shard *shard = finish(writer);
    tern_feed *feed = feed_of(shard, 1, 0);
    static const uint32_t lengths[] = {15, 15, 3, 15, 1};
    static const int32_t begins[] = {100, 115, 130, 200, 400};
    assert_int_equal(tern_feed_held_out_rows(feed), 5);
    for (uint32_t at_once = 1; at_once <= 6; at_once++) {
        size_t window = 0;
        for (uint64_t first = 0;; first += at_once) {
            assert_int_equal(tern_feed_held_out(feed, first, at_once, &rows, &err), TERN_OK);
            if (rows.batch.n_tokens == 0)
                break;
            check_batch(shard, at_once);
            for (size_t s = 0; s < rows.batch.seqs.n; s++, window++) {
                assert_int_equal(rows.starts[s + 1] - rows.starts[s], lengths[window]);
                for (uint32_t i = 0; i < lengths[window]; i++)
                    assert_int_equal(rows.targets[rows.starts[s] + i], begins[window] + (int32_t)i);
            }
        }
        assert_int_equal(window, 5);
    }
    tern_feed_free(feed);
    tern_shard_close(shard);
}

static void held_out_answers(void **state) {
    (void)state;
    tern_shard *shard = mixed(TERN_SHARD_CHAT);
    tern_feed *feed = feed_of(shard, 2, 0);
    assert_int_equal(tern_feed_held_out(feed, 0, 10, &rows, &err), TERN_OK);
    assert_int_equal(rows.batch.seqs.n, 4);
    assert_int_equal(rows.n_losses, 2); /* of the short one; the others are cut before their answer */
    assert_int_equal(rows.documents[3], 3);
    tern_feed_free(feed);
    tern_shard_close(shard);
}

/* A pair of which one answer is cut away is none: its loss would be log 2 whatever the model does. */
static void held_out_pairs(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_PAIRS, VOCAB);
    add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_TRAIN, 0, 4, 2);
    add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_TRAIN, 0, 6, 4);
    for (int i = 0; i < 4; i++) { /* pair 1 has lost the rejected answer, pair 2 the chosen one */
        add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_HELD_OUT, 50 * i, i == 2 ? 30 : 4, 2);
        add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_HELD_OUT, 50 * i, i == 1 ? 30 : 6, 4);
    }
    tern_shard *shard = finish(writer);
    tern_feed *feed = feed_of(shard, 2, 0);
    assert_int_equal(tern_feed_left_out(feed), 0);
    assert_int_equal(tern_feed_held_out_rows(feed), 4);
    assert_int_equal(tern_feed_held_out(feed, 0, 10, &rows, &err), TERN_OK);
    assert_int_equal(rows.batch.seqs.n, 4);
    assert_memory_equal(rows.documents, ((uint64_t[]){0, 1, 6, 7}), 4 * sizeof(uint64_t));
    tern_feed_free(feed);
    tern_shard_close(shard);
}

static void bad_arguments(void **state) {
    (void)state;
    tern_shard *shard = mixed(TERN_SHARD_TEXT);
    tern_feed *feed = NULL;
    assert_int_equal(tern_feed_create(shard, 1, 1, 0, &feed, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_feed_create(shard, CTX, 0, 0, &feed, &err), TERN_ERR_ARGUMENT);
    feed = feed_of(shard, 8, 0);
    assert_int_equal(tern_feed_rows(feed, 0, 7, 2, &rows, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_feed_rows(feed, 0, 0, 9, &rows, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_feed_rows(feed, UINT64_MAX, 0, 1, &rows, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_feed_rows(feed, UINT64_MAX / 8 - 1, 0, 8, &rows, &err), TERN_OK);
    tern_rows small;
    assert_int_equal(tern_rows_create(2, CTX, &small, &err), TERN_OK);
    assert_int_equal(tern_feed_rows(feed, 0, 0, 3, &small, &err), TERN_ERR_ARGUMENT);
    tern_rows_free(&small);
    assert_int_equal(tern_rows_create(UINT32_MAX, UINT32_MAX, &small, &err), TERN_ERR_ARGUMENT);
    tern_feed_free(feed);
    tern_shard_close(shard);
}

static int make_rows(void **state) {
    (void)state;
    return tern_rows_create(64, CTX, &rows, &err) != TERN_OK;
}

static int free_rows(void **state) {
    (void)state;
    tern_rows_free(&rows);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_target_once),
        cmocka_unit_test(several_files),
        cmocka_unit_test(some_held_out),
        cmocka_unit_test(any_order),
        cmocka_unit_test(long_document),
        cmocka_unit_test(chat),
        cmocka_unit_test(pairs),
        cmocka_unit_test(held_out_windows),
        cmocka_unit_test(held_out_answers),
        cmocka_unit_test(held_out_pairs),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, make_rows, free_rows);
}
