/* What `tern fit` was asked for and how it is printed. fit.c is the command, fit_report.c prints tables, fit_json.c
 * JSON; the arithmetic is eval/fit.h's. */
#ifndef TERN_CLI_FIT_H
#define TERN_CLI_FIT_H

#include "cli/command.h"
#include "eval/fit.h"

enum { TERN_FIT_MAX_FORMS = 16, TERN_FIT_MAX_CONTEXTS = 16 };

typedef struct tern_fit_request {
    tern_shape shape;
    bool from_file; /* a model's, not only a shape by name */
    tern_fit_form forms[TERN_FIT_MAX_FORMS];
    size_t n_forms;
    char left_out[100];                      /* forms that the shape cannot have */
    bool chosen;                             /* the forms were named on the command line */
    int32_t contexts[TERN_FIT_MAX_CONTEXTS]; /* tokens */
    size_t n_contexts;
    double streams;
    tern_device_table table;
    const tern_device *devices[TERN_STRING_LIST_MAX + 1]; /* looked at one by one, this machine first */
    size_t n_devices;
    tern_device here;
    tern_meter_quiet quiet; /* of measuring it */
    bool list;              /* the whole table */
} tern_fit_request;

/* The exit status. */
int tern_fit_print(const tern_fit_request *request);
int tern_fit_print_json(const tern_fit_request *request);

/* Why it does not fit or is tight, and what would fit; "" if it fits. Written to text, which is returned. */
const char *tern_fit_reason(const tern_fit_request *request, const tern_device *device, const tern_fit_form *form,
                            double n_tokens, char text[240]);
const char *tern_fit_verdict_name(tern_fit_verdict verdict);

#endif
