/*
 * One GPU as the backend uses it: its memory, one stream, the kernels. Calls come one at a time (the engine's lock),
 * but from any thread; alloc and free may come beside them.
 *
 * Launches and copies are put in line and return at once. The first one that fails is kept: all that follow do nothing,
 * until tern_cuda_take_error() has told somebody.
 *
 * A thread may have a GPU of its own (the caller's other libraries): between tern_cuda_enter() and tern_cuda_leave() it
 * has this one, afterwards its own again.
 */
#ifndef TERN_CUDA_DEVICE_H
#define TERN_CUDA_DEVICE_H

#include <stdbool.h>

#include "cuda/args.h"
#include "cuda/driver.h"

typedef enum tern_cuda_kernel {
#define TERN_CUDA_ENUM(name) TERN_CUDA_KERNEL_##name,
    TERN_CUDA_KERNELS(TERN_CUDA_ENUM)
#undef TERN_CUDA_ENUM
        TERN_CUDA_N_KERNELS
} tern_cuda_kernel;

typedef struct tern_cuda_device {
    const tern_cuda_driver *driver;
    tern_cu_device device;
    tern_cu_context *context;
    tern_cu_module *module;
    tern_cu_function *kernels[TERN_CUDA_N_KERNELS];
    tern_cu_stream *stream;
    char name[128];
    int major, minor;   /* compute capability */
    tern_status status; /* the first failure that nobody was told of */
    tern_error error;
} tern_cuda_device;

typedef struct tern_cuda_grid {
    uint32_t x, y, z;
} tern_cuda_grid;

/* The first GPU. TERN_ERR_UNSUPPORTED: there is none, or this build's kernels do not run on it. On failure nothing
 * needs closing. */
tern_status tern_cuda_device_open(tern_cuda_device *device, tern_error *err);
void tern_cuda_device_close(tern_cuda_device *device);

/* Make the GPU this thread's, until tern_cuda_leave(). False: it is not, which is kept, and there is nothing to leave.
 * Allocating and freeing do it themselves. */
bool tern_cuda_enter(tern_cuda_device *device);
void tern_cuda_leave(tern_cuda_device *device);

/* NULL: no memory, or another failure, which is kept. Aligned to 256. */
void *tern_cuda_alloc(tern_cuda_device *device, size_t bytes);
void tern_cuda_free(tern_cuda_device *device, void *memory);
/* The same for threads beside the one that computes: nothing is kept, TERN_ERR_MEMORY is for no memory alone. */
tern_status tern_cuda_alloc_beside(tern_cuda_device *device, size_t bytes, void **memory, tern_error *err);
/* Once all that is in line, and may use it, is done. */
void tern_cuda_free_beside(tern_cuda_device *device, void *memory);
/* Host memory that copies do not wait for; NULL: none, or another failure, which is kept. */
void *tern_cuda_host_alloc(tern_cuda_device *device, size_t bytes);
void tern_cuda_host_free(tern_cuda_device *device, void *memory);
/* 0 if it cannot be told, which is kept. */
size_t tern_cuda_free_bytes(tern_cuda_device *device);

/* Of `from` in host memory, which stays as it is until tern_cuda_wait() if it came from tern_cuda_host_alloc(). */
void tern_cuda_copy_to_device(tern_cuda_device *device, void *to, const void *from, size_t bytes);
void tern_cuda_copy_to_host(tern_cuda_device *device, void *to, const void *from, size_t bytes);
void tern_cuda_copy_on_device(tern_cuda_device *device, void *to, const void *from, size_t bytes);
/* A kernel with its tern_cuda_..._args; shared_bytes: of shared memory whose size it does not know itself. */
void tern_cuda_launch_shared(tern_cuda_device *device, tern_cuda_kernel kernel, tern_cuda_grid grid, uint32_t threads,
                             uint32_t shared_bytes, const void *args);
static inline void tern_cuda_launch(tern_cuda_device *device, tern_cuda_kernel kernel, tern_cuda_grid grid,
                                    uint32_t threads, const void *args) {
    tern_cuda_launch_shared(device, kernel, grid, threads, 0, args);
}
/* Until all that is in line is done. False: something failed, now or before. */
bool tern_cuda_wait(tern_cuda_device *device);

/* Keep a failure of the driver; true if there is none. */
bool tern_cuda_check(tern_cuda_device *device, tern_cu_result result, const char *what);
/* The failure that was kept, which then is told. */
tern_status tern_cuda_take_error(tern_cuda_device *device, tern_error *err);

/* The kernels as the driver loads them (image.c), and whether nvcc made them. If so: the CUDA version of nvcc (13000:
 * 13.0) and the smallest compute capability that it compiled for (75: 7.5). */
extern const unsigned char tern_cuda_image[];
extern const bool tern_cuda_image_is_real;
extern const int tern_cuda_image_toolkit, tern_cuda_image_capability;

#endif
