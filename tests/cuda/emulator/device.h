/*
 * The CPU's side of src/cuda/kernels/device.cuh: what each name does there, in C++ for the emulator. Mistakes that a
 * GPU may forgive or not end the process here, with a line that says where (fibers.h).
 */
#ifndef TERN_EMULATOR_DEVICE_H
#define TERN_EMULATOR_DEVICE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "fibers.h"

/* What nvcc knows by itself. */
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) int4 {
    int32_t x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(8) int2 {
    int32_t x, y;
};
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return uint4{x, y, z, w}; }
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return uint2{x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return float2{x, y}; }
#define threadIdx (emulator::running->thread)
#define blockIdx (emulator::block.index)
#define blockDim (emulator::block.threads)
#define gridDim (emulator::block.grid)

#define DEVICE static inline
#define KERNEL(threads) extern "C" void
#define KERNEL_BLOCKS(threads, blocks) extern "C" void
#define UNROLL
/* All of them lie together, so that they can be filled with rubbish before each block. */
#define SHARED static __attribute__((section("emulated_shared"), aligned(16)))
#define __shared__ static __attribute__((section("emulated_shared")))
#define DYNAMIC_SHARED(type, name) type *const name = (type *)emulator::block.dynamic_shared
enum { WARP = 32 };

/* Where a function was called from: for messages, and because lanes that call it together do so at one place. */
#define HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* ---- threads ---- */

DEVICE void sync_block(HERE) { emulator::barrier({file, line}); }
DEVICE void sync_warp(HERE) { emulator::meet({file, line}, 0); }

namespace emulator {
template <typename T> static inline uint32_t bits_of(T v) {
    static_assert(sizeof v == 4, "lanes exchange 4 bytes");
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
template <typename T> static inline T from_bits(uint32_t bits) {
    T v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static inline void check_aligned(const void *at, size_t to, Place place) {
    if ((uintptr_t)at % to)
        die(place, "%p is not aligned to %zu bytes", at, to);
}
} // namespace emulator

template <typename T> DEVICE T shuffle(T v, int lane, HERE) {
    return emulator::from_bits<T>(emulator::meet({file, line}, emulator::bits_of(v))[lane & 31]);
}
template <typename T> DEVICE T shuffle_xor(T v, int mask, HERE) {
    return shuffle(v, emulator::running->lane ^ mask, file, line);
}
template <typename T> DEVICE T shuffle_down(T v, unsigned by, HERE) {
    unsigned lane = (unsigned)emulator::running->lane + by;
    return shuffle(v, (int)(lane < 32 ? lane : lane - by), file, line);
}
DEVICE uint32_t votes(bool bit, HERE) {
    const uint32_t *of = emulator::meet({file, line}, bit);
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= of[i] << i;
    return bits;
}

/* ---- memory ---- */

DEVICE uint4 load16(const void *from, HERE) {
    emulator::check_aligned(from, 16, {file, line});
    return *(const uint4 *)from;
}
DEVICE uint4 load_stream(const void *from, HERE) { return load16(from, file, line); }
DEVICE void store16(void *to, uint4 v, HERE) {
    emulator::check_aligned(to, 16, {file, line});
    *(uint4 *)to = v;
}

DEVICE void copy_async16(void *shared, const void *global, HERE) {
    emulator::check_aligned(shared, 16, {file, line});
    emulator::check_aligned(global, 16, {file, line});
    emulator::copy_later(shared, global, {file, line});
}
DEVICE void copy_async_commit() { emulator::copy_commit(); }
template <int n> DEVICE void copy_async_wait() { emulator::copy_wait(n); }

/* One thread runs at a time. */
DEVICE int atomic_add(int *at, int v) {
    int before = *at;
    *at = (int)((uint32_t)before + (uint32_t)v);
    return before;
}
DEVICE uint32_t atomic_add(uint32_t *at, uint32_t v) {
    uint32_t before = *at;
    *at = before + v;
    return before;
}
DEVICE uint32_t atomic_max(uint32_t *at, uint32_t v) {
    uint32_t before = *at;
    *at = before > v ? before : v;
    return before;
}
DEVICE void memory_fence() {}

/* ---- numbers ---- */

DEVICE float fma_(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE float div_(float a, float b) { return a / b; }
DEVICE float sqrt_(float x) { return sqrtf(x); }
DEVICE float round_(float x) { return rintf(x); }
DEVICE float abs_(float x) { return fabsf(x); }
DEVICE float float_from_bits(uint32_t bits) { return emulator::from_bits<float>(bits); }
DEVICE uint32_t bits_from_float(float x) { return emulator::bits_of(x); }
DEVICE float float_from_half(uint16_t half) { return emulator::f16_to_f32(half); }
DEVICE uint16_t half_from_float(float x) { return emulator::f32_to_f16(x); }
DEVICE float infinity() { return INFINITY; }

DEVICE int dp4a(uint32_t a, uint32_t b, int c) {
    uint32_t sum = (uint32_t)c;
    for (int i = 0; i < 32; i += 8)
        sum += (uint32_t)((int8_t)(a >> i) * (int8_t)(b >> i));
    return (int)sum;
}

/* ---- tensor cores ---- */

DEVICE void mma_s8(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], HERE) {
    const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    emulator::mma_s8(c, words, {file, line});
}

DEVICE void load_matrices(uint32_t (&r)[4], const void *row, HERE) {
    emulator::check_aligned(row, 16, {file, line});
    emulator::load_matrices(r, row, {file, line});
}

#undef HERE

#endif
