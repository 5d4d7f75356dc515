/* What the files of tern_convert() share. */
#ifndef TERN_MODEL_CONVERT_PARTS_H
#define TERN_MODEL_CONVERT_PARTS_H

#include "format/gguf_write.h"
#include "model/layout.h"

/* The keys of the new file: all of a GGUF's as they are, or those that the official file has from a Hugging Face
 * folder's configuration and tokenizer; then tern's own, or for matrices of a type of other programs (`matrices`, else
 * NULL) the one that says which. `model_name`: general.name, or NULL: as it is. */
tern_status tern_convert_keys(const tern_checkpoint *checkpoint, const tern_weights *weights, const char *model_name,
                              const char *packing, const tern_codec *matrices, tern_gguf_writer *writer,
                              tern_error *err);

#endif
