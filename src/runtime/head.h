/*
 * The LM head as samplers use it: few logits matter, and those must be exact.
 *
 * A sampler states what it needs as a query; the answer is a list of candidates, ids with their exact logits (the
 * bits that the full head gives), that holds at least every row the query asks for. It may hold more. A backend may
 * screen the rows with a smaller copy of the head (runtime/cpu_head.c), as long as no wanted row can be missing.
 */
#ifndef TERN_RUNTIME_HEAD_H
#define TERN_RUNTIME_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum tern_head_want {
    TERN_HEAD_ALL,    /* every row */
    TERN_HEAD_TOP,    /* the top_k rows with the largest logits, the lower id first among equals */
    TERN_HEAD_NEAR,   /* rows with logit >= largest - margin */
    TERN_HEAD_GUMBEL, /* the row with the largest logit / temperature + tern_gumbel(seed, counter, id) */
    TERN_HEAD_FORCED, /* no row but the forced ones */
} tern_head_want;

/* Forced rows take no part in the ranking (as if they were not in the vocabulary) but are always answered: rows that
 * penalties or a bias will change. */
typedef struct tern_head_query {
    tern_head_want want;
    uint32_t top_k;
    float margin;           /* >= 0 */
    double temperature;     /* > 0 */
    uint64_t seed, counter; /* of the noise */
    const int32_t *forced;  /* [n_forced] distinct valid ids, in any order */
    size_t n_forced;
} tern_head_query;

/* Zero-initialised is empty; freed with tern_candidates_free. */
typedef struct tern_candidates {
    int32_t *ids;  /* [n] ascending */
    float *logits; /* [n] */
    size_t n, capacity;
} tern_candidates;

void tern_candidates_free(tern_candidates *candidates);
/* Room for n; what is there stays. False: out of memory. */
bool tern_candidates_reserve(tern_candidates *candidates, size_t n);

/* The same from all logits [vocab_size]: the reference that screens are tested against, and the way when nothing is
 * screened. A NaN among the logits makes every row a candidate, so that the sampler can refuse it. */
tern_status tern_candidates_from_logits(const tern_head_query *query, const float *logits, size_t vocab_size,
                                        tern_candidates *out, tern_error *err);

/* Standard Gumbel noise of one row at one draw (Gumbel 1954; sampling by the largest of logit / T + noise is exact
 * softmax sampling), from a counter-based generator: any row at any time, in any order; the same bits on every
 * platform. Finite, between -3.8 and 45. */
double tern_gumbel(uint64_t seed, uint64_t counter, uint32_t id);
/* The same for rows [first, first + n) -> out [n], several times as fast. */
void tern_gumbel_rows(uint64_t seed, uint64_t counter, uint32_t first, size_t n, float *out);

#endif
