#include "train/config_keys.h"

#define AT(field) offsetof(tern_train_config, field)
#define WHOLE(name, type, field, min, max, help)                                                                       \
    { name, KEY_##type, AT(field), min, max, NULL, false, help }
#define REAL(name, type, field, min, max, help)                                                                        \
    { name, KEY_##type, AT(field), min, max, NULL, false, help }
#define FREE_WHOLE(name, field, max, help)                                                                             \
    { name, KEY_U64, AT(field), 0, max, NULL, true, help }
#define SAMPLE_TEXT(name, field, help)                                                                                 \
    { name, KEY_TEXT, AT(field), 0, 0, NULL, true, help }
#define FREE_PATH(name, kind, field, help)                                                                             \
    { name, KEY_##kind, AT(field), 0, 0, NULL, true, help }

static const char *const weight_modes[] = {"ternary", "binary", "float", NULL};
static const char *const decay_shapes[] = {"linear", "cosine", NULL};

_Static_assert(sizeof(tern_weight_mode) == sizeof(int) && sizeof(tern_decay_shape) == sizeof(int),
               "choices are stored as int");

const config_key tern_config_keys[] = {
    FREE_PATH("data", PATHS, data, "shards, made by `tern train data`"),
    FREE_PATH("data_stage2", PATHS, data_stage2, "shards of stage 2; none: those of `data` all the way"),
    FREE_PATH("tokenizer", PATH, tokenizer, "the tokenizer.json that the shards were made with"),
    FREE_PATH("out", PATH, out, "folder of the run: state, log and, at the end, the model"),

    WHOLE("layers", U32, dims.n_layers, 1, 512, "blocks of the model"),
    WHOLE("hidden", U32, dims.hidden_size, 128, 32768, "width of the residual stream, a multiple of 128"),
    WHOLE("ffn", U32, dims.ffn_size, 128, 131072, "width inside the feed-forward part, a multiple of 128"),
    WHOLE("heads", U32, dims.n_heads, 1, 1024, "query heads"),
    WHOLE("kv_heads", U32, dims.n_kv_heads, 1, 1024, "key/value heads; they divide `heads`"),
    WHOLE("vocab", U32, dims.vocab_size, 0, 1 << 20, "tokens of the vocabulary; 0: as the data has"),
    WHOLE("context", U32, dims.n_ctx, 8, 1 << 17, "tokens of a sequence"),
    REAL("rope_theta", F32, dims.rope_theta, 1, 1e9, "base of the rotary angles"),
    REAL("norm_eps", F32, dims.rms_eps, 1e-12, 0.1, "what RMSNorm adds to the mean square"),
    {"weights", KEY_CHOICE, AT(weights), 0, 0, weight_modes, false, "of the matrices in the forward pass"},
    WHOLE("fp_steps", U64, fp_steps, 0, 1e15, "steps at the beginning that run in full precision"),

    WHOLE("batch", U32, batch, 1, 1 << 20, "sequences of an optimiser step, over all processes"),
    WHOLE("micro_batch", U32, micro, 0, 1 << 20, "sequences at a time; 0: some 4096 tokens"),
    WHOLE("seed", U64, seed, 0, 9e15, "of the first weights and the order of the data"),
    WHOLE("steps", U64, schedule.n_steps, 1, 1e15, "optimiser steps"),
    WHOLE("warmup_steps", U64, schedule.warmup_steps, 0, 1e15, "steps over which the rate rises from 0"),
    REAL("lr", F32, schedule.lr[0], 0, 1, "peak learning rate of stage 1"),
    REAL("lr_stage2", F32, schedule.lr[1], 0, 1, "and of stage 2, of the same curve"),
    REAL("weight_decay", F32, schedule.weight_decay[0], 0, 10, "of stage 1, of matrices only"),
    REAL("weight_decay_stage2", F32, schedule.weight_decay[1], 0, 10, "of stage 2"),
    REAL("stage2_at", F64, schedule.switch_at, 0, 1, "share of the steps before stage 2; 1: none"),
    {"decay", KEY_CHOICE, AT(schedule.shape), 0, 0, decay_shapes, false, "how the learning rate falls over the run"},
    {"weight_decay_cosine", KEY_BOOL, AT(schedule.decay_follows), 0, 0, NULL, false,
     "stage 1's weight decay falls to 0 by a cosine"},
    REAL("final_lr", F32, schedule.final_fraction, 0, 1, "share of the peak that is left at the end"),
    REAL("beta1", F32, adam.beta1, 0, 0.99999, "AdamW: decay of the mean gradient"),
    REAL("beta2", F32, adam.beta2, 0, 0.9999999, "AdamW: decay of the mean square"),
    REAL("adam_eps", F32, adam.eps, 1e-15, 1, "AdamW: added to the root of the mean square"),
    REAL("clip", F32, adam.clip, 0, 1e9, "largest norm of the whole gradient; 0: any"),
    REAL("z_loss", F32, z_loss, 0, 1, "times the squared log of the softmax's sum, added to the loss"),
    {"recompute", KEY_BOOL, AT(recompute), 0, 0, NULL, true,
     "keep only each layer's input and run its forward pass again: less memory, a third more time"},

    FREE_WHOLE("eval_every", eval_every, 1e15, "steps between validations; 0: only at the end"),
    FREE_WHOLE("eval_tokens", eval_tokens, 1e15, "held-out tokens of a validation; 0: all. At the end always all"),
    FREE_WHOLE("save_every", save_every, 1e15, "steps between saved states; 0: only at the end"),
    FREE_WHOLE("sample_every", sample_every, 1e15, "steps between samples of text; 0: none"),
    SAMPLE_TEXT("sample_prompt", sample_prompt, "how a sample begins"),
    {0},
};

/* 7.3 M parameters for a CPU, 12.8 M; both fit the 256-element blocks of TQ1_0, TQ2_0 and Q6_K. */
const config_shape tern_config_shapes[] = {
    {"tern-tiny",
     {.n_layers = 8,
      .hidden_size = 256,
      .ffn_size = 768,
      .n_heads = 4,
      .n_kv_heads = 2,
      .n_ctx = 512,
      .head_dim = 64,
      .rope_theta = 10000,
      .rms_eps = 1e-5f}},
    {"tern-small",
     {.n_layers = 12,
      .hidden_size = 256,
      .ffn_size = 1024,
      .n_heads = 4,
      .n_kv_heads = 2,
      .n_ctx = 512,
      .head_dim = 64,
      .rope_theta = 10000,
      .rms_eps = 1e-5f}},
    {"2b4t",
     {.n_layers = 30,
      .hidden_size = 2560,
      .ffn_size = 6912,
      .n_heads = 20,
      .n_kv_heads = 5,
      .n_ctx = 4096,
      .head_dim = 128,
      .rope_theta = 500000,
      .rms_eps = 1e-5f}},
    {0},
};
