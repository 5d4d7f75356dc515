#include "runtime/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void tern_candidates_free(tern_candidates *candidates) {
    free(candidates->ids);
    free(candidates->logits);
    *candidates = (tern_candidates){0};
}

bool tern_candidates_reserve(tern_candidates *candidates, size_t n) {
    size_t capacity = candidates->capacity;
    if (!tern_grow_array((void **)&candidates->ids, &capacity, n, sizeof *candidates->ids))
        return false;
    if (!tern_grow_array((void **)&candidates->logits, &candidates->capacity, n, sizeof *candidates->logits))
        return false;
    return true;
}

double tern_gumbel(uint64_t seed, uint64_t counter, uint32_t id) {
    uint64_t z = seed ^ (counter * 0x9e3779b97f4a7c15u + id) * 0xd1342543de82ef95u;
    for (int round = 0; round < 2; round++) { /* the finaliser of SplitMix64 (Steele et al. 2014), twice */
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    double u = ((double)(z >> 12) + 0.5) * 0x1p-52; /* in (0, 1) */
    return -log(-log(u));
}

/* ------------------------------------------------------- from all logits */

typedef struct ranked {
    double score;
    int32_t id;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static double score_of(const tern_head_query *query, float logit, size_t id) {
    return query->want == TERN_HEAD_GUMBEL
               ? (double)logit / query->temperature + tern_gumbel(query->seed, query->counter, (uint32_t)id)
               : (double)logit;
}

/* keep [vocab_size]: set to 1 for the wanted rows; forced ones are 1 already. */
static void mark_wanted(const tern_head_query *query, const float *logits, size_t vocab_size, ranked *rows,
                        uint8_t *keep) {
    size_t n = 0;
    for (size_t i = 0; i < vocab_size; i++)
        if (!keep[i])
            rows[n++] = (ranked){score_of(query, logits[i], i), (int32_t)i};
    qsort(rows, n, sizeof *rows, by_score);
    size_t top = query->want == TERN_HEAD_TOP ? query->top_k : query->want == TERN_HEAD_GUMBEL ? 1 : n;
    for (size_t i = 0; i < n && i < top; i++)
        if (query->want != TERN_HEAD_NEAR || rows[i].score >= rows[0].score - (double)query->margin)
            keep[rows[i].id] = 1;
}

tern_status tern_candidates_from_logits(const tern_head_query *query, const float *logits, size_t vocab_size,
                                        tern_candidates *out, tern_error *err) {
    uint8_t *keep = calloc(vocab_size, 1);
    ranked *rows = tern_alloc_array(vocab_size, sizeof *rows);
    bool ok = keep && rows && tern_candidates_reserve(out, vocab_size), nan = false;
    for (size_t i = 0; i < vocab_size; i++)
        nan |= isnan(logits[i]) != 0;
    if (ok && (nan || query->want == TERN_HEAD_ALL)) {
        memset(keep, 1, vocab_size);
    } else if (ok) {
        for (size_t i = 0; i < query->n_forced; i++)
            keep[query->forced[i]] = 1;
        mark_wanted(query, logits, vocab_size, rows, keep);
    }
    out->n = 0;
    for (size_t i = 0; ok && i < vocab_size; i++)
        if (keep[i]) {
            out->ids[out->n] = (int32_t)i;
            out->logits[out->n++] = logits[i];
        }
    free(keep);
    free(rows);
    return ok ? TERN_OK : tern_fail_memory(err, "the candidates");
}
