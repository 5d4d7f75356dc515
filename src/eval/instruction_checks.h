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

/* What can be said of an answer. Some kinds of instructions want what is not here (a recogniser of languages, a trained
 * splitter of sentences); of many answers to them it is certain all the same. */
typedef enum tern_verdict { TERN_NOT_FOLLOWED, TERN_FOLLOWED, TERN_UNDECIDED } tern_verdict;

typedef struct tern_instruction_kind {
    const char *id;
    tern_status (*follows)(const tern_instruction_job *job, bool *follows); /* NULL: it is not always certain ... */
    tern_instruction_argument arguments[4];                                 /* the one behind the last has no name */
    bool (*fits)(const json_t *arguments);                  /* NULL, or: IFEval takes them as they are */
    tern_verdict (*judge)(const tern_instruction_job *job); /* ... but sometimes */
} tern_instruction_kind;

const tern_instruction_kind *tern_instruction_find(const char *id);

/* Those that are not always certain (eval/instruction_bounds.c). */
tern_verdict tern_judge_language(const tern_instruction_job *job);
tern_verdict tern_judge_sentences(const tern_instruction_job *job);
tern_verdict tern_judge_capitals(const tern_instruction_job *job);
tern_verdict tern_judge_small_letters(const tern_instruction_job *job);

/* Whether text [n] is JSON as Python's json module reads it, NaN and Infinity being numbers. */
bool tern_is_json(const char *text, size_t n);

#endif
