/*
 * Exact search: all vectors are compared with the question's.
 *
 * What a model's mean hidden states mostly show is what all texts have in common; so the mean m of the vectors is taken
 * off both sides, and the score is the cosine of what is left: (q - m)(x - m) / (|q - m| |x - m|). With q' = q - m in
 * int8, that needs the integer dot products of q' with the stored vectors x and two floats a vector:
 * (q' x - q' m) * weight, weight = 1 / (|q'| |x - m|).
 */
#ifndef TERN_RAG_SEARCH_H
#define TERN_RAG_SEARCH_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct tern_index {
    size_t n, dims, ld; /* vectors, their values, and the same padded to TERN_DOT_UNIT: one stands behind the other */
    int8_t *bytes;      /* [n, ld] never -128, zeros behind dims; tern_aligned_alloc */
    float *scales;      /* [n] a value is byte * scale */
    float *weights;     /* [n] 1 / |x - m|, set by tern_index_centre() */
    float *centre;      /* [dims] m */
} tern_index;

/* Room for n vectors, zeros behind dims; scales to be filled. */
tern_status tern_index_create(size_t n, size_t dims, tern_index *index, tern_error *err);
void tern_index_free(tern_index *index);

/* Set m and the weights, from the vectors that are there. m is the mean of the vectors (of 4096 among more), shortened
 * by n / (n + 16): of a few texts, what they share is what they are about. */
tern_status tern_index_centre(tern_index *index, const tern_kernels *kernels, tern_pool *pool, tern_error *err);

typedef struct tern_match {
    float score;
    uint32_t row;
} tern_match;

/* The best k (at least 1) of the vectors for query [dims] -> matches [k], best first; of equal scores the lower row
 * wins. Returns how many there are: k or n. The same for every number of threads and on every CPU. */
tern_status tern_index_search(const tern_index *index, const tern_kernels *kernels, tern_pool *pool, const float *query,
                              size_t k, tern_match *matches, size_t *n_matches, tern_error *err);

/* The score of one row alone. */
tern_status tern_index_score(const tern_index *index, const tern_kernels *kernels, const float *query, size_t row,
                             float *score, tern_error *err);

/* How much the scores of some texts stand above those of any texts: twice the share of pairs in which one of `some` is
 * higher (of equal ones a half), less one, from -1 to 1; 0: not at all, or one of the two is empty. */
double tern_agreement(const float *some, size_t n_some, const float *any, size_t n_any);

#endif
