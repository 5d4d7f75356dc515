/* Threads for what takes long with requests: reading JSON, tokenizing, writing long answers. The HTTP thread, which all
 * clients share, only moves bytes. There are two lanes with a thread each, so that what is small never waits for what
 * is large. */
#ifndef TERN_SERVER_WORKERS_H
#define TERN_SERVER_WORKERS_H

#include <pthread.h>
#include <stdbool.h>

#include "base/status.h"

/* Something to be done; part of what it is about, so that handing it over cannot fail for want of memory. */
typedef struct tern_work {
    struct tern_work *next;
    void (*run)(struct tern_work *work); /* may free it, or hand it in again */
} tern_work;

enum { TERN_LANE_SMALL, TERN_LANE_LARGE, TERN_N_LANES };

typedef struct tern_lane {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    tern_work *first, *last; /* in the order in which they came */
    bool open;
    pthread_t thread;
    bool has_mutex, has_condition, has_thread;
} tern_lane;

typedef struct tern_workers {
    tern_lane lanes[TERN_N_LANES];
} tern_workers;

/* Zero-initialised before; on failure tern_workers_free() has to be called as well. */
tern_status tern_workers_start(tern_workers *workers, tern_error *err);
/* False: they were stopped, or never started; the caller does it itself. */
bool tern_workers_add(tern_workers *workers, int lane, tern_work *work);
/* Do what was handed in, take no more, end the threads. */
void tern_workers_stop(tern_workers *workers);
/* When nobody calls tern_workers_add() any more. */
void tern_workers_free(tern_workers *workers);

#endif
