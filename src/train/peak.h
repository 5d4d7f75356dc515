/* What this machine can do at most: the yardstick of a training step's speed. */
#ifndef TERN_TRAIN_PEAK_H
#define TERN_TRAIN_PEAK_H

#include "train/gemm.h"

/* Float32 floating-point operations per second of all threads of the pool together, in multiply-adds of the register
 * tile of the best kernels whose operands lie in a few cache lines. The best of a few passes, some 30 ms in all.
 * 0: no memory for that. */
double tern_fp32_peak(tern_pool *pool);

#endif
