/* The texts of a pre-training run: shards of one or two stages, and what all of them hold out. */
#ifndef TERN_TRAIN_PRETRAIN_DATA_H
#define TERN_TRAIN_PRETRAIN_DATA_H

#include "train/config.h"
#include "train/data.h"

typedef struct tern_text_data {
    tern_shard **files; /* [n_files], each path once */
    const char **paths; /* [n_files], the configuration's */
    size_t n_files;
    tern_shard *stages[2], *held_out; /* joined of them; stages[1] NULL: the same texts all the way */
    tern_feed *feeds[2], *held_out_feed;
    uint64_t switch_step; /* of which feeds[1] gives the first rows; UINT64_MAX: none */
    uint64_t hash;        /* of all that the run's numbers depend on; of one file that file's */
} tern_text_data;

/* The configuration's data and data_stage2, which must be of text, one vocabulary and one tokenizer. The configuration
 * must outlive it. Free it, failed or not. */
tern_status tern_text_data_open(const tern_train_config *config, tern_text_data *data, tern_error *err);
/* The feeds, when the configuration is complete. */
tern_status tern_text_data_feed(const tern_train_config *config, tern_text_data *data, tern_error *err);
void tern_text_data_free(tern_text_data *data);
/* Rows [first, first + n) of a step of the run, by its stage's feed. */
tern_status tern_text_data_rows(const tern_text_data *data, uint64_t step, uint32_t first, uint32_t n, tern_rows *rows,
                                tern_error *err);

#endif
