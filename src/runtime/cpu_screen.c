/*
 * A search through the screen, for all tokens of a batch at once:
 *
 *   survey  every row's value from the coarse plane, and each group's best            (all threads)
 *   firsts  the rows that look best are computed exactly; no row that cannot reach the worst of them (or the best,
 *           by what is asked for) matters: the least value that still matters is known
 *   sift    rows whose value plus bound reaches it get their fine value; what still reaches it is left (all threads)
 *   exact   the rows that are left, from the stored head                               (all threads)
 *
 * Where the coarse plane leaves rows in many of the groups, so that nearly all of the fine one is read, too, the next
 * searches read both together: the survey's values are then as good as those that sifting would give.
 *
 * A group's best row stands for it among the firsts, so that these are as many distinct rows as groups are picked, and
 * picking looks at a sixteenth of the values.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/cpu_screen_parts.h"

enum {
    CACHE_LINE = 64,
    TASK_GROUPS = 16,
    LEFT_SHARE = 12,    /* more rows left than 1 in this: the whole head costs less than reading them one by one */
    MAX_PAUSE = 6,      /* after so many refusals in a row, 2^6 tokens do without the screen before it is tried again */
    FIRSTS_SHARE = 16,  /* more asked for than 1 in this: the same */
    TOGETHER_SHARE = 4, /* groups sifted, more than 1 in this: the next searches read both planes together, ... */
    TOGETHER = 63,      /* so many, before it is tried again whether that is still so */
};

/* ------------------------------------------------------------------- memory */

void tern_cpu_screen_init(tern_cpu_screen *screen, const tern_weights *weights, const tern_kernels *kernels,
                          tern_pool *pool) {
    *screen = (tern_cpu_screen){.weights = weights, .kernels = kernels, .pool = pool};
}

static void free_search(tern_screen_search *s) {
    tern_aligned_free(s->state.memory);
    tern_aligned_free(s->values);
    tern_aligned_free(s->bonus);
    free(s->peaks);
    free(s->gone);
    free(s->firsts);
}

void tern_cpu_screen_free(tern_cpu_screen *screen) {
    if (!screen->scratch)
        return;
    for (int i = 0; i < TERN_SCREEN_TOKENS; i++)
        free_search(&screen->scratch->searches[i]);
    free(screen->scratch->entries);
    free(screen->scratch->found);
    free(screen->scratch->heap);
    free(screen->scratch->scores);
    tern_aligned_free(screen->scratch->rows);
    free(screen->scratch);
    screen->scratch = NULL;
}

static bool make(void **array, size_t n, size_t size) {
    if (!*array)
        *array = tern_alloc_array(n, size);
    return *array != NULL;
}

/* Memory for n searches. What an earlier, failed call has made is used. */
static bool reserve(tern_cpu_screen *owner, const tern_screen *screen, const tern_head_query *queries, uint32_t n) {
    if (!owner->scratch)
        owner->scratch = calloc(1, sizeof *owner->scratch);
    struct tern_screen_scratch *s = owner->scratch;
    if (!s)
        return false;
    /* twice, because the head kernel prefetches what lies behind its rows: here, the same few lines each time */
    s->row_stride = (screen->row_bytes * TERN_SCREEN_EXACT_ROWS * 2 + 63) / 64 * 64;
    if (!s->rows)
        s->rows = tern_aligned_alloc((size_t)tern_pool_threads(owner->pool) * s->row_stride);
    bool ok = s->rows && make((void **)&s->entries, tern_screen_padded_rows(screen), sizeof *s->entries) &&
              make((void **)&s->found, tern_screen_padded_rows(screen), sizeof *s->found) &&
              make((void **)&s->heap, screen->n_groups, sizeof *s->heap) &&
              make((void **)&s->scores, screen->n_groups, sizeof *s->scores);
    for (uint32_t i = 0; ok && i < n; i++) {
        tern_screen_search *token = &s->searches[i];
        if (!token->state.memory)
            token->state.memory = tern_aligned_alloc(tern_screen_state_bytes(screen));
        if (!token->values)
            token->values = tern_aligned_alloc(tern_screen_padded_rows(screen) * sizeof(float));
        bool noise = queries[i].want == TERN_HEAD_GUMBEL;
        if (noise && !token->bonus)
            token->bonus = tern_aligned_alloc(tern_screen_padded_rows(screen) * sizeof(float));
        ok = token->state.memory && token->values && (token->bonus || !noise) &&
             make((void **)&token->peaks, screen->n_groups, sizeof *token->peaks) &&
             make((void **)&token->gone, screen->n_groups, sizeof *token->gone);
    }
    return ok;
}

/* ------------------------------------------------------------------- survey */

static void add_noise(const tern_screen_search *s, size_t row, size_t n) {
    float *bonus = s->bonus + row, temperature = (float)s->query->temperature;
    tern_gumbel_rows(s->query->seed, s->query->counter, (uint32_t)row, n, bonus);
    for (size_t i = 0; i < n; i++)
        bonus[i] *= temperature;
}

static void survey_task(void *context, size_t task, int worker) {
    (void)worker;
    const tern_screen_job *j = context;
    const tern_screen *screen = j->screen;
    const tern_screen_kernels *kernels = j->owner->kernels->screen;
    size_t group = task * TASK_GROUPS, row = group * TERN_SCREEN_ROWS, k_pad = screen->k_pad;
    size_t n = screen->n_groups - group < TASK_GROUPS ? screen->n_groups - group : TASK_GROUPS;
    tern_screen_x x[TERN_SCREEN_TOKENS];
    float values[TERN_SCREEN_TOKENS][TASK_GROUPS * TERN_SCREEN_ROWS];
    for (uint32_t t = 0; t < j->n; t++)
        x[t] = j->searches[t]->state.x;
    const uint8_t *coarse = screen->coarse + group * tern_screen_coarse_bytes(k_pad),
                  *fine = screen->fine + group * tern_screen_fine_bytes(k_pad),
                  *steps = screen->steps + group * tern_screen_step_bytes(k_pad);
    if (j->together)
        kernels->both(coarse, fine, steps, screen->row_steps + row, k_pad, n, x, j->n, values[0],
                      TASK_GROUPS * TERN_SCREEN_ROWS);
    else
        kernels->coarse(coarse, steps, screen->row_steps + row, k_pad, n, x, j->n, values[0],
                        TASK_GROUPS * TERN_SCREEN_ROWS);
    for (uint32_t t = 0; t < j->n; t++) {
        tern_screen_search *s = j->searches[t];
        memcpy(s->values + row, values[t], n * TERN_SCREEN_ROWS * sizeof(float));
        bool noise = s->query->want == TERN_HEAD_GUMBEL;
        if (noise)
            add_noise(s, row, n * TERN_SCREEN_ROWS);
        kernels->peaks(s->values + row, noise ? s->bonus + row : NULL, n, s->peaks + group);
    }
}

/* ------------------------------------------------------------- stored rows */

const uint8_t *tern_screen_read_rows(const tern_screen_job *j, const uint32_t *rows, size_t n, int worker) {
    const tern_screen *screen = j->screen;
    uint8_t *buffer = j->scratch->rows + (size_t)worker * j->scratch->row_stride;
    for (size_t i = 0; i < n; i++)
        if (!tern_checkpoint_read(screen->checkpoint, screen->head, (uint64_t)rows[i] * screen->row_bytes,
                                  screen->row_bytes, buffer + i * screen->row_bytes)) {
            atomic_store(&j->scratch->read_failed, true);
            return NULL;
        }
    return buffer;
}

void tern_screen_compute_rows(const tern_screen_job *j, const tern_screen_search *s, const uint8_t *rows, size_t n,
                              float *logits) {
    j->owner->kernels->head[j->owner->weights->head_type](rows, j->screen->row_bytes, n, s->x, j->screen->k, 1, logits,
                                                          n);
}

/* --------------------------------------------------------------------- sift */

/* The rows of a group that the coarse plane leaves for each token, masks[t] -> those that the fine plane leaves. */
static void refine(const tern_screen_job *j, size_t group, uint16_t *masks) {
    const tern_screen *screen = j->screen;
    const tern_screen_kernels *kernels = j->owner->kernels->screen;
    size_t row = group * TERN_SCREEN_ROWS, k_pad = screen->k_pad;
    tern_screen_x x[TERN_SCREEN_TOKENS];
    float *values[TERN_SCREEN_TOKENS];
    uint32_t n = 0;
    for (uint32_t t = 0; t < j->n; t++)
        if (masks[t]) {
            x[n] = j->searches[t]->state.x;
            values[n++] = j->searches[t]->values + row;
        }
    kernels->fine(screen->fine + group * tern_screen_fine_bytes(k_pad),
                  screen->steps + group * tern_screen_step_bytes(k_pad), screen->row_steps + row, k_pad, x, n, values);
    for (uint32_t t = 0; t < j->n; t++) {
        tern_screen_search *s = j->searches[t];
        const float *bonus = tern_screen_bonus(s);
        uint16_t left = 0;
        if (masks[t])
            kernels->keep(s->values + row, bonus ? bonus + row : NULL, screen->coarse_errors + row,
                          screen->fine_errors + row, screen->norms + row, s->state.fine, s->least, 1, &left);
        masks[t] &= left;
    }
}

/* The rows of a group that are left for each token, masks[t], go to the entries. */
static void add_entries(const tern_screen_job *j, size_t group, const uint16_t *masks) {
    uint32_t tokens[TERN_SCREEN_ROWS] = {0};
    for (uint32_t t = 0; t < j->n; t++) {
        unsigned n_left = 0;
        for (uint16_t left = masks[t]; left; left &= (uint16_t)(left - 1), n_left++)
            tokens[__builtin_ctz(left)] |= 1u << t;
        if (n_left)
            atomic_fetch_add_explicit(&j->searches[t]->n_fine, n_left, memory_order_relaxed);
    }
    for (size_t r = 0; r < TERN_SCREEN_ROWS; r++)
        if (tokens[r])
            j->scratch->entries[atomic_fetch_add_explicit(&j->scratch->n_entries, 1, memory_order_relaxed)] =
                (tern_screen_entry){(uint32_t)(group * TERN_SCREEN_ROWS + r), tokens[r]};
}

/* What refine() will read of a group comes into the cache while it is at another one. */
static void fetch_group(const tern_screen *screen, size_t group) {
    size_t fine_bytes = tern_screen_fine_bytes(screen->k_pad), step_bytes = tern_screen_step_bytes(screen->k_pad);
    for (size_t i = 0; i < fine_bytes; i += CACHE_LINE)
        __builtin_prefetch(screen->fine + group * fine_bytes + i);
    for (size_t i = 0; i < step_bytes; i += CACHE_LINE)
        __builtin_prefetch(screen->steps + group * step_bytes + i);
}

static void sift_task(void *context, size_t task, int worker) {
    (void)worker;
    const tern_screen_job *j = context;
    const tern_screen *screen = j->screen;
    size_t group = task * TASK_GROUPS, row = group * TERN_SCREEN_ROWS;
    size_t n = screen->n_groups - group < TASK_GROUPS ? screen->n_groups - group : TASK_GROUPS;
    uint16_t masks[TERN_SCREEN_TOKENS][TASK_GROUPS], of_group[TERN_SCREEN_TOKENS];
    for (uint32_t t = 0; t < j->n; t++) {
        tern_screen_search *s = j->searches[t];
        const float *bonus = tern_screen_bonus(s);
        unsigned n_coarse = 0;
        j->owner->kernels->screen->keep(s->values + row, bonus ? bonus + row : NULL, screen->coarse_errors + row,
                                        screen->fine_errors + row, screen->norms + row,
                                        j->together ? s->state.both : s->state.coarse, s->least, n, masks[t]);
        for (size_t g = 0; g < n; g++) {
            masks[t][g] &= (uint16_t)~s->gone[group + g]; /* those with infinite bounds come through */
            n_coarse += (unsigned)__builtin_popcount(masks[t][g]);
        }
        atomic_fetch_add_explicit(&s->n_coarse, n_coarse, memory_order_relaxed);
    }
    unsigned n_sifted = 0;
    for (size_t g = 0; g < n; g++) {
        uint16_t next = 0, any = 0;
        for (uint32_t t = 0; t < j->n; t++) {
            of_group[t] = masks[t][g];
            any |= masks[t][g];
            next |= g + 1 < n ? masks[t][g + 1] : 0;
        }
        if (next && !j->together)
            fetch_group(screen, group + g + 1);
        if (!any)
            continue;
        if (!j->together)
            refine(j, group + g, of_group);
        add_entries(j, group + g, of_group);
        n_sifted++;
    }
    atomic_fetch_add_explicit(&j->scratch->n_sifted, n_sifted, memory_order_relaxed);
}

/* -------------------------------------------------------------------- exact */

static void exact_task(void *context, size_t task, int worker) {
    const tern_screen_job *j = context;
    const tern_screen_entry *entries = j->scratch->entries + task * TERN_SCREEN_EXACT_ROWS;
    size_t all_entries = atomic_load_explicit(&j->scratch->n_entries, memory_order_relaxed), n = 0;
    size_t n_entries = all_entries - task * TERN_SCREEN_EXACT_ROWS;
    uint32_t rows[TERN_SCREEN_EXACT_ROWS], tokens[TERN_SCREEN_EXACT_ROWS], all = 0;
    float logits[TERN_SCREEN_EXACT_ROWS];
    for (size_t i = 0; i < n_entries && i < TERN_SCREEN_EXACT_ROWS; i++)
        if (entries[i].tokens & j->active) {
            rows[n] = entries[i].row;
            all |= tokens[n++] = entries[i].tokens & j->active;
        }
    const uint8_t *stored = n ? tern_screen_read_rows(j, rows, n, worker) : NULL;
    for (uint32_t t = 0; stored && t < j->n; t++) {
        if (!(all >> t & 1))
            continue;
        tern_screen_compute_rows(j, j->searches[t], stored, n, logits);
        for (size_t i = 0; i < n; i++)
            if (tokens[i] >> t & 1)
                j->searches[t]->values[rows[i]] = logits[i];
    }
}

static int by_id(const void *a, const void *b) {
    int32_t x = ((const tern_screen_found *)a)->id, y = ((const tern_screen_found *)b)->id;
    return (x > y) - (x < y);
}

/* What a row must reach by what is now known exactly: the firsts were a guess at the best. */
static double final_least(const tern_screen_search *s, const tern_screen_found *rows, size_t n, double least) {
    if (s->query->want == TERN_HEAD_TOP)
        return (double)s->least;
    for (size_t i = 0; i < n; i++) {
        double score = tern_screen_score(s, rows[i].logit, (uint32_t)rows[i].id);
        if (s->query->want == TERN_HEAD_NEAR)
            score -= (double)s->query->margin;
        least = score > least ? score : least;
    }
    return least;
}

/* Candidates of search `t` from the firsts and the entries. *nan: a logit is NaN, and the whole head has to answer. */
static bool collect(const tern_screen_job *j, uint32_t t, bool *nan) {
    tern_screen_search *s = j->searches[t];
    tern_screen_found *rows = j->scratch->found;
    size_t n = 0, n_entries = atomic_load(&j->scratch->n_entries), kept = 0;
    *nan = false;
    for (size_t i = 0; i < s->n_firsts; i++)
        if (!s->firsts[i].forced)
            rows[n++] = (tern_screen_found){(int32_t)s->firsts[i].row, s->firsts[i].logit};
    for (size_t i = 0; i < n_entries; i++)
        if (j->scratch->entries[i].tokens >> t & 1) {
            uint32_t row = j->scratch->entries[i].row;
            rows[n++] = (tern_screen_found){(int32_t)row, s->values[row]};
            *nan |= isnan(s->values[row]) != 0;
        }
    if (*nan)
        return true;
    double least = final_least(s, rows, n, -INFINITY);
    for (size_t i = 0; i < n; i++)
        if (tern_screen_score(s, rows[i].logit, (uint32_t)rows[i].id) >= least)
            rows[kept++] = rows[i];
    for (size_t i = 0; i < s->n_firsts; i++)
        if (s->firsts[i].forced)
            rows[kept++] = (tern_screen_found){(int32_t)s->firsts[i].row, s->firsts[i].logit};
    qsort(rows, kept, sizeof *rows, by_id);
    if (!tern_candidates_reserve(s->out, kept))
        return false;
    for (size_t i = 0; i < kept; i++) {
        s->out->ids[i] = rows[i].id;
        s->out->logits[i] = rows[i].logit;
    }
    s->out->n = kept;
    return true;
}

/* ------------------------------------------------------------------ a batch */

/* Screening in vain costs a third of the whole head. Where the last tokens of this kind had too many rows left, the
 * next ones most likely have, too. */
static void learn(tern_cpu_screen *owner, const tern_screen_search *s, bool too_many) {
    tern_screen_pause *pause = &owner->pauses[s->query->want];
    if (!too_many)
        pause->refusals = 0;
    else if (pause->refusals < MAX_PAUSE)
        pause->refusals++;
    pause->tokens = too_many ? 1u << pause->refusals : 0;
}

static bool pausing(tern_cpu_screen *owner, const tern_head_query *query) {
    tern_screen_pause *pause = &owner->pauses[query->want];
    return pause->tokens && pause->tokens--;
}

/* Whether a screen can answer at all. */
static bool answerable(const tern_screen *screen, const tern_head_query *query) {
    size_t want = tern_screen_wanted(query);
    return want > 0 && want <= screen->n_groups / FIRSTS_SHARE && query->n_forced <= screen->n_rows / LEFT_SHARE;
}

/* The least values of all searches. A search that cannot go on leaves j->active and lets no row pass. */
static bool begin(tern_screen_job *j) {
    size_t n_tasks = 0;
    tern_pool_run(j->owner->pool, (j->screen->n_groups + TASK_GROUPS - 1) / TASK_GROUPS, survey_task, j);
    for (uint32_t t = 0; t < j->n; t++) {
        if (!tern_screen_choose_firsts(j, j->searches[t]))
            return false;
        n_tasks += tern_screen_first_tasks(j->searches[t]);
    }
    tern_pool_run(j->owner->pool, n_tasks, tern_screen_firsts_task, j);
    for (uint32_t t = 0; t < j->n; t++)
        if (!tern_screen_find_least(j->searches[t], j->scratch->scores)) {
            j->searches[t]->least = INFINITY;
            j->active &= ~(1u << t);
        }
    return true;
}

/* Rows that are left, and their logits for the tokens that have not too many of them. */
static void finish(tern_screen_job *j) {
    atomic_store(&j->scratch->n_entries, 0);
    atomic_store(&j->scratch->n_sifted, 0);
    tern_pool_run(j->owner->pool, (j->screen->n_groups + TASK_GROUPS - 1) / TASK_GROUPS, sift_task, j);
    for (uint32_t t = 0; t < j->n; t++) {
        unsigned n_fine = atomic_load(&j->searches[t]->n_fine);
        j->owner->counts.coarse += atomic_load(&j->searches[t]->n_coarse);
        j->owner->counts.fine += n_fine;
        bool too_many = n_fine > j->screen->n_rows / LEFT_SHARE;
        if (too_many)
            j->active &= ~(1u << t);
        learn(j->owner, j->searches[t], too_many);
    }
    size_t n_entries = atomic_load(&j->scratch->n_entries);
    tern_pool_run(j->owner->pool, (n_entries + TERN_SCREEN_EXACT_ROWS - 1) / TERN_SCREEN_EXACT_ROWS, exact_task, j);
    size_t group_bytes = tern_screen_fine_bytes(j->screen->k_pad) + tern_screen_step_bytes(j->screen->k_pad);
    size_t n_sifted = atomic_load(&j->scratch->n_sifted);
    j->owner->counts.extra_bytes +=
        j->together ? j->screen->n_groups * tern_screen_fine_bytes(j->screen->k_pad) : n_sifted * group_bytes;
    j->owner->counts.together += j->together;
    if (j->together)
        j->owner->together--;
    else if (n_sifted > j->screen->n_groups / TOGETHER_SHARE)
        j->owner->together = TOGETHER;
    j->owner->counts.extra_bytes += j->active ? n_entries * j->screen->row_bytes : 0;
}

tern_status tern_cpu_screen_candidates(tern_cpu_screen *owner, const float *x, uint32_t n,
                                       const tern_head_query *queries, tern_candidates *out, uint32_t *refused,
                                       tern_error *err) {
    const tern_screen *screen = &owner->weights->screen;
    if (!reserve(owner, screen, queries, n))
        return tern_fail_memory(err, "screening the LM head");
    tern_screen_search *searches[TERN_SCREEN_TOKENS];
    uint32_t tokens[TERN_SCREEN_TOKENS] = {0}; /* of the searches */
    tern_screen_job j = {.owner = owner, .screen = screen, .scratch = owner->scratch, .searches = searches};
    j.together = owner->together > 0;
    atomic_store(&j.scratch->read_failed, false);
    *refused = 0;
    owner->counts.tokens += n;
    for (uint32_t i = 0; i < n; i++) {
        tern_screen_search *s = &owner->scratch->searches[i];
        s->x = x + (size_t)i * screen->k;
        s->query = &queries[i];
        s->out = &out[i];
        atomic_store(&s->n_coarse, 0);
        atomic_store(&s->n_fine, 0);
        if (answerable(screen, s->query) && !pausing(owner, s->query) && tern_screen_prepare(screen, s->x, &s->state)) {
            tokens[j.n] = i;
            searches[j.n++] = s;
        } else
            *refused |= 1u << i;
    }
    j.active = (1u << j.n) - 1;
    if (j.n && !begin(&j))
        return tern_fail_memory(err, "screening the LM head");
    if (j.active)
        finish(&j);
    if (atomic_load(&j.scratch->read_failed))
        return tern_fail(err, TERN_ERR_IO, "%s: cannot read rows of %s: the file has changed or its disk fails",
                         screen->checkpoint->path, screen->head->name);
    for (uint32_t t = 0; t < j.n; t++) {
        bool nan = !(j.active >> t & 1);
        if (!nan && !collect(&j, t, &nan))
            return tern_fail_memory(err, "the candidates");
        if (nan)
            *refused |= 1u << tokens[t];
    }
    owner->counts.refused += (uint64_t)__builtin_popcount(*refused);
    return TERN_OK;
}
