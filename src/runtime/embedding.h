/* Rows of the embedding, as every backend reads them. */
#ifndef TERN_RUNTIME_EMBEDDING_H
#define TERN_RUNTIME_EMBEDDING_H

#include "model/weights.h"

/* As stored. */
static inline size_t tern_embedding_row_bytes(const tern_weights *weights) {
    return (size_t)(weights->embedding->bytes / weights->embedding->rows);
}
/* The row of a valid id -> out [hidden_size]. scratch: tern_embedding_row_bytes(). */
void tern_embedding_row(const tern_weights *weights, int32_t id, uint8_t *scratch, float *out);

#endif
