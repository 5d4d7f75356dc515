/* The kernels as they are given to the driver. CMake says where nvcc has put them (TERN_CUDA_FATBIN); a build without
 * nvcc has a mark in their place, which a driver refuses and the tests' emulator, which has kernels of its own, takes.
 */
#include "cuda/device.h"

#ifdef TERN_CUDA_FATBIN
#include "base/embed.h"

TERN_EMBED(tern_cuda_image, TERN_CUDA_FATBIN);
const bool tern_cuda_image_is_real = true;
const int tern_cuda_image_toolkit = TERN_CUDA_TOOLKIT, tern_cuda_image_capability = TERN_CUDA_CAPABILITY;
#else
const unsigned char tern_cuda_image[] = "// tern was built without nvcc: no kernels";
const bool tern_cuda_image_is_real = false;
const int tern_cuda_image_toolkit = 0, tern_cuda_image_capability = 0;
#endif
