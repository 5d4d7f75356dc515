/* tern eval: what eval.c asks for and eval_report.c shows. */
#ifndef TERN_CLI_EVAL_H
#define TERN_CLI_EVAL_H

#include "cli/command.h"
#include "eval/evaluate.h"

typedef struct tern_eval_report {
    size_t limit;                   /* only the first so many records count */
    const tern_scorer_stats *stats; /* of this run; NULL: there was none */
    double seconds;
    bool json;
} tern_eval_report;

/* Tables on stdout: the tasks that there are, and scores. They return the exit status. */
int tern_eval_print_tasks(const tern_task *tasks, size_t n_tasks, bool json);
int tern_eval_print(const tern_results *results, const tern_eval_report *report);
/* Bars of each task's score beside the published one, as SVG. */
int tern_eval_chart(const tern_results *results, const tern_eval_report *report, const char *path);

/* The samples of the task's records in the file of results -> a file of JSON lines, one a record. */
int tern_eval_write_samples(const char *results_path, const char *task, const char *path);
/* Run COMMAND with that file and the data's; its lines {"id", "value"} become the values of the task's records, also in
 * the file of results. */
int tern_eval_hook(const char *command, const char *samples, const char *data, tern_results *results, const char *task);

#endif
