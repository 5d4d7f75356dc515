/* What came out, item by item: in memory and, line by line, in a file from which a later start goes on (docs/EVAL.md).
 */
#ifndef TERN_EVAL_RESULTS_H
#define TERN_EVAL_RESULTS_H

#include <stdio.h>

#include "eval/task.h"

enum { TERN_TALLY_COLUMNS = 8 };

/* The scores of one task. */
typedef struct tern_tally {
    char name[48], title[80], model[160];
    char config[24]; /* two results of one configuration are of the same model, data, prompts and settings */
    size_t n_records, n_shots;
    size_t n_columns;
    char columns[TERN_TALLY_COLUMNS][48];             /* "acc", "exact_match,strict-match" */
    double *values;                                   /* [n_records][n_columns] */
    bool *done;                                       /* [n_records] */
    bool *cut;                                        /* [n_records] a text of it ended at the limit of tokens */
    uint32_t *instructions;                           /* [n_records] of an item; 1 of other tasks */
    uint32_t *decided[2];                             /* [n_records] of them with a verdict, strictly and loosely */
    bool *gave_up;                                    /* [n_records] an expression did on the answer */
    char published_metric[48], published_source[120]; /* "": nothing was published */
    double published;                                 /* in tern_published_unit() */
    size_t published_shots;
} tern_tally;

typedef struct tern_results {
    tern_tally *tallies; /* [n] */
    size_t n, capacity;
    FILE *file; /* NULL: only in memory */
    char path[1024];
} tern_results; /* zero-initialised is empty */

void tern_results_free(tern_results *results); /* closes the file, too */
tern_tally *tern_results_find(const tern_results *results, const char *name);

/* Add what a file says. A last line that was not finished is no error; a task that is there already with another
 * configuration is. */
tern_status tern_results_read(tern_results *results, const char *path, tern_error *err);
/* What is added from now on is written to the end of the file, which is made if it is not there. An unfinished last
 * line is cut off. */
tern_status tern_results_open(tern_results *results, const char *path, tern_error *err);

/* The task of which `wanted` says all but values and done. TERN_ERR_ARGUMENT: the results so far are of another
 * configuration. The pointer is valid until the next call. */
tern_status tern_results_begin(tern_results *results, const tern_tally *wanted, tern_tally **tally, tern_error *err);
/* The values [n_columns] of an item. `details` (becomes the function's): what else the line shall say; its
 * "instructions", and those in "strict" and "loose" that are not null, are its weights in the metrics that count
 * instructions, its TERN_RESULTS_GAVE_UP that an expression
 * needed too many steps on the answer, its TERN_RESULTS_CUT that a text ended at the limit of tokens. NULL: the item
 * was added before, and is judged now. */
#define TERN_RESULTS_GAVE_UP "expression_gave_up"
#define TERN_RESULTS_CUT "cut"
tern_status tern_results_add(tern_results *results, tern_tally *tally, size_t index, const double *values,
                             json_t *details, tern_error *err);

typedef struct tern_tally_mean {
    size_t n;
    double value, standard_error; /* shares of 1, or a perplexity; the error of fewer than two items is NaN */
    /* Of metrics of instructions: prompts or instructions without a verdict, and what the share would be with none of
     * them followed, and with all. */
    size_t n_undecided;
    double least, most;
} tern_tally_mean;

/* Over the items that are done among the first `limit`. */
tern_tally_mean tern_tally_mean_of(const tern_tally *tally, size_t column, size_t limit);
/* Records among the first `limit` that are done and have no value in any column. */
size_t tern_tally_n_left_out(const tern_tally *tally, size_t limit);
/* Records among the first `limit` that are done and on whose answer an expression gave up. */
size_t tern_tally_n_gave_up(const tern_tally *tally, size_t limit);
size_t tern_tally_n_cut(const tern_tally *tally, size_t limit);   /* whose text ended at the limit of tokens */
bool tern_tally_is_share(const tern_tally *tally, size_t column); /* neither perplexity nor score: shown as percent */

#endif
