/* What a model makes of a line: how bad it is and what it says, as JSON that a grammar holds it to. */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include <tern/tern.h>

#include "alerts.h"

enum { MAX_SUMMARY = 60 }; /* characters */

typedef struct classifier {
    tern_model *model;
    tern_session *session;
    tern_grammar *grammar;
    uint32_t n_ctx;
} classifier;

/* `path` as for tern_model_load(). */
tern_status classifier_create(classifier *c, const char *path, int n_threads, tern_error *err);
void classifier_free(classifier *c);
/* line: UTF-8 without control characters -> *found, summary. A line that is too long for the context is cut. */
tern_status classifier_ask(classifier *c, const char *line, severity *found, char summary[4 * MAX_SUMMARY + 1],
                           tern_error *err);

#endif
