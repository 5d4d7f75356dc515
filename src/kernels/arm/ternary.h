/* What the ternary kernels of this folder share: the shape of a packed block (kernels.h) seen by 16-byte vectors. */
#ifndef TERN_KERNELS_ARM_TERNARY_H
#define TERN_KERNELS_ARM_TERNARY_H

#include <arm_neon.h>

#include "kernels/rungs.h"

enum {
    BLOCK_BYTES = 64, /* 16 rows x 16 columns */
    QUARTERS = 4,     /* of a block: quarter i is rows 4i..4i+3; byte 4r + j, field f: row r of them, column 4f + j */
};

#define INLINE static inline __attribute__((always_inline))

/* Loops over accumulators must unroll for these to live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

TERN_DECLARE_MATMUL(neon);
TERN_DECLARE_MATMUL(dotprod);
TERN_DECLARE_MATMUL(i8mm);

#endif
