/* What tune.c (the run) and tune_model.c (the model's files) share. */
#ifndef TERN_TRAIN_TUNE_PARTS_H
#define TERN_TRAIN_TUNE_PARTS_H

#include "train/merge.h"
#include "train/tune.h"

struct tern_sft;
struct tern_dpo;

/* Of the run that this one goes on with; all 0: none. */
typedef struct tune_earlier {
    uint32_t micro, recompute, n_ctx, batch;
} tune_earlier;

typedef struct tune {
    const tern_tune_params *p;
    /* the model that it begins with: a checkpoint, or a run's state */
    tern_checkpoint *checkpoint;
    tern_state_file state;
    bool from_state;
    tern_dims dims;        /* the model's; config.dims.n_ctx is that of the run */
    tern_weight_mode mode; /* of the net, and so of what is exported */
    char *tokenizer;       /* tokenizer.json; owned; NULL: none is needed */
    char *chat_template;   /* of what a run had exported; owned; NULL: none */
    uint64_t base_bytes;   /* LORA: of the frozen weights in memory */
    tern_weights weights;  /* LORA: the frozen base */
    tern_params params;    /* else: masters */
    /* the run */
    tern_shard **parts; /* [p->n_shards] */
    tern_shard *shard;  /* all of them */
    tern_comm *comm;
    tern_pool *pool;
    tern_train_config config;
    tune_earlier earlier;
    bool micro_is_set; /* config.micro must stay as it is */
    uint32_t rank;
    float alpha;
    unsigned targets;
    tern_lora lora;
    tern_merge merge;
    tern_net *net;
    struct tern_sft *sft; /* one of the two */
    struct tern_dpo *dpo;
} tune;

void tern_tune_warn(const tune *t, const char *message); /* on rank 0 */
/* Open the model without loading it: checkpoint or state, dims, mode, base_bytes. */
tern_status tern_tune_open(tune *t, tern_error *err);
/* t->tokenizer; an error if the export will need one and there is none, or if the shard was made with another one. */
tern_status tern_tune_find_tokenizer(tune *t, tern_error *err);
/* t->params or t->weights. */
tern_status tern_tune_load(tune *t, tern_error *err);
/* Whether what it leaves could be put into its folder: asked before it begins. */
tern_status tern_tune_check_places(const tune *t, tern_error *err);
/* What was trained, to the files of the run's folder. */
tern_status tern_tune_export(tune *t, tern_error *err);
/* What was trained so far, to files for p->on_sample, which go afterwards. */
tern_status tern_tune_sample_now(tune *t, uint64_t step, tern_error *err);
void tern_tune_close(tune *t);

#endif
