/* The kernels by name, and how to call one with what cuLaunchKernel was given. Each takes one structure by value. */
#ifndef TERN_EMULATOR_KERNEL_H
#define TERN_EMULATOR_KERNEL_H

#include <stddef.h>

namespace emulator {

struct Kernel {
    const char *name;
    size_t argument_bytes;
    void (*call)(const void *argument);
};
/* NULL: there is none of that name. */
const Kernel *find_kernel(const char *name);

/* A row of a table of kernels. */
template <typename A, void (*function)(A)> static inline Kernel kernel_row(const char *name) {
    return {name, sizeof(A), [](const void *argument) { function(*static_cast<const A *>(argument)); }};
}

} // namespace emulator

#endif
