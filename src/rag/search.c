#include "rag/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { TASK_ROWS = 256, CENTRE_SAMPLES = 4096, CENTRE_PRIOR = 16 };

tern_status tern_index_create(size_t n, size_t dims, tern_index *index, tern_error *err) {
    size_t ld = (dims + TERN_DOT_UNIT - 1) / TERN_DOT_UNIT * TERN_DOT_UNIT, bytes;
    *index = (tern_index){.n = n, .dims = dims, .ld = ld};
    if (n <= UINT32_MAX && tern_mul_size(n, ld, &bytes)) {
        index->bytes = tern_aligned_alloc(bytes ? bytes : 1);
        index->scales = tern_calloc_array(n + 1, sizeof *index->scales);
        index->weights = tern_calloc_array(n + 1, sizeof *index->weights);
        index->centre = tern_calloc_array(dims, sizeof *index->centre);
    }
    if (!index->bytes || !index->scales || !index->weights || !index->centre) {
        tern_index_free(index);
        return tern_fail_memory(err, "the vectors");
    }
    for (size_t i = 0; i < n && ld > dims; i++)
        memset(index->bytes + i * ld + dims, 0, ld - dims);
    return TERN_OK;
}

void tern_index_free(tern_index *index) {
    tern_aligned_free(index->bytes);
    free(index->scales);
    free(index->weights);
    free(index->centre);
    *index = (tern_index){0};
}

/* ---- one pass over the vectors ---- */

typedef struct heap {
    tern_match *matches; /* [k] the worst one on top */
    size_t n;
} heap;

typedef struct pass {
    const tern_index *index;
    const tern_kernels *kernels;
    const int8_t *query; /* [ld] */
    float scale, shift;  /* (dot * (scale of the row) * scale - shift) * weight */
    size_t k;
    heap *heaps;     /* of each worker, or */
    float *products; /* [n] dot * (scale of the row) * scale */
} pass;

static bool is_better(tern_match a, tern_match b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

static void sink(heap *h, size_t at) {
    for (;;) {
        size_t worst = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < h->n; child++)
            if (is_better(h->matches[worst], h->matches[child]))
                worst = child;
        if (worst == at)
            return;
        tern_match moved = h->matches[at];
        h->matches[at] = h->matches[worst];
        h->matches[worst] = moved;
        at = worst;
    }
}

static void offer(heap *h, size_t k, tern_match match) {
    if (h->n == k) {
        if (!is_better(match, h->matches[0]))
            return;
        h->matches[0] = match;
        sink(h, 0);
        return;
    }
    size_t at = h->n++;
    h->matches[at] = match;
    for (; at && is_better(h->matches[(at - 1) / 2], h->matches[at]); at = (at - 1) / 2) {
        tern_match moved = h->matches[at];
        h->matches[at] = h->matches[(at - 1) / 2];
        h->matches[(at - 1) / 2] = moved;
    }
}

static float product_of(const tern_index *index, const pass *p, size_t row, int32_t dot) {
    return (float)dot * (index->scales[row] * p->scale);
}

static float score_of(const tern_index *index, const pass *p, size_t row, int32_t dot) {
    return (product_of(index, p, row, dot) - p->shift) * index->weights[row];
}

static void task(void *context, size_t number, int worker) {
    const pass *p = context;
    const tern_index *index = p->index;
    size_t first = number * TASK_ROWS, n = index->n - first < TASK_ROWS ? index->n - first : TASK_ROWS;
    int32_t dots[TASK_ROWS];
    p->kernels->dot_rows(index->bytes + first * index->ld, index->ld, n, p->query, dots);
    for (size_t i = 0; i < n; i++) {
        size_t row = first + i;
        if (p->products)
            p->products[row] = product_of(index, p, row, dots[i]);
        else
            offer(&p->heaps[worker], p->k, (tern_match){score_of(index, p, row, dots[i]), (uint32_t)row});
    }
}

static void run(tern_pool *pool, pass *p) { tern_pool_run(pool, (p->index->n + TASK_ROWS - 1) / TASK_ROWS, task, p); }

/* ---- the centre ---- */

static double sum_squares(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* x [dims] in int8, zeros behind -> [ld]; the step of its values. */
static float quantize(const tern_index *index, const tern_kernels *kernels, const float *x, int8_t *bytes) {
    float steps;
    int32_t sum;
    kernels->quantize_i8(x, index->dims, index->ld, bytes, &steps, &sum);
    return 1.0F / steps;
}

static void set_centre(tern_index *index) {
    size_t stride = (index->n + CENTRE_SAMPLES - 1) / CENTRE_SAMPLES, samples = (index->n + stride - 1) / stride;
    double share = (double)index->n / (double)(index->n + CENTRE_PRIOR) / (double)samples;
    memset(index->centre, 0, index->dims * sizeof *index->centre);
    for (size_t i = 0; i < index->n; i += stride) {
        const int8_t *row = index->bytes + i * index->ld;
        float scale = (float)((double)index->scales[i] * share);
        for (size_t d = 0; d < index->dims; d++)
            index->centre[d] += row[d] * scale;
    }
}

tern_status tern_index_centre(tern_index *index, const tern_kernels *kernels, tern_pool *pool, tern_error *err) {
    if (index->n == 0)
        return TERN_OK;
    int8_t *bytes = tern_aligned_alloc(index->ld);
    if (!bytes)
        return tern_fail_memory(err, "the vectors");
    set_centre(index);
    pass p = {.index = index, .kernels = kernels, .query = bytes, .products = index->weights};
    p.scale = quantize(index, kernels, index->centre, bytes);
    run(pool, &p);
    double centre = sum_squares(index->centre, index->dims);
    for (size_t i = 0; i < index->n; i++) { /* |x| is 1 */
        double squares = 1 - 2 * (double)index->weights[i] + centre;
        index->weights[i] = (float)(1 / sqrt(squares > 1e-4 ? squares : 1e-4));
    }
    tern_aligned_free(bytes);
    return TERN_OK;
}

/* ---- search ---- */

static int by_score(const void *a, const void *b) {
    const tern_match *x = a, *y = b;
    return is_better(*x, *y) ? -1 : is_better(*y, *x);
}

/* The workers' heaps -> matches [*n_matches]. */
static void merge(const heap *heaps, size_t n_heaps, size_t k, tern_match *all, tern_match *matches,
                  size_t *n_matches) {
    size_t n = 0;
    for (size_t i = 0; i < n_heaps; i++) {
        memmove(all + n, heaps[i].matches, heaps[i].n * sizeof *all);
        n += heaps[i].n;
    }
    qsort(all, n, sizeof *all, by_score);
    *n_matches = n < k ? n : k;
    memcpy(matches, all, *n_matches * sizeof *matches);
}

/* q' and its dot product with m. */
static void take_centre_off(const tern_index *index, const tern_kernels *kernels, const float *query, float *rest,
                            pass *p, int8_t *bytes) {
    double shift = 0;
    for (size_t d = 0; d < index->dims; d++)
        rest[d] = query[d] - index->centre[d];
    double length = sqrt(sum_squares(rest, index->dims));
    for (size_t d = 0; d < index->dims && length > 0; d++)
        rest[d] = (float)((double)rest[d] / length);
    p->scale = quantize(index, kernels, rest, bytes);
    for (size_t d = 0; d < index->dims; d++)
        shift += (double)bytes[d] * (double)p->scale * (double)index->centre[d];
    p->shift = (float)shift;
    p->query = bytes;
}

tern_status tern_index_search(const tern_index *index, const tern_kernels *kernels, tern_pool *pool, const float *query,
                              size_t k, tern_match *matches, size_t *n_matches, tern_error *err) {
    size_t n_heaps = (size_t)tern_pool_threads(pool), n_all;
    heap *heaps = tern_calloc_array(n_heaps, sizeof *heaps);
    tern_match *all = tern_mul_size(n_heaps, k, &n_all) ? tern_alloc_array(n_all, sizeof *all) : NULL;
    float *rest = tern_alloc_array(index->dims, sizeof *rest);
    int8_t *bytes = tern_aligned_alloc(index->ld);
    tern_status status = heaps && all && rest && bytes ? TERN_OK : tern_fail_memory(err, "a search");
    if (!status) {
        pass p = {.index = index, .kernels = kernels, .k = k, .heaps = heaps};
        for (size_t i = 0; i < n_heaps; i++)
            heaps[i].matches = all + i * k;
        take_centre_off(index, kernels, query, rest, &p, bytes);
        run(pool, &p);
        merge(heaps, n_heaps, k, all, matches, n_matches);
    }
    free(heaps);
    free(all);
    free(rest);
    tern_aligned_free(bytes);
    return status;
}

double tern_agreement(const float *some, size_t n_some, const float *any, size_t n_any) {
    double sum = 0;
    for (size_t i = 0; i < n_some; i++)
        for (size_t j = 0; j < n_any; j++)
            sum += some[i] > any[j] ? 1 : some[i] < any[j] ? -1 : 0;
    return n_some && n_any ? sum / ((double)n_some * (double)n_any) : 0;
}

tern_status tern_index_score(const tern_index *index, const tern_kernels *kernels, const float *query, size_t row,
                             float *score, tern_error *err) {
    float *rest = tern_alloc_array(index->dims, sizeof *rest);
    int8_t *bytes = tern_aligned_alloc(index->ld);
    int32_t dot;
    pass p = {0};
    tern_status status = rest && bytes ? TERN_OK : tern_fail_memory(err, "a score");
    if (!status) {
        take_centre_off(index, kernels, query, rest, &p, bytes);
        kernels->dot_rows(index->bytes + row * index->ld, index->ld, 1, bytes, &dot);
        *score = score_of(index, &p, row, dot);
    }
    free(rest);
    tern_aligned_free(bytes);
    return status;
}
