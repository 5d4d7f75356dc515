/* The module that the backend loads: all kernels in one translation unit (docs/CUDA.md). */
#include "cuda/args.h"
#include "cuda/layout.h"

#include "device.cuh"

#include "math.cuh"

#include "rows.cuh"

#include "gemv.cuh"

#include "gemm.cuh"

#include "attention.cuh"

#include "head.cuh"

#include "select.cuh"
