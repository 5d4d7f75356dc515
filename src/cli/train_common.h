/* What the commands that train show while they do. */
#ifndef TERN_CLI_TRAIN_COMMON_H
#define TERN_CLI_TRAIN_COMMON_H

#include "cli/progress.h"
#include "train/loop.h"

/* A progress bar with the loss on a terminal; elsewhere a line for each validation and each tenth of the run. */
typedef struct tern_train_display {
    tern_progress bar;
    char label[96];
    bool started;
    uint64_t first_step; /* done before this process began */
} tern_train_display;

/* Hooks for tern_train_loop() whose user is the display. */
void tern_train_display_warn(void *display, const char *message);
void tern_train_display_progress(void *display, const tern_loop_report *report);
bool tern_train_display_go_on(void *display); /* until Ctrl-C */
typedef struct tern_train_sample {
    uint64_t step;
    const char *model, *adapter; /* NULL: no adapter */
    const char *prompt;
    const char *note; /* behind the step's number, "" */
    bool chat;        /* the prompt is a user's message */
    int n_threads;
} tern_train_sample;

/* Some tokens of the model as it is, with the step's number as the seed, to standard error. */
tern_status tern_train_display_sample(tern_train_display *display, const tern_train_sample *sample, tern_error *err);
/* Take the bar away, so that something else can be written. */
void tern_train_display_clear(tern_train_display *display);

#endif
