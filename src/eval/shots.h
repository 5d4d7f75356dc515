/* Which examples stand before a question. */
#ifndef TERN_EVAL_SHOTS_H
#define TERN_EVAL_SHOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded as Python's random.Random(seed) does, so that the
 * examples are those that lm-evaluation-harness draws. */
typedef struct tern_twister {
    uint32_t state[624];
    size_t at;
} tern_twister;

void tern_twister_seed(tern_twister *twister, uint32_t seed);
uint32_t tern_twister_u32(tern_twister *twister);
/* k different places of [0, n) -> places, k <= n, in the order that Python's random.sample() gives. False: no memory.
 */
bool tern_twister_sample(tern_twister *twister, size_t n, size_t k, size_t *places);

#endif
