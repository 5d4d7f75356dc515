/* The keys of a GGUF that describe a model of ours: what every writer of one puts. */
#ifndef TERN_MODEL_KEYS_H
#define TERN_MODEL_KEYS_H

#include "format/gguf_write.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

/* general.architecture, general.name and the dimensions, as the official file has them. */
void tern_keys_put_model(tern_gguf_writer *writer, const char *name, const tern_dims *dims);
/* The tokenizer.* keys. Ids from the tokenizer's last one up to vocab_size are named as unused ones (0: none are
 * added); a tokenizer with more tokens than that is an error. chat_template NULL: none is put. */
tern_status tern_keys_put_vocab(tern_gguf_writer *writer, const tern_tokenizer *tokenizer, uint32_t vocab_size,
                                const char *chat_template, tern_error *err);

/* The value of a key that a GGUF has as an u32; else 0. */
uint32_t tern_keys_find_u32(const tern_checkpoint *checkpoint, const char *name);

/* The types that tern writes, by name (any case; NULL: there is none), for the BitLinear matrices ... */
const tern_codec *tern_keys_weight_type(const char *name);
/* ... and for embedding and head. */
const tern_codec *tern_keys_embedding_type(const char *name);
/* "I2_S, TQ1_0, ...": what the above know. */
extern const char tern_keys_weight_types[], tern_keys_embedding_types[];
/* What the rows of a matrix of this type must be a multiple of, in values. */
uint32_t tern_keys_row_multiple(const tern_codec *codec);
/* general.file_type, of llama.cpp's files: goes by the type of the matrices. */
void tern_keys_put_file_type(tern_gguf_writer *writer, const tern_codec *weights);

#endif
