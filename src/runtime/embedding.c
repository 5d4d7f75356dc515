#include "runtime/embedding.h"

void tern_embedding_row(const tern_weights *weights, int32_t id, uint8_t *scratch, float *out) {
    const tern_tensor *embedding = weights->embedding;
    const tern_codec *codec = tern_codec_of(embedding->type);
    size_t row_bytes = tern_embedding_row_bytes(weights);
    tern_tensor row = {
        .type = embedding->type, .rows = 1, .cols = embedding->cols, .data = scratch, .bytes = row_bytes};
    /* read, not touched where it is mapped: each touch would make 64 KB or more around the row resident */
    if (tern_checkpoint_read(weights->checkpoint, embedding, (uint64_t)id * row_bytes, row_bytes, scratch))
        codec->decode_row(&row, 0, out);
    else
        codec->decode_row(embedding, (uint64_t)id, out);
}
