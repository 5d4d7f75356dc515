/* A pool of threads for short, regular work: one parallel step of a forward
 * pass takes tens of microseconds, so workers spin a little before they sleep. */
#ifndef TERN_BASE_POOL_H
#define TERN_BASE_POOL_H

#include "base/status.h"

typedef struct tern_pool tern_pool;

/* Work item `task` of the step, on worker `worker` (0 is the caller). */
typedef void (*tern_pool_fn)(void *context, size_t task, int worker);

/* n_threads >= 1, the caller included. The other threads take no signals. */
tern_status tern_pool_create(int n_threads, tern_pool **pool, tern_error *err);
void tern_pool_free(tern_pool *pool);
int tern_pool_threads(const tern_pool *pool);

/* Call fn for every task in [0, n_tasks), each once, in no fixed order, and
 * return when all are done. Callers from several threads take turns. Not to be
 * called from inside a task. */
void tern_pool_run(tern_pool *pool, size_t n_tasks, tern_pool_fn fn, void *context);

#endif
