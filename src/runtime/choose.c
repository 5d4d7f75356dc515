#include "runtime/choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/binary.h"

/* A matrix as wide as BitNet b1.58 2B4T's, repeated until it is MAX_BYTES: more than most last-level caches, and filled
 * in some ten milliseconds. The best of PASSES counts: what disturbs a pass only makes it slower. */
enum { COLUMNS = 2560, GROUPS_PER_TASK = 8, PASSES = 5 };
#define MAX_BYTES ((size_t)48 << 20)
/* Rungs name first what is best when nothing disturbs, and its advantages are more than this product's speed (lines,
 * less memory): a busy machine's measurement must be clear to overrule that. */
#define MUCH_FASTER 0.8

typedef struct trial {
    const tern_ternary *ternary;
    uint8_t *memory; /* [n_groups] packed groups */
    size_t n_groups;
    const int8_t *q;
} trial;

static void trial_task(void *context, size_t task, int worker) {
    (void)worker;
    const trial *t = context;
    int32_t acc[GROUPS_PER_TASK * TERN_GROUP_ROWS], q_sum = 0;
    size_t group = task * GROUPS_PER_TASK, n = t->n_groups - group;
    t->ternary->matmul(t->memory + group * tern_group_bytes(t->ternary->packing, COLUMNS),
                       tern_k_pad(t->ternary->packing, COLUMNS), n < GROUPS_PER_TASK ? n : GROUPS_PER_TASK, t->q,
                       tern_q_pad(COLUMNS), &q_sum, 1, acc, sizeof acc / sizeof *acc);
}

/* Seconds for one pass over the trial's groups. */
static double time_of(const trial *t, tern_pool *pool) {
    size_t n_tasks = (t->n_groups + GROUPS_PER_TASK - 1) / GROUPS_PER_TASK;
    double best = 0;
    for (int pass = 0; pass <= PASSES; pass++) { /* the first one only wakes the threads */
        double start = tern_seconds();
        tern_pool_run(pool, n_tasks, trial_task, (void *)t);
        double seconds = tern_seconds() - start;
        if (pass == 1 || (pass > 1 && seconds < best))
            best = seconds;
    }
    return best;
}

static tern_status measure(const tern_kernels *kernels, tern_pool *pool, uint64_t n_weights,
                           const tern_ternary **fastest, tern_error *err) {
    const uint64_t group_weights = (uint64_t)COLUMNS * TERN_GROUP_ROWS;
    uint64_t n_groups = n_weights / group_weights + 1;
    size_t most = MAX_BYTES / tern_group_bytes(kernels->ternary[0]->packing, COLUMNS);
    trial t = {.n_groups = n_groups < most ? (size_t)n_groups : most};
    int8_t *trits = calloc(TERN_GROUP_ROWS, COLUMNS), *q = calloc(tern_q_pad(COLUMNS), 1);
    t.q = q;
    double best = 0;
    tern_status status = trits && q ? TERN_OK : tern_fail_memory(err, "choosing a packing");
    for (size_t i = 0; !status && kernels->ternary[i]; i++) {
        size_t bytes = tern_group_bytes(kernels->ternary[i]->packing, COLUMNS);
        t.ternary = kernels->ternary[i];
        t.memory = tern_aligned_alloc(t.n_groups * bytes);
        if (!t.memory) {
            status = tern_fail_memory(err, "choosing a packing");
            break;
        }
        t.ternary->packing->pack_group(t.memory, trits, COLUMNS, TERN_GROUP_ROWS, COLUMNS);
        for (size_t g = 1; g < t.n_groups; g++)
            memcpy(t.memory + g * bytes, t.memory, bytes);
        double seconds = time_of(&t, pool);
        if (i == 0 || seconds < best * MUCH_FASTER) {
            best = seconds;
            *fastest = t.ternary;
        }
        tern_aligned_free(t.memory);
    }
    free(trits);
    free(q);
    return status;
}

static bool is_automatic(const char *name) { return !name || !*name || strcmp(name, "auto") == 0; }

bool tern_packing_is_automatic(const char *name) { return is_automatic(name) && is_automatic(getenv("TERN_PACKING")); }

/* Index i of all packings: the binary one stands behind the ternary ones. */
static const tern_ternary *packing_at(const tern_kernels *kernels, size_t i) {
    size_t n = 0;
    while (kernels->ternary[n])
        n++;
    return i < n ? kernels->ternary[i] : i == n ? &kernels->binary->int8 : NULL;
}

tern_status tern_choose_packing(const tern_kernels *kernels, const char *name, bool binary, tern_pool *pool,
                                uint64_t n_weights, const tern_ternary **ternary, tern_error *err) {
    const char *source = "--packing ";
    if (is_automatic(name)) {
        name = getenv("TERN_PACKING");
        source = "TERN_PACKING=";
    }
    bool automatic = is_automatic(name);
    char names[128] = "";
    size_t used = 0;
    const tern_ternary *one;
    for (size_t i = 0; (one = packing_at(kernels, i)) != NULL; i++) {
        const char *this_name = one->packing->name;
        if (!automatic && strcmp(name, this_name) == 0) {
            *ternary = one;
            return TERN_OK;
        }
        int n = snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", this_name);
        if (n > 0 && (size_t)n < sizeof names - used) /* a handful of short names: always */
            used += (size_t)n;
    }
    if (!automatic)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s%s: the kernels %s have no such packing; use one of: %s", source,
                         name, kernels->name, names);
    if (binary) { /* half the bytes of the next best */
        *ternary = &kernels->binary->int8;
        return TERN_OK;
    }
    *ternary = kernels->ternary[0];
    return kernels->ternary[1] ? measure(kernels, pool, n_weights, ternary, err) : TERN_OK;
}
