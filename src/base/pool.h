/* A pool of threads for short, regular work: one parallel step of a forward
 * pass takes tens of microseconds, so workers spin a little before they sleep.
 *
 * Each worker begins with its own stretch of a step's tasks, the same one in
 * every step of that size, and then helps the others with theirs. A step is
 * over when its tasks are, whoever did them: a worker that the scheduler has
 * put aside holds up no more than the one task it is in, so more threads than
 * free CPUs cost little. */
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

/* Keep each worker on a CPU of its own, in the order of base/topology.h (more workers than CPUs: from the start again).
 * The caller is worker 0, but its thread is the application's: it stays on its CPU only between tern_pool_enter() and
 * tern_pool_leave(), which do nothing if the pool is not pinned or NULL. One thread at a time may be between them.
 * TERN_ERR_UNSUPPORTED where the system cannot pin threads. */
tern_status tern_pool_pin(tern_pool *pool, tern_error *err);
void tern_pool_enter(tern_pool *pool);
void tern_pool_leave(tern_pool *pool);
/* The memory node of a worker's CPU; 0 if the pool is not pinned. */
int tern_pool_node(const tern_pool *pool, int worker);

/* Call fn for every task in [0, n_tasks), each once, in no fixed order, and
 * return when all are done. With n threads, worker w begins with the w-th n-th
 * of the tasks. Callers from several threads take turns. Not to be
 * called from inside a task. */
void tern_pool_run(tern_pool *pool, size_t n_tasks, tern_pool_fn fn, void *context);

#endif
