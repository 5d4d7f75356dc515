/*
 * A block of threads on one thread of the CPU: each is a fiber, which runs until it comes to a barrier, meets the lanes
 * of its warp or returns. Which is first is the caller's choice, so that what depends on it shows.
 *
 * What ends the process with one line on stderr: a barrier or a meeting to which not all come, or not at the same
 * place of the source; a thread that returns without waiting for its copies; what the kernel touches outside the
 * device's memory.
 */
#ifndef TERN_EMULATOR_FIBERS_H
#define TERN_EMULATOR_FIBERS_H

#include <stddef.h>
#include <stdint.h>

struct dim3 {
    uint32_t x, y, z;
};

namespace emulator {

/* Of the source, of a kernel. */
struct Place {
    const char *file;
    int line;
};

struct Fiber; /* fibers.cc */

/* The thread that runs. */
struct Thread {
    dim3 thread; /* threadIdx */
    int lane, warp;
    Fiber *fiber;
};
extern Thread *running;

struct Block {
    const char *kernel;
    dim3 grid, threads, index;
    unsigned char *dynamic_shared;
    size_t dynamic_bytes;
};
extern Block block;

enum class Order { forward, reverse };

/* Run all blocks of a launch, one after another; `body` is called by each thread. */
void run_grid(const char *kernel, dim3 grid, dim3 threads, size_t dynamic_bytes, Order order, void (*body)(void *),
              void *context);

/* One line with the kernel, block and thread that run, then the end. */
[[noreturn]] void die(Place place, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What kernels call. */
void barrier(Place place);
/* All lanes of the warp come here, each with a value: those of all 32, until the next meeting. */
const uint32_t *meet(Place place, uint32_t value);
void mma_s8(int *c, const uint32_t *words, Place place);
void load_matrices(uint32_t *r, const void *row, Place place);
/* Copies are made when the thread waits for them, or (Order::reverse) at once. */
void copy_later(void *shared, const void *global, Place place);
void copy_commit();
void copy_wait(size_t n_newest);
float f16_to_f32(uint16_t half);
uint16_t f32_to_f16(float x);

} // namespace emulator

#endif
