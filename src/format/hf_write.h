/* The JSON files of a Hugging Face folder that holds a BitNet model, as those of BitNet b1.58 2B4T have it. */
#ifndef TERN_FORMAT_HF_WRITE_H
#define TERN_FORMAT_HF_WRITE_H

#include "base/str.h"

typedef enum tern_hf_weights {
    TERN_HF_FLOATS,  /* of a model without ternary matrices */
    TERN_HF_MASTERS, /* floats from which readers make the ternary ones */
    TERN_HF_PACKED,  /* ternary, four to a byte; weight_scale multiplies ("autobitlinear") */
} tern_hf_weights;

/* What such a folder says of its model. */
typedef struct tern_hf_card {
    uint32_t vocab_size, n_ctx, hidden_size, ffn_size, n_layers, n_heads, n_kv_heads, head_dim;
    float rms_eps, rope_theta;
    bool tied;
    tern_hf_weights weights;
    const char *dtype;              /* "bfloat16": what transformers loads the floats as */
    int32_t bos_id, eos_id, eot_id; /* -1: none */
    tern_view bos, eos;             /* their texts; bytes NULL: none */
    const char *chat_template;      /* NULL: none */
} tern_hf_card;

tern_status tern_hf_write_config(const char *folder, const tern_hf_card *card, tern_error *err);
tern_status tern_hf_write_generation_config(const char *folder, const tern_hf_card *card, tern_error *err);
tern_status tern_hf_write_tokenizer_config(const char *folder, const tern_hf_card *card, tern_error *err);

/* The config.json of another folder with nothing changed but what it says of weights and dtype: those of a packed
 * model. */
tern_status tern_hf_write_packed_config(const char *from, const char *folder, const char *dtype, tern_error *err);

#endif
