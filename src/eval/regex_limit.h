/* PCRE2 gives up on a match that takes too many steps or too much memory for them, so that no expression runs for ever.
 * pcre2.h has to be included before. */
#ifndef TERN_EVAL_REGEX_LIMIT_H
#define TERN_EVAL_REGEX_LIMIT_H

#include <stdbool.h>

/* Of what pcre2_match() returned. */
static inline bool tern_regex_gave_up(int number) {
    return number == PCRE2_ERROR_MATCHLIMIT || number == PCRE2_ERROR_DEPTHLIMIT || number == PCRE2_ERROR_HEAPLIMIT;
}

#endif
