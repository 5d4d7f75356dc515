/* Batches from a shard. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "train/data.h"
#include "train/feed_pack.h"
#include "train/shard_layout.h"

enum { MAX_CTX = 1 << 24, MAX_PIECES = INT32_MAX };

struct tern_feed {
    const tern_shard *shard;
    const tern_shard_info *info;
    uint32_t n_ctx, rows_per_step;
    uint64_t seed;
    tern_row_packing packing;
    uint32_t per_group; /* rows that stay together, in their order: 2 for pairs */
    uint32_t n_groups;
    uint32_t *order; /* [n_groups] of the epoch */
    uint64_t epoch;  /* that `order` is of; UINT64_MAX: none */
    uint64_t left_out, n_cut;
    uint64_t *held_first; /* [n held-out documents + 1]: the first row of each */
};

/* --------------------------------------------------------------------- rows */

tern_status tern_rows_create(uint32_t max_rows, uint32_t n_ctx, tern_rows *rows, tern_error *err) {
    size_t n;
    *rows = (tern_rows){.max_rows = max_rows, .n_ctx = n_ctx};
    if (!tern_mul_size(max_rows, n_ctx, &n) || n > UINT32_MAX - 1)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%" PRIu32 " rows of %" PRIu32 " tokens are too many for one batch",
                         max_rows, n_ctx);
    rows->inputs = tern_alloc_array(n, sizeof *rows->inputs);
    rows->targets = tern_alloc_array(n, sizeof *rows->targets);
    rows->starts = tern_alloc_array(n + 1, sizeof *rows->starts);
    rows->documents = tern_alloc_array(n, sizeof *rows->documents);
    if (rows->inputs && rows->targets && rows->starts && rows->documents)
        return TERN_OK;
    tern_rows_free(rows);
    return tern_fail_memory(err, "a batch");
}

void tern_rows_free(tern_rows *rows) {
    free(rows->inputs);
    free(rows->targets);
    free(rows->starts);
    free(rows->documents);
    *rows = (tern_rows){0};
}

static void begin_rows(tern_rows *rows) {
    rows->starts[0] = 0;
    rows->n_losses = 0;
    rows->batch =
        (tern_batch){.inputs = rows->inputs, .targets = rows->targets, .seqs = {.start = rows->starts, .n = 0}};
}

/* One more sequence: inputs are tokens [from, from + n) of the document, the first of them BOS instead. */
static void add_sequence(const tern_feed *feed, tern_split split, const tern_piece *piece, tern_rows *rows) {
    size_t at = rows->batch.n_tokens;
    int32_t *targets = rows->targets + at;
    const uint8_t *mask;
    tern_shard_read(feed->shard, split, piece->document, piece->from, piece->n, rows->inputs + at, NULL);
    tern_shard_read(feed->shard, split, piece->document, piece->from + 1, piece->n, targets, &mask);
    rows->inputs[at] = feed->info->bos_id;
    for (uint32_t i = 0; i < piece->n; i++) {
        if (mask && !mask[i])
            targets[i] = -1;
        rows->n_losses += targets[i] >= 0;
    }
    rows->documents[rows->batch.seqs.n++] = piece->document;
    rows->batch.n_tokens += piece->n;
    rows->starts[rows->batch.seqs.n] = (uint32_t)rows->batch.n_tokens;
}

static tern_status check_rows(const tern_feed *feed, const tern_rows *rows, uint32_t n, tern_error *err) {
    if (rows->n_ctx < feed->n_ctx || rows->max_rows < n)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%" PRIu32 " rows of %" PRIu32 " tokens do not fit into the batch", n,
                         feed->n_ctx);
    return TERN_OK;
}

/* ------------------------------------------------------------------- pieces */

typedef struct piece_list {
    tern_piece *pieces;
    size_t n, capacity;
} piece_list;

static bool add_piece(piece_list *list, uint64_t document, uint64_t from, uint64_t n) {
    if (list->n == MAX_PIECES || document > UINT32_MAX ||
        !tern_grow_array((void **)&list->pieces, &list->capacity, list->n + 1, sizeof *list->pieces))
        return false;
    list->pieces[list->n++] = (tern_piece){from, (uint32_t)document, (uint32_t)n};
    return true;
}

/* TEXT: all of the document, in pieces of at most n_ctx. */
static bool cut_text(piece_list *list, uint64_t document, uint64_t n_pairs, uint32_t n_ctx) {
    bool ok = true;
    for (uint64_t from = 0; ok && from < n_pairs; from += n_ctx)
        ok = add_piece(list, document, from, n_pairs - from < n_ctx ? n_pairs - from : n_ctx);
    return ok;
}

/* Something is learnt within the first n targets of a document with a mask. */
static bool has_answer(const tern_feed *feed, tern_split split, uint64_t document, uint64_t n) {
    int32_t first;
    const uint8_t *mask;
    if (!n)
        return false;
    tern_shard_read(feed->shard, split, document, 1, 1, &first, &mask);
    return memchr(mask, 1, (size_t)n) != NULL;
}

static uint64_t n_inputs(const tern_feed *feed, tern_split split, uint64_t document) {
    uint64_t n = tern_shard_document_tokens(feed->shard, split, document) - 1;
    return n < feed->n_ctx ? n : feed->n_ctx;
}

/* All documents that stay together with this one, the first of them, have an answer. */
static bool group_has_answers(const tern_feed *feed, tern_split split, uint64_t first) {
    for (uint64_t k = first; k < first + feed->per_group; k++)
        if (!has_answer(feed, split, k, n_inputs(feed, split, k)))
            return false;
    return true;
}

static tern_status list_pieces(tern_feed *feed, piece_list *list, tern_error *err) {
    uint64_t n_documents = feed->info->n_documents[TERN_SPLIT_TRAIN];
    bool ok = true;
    for (uint64_t i = 0; ok && i < n_documents; i += feed->per_group) {
        if (feed->info->kind == TERN_SHARD_TEXT) {
            ok = cut_text(list, i, tern_shard_document_tokens(feed->shard, TERN_SPLIT_TRAIN, i) - 1, feed->n_ctx);
            continue;
        }
        bool answered = group_has_answers(feed, TERN_SPLIT_TRAIN, i);
        if (!answered)
            feed->left_out += feed->per_group;
        for (uint64_t k = i; ok && answered && k < i + feed->per_group; k++) {
            ok = add_piece(list, k, 0, n_inputs(feed, TERN_SPLIT_TRAIN, k));
            feed->n_cut += tern_shard_document_tokens(feed->shard, TERN_SPLIT_TRAIN, k) - 1 > feed->n_ctx;
        }
    }
    if (!ok)
        return tern_fail(err, TERN_ERR_MEMORY, "%s: no memory for its list of pieces, or too many",
                         tern_shard_name(feed->shard));
    if (list->n == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: nothing to train on: %" PRIu64 " documents%s",
                         tern_shard_name(feed->shard), n_documents,
                         feed->left_out ? ", and none has an answer within the context" : "");
    return TERN_OK;
}

/* Pairs: each piece is a row. */
static tern_status pack_singly(piece_list *list, tern_row_packing *packing, tern_error *err) {
    *packing = (tern_row_packing){.pieces = list->pieces,
                                  .n_pieces = (uint32_t)list->n,
                                  .n_rows = (uint32_t)list->n,
                                  .row_first = tern_alloc_array(list->n + 1, sizeof(uint32_t))};
    if (!packing->row_first)
        return tern_fail_memory(err, "the rows of the training data");
    for (uint32_t i = 0; i <= packing->n_rows; i++)
        packing->row_first[i] = i;
    return TERN_OK;
}

static tern_status pack_training(tern_feed *feed, tern_error *err) {
    piece_list list = {0};
    tern_status status = list_pieces(feed, &list, err);
    if (status) {
        free(list.pieces);
        return status;
    }
    status = feed->per_group == 2 ? pack_singly(&list, &feed->packing, err)
                                  : tern_pack_best_fit(list.pieces, (uint32_t)list.n, feed->n_ctx, &feed->packing, err);
    if (status)
        return status;
    feed->n_groups = feed->packing.n_rows / feed->per_group;
    feed->order = tern_alloc_array(feed->n_groups, sizeof *feed->order);
    feed->epoch = UINT64_MAX;
    return feed->order ? TERN_OK : tern_fail_memory(err, "the order of the rows");
}

/* ----------------------------------------------------------------- training */

/* Fisher and Yates. The seed goes through a hash: seeds 1, 2, ... and epochs 0, 1, ... have nothing in common. */
static void shuffle(tern_feed *feed, uint64_t epoch) {
    tern_rng rng;
    uint8_t key[16];
    tern_shard_put(key, feed->seed, 8);
    tern_shard_put(key + 8, epoch, 8);
    tern_rng_seed(&rng, tern_hash_bytes(key, sizeof key));
    for (uint32_t i = 0; i < feed->n_groups; i++)
        feed->order[i] = i;
    for (uint32_t i = feed->n_groups; i > 1; i--) {
        uint32_t other = (uint32_t)(tern_rng_u64(&rng) % i), swap = feed->order[i - 1];
        feed->order[i - 1] = feed->order[other];
        feed->order[other] = swap;
    }
    feed->epoch = epoch;
}

tern_status tern_feed_rows(tern_feed *feed, uint64_t step, uint32_t first, uint32_t n, tern_rows *rows,
                           tern_error *err) {
    uint64_t row;
    tern_status status = check_rows(feed, rows, n, err);
    if (status)
        return status;
    if (n > feed->rows_per_step || first > feed->rows_per_step - n || !tern_mul_u64(step, feed->rows_per_step, &row) ||
        !tern_add_u64(row, feed->rows_per_step, &(uint64_t){0}))
        return tern_fail(err, TERN_ERR_ARGUMENT, "step %" PRIu64 " has no rows %" PRIu32 " to %" PRIu64, step, first,
                         (uint64_t)first + n);
    begin_rows(rows);
    row += first;
    for (uint32_t i = 0; i < n; i++, row++) {
        uint64_t group = row / feed->per_group, epoch = group / feed->n_groups;
        if (epoch != feed->epoch)
            shuffle(feed, epoch);
        uint32_t packed = feed->order[group % feed->n_groups] * feed->per_group + (uint32_t)(row % feed->per_group);
        for (uint32_t p = feed->packing.row_first[packed]; p < feed->packing.row_first[packed + 1]; p++)
            add_sequence(feed, TERN_SPLIT_TRAIN, &feed->packing.pieces[p], rows);
    }
    return TERN_OK;
}

uint64_t tern_feed_rows_per_epoch(const tern_feed *feed) { return feed->packing.n_rows; }
uint64_t tern_feed_left_out(const tern_feed *feed) { return feed->left_out; }
uint64_t tern_feed_cut(const tern_feed *feed) { return feed->n_cut; }

uint64_t tern_feed_steps_per_epoch(const tern_feed *feed) {
    return (feed->packing.n_rows + (uint64_t)feed->rows_per_step - 1) / feed->rows_per_step;
}

/* ----------------------------------------------------------------- held-out */

/* Tokens of a held-out document that are measured: TEXT all but the first one (BOS) and EOS. */
static uint64_t n_measured(const tern_feed *feed, uint64_t document) {
    uint64_t n = tern_shard_document_tokens(feed->shard, TERN_SPLIT_HELD_OUT, document);
    if (feed->info->kind != TERN_SHARD_TEXT || n < 2)
        return n - 1;
    int32_t last;
    tern_shard_read(feed->shard, TERN_SPLIT_HELD_OUT, document, n - 1, 1, &last, NULL);
    return last == feed->info->eos_id ? n - 2 : n - 1;
}

static tern_status list_held_out(tern_feed *feed, tern_error *err) {
    uint64_t n = feed->info->n_documents[TERN_SPLIT_HELD_OUT], rows = 0;
    feed->held_first = n < UINT32_MAX ? tern_alloc_array((size_t)n + 1, sizeof *feed->held_first) : NULL;
    if (!feed->held_first)
        return tern_fail_memory(err, "the list of held-out documents");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t measured = n_measured(feed, i);
        feed->held_first[i] = rows;
        if (feed->info->kind == TERN_SHARD_TEXT)
            rows += (measured + feed->n_ctx - 2) / (feed->n_ctx - 1);
        else if (feed->per_group == 1)
            rows += measured > 0;
        else /* a pair without one of its answers says nothing, and would count as undecided */
            rows += group_has_answers(feed, TERN_SPLIT_HELD_OUT, i / feed->per_group * feed->per_group);
    }
    feed->held_first[n] = rows;
    return TERN_OK;
}

/* The document that a row is of. */
static uint64_t find_held_out(const tern_feed *feed, uint64_t row) {
    uint64_t low = 0, high = feed->info->n_documents[TERN_SPLIT_HELD_OUT];
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (feed->held_first[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint64_t tern_feed_held_out_rows(const tern_feed *feed) {
    return feed->held_first[feed->info->n_documents[TERN_SPLIT_HELD_OUT]];
}

tern_status tern_feed_held_out_some(tern_feed *feed, uint64_t n_some, uint64_t first, uint32_t n, tern_rows *rows,
                                    tern_error *err) {
    uint64_t all = tern_feed_held_out_rows(feed);
    bool spread = n_some < all && tern_shard_parts(feed->shard) > 1;
    tern_status status = check_rows(feed, rows, n, err);
    if (status)
        return status;
    if (n_some > all)
        n_some = all;
    begin_rows(rows);
    for (uint64_t i = first; i < n_some && i - first < n; i++) {
        /* i * all / n_some, without the product */
        uint64_t row =
            spread ? all / n_some * i + (uint64_t)((double)(all % n_some) * ((double)i / (double)n_some)) : i;
        uint64_t document = find_held_out(feed, row);
        tern_piece piece = {0, (uint32_t)document, (uint32_t)n_inputs(feed, TERN_SPLIT_HELD_OUT, document)};
        if (feed->info->kind == TERN_SHARD_TEXT) {
            piece.from = (row - feed->held_first[document]) * (feed->n_ctx - 1);
            uint64_t left = n_measured(feed, document) - piece.from;
            piece.n = (uint32_t)(left < feed->n_ctx - 1 ? left : feed->n_ctx - 1);
        }
        add_sequence(feed, TERN_SPLIT_HELD_OUT, &piece, rows);
    }
    return TERN_OK;
}

tern_status tern_feed_held_out(tern_feed *feed, uint64_t first, uint32_t n, tern_rows *rows, tern_error *err) {
    return tern_feed_held_out_some(feed, UINT64_MAX, first, n, rows, err);
}

/* ---------------------------------------------------------- create and free */

static tern_status create(const tern_shard *shard, uint32_t n_ctx, uint32_t rows_per_step, uint64_t seed, bool training,
                          tern_feed **feed, tern_error *err) {
    const tern_shard_info *info = tern_shard_describe(shard);
    uint32_t per_group = info->kind == TERN_SHARD_PAIRS ? 2 : 1;
    if (n_ctx < 2 || n_ctx > MAX_CTX)
        return tern_fail(err, TERN_ERR_ARGUMENT, "sequences of %" PRIu32 " tokens: must be 2 to %d", n_ctx, MAX_CTX);
    if (rows_per_step == 0 || rows_per_step % per_group)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%" PRIu32 " rows a step: must be %s", rows_per_step,
                         per_group == 2 ? "2, 4, 6, ...: two a pair" : "1 or more");
    tern_feed *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the feed");
    *made = (tern_feed){.shard = shard,
                        .info = info,
                        .n_ctx = n_ctx,
                        .rows_per_step = rows_per_step,
                        .seed = seed,
                        .per_group = per_group};
    tern_status status = training ? pack_training(made, err) : TERN_OK;
    if (!status)
        status = list_held_out(made, err);
    if (status)
        tern_feed_free(made);
    else
        *feed = made;
    return status;
}

tern_status tern_feed_create(const tern_shard *shard, uint32_t n_ctx, uint32_t rows_per_step, uint64_t seed,
                             tern_feed **feed, tern_error *err) {
    return create(shard, n_ctx, rows_per_step, seed, true, feed, err);
}

tern_status tern_feed_create_held_out(const tern_shard *shard, uint32_t n_ctx, tern_feed **feed, tern_error *err) {
    return create(shard, n_ctx, 2, 0, false, feed, err);
}

void tern_feed_free(tern_feed *feed) {
    if (!feed)
        return;
    tern_row_packing_free(&feed->packing);
    free(feed->order);
    free(feed->held_first);
    free(feed);
}
