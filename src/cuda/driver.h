/*
 * NVIDIA's driver, libcuda.so.1, found when the program runs: one build serves machines with a GPU and without. What is
 * here of its interface is what the backend uses, under the names of the CUDA Driver API's documentation, without "cu".
 */
#ifndef TERN_CUDA_DRIVER_H
#define TERN_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef int tern_cu_result; /* 0: done */
typedef int tern_cu_device;
typedef uint64_t tern_cu_address; /* of device memory */
typedef struct tern_cu_context tern_cu_context;
typedef struct tern_cu_module tern_cu_module;
typedef struct tern_cu_function tern_cu_function;
typedef struct tern_cu_stream tern_cu_stream;
typedef struct tern_cu_event tern_cu_event;
typedef struct tern_cu_graph tern_cu_graph;
typedef struct tern_cu_graph_exec tern_cu_graph_exec;

enum {
    TERN_CU_OUT_OF_MEMORY = 2,
    TERN_CU_NO_DEVICE = 100,
    TERN_CU_INVALID_IMAGE = 200,
    TERN_CU_NO_BINARY_FOR_GPU = 209,
    TERN_CU_INVALID_PTX = 218,
    TERN_CU_UNSUPPORTED_PTX_VERSION = 222,
    TERN_CU_ATTRIBUTE_MAJOR = 75, /* compute capability */
    TERN_CU_ATTRIBUTE_MINOR = 76,
    TERN_CU_STREAM_NON_BLOCKING = 1,
    TERN_CU_EVENT_DISABLE_TIMING = 2,
    TERN_CU_CAPTURE_RELAXED = 2,
};

/* X(member, the library's name, parameters). The first NVIDIA driver with all of them is 470 (CUDA 11.4); what the
 * kernels need depends on the nvcc that compiled them (device.c). */
#define TERN_CU_CALLS(X)                                                                                               \
    X(init, "cuInit", (unsigned flags))                                                                                \
    X(driver_version, "cuDriverGetVersion", (int *version))                                                            \
    X(get_error_string, "cuGetErrorString", (tern_cu_result result, const char **text))                                \
    X(device_count, "cuDeviceGetCount", (int *count))                                                                  \
    X(device_get, "cuDeviceGet", (tern_cu_device * device, int index))                                                 \
    X(device_name, "cuDeviceGetName", (char *name, int size, tern_cu_device device))                                   \
    X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, tern_cu_device device))                    \
    X(context_retain, "cuDevicePrimaryCtxRetain", (tern_cu_context * *context, tern_cu_device device))                 \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (tern_cu_device device))                                        \
    X(context_push, "cuCtxPushCurrent_v2", (tern_cu_context * context))                                                \
    X(context_pop, "cuCtxPopCurrent_v2", (tern_cu_context * *context))                                                 \
    X(module_load, "cuModuleLoadData", (tern_cu_module * *module, const void *image))                                  \
    X(module_unload, "cuModuleUnload", (tern_cu_module * module))                                                      \
    X(module_function, "cuModuleGetFunction",                                                                          \
      (tern_cu_function * *function, tern_cu_module * module, const char *name))                                       \
    X(memory_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                                                 \
    X(memory_alloc, "cuMemAlloc_v2", (tern_cu_address * address, size_t bytes))                                        \
    X(memory_free, "cuMemFree_v2", (tern_cu_address address))                                                          \
    X(host_alloc, "cuMemHostAlloc", (void **memory, size_t bytes, unsigned flags))                                     \
    X(host_free, "cuMemFreeHost", (void *memory))                                                                      \
    X(copy_to_device, "cuMemcpyHtoDAsync_v2",                                                                          \
      (tern_cu_address to, const void *from, size_t bytes, tern_cu_stream *stream))                                    \
    X(copy_to_host, "cuMemcpyDtoHAsync_v2", (void *to, tern_cu_address from, size_t bytes, tern_cu_stream *stream))    \
    X(copy_on_device, "cuMemcpyDtoDAsync_v2",                                                                          \
      (tern_cu_address to, tern_cu_address from, size_t bytes, tern_cu_stream * stream))                               \
    X(stream_create, "cuStreamCreate", (tern_cu_stream * *stream, unsigned flags))                                     \
    X(stream_destroy, "cuStreamDestroy_v2", (tern_cu_stream * stream))                                                 \
    X(stream_synchronize, "cuStreamSynchronize", (tern_cu_stream * stream))                                            \
    X(stream_begin_capture, "cuStreamBeginCapture_v2", (tern_cu_stream * stream, int mode))                            \
    X(stream_end_capture, "cuStreamEndCapture", (tern_cu_stream * stream, tern_cu_graph * *graph))                     \
    X(event_create, "cuEventCreate", (tern_cu_event * *event, unsigned flags))                                         \
    X(event_destroy, "cuEventDestroy_v2", (tern_cu_event * event))                                                     \
    X(event_record, "cuEventRecord", (tern_cu_event * event, tern_cu_stream * stream))                                 \
    X(event_synchronize, "cuEventSynchronize", (tern_cu_event * event))                                                \
    X(graph_instantiate, "cuGraphInstantiateWithFlags",                                                                \
      (tern_cu_graph_exec * *exec, tern_cu_graph * graph, uint64_t flags))                                             \
    X(graph_launch, "cuGraphLaunch", (tern_cu_graph_exec * exec, tern_cu_stream * stream))                             \
    X(graph_exec_destroy, "cuGraphExecDestroy", (tern_cu_graph_exec * exec))                                           \
    X(graph_destroy, "cuGraphDestroy", (tern_cu_graph * graph))                                                        \
    X(launch, "cuLaunchKernel",                                                                                        \
      (tern_cu_function * function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,               \
       unsigned block_y, unsigned block_z, unsigned shared_bytes, tern_cu_stream *stream, void **arguments,            \
       void **extra))

typedef struct tern_cuda_driver {
#define TERN_CU_MEMBER(member, name, parameters) tern_cu_result(*member) parameters;
    TERN_CU_CALLS(TERN_CU_MEMBER)
#undef TERN_CU_MEMBER
} tern_cuda_driver;

/* The driver, loaded and initialised with the first call; it stays until the process ends. TERN_ERR_UNSUPPORTED if
 * there is none, or one that is too old. Any thread may call it. */
tern_status tern_cuda_driver_open(const tern_cuda_driver **driver, tern_error *err);

/* What a result means; never NULL. */
const char *tern_cuda_result_text(const tern_cuda_driver *driver, tern_cu_result result);

#endif
