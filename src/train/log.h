/* The log of a run: JSON lines, one a step, in the folder of the run. */
#ifndef TERN_TRAIN_LOG_H
#define TERN_TRAIN_LOG_H

#include <stdio.h>

#include "base/status.h"

#define TERN_LOG_NAME "log.jsonl"

typedef struct tern_train_log {
    FILE *file;
    char *path;
    uint64_t bytes; /* of the lines so far */
    bool first;     /* no field of the line yet */
} tern_train_log;

/* Open or make folder's log, to append. One process at a time: it is locked. Close with tern_train_log_close(), which
 * accepts a zeroed log. */
tern_status tern_train_log_open(const char *folder, tern_train_log *log, tern_error *err);
/* Cut it off behind its first `bytes`: what a run that was killed wrote after its last state. *short_by: bytes that it
 * lacks (it is taken as it is then). */
tern_status tern_train_log_cut(tern_train_log *log, uint64_t bytes, uint64_t *short_by, tern_error *err);
void tern_train_log_close(tern_train_log *log);

/* A line is made of fields; numbers that are not finite are left out: JSON has none. */
void tern_train_log_whole(tern_train_log *log, const char *name, uint64_t value);
void tern_train_log_real(tern_train_log *log, const char *name, double value);
/* [a, b, ...]: value number i is get(user, i) */
void tern_train_log_list(tern_train_log *log, const char *name, size_t n, double (*get)(void *user, size_t i),
                         void *user);
/* Ends the line, and hands it to the system. */
tern_status tern_train_log_end(tern_train_log *log, tern_error *err);
/* All lines are on the disk: before a state that counts on them. */
tern_status tern_train_log_sync(tern_train_log *log, tern_error *err);

#endif
