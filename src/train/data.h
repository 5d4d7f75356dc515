/*
 * Shards: tokenised text in one memory-mapped file with document boundaries, a held-out split and a checksum
 * (docs/TRAINING.md has the layout). `tern train data` writes them; training reads batches.
 *
 * Three kinds. TEXT: documents of tokens, every token is learnt. CHAT (SFT): documents with a loss mask, answers only.
 * PAIRS (DPO): documents in twos, chosen then rejected, with the same mask.
 */
#ifndef TERN_TRAIN_DATA_H
#define TERN_TRAIN_DATA_H

#include "base/rng.h"
#include "base/str.h"
#include "train/net.h"

typedef enum tern_shard_kind { TERN_SHARD_TEXT, TERN_SHARD_CHAT, TERN_SHARD_PAIRS } tern_shard_kind;

typedef enum tern_split { TERN_SPLIT_TRAIN, TERN_SPLIT_HELD_OUT, TERN_N_SPLITS } tern_split;

typedef struct tern_shard tern_shard;

typedef struct tern_shard_info {
    tern_shard_kind kind;
    uint32_t vocab_size;
    uint64_t tokenizer_hash; /* of the tokenizer.json's bytes */
    uint64_t n_documents[TERN_N_SPLITS], n_tokens[TERN_N_SPLITS];
    uint64_t text_bytes[TERN_N_SPLITS]; /* of the source text: bits per byte */
} tern_shard_info;

/* Maps the file and checks header, sizes and checksum (all of it is read once). */
tern_status tern_shard_open(const char *path, tern_shard **shard, tern_error *err);
void tern_shard_close(tern_shard *shard);
const tern_shard_info *tern_shard_describe(const tern_shard *shard);
/* Tokens of a document -> ids [*n], and mask [*n] (1: loss on predicting this token; NULL for TEXT); both valid until
 * the shard is closed or, for narrow ids, until the next call with the same buffer. `buffer` [longest document]. */
tern_status tern_shard_document(const tern_shard *shard, tern_split split, uint64_t index, int32_t *buffer,
                                const uint8_t **mask, size_t *n, tern_error *err);
uint64_t tern_shard_longest(const tern_shard *shard); /* tokens of the longest document */

/* Batches of a run. TEXT: rows of n_ctx + 1 tokens cut from the split's documents in a shuffled order, epoch after
 * epoch, several documents in a row where they are short; each document is a sequence of its own. CHAT: whole
 * documents packed into rows (a longer one is cut at n_ctx). Row r of step s is a function of (seed, s, r) alone, so a
 * run can go on anywhere, on any number of ranks. */
typedef struct tern_feed tern_feed;

typedef struct tern_rows {
    int32_t *inputs, *targets; /* [max_rows * n_ctx] */
    uint32_t *starts;          /* [max_rows * n_ctx + 1] */
    tern_batch batch;          /* points at them */
    uint64_t n_losses;         /* targets that are not -1 */
} tern_rows;

tern_status tern_feed_create(const tern_shard *shard, uint32_t n_ctx, uint32_t rows_per_step, uint64_t seed,
                             tern_feed **feed, tern_error *err);
void tern_feed_free(tern_feed *feed);
tern_status tern_rows_create(uint32_t max_rows, uint32_t n_ctx, tern_rows *rows, tern_error *err);
void tern_rows_free(tern_rows *rows);
/* Rows [first, first + n) of a step. */
tern_status tern_feed_rows(tern_feed *feed, uint64_t step, uint32_t first, uint32_t n, tern_rows *rows,
                           tern_error *err);
/* Steps in one pass over the split. */
uint64_t tern_feed_steps_per_epoch(const tern_feed *feed);

/* The held-out documents in order, n rows at a time from row `first`; rows->batch.n_tokens 0: no more. As `tern
 * perplexity` cuts a text: windows of n_ctx - 1 tokens, each behind one BOS. */
tern_status tern_feed_held_out(tern_feed *feed, uint64_t first, uint32_t n, tern_rows *rows, tern_error *err);

#endif
