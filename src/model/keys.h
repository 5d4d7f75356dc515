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

#endif
