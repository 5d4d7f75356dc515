/* Whether a text shares a run of words with others: what keeps texts that a model is measured on out of its training
 * data. Words are letters and digits, without case; punctuation and white space do not count. */
#ifndef TERN_TRAIN_OVERLAP_H
#define TERN_TRAIN_OVERLAP_H

#include "base/str.h"

enum { TERN_OVERLAP_WORDS = 13 }; /* Brown et al. 2020, appendix C */

typedef struct tern_overlap {
    uint64_t *slots; /* [n_slots] hashes of runs, 0: empty */
    size_t n_slots, n;
} tern_overlap; /* zero-initialised is empty */

/* Add all runs of a text. False: no memory. */
bool tern_overlap_add(tern_overlap *overlap, tern_view text);
/* One of the text's runs has been added. Safe from several threads. */
bool tern_overlap_has(const tern_overlap *overlap, tern_view text);
void tern_overlap_free(tern_overlap *overlap);

#endif
