/* The largest of many floats by selection, in linear time: nothing sorts a vocabulary. No x is NaN. */
#ifndef TERN_RUNTIME_SELECT_H
#define TERN_RUNTIME_SELECT_H

#include <stddef.h>
#include <stdint.h>

/* The largest of x [n], n >= 1. */
float tern_maximum(const float *x, size_t n);

/* x at its place among others as an integer that ranks as it does: by x, for equal ones the later place lower; -0
 * ranks with +0. The place is in the low half, inverted. */
uint64_t tern_rank_key(float x, uint32_t place);
static inline uint32_t tern_rank_place(uint64_t key) { return (uint32_t)~key; }

/* The highest key such that the keys [n] from it upwards weigh at least `target`, or the lowest of all if there is
 * none; a key weighs weights[its place], or 1 if weights is NULL. Permutes the keys, which are distinct, n >= 1. */
uint64_t tern_select_threshold(uint64_t *keys, size_t n, const double *weights, double target);

/* places [0, k): where the k largest of x [n] stand, ascending, 1 <= k <= n; of equal ones the first are taken. The
 * memory is [n], the rest of it scratch. */
void tern_select_top(const float *x, size_t n, size_t k, uint64_t *places);

#endif
