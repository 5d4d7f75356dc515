/* The tokenizer that belongs to a model or a path. */
#ifndef TERN_MODEL_VOCAB_H
#define TERN_MODEL_VOCAB_H

#include "format/checkpoint.h"
#include "tokenizer/tokenizer.h"

/* From an open checkpoint: a GGUF's own arrays, or the folder's tokenizer.json, else its tokenizer.model. With the
 * chat template: the file's, except the "Human: ... BITNETAssistant: " one of the official GGUF, which is known to be
 * wrong and replaced by that of 2B4T (numerics.md section 7). */
tern_status tern_vocab_from_checkpoint(const tern_checkpoint *checkpoint, tern_tokenizer **tokenizer, tern_error *err);

/* The chat template to write into a file made of the checkpoint: its own, but for the wrong one (above); NULL: none. */
const char *tern_vocab_template(const tern_checkpoint *checkpoint);

/* From a path: a .gguf, a folder, a tokenizer.json or a tiktoken tokenizer.model. */
tern_status tern_vocab_from_path(const char *path, tern_tokenizer **tokenizer, tern_error *err);

#endif
