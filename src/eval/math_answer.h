/* Answers of the MATH problems, which are pieces of LaTeX that can be written in several ways. */
#ifndef TERN_EVAL_MATH_ANSWER_H
#define TERN_EVAL_MATH_ANSWER_H

#include <stddef.h>

/* The content [*n] of the last \boxed{...} (or \fbox, or "\boxed x" up to a dollar sign); NULL: there is none. */
const char *tern_math_boxed(const char *text, size_t *n);

/* The answer in the form in which the authors of MATH compare (Hendrycks et al. 2021, appendix; their published code's
 * rules): without blanks, units, \left, \right and dollar signs, with \frac{a}{b} for a/b and \frac ab. Freed with
 * free(); NULL: no memory. */
char *tern_math_normalise(const char *answer);

#endif
