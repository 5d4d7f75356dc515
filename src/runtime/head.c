#include "runtime/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/select.h"

enum { NOISE_BLOCK = 512 };

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

/* ------------------------------------------------------- from all logits */

/* What each want does: keep[i] = 1 for its rows; those of forced ids are 1 already. False: out of memory. */
typedef bool (*mark_fn)(const tern_head_query *query, const float *logits, size_t n, uint8_t *keep);

static bool mark_all(const tern_head_query *query, const float *logits, size_t n, uint8_t *keep) {
    (void)query, (void)logits;
    memset(keep, 1, n);
    return true;
}

static bool mark_none(const tern_head_query *query, const float *logits, size_t n, uint8_t *keep) {
    (void)query, (void)logits, (void)n, (void)keep;
    return true;
}

/* As many more as there are forced rows, which may be among the best: then enough others are there without them. */
static bool mark_top(const tern_head_query *query, const float *logits, size_t n, uint8_t *keep) {
    size_t k = (size_t)query->top_k + query->n_forced;
    if (k >= n)
        return mark_all(query, logits, n, keep);
    uint64_t *places = tern_alloc_array(n, sizeof *places);
    if (places && k)
        tern_select_top(logits, n, k, places);
    for (size_t i = 0; places && i < k; i++)
        keep[places[i]] = 1;
    free(places);
    return places != NULL;
}

static bool mark_near(const tern_head_query *query, const float *logits, size_t n, uint8_t *keep) {
    float largest = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (!keep[i] && logits[i] > largest)
            largest = logits[i];
    for (size_t i = 0; i < n; i++)
        keep[i] |= (double)logits[i] >= (double)largest - (double)query->margin;
    return true;
}

static bool mark_gumbel(const tern_head_query *query, const float *logits, size_t n, uint8_t *keep) {
    float noise[NOISE_BLOCK];
    double best = -INFINITY;
    size_t best_row = n;
    for (size_t i = 0; i < n; i++) {
        if (i % NOISE_BLOCK == 0)
            tern_gumbel_rows(query->seed, query->counter, (uint32_t)i, n - i < NOISE_BLOCK ? n - i : NOISE_BLOCK,
                             noise);
        double score = (double)logits[i] / query->temperature + (double)noise[i % NOISE_BLOCK];
        if (!keep[i] && (best_row == n || score > best)) {
            best = score;
            best_row = i;
        }
    }
    if (best_row < n)
        keep[best_row] = 1;
    return true;
}

tern_status tern_candidates_from_logits(const tern_head_query *query, const float *logits, size_t vocab_size,
                                        tern_candidates *out, tern_error *err) {
    static const mark_fn marks[] = {[TERN_HEAD_ALL] = mark_all,
                                    [TERN_HEAD_TOP] = mark_top,
                                    [TERN_HEAD_NEAR] = mark_near,
                                    [TERN_HEAD_GUMBEL] = mark_gumbel,
                                    [TERN_HEAD_FORCED] = mark_none};
    uint8_t *keep = tern_calloc_array(vocab_size, 1);
    size_t n = 0, n_nan = 0;
    for (size_t i = 0; i < vocab_size; i++)
        n_nan += isnan(logits[i]) != 0;
    for (size_t i = 0; keep && i < query->n_forced; i++)
        keep[query->forced[i]] = 1;
    bool ok = keep && (n_nan ? mark_all : marks[query->want])(query, logits, vocab_size, keep);
    for (size_t i = 0; ok && i < vocab_size; i++)
        n += keep[i];
    out->n = 0;
    ok = ok && tern_candidates_reserve(out, n);
    for (size_t i = 0; ok && i < vocab_size; i++)
        if (keep[i]) {
            out->ids[out->n] = (int32_t)i;
            out->logits[out->n++] = logits[i];
        }
    free(keep);
    return ok ? TERN_OK : tern_fail_memory(err, "the candidates");
}
