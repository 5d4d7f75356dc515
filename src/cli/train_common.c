#include "cli/train_common.h"

#include <inttypes.h>
#include <math.h>
#include <unistd.h>

#include "cli/command.h"

void tern_train_display_clear(tern_train_display *display) {
    if (display->started)
        tern_progress_end(&display->bar);
}

void tern_train_display_warn(void *user, const char *message) {
    tern_train_display_clear(user);
    tern_cli_warn("%s", message);
}

bool tern_train_display_go_on(void *user) {
    (void)user;
    return !tern_interrupted();
}

static void print_line(const tern_loop_report *report) {
    char left[32], validation[48] = "";
    if (isfinite(report->validation))
        snprintf(validation, sizeof validation, ", validation %.4f nats", report->validation);
    fprintf(stderr, "step %" PRIu64 "/%" PRIu64 ": loss %.4f nats%s, %.0f tok/s, %.1f GFLOP/s, %s left\n", report->step,
            report->n_steps, report->smoothed, validation, report->tokens_per_second, report->flops * 1e-9,
            tern_format_seconds(left, report->seconds_left));
}

void tern_train_display_progress(void *user, const tern_loop_report *report) {
    tern_train_display *display = user;
    if (!display->started) {
        display->started = true;
        display->first_step = report->step - 1;
        tern_progress_start(&display->bar, display->label, TERN_PROGRESS_TOKENS);
    }
    uint64_t tenth = report->n_steps / 10 ? report->n_steps / 10 : 1;
    bool terminal = display->bar.enabled;
    if (isfinite(report->validation) || (!terminal && report->step % tenth == 0)) {
        tern_train_display_clear(display);
        print_line(report);
    }
    /* tokens of this process's steps, so that rate and time left are of now */
    uint64_t done = report->step - display->first_step, all = report->n_steps - display->first_step;
    double step_tokens = (double)report->tokens / (double)report->step;
    snprintf(display->label, sizeof display->label, "step %" PRIu64 "/%" PRIu64 "  loss %.3f", report->step,
             report->n_steps, report->smoothed);
    tern_progress_update(&display->bar, (uint64_t)((double)done * step_tokens), (uint64_t)((double)all * step_tokens));
}
