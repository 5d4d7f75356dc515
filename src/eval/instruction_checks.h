/* The kinds of instructions of IFEval, and what follows each. */
#ifndef TERN_EVAL_INSTRUCTION_CHECKS_H
#define TERN_EVAL_INSTRUCTION_CHECKS_H

#include <jansson.h>

#include "tern/tern.h"

typedef enum tern_argument_type {
    TERN_ARGUMENT_NUMBER,
    TERN_ARGUMENT_RELATION, /* "less than" or "at least" */
    TERN_ARGUMENT_TEXT,
    TERN_ARGUMENT_TEXTS,
} tern_argument_type;

typedef struct tern_instruction_argument {
    const char *name;
    tern_argument_type type;
} tern_instruction_argument;

/* An answer [n] and the arguments of what it has to follow. */
typedef struct tern_instruction_job {
    const json_t *arguments;
    const char *text;
    size_t n;
    tern_error *err;
} tern_instruction_job;

typedef struct tern_instruction_kind {
    const char *id;
    tern_status (*follows)(const tern_instruction_job *job, bool *follows); /* NULL: it cannot be checked */
    tern_instruction_argument arguments[4];                                 /* the one behind the last has no name */
    bool (*fits)(const json_t *arguments); /* NULL, or: IFEval takes them as they are */
    const char *why;                       /* it cannot be checked */
} tern_instruction_kind;

const tern_instruction_kind *tern_instruction_find(const char *id);

/* Whether text [n] is JSON as Python's json module reads it, NaN and Infinity being numbers. */
bool tern_is_json(const char *text, size_t n);

#endif
