/*
 * What kernels may use of a device: the language of src/cuda/kernels is plain C++ with what stands here, and nothing
 * beside it. With nvcc these functions are intrinsics and PTX; the tests compile the same kernels with a C++ compiler
 * for the CPU, where the other side of each of them is tests/cuda/emulator/device.h. Both give the same bits: kernels
 * are compiled without contraction (-fmad=false), a fused multiply-add is written fma_(), division and square root are
 * rounded correctly. The order of operations is that of kernels/kernels.h.
 *
 * Blocks are whole warps. All 32 lanes of a warp come to each function that is said to be the warp's, and all threads
 * of a block to each sync_block().
 */
#ifndef TERN_CUDA_DEVICE_CUH
#define TERN_CUDA_DEVICE_CUH

#include <stdint.h>

#ifdef TERN_CUDA_EMULATOR
#include "emulator/device.h"
#else

#define DEVICE static __device__ __forceinline__
/* A kernel for blocks of at most `threads`, at least `blocks` of which fit on a multiprocessor */
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define KERNEL_BLOCKS(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define UNROLL _Pragma("unroll")
/* A variable of the block, aligned to 16 bytes; not in a template. */
#define SHARED __shared__ __align__(16)
/* The block's shared memory whose size the launch gives, aligned to 16 bytes. */
#define DYNAMIC_SHARED(type, name)                                                                                     \
    extern __shared__ __align__(16) unsigned char tern_dynamic_shared[];                                               \
    type *const name = (type *)tern_dynamic_shared

enum { WARP = 32 };
#define ALL_LANES 0xffffffffu

/* ---- threads ---- */

DEVICE void sync_block() { __syncthreads(); }
/* The warp's: what a lane wrote before, the others see behind it. */
DEVICE void sync_warp() { __syncwarp(); }

/* The warp's: v of another lane. */
template <typename T> DEVICE T shuffle(T v, int lane) { return __shfl_sync(ALL_LANES, v, lane); }
template <typename T> DEVICE T shuffle_xor(T v, int mask) { return __shfl_xor_sync(ALL_LANES, v, mask); }
/* Of lane + by; its own where there is none. */
template <typename T> DEVICE T shuffle_down(T v, unsigned by) { return __shfl_down_sync(ALL_LANES, v, by); }
/* The warp's: bit i is lane i's. */
DEVICE uint32_t votes(bool bit) { return __ballot_sync(ALL_LANES, bit); }

/* ---- memory ---- */

/* 16 bytes of aligned memory. load_stream(): past L1, from what nobody writes while the kernel runs. */
DEVICE uint4 load16(const void *from) { return *(const uint4 *)from; }
DEVICE uint4 load_stream(const void *from) {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from));
    return v;
}
DEVICE void store16(void *to, uint4 v) { *(uint4 *)to = v; }

/* Copies of 16 bytes from global to shared memory, both 16-aligned, in groups that end with a commit; wait<n>(): until
 * all but the thread's n newest groups are there. */
DEVICE void copy_async16(void *shared, const void *global) {
#if __CUDA_ARCH__ >= 800
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
    store16(shared, load16(global));
#endif
}
DEVICE void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int n> DEVICE void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

/* The value before; global or shared memory. */
DEVICE int atomic_add(int *at, int v) { return atomicAdd(at, v); }
DEVICE uint32_t atomic_add(uint32_t *at, uint32_t v) { return atomicAdd(at, v); }
DEVICE uint32_t atomic_max(uint32_t *at, uint32_t v) { return atomicMax(at, v); }
/* Others see what was written before, before what is written behind. */
DEVICE void memory_fence() { __threadfence(); }

/* ---- numbers ---- */

DEVICE float fma_(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float div_(float a, float b) { return __fdiv_rn(a, b); }
DEVICE float sqrt_(float x) { return __fsqrt_rn(x); }
DEVICE float round_(float x) { return rintf(x); } /* half to even */
DEVICE float abs_(float x) { return fabsf(x); }
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
DEVICE float infinity() { return __uint_as_float(0x7f800000u); }

/* c + the four products of signed bytes of a and b */
DEVICE int dp4a(uint32_t a, uint32_t b, int c) { return __dp4a((int)a, (int)b, c); }

/* ---- tensor cores ---- */

/* The warp's: c += A . B for A [16][32], B [32][8] of signed bytes, in the fragments of the PTX ISA, "Matrix fragments
 * for mma.m16n8k32": with g = lane / 4, t = lane % 4 (byte j of a word is column or row + j)
 *     a[0], a[1]: A[g][4t ..], A[g + 8][4t ..]    a[2], a[3]: A[g][16 + 4t ..], A[g + 8][16 + 4t ..]
 *     b[0], b[1]: B[4t ..][g], B[16 + 4t ..][g]
 *     c[0], c[1]: C[g][2t], C[g][2t + 1]          c[2], c[3]: C[g + 8][2t], C[g + 8][2t + 1]
 * Turing has it in four pieces. */
DEVICE void mma_s8(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    UNROLL
    for (int piece = 0; piece < 4; piece++)
        asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+r"(c[piece % 2 * 2]), "+r"(c[piece % 2 * 2 + 1])
            : "r"(a[piece]), "r"(b[piece / 2]));
#endif
}

/* The warp's: four matrices of 8 rows of 16 bytes in shared memory; lane i says where row i % 8 of matrix i / 8 is
 * (16-aligned), and gets of each matrix m word lane % 4 of row lane / 4 -> r[m]. */
DEVICE void load_matrices(uint32_t (&r)[4], const void *row) {
    uint32_t from = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

#endif
#endif
