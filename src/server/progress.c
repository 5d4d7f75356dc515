#include "server/progress.h"

bool tern_progress_is_stuck(tern_progress *progress, const tern_scheduler_stats *stats, double now) {
    bool idle = stats->n_running == 0 && stats->n_waiting == 0;
    if (idle || stats->n_steps != progress->n_steps || progress->since == 0) {
        progress->n_steps = stats->n_steps;
        progress->since = now;
    }
    return now - progress->since >= TERN_STUCK_SECONDS;
}
