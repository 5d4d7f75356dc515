/* From texts to vectors: the mean of the model's hidden states, of length 1, in int8. */
#ifndef TERN_RAG_EMBED_H
#define TERN_RAG_EMBED_H

#include "base/status.h"
#include "kernels/kernels.h"

enum { TERN_RAG_MAX_DIMS = TERN_DOT_MAX };

typedef struct tern_embedder tern_embedder;

/* The model must outlive it. */
tern_status tern_embedder_create(tern_model *model, tern_embedder **embedder, tern_error *err);
void tern_embedder_free(tern_embedder *embedder);
uint32_t tern_embedder_dims(const tern_embedder *embedder);
/* What the model computes for a fixed text, as a number: the same on every machine (docs/ARCHITECTURE.md, the
 * bit-identity rule), another one for every other model. */
tern_status tern_embedder_fingerprint(tern_embedder *embedder, uint64_t *fingerprint, tern_error *err);

/* text [n_bytes], not empty; of more than the context holds, the beginning -> bytes [dims], never -128; a value is
 * byte * *scale. */
tern_status tern_embedder_run(tern_embedder *embedder, const char *text, size_t n_bytes, int8_t *bytes, float *scale,
                              tern_error *err);

/* The same vector before it was rounded: [dims], belongs to the embedder, valid until its next call. */
const float *tern_embedder_vector(const tern_embedder *embedder);
const tern_kernels *tern_embedder_kernels(const tern_embedder *embedder);

/* text [n_bytes] -> *ends [*n]: where each of its tokens ends; free(). */
tern_status tern_embedder_token_ends(const tern_embedder *embedder, const char *text, size_t n_bytes, size_t **ends,
                                     size_t *n, tern_error *err);

#endif
