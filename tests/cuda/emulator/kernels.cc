/* The table of src/cuda/kernels: the name and the argument of each are in cuda/args.h. */
#include "kernel.h"

#include <string.h>

#include "cuda/args.h"

#define DECLARE(name) extern "C" void tern_cuda_##name(tern_cuda_##name##_args);
TERN_CUDA_KERNELS(DECLARE)

namespace emulator {

#define ROW(name) kernel_row<tern_cuda_##name##_args, tern_cuda_##name>("tern_cuda_" #name),

const Kernel *find_kernel(const char *name) {
    static const Kernel kernels[] = {TERN_CUDA_KERNELS(ROW)};
    for (const Kernel &kernel : kernels)
        if (strcmp(kernel.name, name) == 0)
            return &kernel;
    return nullptr;
}

} // namespace emulator
