/* Probabilities of tokens as readers want to know them: of the model itself, before temperature and filters. */
#ifndef TERN_RUNTIME_LOGPROB_H
#define TERN_RUNTIME_LOGPROB_H

#include "base/status.h"

/* The logarithm of the sum of exp(logits [n]), in double precision. NaN if one of them is NaN or +inf. */
double tern_log_sum_exp(const float *logits, size_t n);

/* The k most probable of logits [n], best first, of equal ones the lower id first -> top [k], 1 <= k <= n. `log_sum` is
 * the above, not NaN; keys [n] is scratch. */
void tern_top_logprobs(const float *logits, size_t n, double log_sum, size_t k, uint64_t *keys,
                       tern_token_logprob *top);

#endif
