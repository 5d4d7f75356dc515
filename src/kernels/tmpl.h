/* What the kernel templates share (float_tmpl.c, attention_tmpl.c); V16_ISA is the suffix of their functions' names. */
#ifndef TERN_KERNELS_TMPL_H
#define TERN_KERNELS_TMPL_H

#define INLINE static inline __attribute__((always_inline))
#define JOIN_(operation, isa) tern_##operation##_##isa
#define JOIN(operation, isa) JOIN_(operation, isa)
#define KERNEL(operation) JOIN(operation, V16_ISA)

/* Loops over a tile must unroll for its array to live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
