/* What a generated text answers, and whether that is right. */
#ifndef TERN_EVAL_ANSWERS_H
#define TERN_EVAL_ANSWERS_H

#include "eval/task.h"

/* The expressions of a task, compiled. */
typedef struct tern_answers tern_answers;

tern_status tern_answers_create(const tern_task *task, tern_answers **answers, tern_error *err);
void tern_answers_free(tern_answers *answers);

/* What filter `index` takes out of the text -> *answer, freed with free(): "[invalid]" where nothing fits. *gave_up
 * becomes true if an expression gave up on the text, for it needed too many steps: then it fits nowhere. */
tern_status tern_answers_extract(const tern_answers *answers, size_t index, const char *text, char **answer,
                                 bool *gave_up, tern_error *err);
/* Whether it is one of the targets [n], as the task compares them. *gave_up as above. */
tern_status tern_answers_match(const tern_answers *answers, const char *answer, const char *const *targets, size_t n,
                               bool *match, bool *gave_up, tern_error *err);

#endif
