#include "base/guard.h"

#include <setjmp.h>
#include <stdlib.h>

#include "base/mem.h"

/* Both lists have room for one more block whenever one is handed out, so that freeing needs no memory. */
typedef struct guard {
    jmp_buf out;
    void **taken, **dropped; /* blocks that were allocated; those of them that were freed, but may still be looked at */
    size_t n_taken, n_dropped, taken_capacity, dropped_capacity;
} guard;

static _Thread_local guard *active;

static bool has_room(guard *g) {
    return tern_grow_array((void **)&g->taken, &g->taken_capacity, g->n_taken + 1, sizeof *g->taken) &&
           tern_grow_array((void **)&g->dropped, &g->dropped_capacity, g->n_taken + 1, sizeof *g->dropped);
}

void *tern_guard_malloc(size_t bytes) {
    guard *g = active;
    if (!g)
        return malloc(bytes);
    void *memory = has_room(g) ? malloc(bytes ? bytes : 1) : NULL;
    if (!memory)
        longjmp(g->out, 1);
    g->taken[g->n_taken++] = memory;
    return memory;
}

void tern_guard_free(void *memory) {
    guard *g = active;
    if (g && memory)
        g->dropped[g->n_dropped++] = memory;
    else
        free(memory);
}

/* Apart from the function that has the guard: what is changed beside setjmp() is lost to its own. */
static bool run(guard *g, void (*f)(void *user), void *user) {
    if (setjmp(g->out))
        return false;
    f(user);
    return true;
}

bool tern_guarded(void (*f)(void *user), void *user) {
    guard g = {.n_taken = 0};
    active = &g;
    bool done = run(&g, f, user);
    active = NULL;
    void **blocks = done ? g.dropped : g.taken;
    for (size_t i = 0, n = done ? g.n_dropped : g.n_taken; i < n; i++)
        free(blocks[i]);
    free(g.taken);
    free(g.dropped);
    return done;
}
