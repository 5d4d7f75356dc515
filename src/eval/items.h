/* The records of a benchmark, and what they become by its task file: contexts, continuations, right answers. */
#ifndef TERN_EVAL_ITEMS_H
#define TERN_EVAL_ITEMS_H

#include "base/mem.h"
#include "eval/task.h"

/* How probable is this continuation of this context? */
typedef struct tern_eval_request {
    const char *context, *continuation; /* the continuation begins with the delimiter */
    size_t n_characters;                /* of the choice itself, without it */
} tern_eval_request;

typedef struct tern_item {
    tern_arena arena;            /* of what follows */
    tern_eval_request *requests; /* [n_requests]: the choices; one for a continuation, none for generation */
    size_t n_requests;
    size_t gold;            /* the right choice */
    const bool *is_true;    /* [n_requests] for mc2, else NULL */
    const char *context;    /* generation: the prompt, and what is right: one of them */
    size_t n_description;   /* bytes of the context: the task's description */
    tern_message *messages; /* [n_messages] the same as a conversation: the description as its system message, the
                             * examples as its turns, and the question */
    size_t n_messages;
    const char **targets;
    size_t n_targets;
    const char *id; /* samples: what a hook calls it, and the questions of a conversation, if it is one */
    const char **turns;
    size_t n_turns;
    size_t
        n_instructions; /* of a task of instructions; why none of them ever has a verdict, the first of them: NULL, */
    const char *unchecked_why, *unchecked; /* or one has. The record's, like the name */
} tern_item;

typedef struct tern_dataset {
    const tern_task *task;
    char path[1024], shots_path[1024];
    json_t *records, *shots; /* arrays, owned */
    size_t *lines;           /* [n] of the file, for messages */
    size_t n, n_shots;
    size_t *picks; /* [n][n_shots] places in `shots` */
    const tern_task_form *form, *shot_form;
    uint64_t hash; /* of both files */
} tern_dataset;

/* Read FOLDER's files for the task and check every record. n_shots examples each, drawn with `seed`. What is wrong is
 * told with the file and its line. Freed with tern_dataset_free(). */
tern_status tern_dataset_read(const tern_task *task, const char *folder, size_t n_shots, uint32_t seed,
                              tern_dataset *dataset, tern_error *err);
void tern_dataset_free(tern_dataset *dataset);

/* What is asked of record `index`, with its examples in front. Freed with tern_item_free(). */
tern_status tern_item_make(const tern_dataset *dataset, size_t index, tern_item *item, tern_error *err);
void tern_item_free(tern_item *item);

#endif
