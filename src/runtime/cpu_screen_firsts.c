/* The search's second step (cpu_screen.c): the rows that look best, exactly, and from them the least value that still
 * matters. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/cpu_screen_parts.h"

enum { EXTRA_FIRSTS = 8 }; /* beyond what is asked for: values are off by a little */
#define NO_ROW SIZE_MAX

static bool add_first(tern_screen_search *s, uint32_t row, bool forced) {
    if (!tern_grow_array((void **)&s->firsts, &s->firsts_capacity, s->n_firsts + 1, sizeof *s->firsts))
        return false;
    s->firsts[s->n_firsts++] = (tern_screen_first){row, forced, 0};
    return true;
}

static bool is_gone(const tern_screen_search *s, size_t row) {
    return s->gone[row / TERN_SCREEN_ROWS] >> row % TERN_SCREEN_ROWS & 1;
}

/* Row out of the ranking. The bit is what counts, whatever the planes' numbers make of the value, which only lets the
 * kernels pass over the row. */
static void mark_gone(tern_screen_search *s, size_t row) {
    s->gone[row / TERN_SCREEN_ROWS] |= (uint16_t)(1u << row % TERN_SCREEN_ROWS);
    s->values[row] = -INFINITY;
}

/* The same before groups are picked. */
static void take_out(const tern_screen_job *j, tern_screen_search *s, size_t row) {
    size_t group = row / TERN_SCREEN_ROWS, begin = group * TERN_SCREEN_ROWS;
    const float *bonus = tern_screen_bonus(s);
    mark_gone(s, row);
    j->owner->kernels->screen->peaks(s->values + begin, bonus ? bonus + begin : NULL, 1, s->peaks + group);
}

/* NO_ROW: none is above minus infinity. */
static size_t best_row(const tern_screen_search *s, size_t group) {
    const float *bonus = tern_screen_bonus(s);
    size_t best = NO_ROW;
    float most = -INFINITY;
    for (size_t row = group * TERN_SCREEN_ROWS, end = row + TERN_SCREEN_ROWS; row < end; row++) {
        float value = bonus ? s->values[row] + bonus[row] : s->values[row];
        if (value > most && !is_gone(s, row)) {
            most = value;
            best = row;
        }
    }
    return best;
}

static void sift_down(uint32_t *heap, size_t n, size_t at, const float *peaks) {
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && peaks[heap[child + 1]] < peaks[heap[child]])
            child++;
        if (peaks[heap[at]] <= peaks[heap[child]])
            return;
        uint32_t swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

/* The n groups with the highest peaks: a heap with the lowest of them on top, which few of many groups pass. */
static void pick_groups(const float *peaks, size_t n_groups, uint32_t *heap, size_t n) {
    for (size_t i = 0; i < n; i++)
        heap[i] = (uint32_t)i;
    for (size_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i, peaks);
    for (size_t g = n; g < n_groups; g++)
        if (peaks[g] > peaks[heap[0]]) {
            heap[0] = (uint32_t)g;
            sift_down(heap, n, 0, peaks);
        }
}

/* How many rows of the ranking must be known for the least value; 0: a query that no screen can answer. */
size_t tern_screen_wanted(const tern_head_query *query) {
    switch (query->want) {
    case TERN_HEAD_TOP:
        return query->top_k;
    case TERN_HEAD_NEAR:
        return query->margin >= 0 ? 1 : 0;
    case TERN_HEAD_GUMBEL:
        return query->temperature > 1e-30 && query->temperature < 1e30;
    default:
        return 0;
    }
}

/* The rows to begin with: forced ones, and the best of the best groups. False: out of memory. */
bool tern_screen_choose_firsts(const tern_screen_job *j, tern_screen_search *s) {
    const tern_screen *screen = j->screen;
    s->n_firsts = 0;
    memset(s->gone, 0, screen->n_groups * sizeof *s->gone);
    for (size_t row = screen->n_rows; row < tern_screen_padded_rows(screen); row++)
        take_out(j, s, row);
    bool ok = true;
    for (size_t i = 0; ok && i < s->query->n_forced; i++) {
        take_out(j, s, (size_t)s->query->forced[i]);
        ok = add_first(s, (uint32_t)s->query->forced[i], true);
    }
    size_t n = tern_screen_wanted(s->query) + EXTRA_FIRSTS;
    if (n > screen->n_groups)
        n = screen->n_groups;
    uint32_t *heap = j->scratch->heap;
    pick_groups(s->peaks, screen->n_groups, heap, n);
    for (size_t i = 0; ok && i < n; i++) {
        size_t row = best_row(s, heap[i]);
        if (row != NO_ROW) {
            ok = add_first(s, (uint32_t)row, false);
            mark_gone(s, row);
        }
    }
    return ok;
}

/* Tasks are TERN_SCREEN_EXACT_ROWS firsts of one search each, searches one after the other. */
size_t tern_screen_first_tasks(const tern_screen_search *s) {
    return (s->n_firsts + TERN_SCREEN_EXACT_ROWS - 1) / TERN_SCREEN_EXACT_ROWS;
}

void tern_screen_firsts_task(void *context, size_t task, int worker) {
    const tern_screen_job *j = context;
    uint32_t t = 0, rows[TERN_SCREEN_EXACT_ROWS] = {0};
    float logits[TERN_SCREEN_EXACT_ROWS];
    for (; task >= tern_screen_first_tasks(j->searches[t]); t++)
        task -= tern_screen_first_tasks(j->searches[t]);
    tern_screen_search *s = j->searches[t];
    size_t begin = task * TERN_SCREEN_EXACT_ROWS,
           n = s->n_firsts - begin < TERN_SCREEN_EXACT_ROWS ? s->n_firsts - begin : TERN_SCREEN_EXACT_ROWS;
    for (size_t i = 0; i < n; i++)
        rows[i] = s->firsts[begin + i].row;
    const uint8_t *stored = tern_screen_read_rows(j, rows, n, worker);
    if (!stored)
        return;
    tern_screen_compute_rows(j, s, stored, n, logits);
    for (size_t i = 0; i < n; i++)
        s->firsts[begin + i].logit = logits[i];
}

double tern_screen_score(const tern_screen_search *s, float logit, uint32_t row) {
    const tern_head_query *query = s->query;
    return query->want == TERN_HEAD_GUMBEL
               ? (double)logit / query->temperature + (double)tern_gumbel(query->seed, query->counter, row)
               : (double)logit;
}

static int by_value_down(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static float round_down(double value) {
    float rounded = (float)value;
    return (double)rounded > value ? nextafterf(rounded, -INFINITY) : rounded;
}

/* s->least from the firsts: every row that is asked for reaches it. False: the whole head has to answer (a NaN, too few
 * rows, numbers at the edge of floats). */
bool tern_screen_find_least(tern_screen_search *s, double *scores) {
    size_t n = 0, want = tern_screen_wanted(s->query);
    for (size_t i = 0; i < s->n_firsts; i++) {
        const tern_screen_first *f = &s->firsts[i];
        if (isnan(f->logit))
            return false;
        if (!f->forced)
            scores[n++] = tern_screen_score(s, f->logit, f->row);
    }
    if (n < want)
        return false;
    qsort(scores, n, sizeof *scores, by_value_down);
    double least = scores[want - 1];
    if (s->query->want == TERN_HEAD_NEAR)
        least -= (double)s->query->margin;
    if (s->query->want == TERN_HEAD_GUMBEL) {
        /* keep() adds temperature * noise, noise within 45, in floats: three roundings of terms that are below the
         * sum of these magnitudes */
        double t = s->query->temperature;
        least = least * t - 1e-6 * (fabs(least * t) + 50 * t) - 1e-36;
    }
    if (!(fabs(least) < 1e30))
        return false;
    s->least = round_down(least);
    return true;
}
