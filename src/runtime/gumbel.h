/* Gumbel noise inside: the same function for several instruction sets, all with the same bits. */
#ifndef TERN_RUNTIME_GUMBEL_H
#define TERN_RUNTIME_GUMBEL_H

#include <stddef.h>
#include <stdint.h>

/* Noise of rows [first, first + n) of the draw whose random numbers begin at `start` -> out [n]. */
typedef void (*tern_gumbel_fn)(uint64_t start, uint32_t first, size_t n, float *out);

typedef struct tern_gumbel_kernel {
    unsigned features; /* TERN_CPU_* that it needs */
    tern_gumbel_fn rows;
} tern_gumbel_kernel;

/* The fastest first; ends with one that needs nothing. */
extern const tern_gumbel_kernel tern_gumbel_kernels[];

void tern_gumbel_rows_any(uint64_t start, uint32_t first, size_t n, float *out);
void tern_gumbel_rows_avx2(uint64_t start, uint32_t first, size_t n, float *out);
void tern_gumbel_rows_avx512vnni(uint64_t start, uint32_t first, size_t n, float *out);

/* Where the numbers of a draw begin; row i takes the i-th. */
uint64_t tern_gumbel_start(uint64_t seed, uint64_t counter);

#endif
