#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"

#define REDRAW_SECONDS 0.1
#define QUIET_SECONDS 1.0 /* what is over sooner shows nothing */
#define BAR_WIDTH 24

void tern_progress_start(tern_progress *progress, const char *label, tern_progress_unit unit) {
    *progress = (tern_progress){.label = label, .unit = unit, .enabled = isatty(STDERR_FILENO)};
    progress->started = progress->last = tern_seconds();
}

static void format_amount(char text[32], tern_progress_unit unit, double amount) {
    if (unit == TERN_PROGRESS_BYTES)
        tern_format_bytes(text, amount);
    else
        snprintf(text, 32, amount < 10 ? "%.1f %s" : "%.0f %s", amount,
                 unit == TERN_PROGRESS_TOKENS   ? "tok"
                 : unit == TERN_PROGRESS_LAYERS ? "layers"
                                                : "runs");
}

static void draw(tern_progress *progress, double elapsed, double done, double total) {
    double share = total > 0 ? fmin(done / total, 1) : 0, rate = (done - (double)progress->begun) / elapsed;
    char bar[BAR_WIDTH + 1], speed[32];
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < (int)(share * BAR_WIDTH) ? '#' : '.';
    bar[BAR_WIDTH] = 0;
    format_amount(speed, progress->unit, rate);
    fprintf(stderr, "\r%s [%s] %3.0f%%  %s/s", progress->label, bar, share * 100, speed);
    if (rate > 0 && total > 0) {
        double left = fmin((total - done) / rate, 359999);
        if (left < 60)
            fprintf(stderr, "  %.0f s left", fmax(left, 0));
        else
            fprintf(stderr, "  %d:%02d min left", (int)left / 60, (int)left % 60);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
    progress->drawn = true;
}

bool tern_progress_update(void *user, uint64_t done, uint64_t total) {
    tern_progress *progress = user;
    if (tern_interrupted())
        return false;
    if (!progress->enabled)
        return true;
    double now = tern_seconds(), elapsed = now - progress->started;
    if (elapsed < QUIET_SECONDS || now - progress->last < REDRAW_SECONDS)
        return true;
    progress->last = now;
    draw(progress, elapsed, (double)done, (double)total);
    return true;
}

void tern_progress_end(tern_progress *progress) {
    if (progress->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    progress->drawn = false;
}
