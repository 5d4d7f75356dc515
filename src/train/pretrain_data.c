#include "train/pretrain_data.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "train/shard_layout.h"

/* A text that is named twice is opened once. */
static tern_status open_file(tern_text_data *data, const char *path, tern_shard **shard, tern_error *err) {
    for (size_t i = 0; i < data->n_files; i++)
        if (strcmp(data->paths[i], path) == 0) {
            *shard = data->files[i];
            return TERN_OK;
        }
    tern_status status = tern_shard_open(path, shard, err);
    if (status)
        return status;
    data->paths[data->n_files] = path;
    data->files[data->n_files++] = *shard;
    if (tern_shard_describe(*shard)->kind != TERN_SHARD_TEXT)
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: holds conversations; pre-training wants text (tern train data)",
                           path);
    return status;
}

static tern_status open_stage(tern_text_data *data, const tern_paths *paths, tern_shard **stage, tern_error *err) {
    tern_shard **parts = tern_alloc_array(paths->n, sizeof *parts);
    tern_status status = parts ? TERN_OK : tern_fail_memory(err, "the list of shards");
    for (size_t i = 0; !status && i < paths->n; i++)
        status = open_file(data, paths->list[i], &parts[i], err);
    if (!status)
        status = tern_shard_join(parts, paths->n, stage, err);
    free(parts);
    return status;
}

/* What any of the files holds out, copies of a file once: a text of both stages is measured once, and the text that is
 * measured is the same in both. */
static tern_status join_held_out(tern_text_data *data, tern_error *err) {
    tern_shard **parts = tern_alloc_array(data->n_files, sizeof *parts);
    size_t n = 0;
    if (!parts)
        return tern_fail_memory(err, "the list of shards");
    for (size_t i = 0; i < data->n_files; i++) {
        bool known = false;
        const tern_shard_info *is = tern_shard_describe(data->files[i]);
        for (size_t k = 0; k < n; k++) {
            const tern_shard_info *has = tern_shard_describe(parts[k]);
            known |= has->hash == is->hash && has->tokenizer_hash == is->tokenizer_hash;
        }
        if (!known)
            parts[n++] = data->files[i];
    }
    tern_status status = tern_shard_join(parts, n, &data->held_out, err);
    free(parts);
    return status;
}

static uint64_t hash_of_both(const tern_shard *const stages[2]) {
    uint8_t bytes[16];
    for (int i = 0; i < 2; i++)
        tern_shard_put(bytes + 8 * i, tern_shard_describe(stages[i])->hash, 8);
    return tern_hash_bytes(bytes, sizeof bytes);
}

tern_status tern_text_data_open(const tern_train_config *config, tern_text_data *data, tern_error *err) {
    size_t most = config->data.n + config->data_stage2.n;
    *data = (tern_text_data){.files = tern_alloc_array(most, sizeof *data->files),
                             .paths = tern_alloc_array(most, sizeof *data->paths),
                             .switch_step = UINT64_MAX};
    if (!data->files || !data->paths)
        return tern_fail_memory(err, "the list of shards");
    tern_status status = open_stage(data, &config->data, &data->stages[0], err);
    if (!status && config->data_stage2.n)
        status = open_stage(data, &config->data_stage2, &data->stages[1], err);
    if (!status)
        status = join_held_out(data, err); /* which also says whether the stages are alike */
    if (status)
        return status;
    data->hash = tern_shard_describe(data->stages[0])->hash;
    if (data->stages[1])
        data->hash = hash_of_both((const tern_shard *const[]){data->stages[0], data->stages[1]});
    return TERN_OK;
}

tern_status tern_text_data_feed(const tern_train_config *config, tern_text_data *data, tern_error *err) {
    /* a seed for each stage: where both have the same texts, their orders have nothing in common */
    const uint64_t seeds[2] = {config->seed, config->seed ^ (uint64_t)1 << 63};
    tern_status status = TERN_OK;
    for (int i = 0; !status && i < 2 && data->stages[i]; i++)
        status = tern_feed_create(data->stages[i], config->dims.n_ctx, config->batch, seeds[i], &data->feeds[i], err);
    if (data->stages[1])
        data->switch_step = tern_schedule_switch(&config->schedule);
    return status ? status : tern_feed_create_held_out(data->held_out, config->dims.n_ctx, &data->held_out_feed, err);
}

tern_status tern_text_data_rows(const tern_text_data *data, uint64_t step, uint32_t first, uint32_t n, tern_rows *rows,
                                tern_error *err) {
    bool second = step >= data->switch_step;
    return tern_feed_rows(data->feeds[second], second ? step - data->switch_step : step, first, n, rows, err);
}

void tern_text_data_free(tern_text_data *data) {
    tern_feed_free(data->held_out_feed);
    tern_shard_close(data->held_out);
    for (int i = 0; i < 2; i++) {
        tern_feed_free(data->feeds[i]);
        tern_shard_close(data->stages[i]);
    }
    for (size_t i = 0; i < data->n_files; i++)
        tern_shard_close(data->files[i]);
    free(data->files);
    free(data->paths);
    *data = (tern_text_data){0};
}
