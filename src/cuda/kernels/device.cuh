/*
 * What the kernels use of the machine: every instruction that is more than plain C++ has a function here. With nvcc they
 * are intrinsics and PTX; the tests' emulator gives the same functions for the CPU (tests/cuda/emulator).
 *
 * Kernels are compiled without contraction (--fmad=false): a fused multiply-add is written fma_(). The order of
 * operations is that of kernels/kernels.h, so that the GPU gives the bits of the CPU.
 */
#ifndef TERN_CUDA_DEVICE_CUH
#define TERN_CUDA_DEVICE_CUH

#include <stdint.h>

#ifdef TERN_CUDA_EMULATOR
#include "emulator_device.h"
#else

#define DEVICE static __device__ __forceinline__
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define UNROLL _Pragma("unroll")
/* The block's shared memory whose size the launch gives. */
#define DYNAMIC_SHARED(type, name)                                                                                     \
    extern __shared__ __align__(16) unsigned char tern_dynamic_shared[];                                               \
    type *const name = (type *)tern_dynamic_shared

enum { WARP = 32 };
#define ALL_LANES 0xffffffffu

/* ---- floats, each operation rounding to nearest even ---- */
DEVICE float fma_(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float div_(float a, float b) { return __fdiv_rn(a, b); }
DEVICE float sqrt_(float a) { return __fsqrt_rn(a); }
DEVICE float round_(float a) { return rintf(a); }
DEVICE float float_from_bits(uint32_t bits) { return __uint_as_float(bits); }
DEVICE uint32_t bits_from_float(float x) { return __float_as_uint(x); }
DEVICE float float_from_half(uint16_t half) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
    return x;
}
DEVICE uint16_t half_from_float(float x) {
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
}

/* ---- integers ---- */
/* c + the sum of four products of signed bytes */
DEVICE int32_t dp4a(uint32_t a, uint32_t b, int32_t c) { return __dp4a((int32_t)a, (int32_t)b, c); }

/* ---- between the lanes of a warp, all of which take part ---- */
DEVICE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(ALL_LANES, x, lanes); }
DEVICE int32_t shuffle_xor(int32_t x, int lanes) { return __shfl_xor_sync(ALL_LANES, x, lanes); }
DEVICE void sync_block() { __syncthreads(); }

/* ---- memory ---- */
/* 16 bytes, aligned, that are read once: past L1. */
DEVICE uint4 load_stream(const void *from) {
    uint4 x;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
        : "l"(from));
    return x;
}

#endif
#endif
