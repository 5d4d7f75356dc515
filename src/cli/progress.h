/* A progress line on stderr, with rate and time left, for work that takes more
 * than a second. Nothing is drawn when stderr is no terminal.
 *
 *     tern_progress progress;
 *     tern_progress_start(&progress, "loading", TERN_PROGRESS_BYTES);
 *     params.progress = tern_progress_update, params.progress_user = &progress;
 *     ... work ...
 *     tern_progress_end(&progress);
 */
#ifndef TERN_CLI_PROGRESS_H
#define TERN_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tern_progress_unit {
    TERN_PROGRESS_BYTES = 0,
    TERN_PROGRESS_TOKENS,
    TERN_PROGRESS_RUNS,
    TERN_PROGRESS_LAYERS
} tern_progress_unit;

typedef struct tern_progress {
    const char *label;
    tern_progress_unit unit;
    bool enabled, drawn;
    double started, last; /* seconds */
    uint64_t begun;       /* done before the start, so not a part of the rate; 0 unless the caller sets it */
} tern_progress;

void tern_progress_start(tern_progress *progress, const char *label, tern_progress_unit unit);
/* A tern_progress_fn: `progress` is a tern_progress. False after Ctrl-C (if
 * tern_interrupt_watch() is on), so that the work is cancelled. */
bool tern_progress_update(void *progress, uint64_t done, uint64_t total);
/* Take the line away again. */
void tern_progress_end(tern_progress *progress);

#endif
