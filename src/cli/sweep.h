/* tern bench --sweep: measure a series and draw it. */
#ifndef TERN_CLI_SWEEP_H
#define TERN_CLI_SWEEP_H

#include "cli/bench.h"

typedef struct tern_sweep_request {
    const tern_string_list *sweeps;  /* "threads", "context=16,512" */
    const tern_string_list *outputs; /* FILE.svg, FILE.csv, FILE.json */
    const char *temporary;           /* folder for models; NULL: $TMPDIR or /tmp */
    const char *path;                /* the model; NULL: the built-in one */
    const tern_bench_plan *plan;     /* what the series does not change */
    const int32_t *threads;          /* [n_threads] */
    size_t n_threads;
    bool json; /* on stdout, not a table */
} tern_sweep_request;

/* Everything: check, measure, print, write. The exit status. */
int tern_sweep(const tern_sweep_request *request);

/* ------------------------------------- between sweep.c and sweep_report.c */

typedef enum tern_sweep_kind {
    TERN_SWEEP_THREADS = 0,
    TERN_SWEEP_CONTEXT,
    TERN_SWEEP_BATCH,
    TERN_SWEEP_SHAPE,
    TERN_N_SWEEP_KINDS
} tern_sweep_kind;

enum { TERN_SWEEP_MAX_VALUES = 32, TERN_SWEEP_MAX_LINES = 8, TERN_SWEEP_NAME = 16 };

/* One series: n_values along the axis, n_lines numbers of threads. */
typedef struct tern_sweep_series {
    tern_sweep_kind kind;
    int32_t values[TERN_SWEEP_MAX_VALUES]; /* of a shape: its number in `names` */
    char names[TERN_SWEEP_MAX_VALUES][TERN_SWEEP_NAME];
    size_t n_values, n_lines;
    tern_bench_result *results; /* [n_lines][n_values] */
} tern_sweep_series;

/* "threads" */
const char *tern_sweep_name(tern_sweep_kind kind);

void tern_sweep_print(const tern_sweep_series *series, size_t n);
json_t *tern_sweep_json(const tern_sweep_series *series, size_t n); /* NULL: no memory */
tern_status tern_sweep_write_csv(const char *path, const tern_sweep_series *series, size_t n, tern_error *err);
tern_status tern_sweep_write_json(const char *path, const tern_sweep_series *series, size_t n, tern_error *err);
tern_status tern_sweep_write_svg(const char *path, const tern_sweep_series *series, size_t n, tern_error *err);

#endif
