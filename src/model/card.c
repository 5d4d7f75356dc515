#include "model/card.h"

tern_hf_card tern_card_of(const tern_dims *dims, const tern_tokenizer *tokenizer) {
    tern_hf_card card = {.vocab_size = dims->vocab_size,
                         .n_ctx = dims->n_ctx,
                         .hidden_size = dims->hidden_size,
                         .ffn_size = dims->ffn_size,
                         .n_layers = dims->n_layers,
                         .n_heads = dims->n_heads,
                         .n_kv_heads = dims->n_kv_heads,
                         .head_dim = dims->head_dim,
                         .rms_eps = dims->rms_eps,
                         .rope_theta = dims->rope_theta,
                         .bos_id = tern_tokenizer_bos(tokenizer),
                         .eos_id = tern_tokenizer_eos(tokenizer),
                         .eot_id = tern_tokenizer_find_special(tokenizer, "<|eot_id|>")};
    if (card.bos_id >= 0)
        card.bos.bytes = tern_tokenizer_token(tokenizer, card.bos_id, &card.bos.size);
    if (card.eos_id >= 0)
        card.eos.bytes = tern_tokenizer_token(tokenizer, card.eos_id, &card.eos.size);
    return card;
}
