/* Whether the model still computes: a server that answers /health but none of its requests is of no use to anybody. */
#ifndef TERN_SERVER_PROGRESS_H
#define TERN_SERVER_PROGRESS_H

#include "tern/tern.h"

enum {
    TERN_STUCK_SECONDS = 60
}; /* no pass through a model takes that long, a chunk of a prompt on a slow machine neither */

typedef struct tern_progress {
    uint64_t n_steps;
    double since; /* seconds, of any clock: there was nothing to do, or a step was done */
} tern_progress;

/* Looked at now and then. True: requests have been there for TERN_STUCK_SECONDS, and no step. */
bool tern_progress_is_stuck(tern_progress *progress, const tern_scheduler_stats *stats, double now);

#endif
