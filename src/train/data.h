/*
 * Shards: tokenised text in one memory-mapped file with document boundaries, a held-out split and a checksum
 * (train/shard_layout.h and docs/TRAINING.md have the layout). `tern train data` writes them; training reads batches.
 *
 * Three kinds. TEXT: documents of tokens (conversations among them, too), every token is learnt. CHAT (SFT): documents
 * with a loss mask, answers only. PAIRS (DPO): documents in twos, chosen then rejected, with the same mask.
 *
 * A document begins with BOS and (TEXT) ends with EOS. Its first token is never a target.
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
    int32_t bos_id, eos_id;
    uint64_t tokenizer_hash; /* tern_hash_bytes() of the tokenizer.json; 0: not known (llm.c's files) */
    uint64_t hash;           /* of the shard's contents: a run goes on with the same one only */
    uint64_t n_documents[TERN_N_SPLITS], n_tokens[TERN_N_SPLITS];
    uint64_t text_bytes[TERN_N_SPLITS]; /* of the source text: bits per byte */
} tern_shard_info;

/* Maps the file and checks header, sizes, checksum and ids (all of it is read once). llm.c's two token files (GPT-2
 * and Llama-3; magic 20240520 and 20240801) are read as TEXT: their delimiter is BOS and EOS in one, and each stretch
 * from one delimiter to the next is a document that has both. */
tern_status tern_shard_open(const char *path, tern_shard **shard, tern_error *err);
/* The same of bytes in the caller's memory, which must outlive the shard. `name` is for messages. */
tern_status tern_shard_open_memory(const char *name, const void *bytes, size_t n_bytes, tern_shard **shard,
                                   tern_error *err);
void tern_shard_close(tern_shard *shard);
const tern_shard_info *tern_shard_describe(const tern_shard *shard);
/* Several shards as one: the documents of parts[0], then those of parts[1], ..., with their sums and, of more than one,
 * a hash of their hashes. The parts, which must outlive it, are of one kind, vocabulary and tokenizer; a part may come
 * more than once. */
tern_status tern_shard_join(tern_shard *const *parts, size_t n_parts, tern_shard **joined, tern_error *err);
size_t tern_shard_parts(const tern_shard *shard); /* files that it is of */
/* Tokens of a document -> ids [*n] in `buffer`, and mask [*n] (1: loss on predicting this token; NULL for TEXT), valid
 * until the shard is closed. `buffer` [longest document]. */
tern_status tern_shard_document(const tern_shard *shard, tern_split split, uint64_t index, int32_t *buffer,
                                const uint8_t **mask, size_t *n, tern_error *err);
/* Number of tokens of a document; 0 for an index out of range. */
uint64_t tern_shard_document_tokens(const tern_shard *shard, tern_split split, uint64_t index);
/* Tokens [from, from + n) of a document, which must have them -> ids [n] and mask as above (from `from` on). */
void tern_shard_read(const tern_shard *shard, tern_split split, uint64_t index, uint64_t from, size_t n, int32_t *ids,
                     const uint8_t **mask);
uint64_t tern_shard_longest(const tern_shard *shard); /* tokens of the longest document */
const char *tern_shard_name(const tern_shard *shard); /* its path; of several "PATH and N more" */

/*
 * Batches of a run. A row has room for n_ctx inputs and holds one or more sequences, each of which begins with BOS.
 *
 * TEXT: documents of more than n_ctx + 1 tokens are cut, so that every target of the split comes once in an epoch; a
 * piece that begins inside a document has BOS in the place of its first input, as evaluation's windows do. CHAT: a
 * document is one sequence; what does not fit into n_ctx inputs is cut off, and without an answer in the rest it is
 * left out. Pieces are packed whole into rows by best fit (Ding et al. 2024, "Fewer truncations improve language
 * modeling"); rows are about full, and not padded. PAIRS: rows 2i and 2i + 1 of a step are the answers of one pair,
 * chosen and rejected, each a sequence cut at n_ctx; pairs of which one has no answer left are left out.
 *
 * Which pieces share a row is a function of shard and n_ctx; rows come in a new shuffled order in each epoch. Row r of
 * step s is a function of (seed, s, r) alone, so a run can go on anywhere, on any number of ranks: seeking costs at
 * most one shuffle of the row numbers.
 */
typedef struct tern_feed tern_feed;

typedef struct tern_rows {
    int32_t *inputs, *targets; /* [max_rows * n_ctx] */
    uint32_t *starts;          /* [max_rows * n_ctx + 1] */
    uint64_t *documents;       /* [max_rows * n_ctx]: the document that a sequence is of */
    uint32_t max_rows, n_ctx;
    tern_batch batch;  /* points at them */
    uint64_t n_losses; /* targets that are not -1 */
} tern_rows;

/* The shard must outlive the feed. A split of training documents that is empty is an error; an empty held-out one is
 * none. n_ctx is 2 or more; rows_per_step is even for PAIRS. */
tern_status tern_feed_create(const tern_shard *shard, uint32_t n_ctx, uint32_t rows_per_step, uint64_t seed,
                             tern_feed **feed, tern_error *err);
/* A feed of the held-out documents alone. */
tern_status tern_feed_create_held_out(const tern_shard *shard, uint32_t n_ctx, tern_feed **feed, tern_error *err);
void tern_feed_free(tern_feed *feed);
tern_status tern_rows_create(uint32_t max_rows, uint32_t n_ctx, tern_rows *rows, tern_error *err);
void tern_rows_free(tern_rows *rows);
/* Rows [first, first + n) of a step, first + n <= rows_per_step, n <= rows->max_rows. */
tern_status tern_feed_rows(tern_feed *feed, uint64_t step, uint32_t first, uint32_t n, tern_rows *rows,
                           tern_error *err);
/* Steps in one pass over the split, rounded up. */
uint64_t tern_feed_steps_per_epoch(const tern_feed *feed);
/* Rows in one pass (PAIRS: two a pair), and documents that are left out for want of an answer within n_ctx. */
uint64_t tern_feed_rows_per_epoch(const tern_feed *feed);
uint64_t tern_feed_left_out(const tern_feed *feed);
uint64_t tern_feed_cut(const tern_feed *feed); /* CHAT, PAIRS: documents of which the end does not fit */

/* The held-out documents in order, n rows at a time from row `first`, fewer at the end; rows->batch.n_tokens 0: no
 * more. TEXT as `tern perplexity` cuts a text: the document without BOS and EOS in windows of n_ctx - 1 tokens, one a
 * row, each behind one BOS; so the sum of all losses is that of `tern perplexity -c n_ctx` over the documents one by
 * one, and divided by text_bytes it gives bits per byte. CHAT, PAIRS: one document a row, cut at n_ctx; pairs
 * of which one has no answer left are left out. */
tern_status tern_feed_held_out(tern_feed *feed, uint64_t first, uint32_t n, tern_rows *rows, tern_error *err);
/* The same of n_some rows that stand for all: of one file the first ones, of several they are spread evenly over all.
 */
tern_status tern_feed_held_out_some(tern_feed *feed, uint64_t n_some, uint64_t first, uint32_t n, tern_rows *rows,
                                    tern_error *err);
uint64_t tern_feed_held_out_rows(const tern_feed *feed); /* in all */

#endif
