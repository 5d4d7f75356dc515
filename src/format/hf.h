/* Hugging Face folders from inside the room: config.json, safetensors files, and putting them together. */
#ifndef TERN_FORMAT_HF_H
#define TERN_FORMAT_HF_H

#include <jansson.h>

#include "format/store.h"

enum {
    TERN_MAX_CONFIG_BYTES = 1 << 20,
    /* A header of a real model takes about 130 bytes a tensor; JSON in memory takes some twenty times its text. */
    TERN_MAX_HEADER_BYTES = 4 << 20,
};

typedef enum tern_linear_class {
    TERN_LINEAR_UNSAID = 0,
    TERN_LINEAR_AUTOBITLINEAR, /* weight_scale multiplies */
    TERN_LINEAR_BITLINEAR,     /* weight_scale divides (numerics.md section 4d) */
} tern_linear_class;

/* Parse text [n_bytes] whose outermost value must be an object; duplicate keys are an error. `flags`:
 * more of jansson's decoding flags. `what` names it in messages. To be freed with json_decref(). */
tern_status tern_json_object(const char *what, const char *text, size_t n_bytes, size_t flags, json_t **object,
                             tern_error *err);

/* config.json -> store->checkpoint.config, metadata lines, *linear_class. */
tern_status tern_hf_read_config(tern_store *store, const char *text, size_t n_bytes, tern_linear_class *linear_class,
                                tern_error *err);
/* The ids that config.json left out, from generation_config.json. */
tern_status tern_hf_read_generation_config(tern_store *store, const char *text, size_t n_bytes, tern_error *err);
/* tokenizer_config.json: the chat template, if the store has none yet. */
tern_status tern_hf_read_chat_template(tern_store *store, const char *text, size_t n_bytes, tern_error *err);

/* One safetensors file: its tensors are added to the store, in the order of their data, and its __metadata__. */
tern_status tern_safetensors_read(tern_store *store, const uint8_t *bytes, size_t n_bytes, tern_error *err);
/* When all files are read: pair packed weights with their scales, name the format and seal the store. */
tern_status tern_hf_assemble(tern_store *store, tern_linear_class linear_class, tern_error *err);

#endif
