/*
 * What a CPU can do at most, per rung: the yardsticks that `tern bench` holds decode and prefill against. They do no
 * useful work: sums of memory, and the rung's int8 dot product on registers.
 */
#ifndef TERN_KERNELS_LIMITS_H
#define TERN_KERNELS_LIMITS_H

#include "kernels/kernels.h"

/* read_memory() takes blocks of a multiple of this many bytes. */
enum { TERN_READ_STREAMS = 4, TERN_READ_UNIT = 64 * TERN_READ_STREAMS };

typedef struct tern_limits {
    const char *instruction; /* of the dot product, for people: "vpdpbusd zmm" */
    unsigned features;       /* TERN_CPU_* bits it needs */
    /* The dot product that the rung's ternary kernels are made of, on independent accumulators and operands that stay
     * in registers, over and over. Returns the multiply-adds done: a little more than `macs` or as many. */
    uint64_t (*dot)(uint64_t macs);
    /* Read all of block [bytes], 64-byte aligned, in TERN_READ_STREAMS places at a time: a core has more misses in
     * flight that way than with one stream (measured: 76 instead of 62 GB/s with two cores). Returns a sum of it. */
    uint64_t (*read_memory)(const void *block, size_t bytes);
} tern_limits;

/* Those of a rung: the best that its features hold. */
const tern_limits *tern_limits_of(const tern_kernels *rung);

#endif
