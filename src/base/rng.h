/* Random numbers, reproducible from a seed on every platform: xoshiro256**
 * (Blackman and Vigna 2018), seeded by splitmix64. */
#ifndef TERN_BASE_RNG_H
#define TERN_BASE_RNG_H

#include <stdint.h>

typedef struct tern_rng {
    uint64_t state[4];
} tern_rng;

void tern_rng_seed(tern_rng *rng, uint64_t seed);
uint64_t tern_rng_u64(tern_rng *rng);
/* Uniform in [0, 1), 53 bits. */
double tern_rng_uniform(tern_rng *rng);
/* Standard normal. */
double tern_rng_normal(tern_rng *rng);

#endif
