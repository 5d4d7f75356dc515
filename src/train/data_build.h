/* Texts and conversations to a shard: read, checked, tokenised on all threads and written, in the order of the input,
 * with memory for a few blocks only. */
#ifndef TERN_TRAIN_DATA_BUILD_H
#define TERN_TRAIN_DATA_BUILD_H

#include "train/shard_set.h"

typedef struct tern_data_params {
    tern_shard_kind kind;
    const char *const *texts; /* [n_texts] paths. CHAT, PAIRS: JSON lines; TEXT: those too where the name says .jsonl */
    size_t n_texts;
    const tern_tokenizer *tokenizer;
    uint64_t tokenizer_hash;
    const char *separator;             /* between documents of plain text; "": each file is one; NULL: <|endoftext|> */
    double held_out;                   /* this share of the documents, chosen by a hash of the document */
    const char *const *held_out_files; /* [n_held_out_files]: all of these, and excluded from training */
    size_t n_held_out_files;
    const char *const
        *excluded; /* [n_excluded]: documents that share 13 words in a row with one of these are dropped */
    size_t n_excluded;
    uint64_t shard_bytes;      /* 0: one shard; else several (train/shard_set.h) of at most so many bytes */
    int n_threads;             /* 0: all CPUs */
    tern_progress_fn progress; /* of bytes; may be NULL */
    void *progress_user;
    tern_shard_fn on_shard; /* a shard is in its place; may be NULL */
    void *on_shard_user;
} tern_data_params;

typedef struct tern_data_report {
    tern_shard_info info;
    uint64_t n_read;      /* documents, conversations or pairs that were read for training */
    uint64_t n_excluded;  /* of them dropped for what they share with an excluded text */
    uint64_t n_no_answer; /* of them dropped since there is nothing to learn in them */
    size_t n_shards;
    double seconds;
} tern_data_report;

/* `path` is replaced whole or not at all; of several shards none is put in its place before all are made. `report` may
 * be NULL. */
tern_status tern_data_build(const tern_data_params *params, const char *path, tern_data_report *report,
                            tern_error *err);

#endif
