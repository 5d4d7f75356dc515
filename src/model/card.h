/* What a Hugging Face folder says of a model. */
#ifndef TERN_MODEL_CARD_H
#define TERN_MODEL_CARD_H

#include "format/hf_write.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

/* Sizes and special tokens. Whether head and embedding are tied, the kind of weights, their type and the chat template
 * are the caller's to add. bos and eos point into the tokenizer. */
tern_hf_card tern_card_of(const tern_dims *dims, const tern_tokenizer *tokenizer);

#endif
