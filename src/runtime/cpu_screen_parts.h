/* What the files of the search through the screen share (cpu_screen.c says how it goes). */
#ifndef TERN_RUNTIME_CPU_SCREEN_PARTS_H
#define TERN_RUNTIME_CPU_SCREEN_PARTS_H

#include <stdatomic.h>

#include "model/screen.h"
#include "runtime/cpu_screen.h"

enum { TERN_SCREEN_EXACT_ROWS = 4 }; /* of a task that computes exact rows; the head kernel takes four at a time */

/* A row to be computed for some of the tokens. */
typedef struct tern_screen_entry {
    uint32_t row, tokens;
} tern_screen_entry;

/* An exact row of one token. */
typedef struct tern_screen_first {
    uint32_t row;
    bool forced;
    float logit;
} tern_screen_first;

/* The same, on its way to the caller. */
typedef struct tern_screen_found {
    int32_t id;
    float logit;
} tern_screen_found;

typedef struct tern_screen_search {
    const float *x;
    const tern_head_query *query;
    tern_candidates *out;
    tern_screen_state state;
    float *values;  /* [n_rows of whole groups] coarse, then fine, then exact */
    float *bonus;   /* the same: temperature times noise; NULL: none */
    float *peaks;   /* [n_groups] */
    uint16_t *gone; /* [n_groups] bit r: row r of the group is out of the ranking: padding, forced or a first */
    tern_screen_first *firsts;
    size_t n_firsts, firsts_capacity;
    float least;
    atomic_uint n_coarse, n_fine;
} tern_screen_search;

struct tern_screen_scratch {
    tern_screen_search searches[TERN_SCREEN_TOKENS];
    tern_screen_entry *entries;      /* [n_rows of whole groups] */
    tern_screen_found *found;        /* the same */
    uint32_t *heap;                  /* [n_groups] */
    double *scores;                  /* [n_groups] */
    atomic_uint n_entries, n_sifted; /* sifted: groups */
    uint8_t *rows;                   /* [threads][row_stride] */
    size_t row_stride;
    atomic_bool read_failed;
};

/* One search's steps on the pool. */
typedef struct tern_screen_job {
    tern_cpu_screen *owner;
    const tern_screen *screen;
    struct tern_screen_scratch *scratch;
    tern_screen_search *const *searches; /* [n] */
    uint32_t n;
    uint32_t active; /* exact: tokens that still want it */
    bool together;   /* the survey reads both planes, and sifting none */
} tern_screen_job;

/* Rows with padding up to whole groups. */
static inline size_t tern_screen_padded_rows(const tern_screen *screen) {
    return (size_t)screen->n_groups * TERN_SCREEN_ROWS;
}

/* What is added to the values before they are ranked; NULL: nothing. */
static inline const float *tern_screen_bonus(const tern_screen_search *s) {
    return s->query->want == TERN_HEAD_GUMBEL ? s->bonus : NULL;
}

/* Rows [n <= TERN_SCREEN_EXACT_ROWS] of the stored head, one after the other, in the worker's buffer; NULL: they cannot
 * be read, and scratch->read_failed is set. */
const uint8_t *tern_screen_read_rows(const tern_screen_job *j, const uint32_t *rows, size_t n, int worker);
/* logits [n] of the rows in a buffer. */
void tern_screen_compute_rows(const tern_screen_job *j, const tern_screen_search *s, const uint8_t *rows, size_t n,
                              float *logits);

/* cpu_screen_firsts.c */

/* How many rows of the ranking must be known for the least value; 0: a query that no screen can answer. */
size_t tern_screen_wanted(const tern_head_query *query);
/* The rows to begin with: forced ones, and the best of the best groups, out of the survey. False: out of memory. */
bool tern_screen_choose_firsts(const tern_screen_job *j, tern_screen_search *s);
/* Compute them exactly: a pool task of j, which has tern_screen_first_tasks() of them for each search in turn. */
size_t tern_screen_first_tasks(const tern_screen_search *s);
void tern_screen_firsts_task(void *context, size_t task, int worker);
/* What a row is ranked by. */
double tern_screen_score(const tern_screen_search *s, float logit, uint32_t row);
/* s->least from the firsts: every row that is asked for reaches it. False: the whole head has to answer (a NaN, too few
 * rows, numbers at the edge of floats). scores: scratch, one a first that is not forced. */
bool tern_screen_find_least(tern_screen_search *s, double *scores);

#endif
