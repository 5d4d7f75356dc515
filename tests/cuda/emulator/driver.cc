/*
 * libcuda.so.1 of the tests: devices, contexts, modules, memory and launches. Streams and graphs are in stream.cc.
 *
 *     LD_LIBRARY_PATH=build/tests/cuda TERN_BACKEND=cuda build/tern run demo -p "Once"
 *
 * TERN_EMULATOR_MEMORY=BYTES    how much the device has (default: 4 GiB)
 * TERN_EMULATOR_FAIL=NAME:N:E   the N-th call (1, 2, ...) of that entry point gives error E; N of 0: each call
 * TERN_EMULATOR_ORDER=reverse   blocks, warps and lanes take their turns the other way around
 * TERN_EMULATOR_CC=75           the compute capability (default: 90)
 * TERN_EMULATOR_DRIVER=12040    the version of CUDA that the driver is for (default: 13000)
 * TERN_EMULATOR_DEVICES=N       how many devices there are (default: 1)
 * TERN_EMULATOR_COUNT=FILE      at the end, the number of calls of each entry point goes there, and behind "left" the
 *                               number of things that were made and not given back, contexts on threads' stacks among
 * them
 */
#include "driver.h"

#include <map>
#include <mutex>
#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

#include "fibers.h"
#include "kernel.h"
#include "memory.h"

using namespace emulator;

static std::recursive_mutex lock;
static bool initialized;
static int n_modules;
static bool waited_in_vain; /* the driver was told to fail at it: whoever waited could do no more */
static thread_local std::vector<CUcontext> contexts; /* of this thread; the last one is current */
static size_t n_contexts;                            /* on all threads' */

struct CUctx_st {
    int n_retained;
};
static CUctx_st primary;

static CUcontext current() { return contexts.empty() ? nullptr : contexts.back(); }

struct CUfunc_st {
    const Kernel *kernel;
    size_t dynamic_limit;
};

static long number(const char *variable, long otherwise) {
    const char *text = getenv(variable);
    return text ? strtol(text, nullptr, 10) : otherwise;
}

/* ---- each call ---- */

struct Counts {
    std::map<std::string, long> of;
    ~Counts() {
        const char *path = getenv("TERN_EMULATOR_COUNT");
        FILE *file = path ? fopen(path, "w") : nullptr;
        if (!file)
            return;
        for (const auto &each : of)
            fprintf(file, "%s %ld\n", each.first.c_str(), each.second);
        fprintf(file, "left %zu\n",
                things_left() + n_streams() + (size_t)primary.n_retained + (size_t)n_modules + n_contexts);
        fclose(file);
    }
};

/* What TERN_EMULATOR_FAIL says about this call. */
static CUresult asked_to_fail(const char *name, long n) {
    const char *text = getenv("TERN_EMULATOR_FAIL"), *colon = text ? strchr(text, ':') : nullptr;
    if (!colon || strlen(name) != (size_t)(colon - text) || strncmp(text, name, (size_t)(colon - text)) != 0)
        return CUDA_SUCCESS;
    char *end;
    long which = strtol(colon + 1, &end, 10);
    int error = *end == ':' ? atoi(end + 1) : CUDA_ERROR_LAUNCH_FAILED;
    return which == 0 || which == n ? error : CUDA_SUCCESS;
}

Call::Call(const char *name, Needs needs) {
    static Counts counts;
    lock.lock();
    status = asked_to_fail(name, ++counts.of[name]);
    waited_in_vain |= status && strcmp(name, "cuStreamSynchronize") == 0;
    if (!status && needs >= INITIALIZED && !initialized)
        status = CUDA_ERROR_NOT_INITIALIZED;
    if (!status && needs >= CONTEXT && !current())
        status = CUDA_ERROR_INVALID_CONTEXT;
}

Call::~Call() { lock.unlock(); }

/* ---- devices and contexts ---- */

API cuInit(unsigned flags) {
    ENTRY(NOTHING)
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (number("TERN_EMULATOR_DEVICES", 1) <= 0)
        return CUDA_ERROR_NO_DEVICE;
    initialized = true;
    return CUDA_SUCCESS;
}

API cuDriverGetVersion(int *version) {
    ENTRY(NOTHING)
    *version = (int)number("TERN_EMULATOR_DRIVER", 13000);
    return CUDA_SUCCESS;
}

API cuDeviceGetCount(int *count) {
    ENTRY(INITIALIZED)
    *count = (int)number("TERN_EMULATOR_DEVICES", 1);
    return CUDA_SUCCESS;
}

static bool is_device(CUdevice device) { return device >= 0 && device < number("TERN_EMULATOR_DEVICES", 1); }

API cuDeviceGet(CUdevice *device, int ordinal) {
    ENTRY(INITIALIZED)
    if (!is_device(ordinal))
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

API cuDeviceGetName(char *name, int size, CUdevice device) {
    ENTRY(INITIALIZED)
    if (!is_device(device) || size <= 0)
        return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, (size_t)size, "emulator");
    return CUDA_SUCCESS;
}

static int shared_limit() { return number("TERN_EMULATOR_CC", 90) >= 80 ? 163 << 10 : 64 << 10; }

API cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    static const struct {
        int attribute, value;
    } values[] = {
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 0x7fffffff},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 48 << 10},
        {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1000000},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 4},
        {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1000000},
        {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 64},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 4 << 20},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, (int)number("TERN_EMULATOR_CC", 90) / 10},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, (int)number("TERN_EMULATOR_CC", 90) % 10},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, shared_limit()},
    };
    ENTRY(INITIALIZED)
    if (!is_device(device))
        return CUDA_ERROR_INVALID_DEVICE;
    for (const auto &each : values)
        if (each.attribute == attribute) {
            *value = each.value;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

API cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    ENTRY(INITIALIZED)
    if (!is_device(device))
        return CUDA_ERROR_INVALID_DEVICE;
    *bytes = memory_total();
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    ENTRY(INITIALIZED)
    if (!is_device(device))
        return CUDA_ERROR_INVALID_DEVICE;
    primary.n_retained++;
    *context = &primary;
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    ENTRY(INITIALIZED)
    if (!is_device(device) || primary.n_retained == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    primary.n_retained--;
    return CUDA_SUCCESS;
}

API cuCtxSetCurrent(CUcontext context) {
    ENTRY(INITIALIZED)
    if (context && (context != &primary || primary.n_retained == 0))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!contexts.empty()) {
        contexts.pop_back();
        n_contexts--;
    }
    if (context) {
        contexts.push_back(context);
        n_contexts++;
    }
    return CUDA_SUCCESS;
}

API cuCtxPushCurrent_v2(CUcontext context) {
    ENTRY(INITIALIZED)
    if (context != &primary || primary.n_retained == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    contexts.push_back(context);
    n_contexts++;
    return CUDA_SUCCESS;
}

API cuCtxPopCurrent_v2(CUcontext *context) {
    ENTRY(INITIALIZED)
    if (contexts.empty())
        return CUDA_ERROR_INVALID_CONTEXT;
    *context = contexts.back();
    contexts.pop_back();
    n_contexts--;
    return CUDA_SUCCESS;
}

API cuCtxGetCurrent(CUcontext *context) {
    ENTRY(INITIALIZED)
    *context = current();
    return CUDA_SUCCESS;
}

API cuCtxSynchronize() {
    ENTRY(CONTEXT)
    return finish_work();
}

/* ---- modules ---- */

/* A fatbin of nvcc's, whose kernels are the ones that were compiled for the emulator; or, of a build without nvcc, a
 * word that says so. */
static bool is_image(const void *image) {
    static const unsigned char fatbin[4] = {0x50, 0xed, 0x55, 0xba};
    static const char word[] = "// tern was built without nvcc";
    return image &&
           (memcmp(image, fatbin, sizeof fatbin) == 0 || strncmp((const char *)image, word, sizeof word - 1) == 0);
}

API cuModuleLoadData(CUmodule *module, const void *image) {
    ENTRY(CONTEXT)
    if (!is_image(image))
        return CUDA_ERROR_INVALID_IMAGE;
    n_modules++;
    *module = (CUmodule)&n_modules;
    return CUDA_SUCCESS;
}

API cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned n_options, int *, void **) {
    ENTRY(CONTEXT)
    if (n_options)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!is_image(image))
        return CUDA_ERROR_INVALID_IMAGE;
    n_modules++;
    *module = (CUmodule)&n_modules;
    return CUDA_SUCCESS;
}

API cuModuleUnload(CUmodule module) {
    ENTRY(CONTEXT)
    if (module != (CUmodule)&n_modules || n_modules == 0)
        return CUDA_ERROR_INVALID_HANDLE;
    n_modules--;
    return CUDA_SUCCESS;
}

API cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    static std::map<std::string, CUfunc_st> functions;
    ENTRY(CONTEXT)
    if (module != (CUmodule)&n_modules || n_modules == 0)
        return CUDA_ERROR_INVALID_HANDLE;
    const Kernel *kernel = find_kernel(name);
    if (!kernel)
        return CUDA_ERROR_NOT_FOUND;
    CUfunc_st &entry = functions[name];
    if (!entry.kernel)
        entry = {kernel, 48 << 10};
    *function = &entry;
    return CUDA_SUCCESS;
}

API cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    ENTRY(CONTEXT)
    if (!function || attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        value > shared_limit())
        return CUDA_ERROR_INVALID_VALUE;
    function->dynamic_limit = (size_t)value;
    return CUDA_SUCCESS;
}

API cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    ENTRY(CONTEXT)
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
        *value = 1024;
    else if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        *value = (int)function->dynamic_limit;
    else
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* ---- memory ---- */

API cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    ENTRY(CONTEXT)
    *free_bytes = memory_free();
    *total = memory_total();
    return CUDA_SUCCESS;
}

API cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    ENTRY(CONTEXT)
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    void *memory = take_memory(bytes);
    *address = (CUdeviceptr)(uintptr_t)memory;
    return memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* CUDA's manual does not say that it waits for what is in line: what uses the memory later is an error. */
API cuMemFree_v2(CUdeviceptr address) {
    ENTRY(CONTEXT)
    if (address == 0)
        return CUDA_SUCCESS;
    CUresult status = waited_in_vain ? finish_work() : CUDA_SUCCESS;
    if (status)
        return status;
    return give_memory((void *)(uintptr_t)address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    ENTRY(CONTEXT)
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    *memory = take_pinned(bytes);
    return *memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API cuMemFreeHost(void *memory) {
    ENTRY(CONTEXT)
    CUresult status = finish_work();
    if (status)
        return status;
    return give_pinned(memory) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void *of(CUdeviceptr address) { return (void *)(uintptr_t)address; }

/* Copies of `bytes`, now or when the stream comes to them. Memory of the host that is not pinned is read at once, as
 * CUDA's guide says; what is written to memory of the host is there only when the stream has been waited for. */
static CUresult copy(void *to, const void *from, size_t bytes, bool to_device, bool from_device, CUstream stream) {
    if (to_device != is_device_memory(to, bytes) || from_device != is_device_memory(from, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (to_device && !from_device && !is_pinned(from, bytes)) {
        std::string kept((const char *)from, bytes);
        return give_work(stream, [=] { memcpy(to, kept.data(), bytes); });
    }
    return give_work(stream, [=] { memmove(to, from, bytes); });
}

static CUresult copy_now(void *to, const void *from, size_t bytes, bool to_device, bool from_device) {
    if (bytes == 0)
        return CUDA_SUCCESS;
    CUresult status = finish_work();
    if (status == CUDA_SUCCESS)
        status = copy(to, from, bytes, to_device, from_device, nullptr);
    return status ? status : finish_work();
}

API cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    ENTRY(CONTEXT)
    return copy_now(of(to), from, bytes, true, false);
}
API cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    ENTRY(CONTEXT)
    return copy_now(to, of(from), bytes, false, true);
}
API cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    ENTRY(CONTEXT)
    return copy_now(of(to), of(from), bytes, true, true);
}
API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    ENTRY(CONTEXT)
    return bytes ? copy(of(to), from, bytes, true, false, stream) : CUDA_SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTRY(CONTEXT)
    return bytes ? copy(to, of(from), bytes, false, true, stream) : CUDA_SUCCESS;
}
API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTRY(CONTEXT)
    return bytes ? copy(of(to), of(from), bytes, true, true, stream) : CUDA_SUCCESS;
}

static CUresult set(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    if (!is_device_memory(of(to), bytes))
        return CUDA_ERROR_INVALID_VALUE;
    return give_work(stream, [=] { memset(of(to), value, bytes); });
}

API cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
    ENTRY(CONTEXT)
    CUresult status = finish_work();
    if (status == CUDA_SUCCESS)
        status = set(to, value, bytes, nullptr);
    return status ? status : finish_work();
}

API cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    ENTRY(CONTEXT)
    return set(to, value, bytes, stream);
}

/* ---- launches ---- */

/* A host's pointer where the device's is wanted is found before the kernel is run: whatever looks like an address in
 * the argument must be the device's. */
static void check_argument(const Kernel *kernel, const std::string &argument) {
    for (size_t i = 0; i + sizeof(void *) <= argument.size(); i += sizeof(void *)) {
        void *word;
        memcpy(&word, argument.data() + i, sizeof word);
        if (is_device_memory(word, 0) || !is_host_memory(word))
            continue;
        block.kernel = kernel->name;
        die({nullptr, 0}, "byte %zu of its argument is an address of the host's memory", i);
    }
}

static void launch(const CUfunc_st *function, dim3 grid, dim3 threads, size_t dynamic_bytes,
                   const std::string &argument) {
    struct Body {
        const Kernel *kernel;
        const std::string &argument;
    } body = {function->kernel, argument};
    const char *order = getenv("TERN_EMULATOR_ORDER");
    check_argument(function->kernel, argument);
    run_grid(
        function->kernel->name, grid, threads, dynamic_bytes,
        order && strcmp(order, "reverse") == 0 ? Order::reverse : Order::forward,
        [](void *context) {
            const Body *of_grid = (const Body *)context;
            of_grid->kernel->call(of_grid->argument.data());
        },
        &body);
    check_memory();
}

API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y,
                   unsigned z, unsigned dynamic_bytes, CUstream stream, void **arguments, void **extra) {
    ENTRY(CONTEXT)
    if (!function || !arguments || extra || !grid_x || !grid_y || !grid_z || !x || !y || !z)
        return CUDA_ERROR_INVALID_VALUE;
    if (grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535 || x > 1024 || y > 1024 || z > 64)
        return CUDA_ERROR_INVALID_VALUE;
    if ((uint64_t)x * y * z > 1024)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (dynamic_bytes > function->dynamic_limit)
        return CUDA_ERROR_INVALID_VALUE;
    std::string argument((const char *)arguments[0], function->kernel->argument_bytes);
    dim3 grid = {grid_x, grid_y, grid_z}, threads = {x, y, z};
    return give_work(stream, [=] { launch(function, grid, threads, dynamic_bytes, argument); });
}

/* ---- errors ---- */

static const char *name_of(CUresult error) {
    static const struct {
        CUresult error;
        const char *name;
    } names[] = {{CUDA_SUCCESS, "no error"},
                 {CUDA_ERROR_INVALID_VALUE, "invalid argument"},
                 {CUDA_ERROR_OUT_OF_MEMORY, "out of memory"},
                 {CUDA_ERROR_NOT_INITIALIZED, "initialization error"},
                 {CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"},
                 {CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"},
                 {CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"},
                 {CUDA_ERROR_INVALID_CONTEXT, "invalid device context"},
                 {CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"},
                 {CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"},
                 {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain."},
                 {CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"},
                 {CUDA_ERROR_NOT_FOUND, "named symbol not found"},
                 {CUDA_ERROR_NOT_READY, "device not ready"},
                 {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"},
                 {CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"},
                 {CUDA_ERROR_NOT_SUPPORTED, "operation not supported"},
                 {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"},
                 {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"}};
    for (const auto &each : names)
        if (each.error == error)
            return each.name;
    return nullptr;
}

API cuGetErrorString(CUresult error, const char **text) {
    *text = name_of(error);
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API cuGetErrorName(CUresult error, const char **text) { return cuGetErrorString(error, text); }
