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

#endif
