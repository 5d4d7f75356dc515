/* Whether an answer follows instructions that a program can check: IFEval (Zhou et al. 2023, arXiv 2311.07911), as
 * lm-evaluation-harness 0.4.13 checks them. */
#ifndef TERN_EVAL_INSTRUCTIONS_H
#define TERN_EVAL_INSTRUCTIONS_H

#include <jansson.h>

#include "eval/instruction_checks.h"
#include "tern/tern.h"

enum { TERN_MAX_INSTRUCTIONS = 16 }; /* of a record */

/* Why an instruction never has a verdict; NULL: it has one, if perhaps not for each answer. TERN_ERR_FORMAT: no
 * instruction of IFEval, or an argument of another type. The text is static. */
tern_status tern_instruction_unchecked(const char *id, const json_t *arguments, const char **why, tern_error *err);

/* Whether `answer` follows an instruction; an answer of white space follows none. `loose`: also if it does without its
 * first line, its last line, its asterisks. The answer is UTF-8. What has no verdict is TERN_UNDECIDED.
 * TERN_ERR_UNSUPPORTED: an expression gave up on it. */
tern_status tern_instruction_judge(const char *id, const json_t *arguments, const char *answer, bool loose,
                                   tern_verdict *verdict, tern_error *err);

/* The fields instruction_id_list and kwargs of a record: its number of instructions, and why none of them ever has a
 * verdict (NULL: one has; *which is else the first of them). TERN_ERR_FORMAT: what is wrong with them. */
tern_status tern_instructions_read(const json_t *record, size_t *n, const char **why, const char **which,
                                   tern_error *err);
/* -> strict, loose [n]; *gave_up becomes true if an expression among the arguments gave up on the answer, for it needed
 * too many steps: then that instruction counts as not followed. */
tern_status tern_instructions_check(const json_t *record, const char *answer, tern_verdict *strict, tern_verdict *loose,
                                    bool *gave_up, tern_error *err);

#endif
