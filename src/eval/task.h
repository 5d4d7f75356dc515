/* Task files: what a benchmark's records look like, what is asked of them and how answers are scored (docs/EVAL.md).
 * data/tasks/ are part of the program; users have files of their own in the same form. */
#ifndef TERN_EVAL_TASK_H
#define TERN_EVAL_TASK_H

#include <jansson.h>

#include "tern/tern.h"

typedef enum tern_task_kind {
    TERN_TASK_CHOICE,       /* a context and several continuations */
    TERN_TASK_PARTIAL,      /* several contexts and one continuation, which alone is scored */
    TERN_TASK_CONTINUATION, /* a context and its one continuation */
    TERN_TASK_GENERATE,     /* a context, and a text that is generated */
    TERN_TASK_INSTRUCTIONS, /* the same, and instructions that the text has to follow (eval/instructions.h) */
    TERN_TASK_SAMPLES,      /* the same, for somebody else to judge */
} tern_task_kind;

typedef enum tern_metric {
    TERN_METRIC_ACC,
    TERN_METRIC_ACC_NORM,
    TERN_METRIC_MC2,
    TERN_METRIC_PERPLEXITY,
    TERN_METRIC_EXACT_MATCH,
    TERN_METRIC_PROMPT_STRICT, /* all instructions of a record, or how many of them, are followed ... */
    TERN_METRIC_INSTRUCTION_STRICT,
    TERN_METRIC_PROMPT_LOOSE, /* ... by the text or by what is left of it without its frame */
    TERN_METRIC_INSTRUCTION_LOOSE,
    TERN_METRIC_PASS, /* these two come from a hook */
    TERN_METRIC_SCORE,
} tern_metric;

enum { TERN_TASK_MAX_FORMS = 8, TERN_TASK_MAX_METRICS = 8, TERN_TASK_MAX_LIST = 16, TERN_TASK_MAX_SHOTS = 64 };

/* A shape that records may have: the first one whose `needs` are all there is taken. Templates unless said otherwise;
 * NULL: not given. */
typedef struct tern_task_form {
    const char *needs[TERN_TASK_MAX_LIST];
    size_t n_needs;
    const char *prompt, *continuation, *target;
    const char *filter;                /* over the prompt and each choice */
    const char *gold;                  /* a field; NULL: gold_at */
    int64_t gold_at;                   /* the place itself; -1: not given */
    const json_t *gold_labels;         /* a field or an array: gold is a place in it */
    const json_t *choices;             /* a field, or an array of templates and {"each", "where", "is"} */
    const json_t *contexts;            /* an array of templates or a field */
    const char *true_labels, *targets; /* fields */
    const char *id, *turns;            /* of samples: a template; a field with a conversation's questions */
    const json_t *sample; /* the line that is written, with \"@field\", \"@text\", \"@turns\", \"@model\" */
} tern_task_form;

/* What is taken out of a generated text. */
typedef struct tern_task_filter {
    const char *name;  /* "strict-match"; "" for the only one */
    const char *regex; /* NULL: all of the text */
    bool last;         /* its last match, not its first */
    bool strip;        /* white space at its ends; of what a regex finds, unless the task says no */
    bool boxed;        /* the content of the last \boxed{} */
} tern_task_filter;

typedef struct tern_task {
    json_t *root; /* owned; the texts belong to it */
    char where[256];
    const char *name, *title, *data, *shots_data, *shots_by, *description, *delimiter, *shots_delimiter, *notes;
    tern_task_kind kind;
    size_t n_shots;   /* unless the user says otherwise */
    bool first_shots; /* the first ones of the file, not drawn ones */
    bool other_shots; /* drawn without the record itself, as the harness does where there is no split named "test" */
    tern_metric metrics[TERN_TASK_MAX_METRICS];
    size_t n_metrics;
    tern_task_form forms[TERN_TASK_MAX_FORMS], shot_forms[TERN_TASK_MAX_FORMS];
    size_t n_forms, n_shot_forms;
    /* generation */
    const char *until[TERN_TASK_MAX_LIST];
    size_t n_until;
    int64_t max_tokens;
    bool no_chat; /* the text goes on with the prompt itself: no chat template */
    tern_task_filter filters[TERN_TASK_MAX_LIST];
    size_t n_filters;
    const char *ignored[TERN_TASK_MAX_LIST]; /* expressions that are cut out of answer and target */
    size_t n_ignored;
    bool ignore_case, ignore_punctuation, math;
    /* what was published, by the report on BitNet b1.58 2B4T */
    const char *published_metric, *published_source;
    double published; /* in tern_published_unit() */
    int64_t published_shots;
    bool published_chat; /* in the chat template */
} tern_task;

/* The tasks of the program, in the order of their names. */
tern_status tern_tasks_builtin(tern_task **tasks, size_t *n_tasks, tern_error *err);
/* From a file of one task. */
tern_status tern_task_read(const char *path, tern_task *task, tern_error *err);
/* From JSON that is the task's from here on, also after a failure; `where` stands in messages. */
tern_status tern_task_parse(json_t *root, const char *where, tern_task *task, tern_error *err);
void tern_task_free(tern_task *task); /* its contents */
void tern_tasks_free(tern_task *tasks, size_t n_tasks);

/* A name of a task, which becomes part of file names and of tables: 1 to 40 of a-z, 0-9, _ and -. */
bool tern_task_is_name(const char *text);
const char *tern_metric_name(tern_metric metric);
/* What a published value of the metric is in, also the key that it has in files: "percent" or, of a score, "points". */
const char *tern_published_unit(const char *metric);
bool tern_task_generates(const tern_task *task); /* a text, whatever becomes of it */

#endif
