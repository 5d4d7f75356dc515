#include "cuda/device.h"

#include <stdio.h>

#define KERNEL_NAME(name) "tern_cuda_" #name,
static const char *const kernel_names[] = {TERN_CUDA_KERNELS(KERNEL_NAME)};
#undef KERNEL_NAME

bool tern_cuda_check(tern_cuda_device *device, tern_cu_result result, const char *what) {
    if (result && !device->status)
        device->status = tern_fail(
            &device->error, result == TERN_CU_OUT_OF_MEMORY ? TERN_ERR_MEMORY : TERN_ERR_UNSUPPORTED, "%s: %s: %s",
            device->name[0] ? device->name : "GPU", what, tern_cuda_result_text(device->driver, result));
    return !device->status;
}

tern_status tern_cuda_take_error(tern_cuda_device *device, tern_error *err) {
    tern_status status = device->status;
    device->status = TERN_OK;
    return status ? tern_fail(err, status, "%s", device->error.message) : TERN_OK;
}

/* The first driver that loads what a toolkit of this major version has compiled (NVIDIA's "CUDA Compatibility"; of 11
 * driver.h wants more). */
static int oldest_driver(int toolkit) {
    static const int rows[][2] = {{11, 470}, {12, 525}, {13, 580}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i][0] == toolkit / 1000)
            return rows[i][1];
    return 0;
}

/* Why the driver does not load the kernels; TERN_OK if it is none of the reasons that are known. */
static tern_status explain_refusal(const tern_cuda_device *device, tern_error *err) {
    const int nvcc = tern_cuda_image_toolkit, needed = tern_cuda_image_capability;
    int version = nvcc, driver;
    if (device->driver->driver_version(&version) == 0 && version / 1000 < nvcc / 1000) {
        char which[32] = "";
        driver = oldest_driver(nvcc);
        if (driver)
            snprintf(which, sizeof which, " (%d or newer)", driver);
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: its driver is for CUDA %d.%d, but the kernels were compiled by nvcc %d.%d: update the "
                         "driver%s, or use the CPU (TERN_BACKEND=cpu)",
                         device->name, version / 1000, version % 1000 / 10, nvcc / 1000, nvcc % 1000 / 10, which);
    }
    if (device->major * 10 + device->minor < needed)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: the kernels need compute capability %d.%d, it has %d.%d; use the CPU (TERN_BACKEND=cpu)",
                         device->name, needed / 10, needed % 10, device->major, device->minor);
    return TERN_OK;
}

static bool is_refusal(tern_cu_result result) {
    return result == TERN_CU_INVALID_IMAGE || result == TERN_CU_NO_BINARY_FOR_GPU || result == TERN_CU_INVALID_PTX ||
           result == TERN_CU_UNSUPPORTED_PTX_VERSION;
}

static tern_status load_kernels(tern_cuda_device *device, tern_error *err) {
    tern_cu_result result = device->driver->module_load(&device->module, tern_cuda_image);
    if (result && !tern_cuda_image_is_real)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "this build has no CUDA kernels: nvcc was not found when it was built; use the CPU "
                         "(TERN_BACKEND=cpu)");
    tern_status status = is_refusal(result) ? explain_refusal(device, err) : TERN_OK;
    if (status)
        return status;
    tern_cuda_check(device, result, "loading the kernels");
    for (int i = 0; i < TERN_CUDA_N_KERNELS && !device->status; i++)
        tern_cuda_check(device, device->driver->module_function(&device->kernels[i], device->module, kernel_names[i]),
                        kernel_names[i]);
    return tern_cuda_take_error(device, err);
}

tern_status tern_cuda_device_open(tern_cuda_device *device, tern_error *err) {
    int count = 0;
    *device = (tern_cuda_device){0};
    tern_status status = tern_cuda_driver_open(&device->driver, err);
    if (status)
        return status;
    const tern_cuda_driver *driver = device->driver;
    if (driver->device_count(&count) || count == 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "the NVIDIA driver finds no GPU; use the CPU (TERN_BACKEND=cpu)");
    tern_cuda_check(device, driver->device_get(&device->device, 0), "opening it");
    tern_cuda_check(device, driver->device_name(device->name, sizeof device->name, device->device), "its name");
    tern_cuda_check(device, driver->device_attribute(&device->major, TERN_CU_ATTRIBUTE_MAJOR, device->device),
                    "its compute capability");
    tern_cuda_check(device, driver->device_attribute(&device->minor, TERN_CU_ATTRIBUTE_MINOR, device->device),
                    "its compute capability");
    if (!device->status)
        tern_cuda_check(device, driver->context_retain(&device->context, device->device), "opening it");
    if (!device->status && tern_cuda_enter(device)) {
        tern_cuda_check(device, driver->stream_create(&device->stream, TERN_CU_STREAM_NON_BLOCKING), "a stream");
        status = device->status ? TERN_OK : load_kernels(device, err);
        tern_cuda_leave(device);
    }
    if (!status)
        status = tern_cuda_take_error(device, err);
    if (status)
        tern_cuda_device_close(device);
    return status;
}

void tern_cuda_device_close(tern_cuda_device *device) {
    bool entered = device->context && tern_cuda_enter(device);
    if (device->stream) {
        device->driver->stream_synchronize(device->stream);
        device->driver->stream_destroy(device->stream);
    }
    if (device->module)
        device->driver->module_unload(device->module);
    if (entered)
        tern_cuda_leave(device);
    if (device->context)
        device->driver->context_release(device->device);
    *device = (tern_cuda_device){0};
}

bool tern_cuda_enter(tern_cuda_device *device) {
    tern_cu_result result = device->driver->context_push(device->context);
    tern_cuda_check(device, result, "using it");
    return result == 0;
}

void tern_cuda_leave(tern_cuda_device *device) {
    tern_cu_context *left;
    tern_cuda_check(device, device->driver->context_pop(&left), "leaving it");
}

/* ------------------------------------------------------------------ memory */

static tern_cu_address address(const void *memory) { return (tern_cu_address)(uintptr_t)memory; }

/* The calls below come beside a pass: they leave device->status alone. Whether the context could be taken off again
 * says nothing about memory; what a failed pass does to it, the next one finds. */
static void pop(tern_cuda_device *device) {
    tern_cu_context *left;
    device->driver->context_pop(&left);
}

static tern_cu_result take(tern_cuda_device *device, size_t bytes, void **memory) {
    tern_cu_address at = 0;
    tern_cu_result result = device->driver->context_push(device->context);
    *memory = NULL;
    if (result)
        return result;
    result = device->driver->memory_alloc(&at, bytes ? bytes : 1);
    pop(device);
    if (!result)
        *memory = (void *)(uintptr_t)at;
    return result;
}

static tern_cu_result take_host(tern_cuda_device *device, size_t bytes, void **memory) {
    tern_cu_result result = device->driver->context_push(device->context);
    *memory = NULL;
    if (result)
        return result;
    result = device->driver->host_alloc(memory, bytes ? bytes : 1, 0);
    pop(device);
    if (result)
        *memory = NULL;
    return result;
}

/* Of want of memory callers say themselves what was too much. */
static void keep_unless_full(tern_cuda_device *device, tern_cu_result result) {
    if (result != TERN_CU_OUT_OF_MEMORY)
        tern_cuda_check(device, result, "taking memory");
}

void *tern_cuda_alloc(tern_cuda_device *device, size_t bytes) {
    void *memory;
    keep_unless_full(device, take(device, bytes, &memory));
    return memory;
}

tern_status tern_cuda_alloc_beside(tern_cuda_device *device, size_t bytes, void **memory, tern_error *err) {
    tern_cu_result result = take(device, bytes, memory);
    if (!result)
        return TERN_OK;
    return tern_fail(err, result == TERN_CU_OUT_OF_MEMORY ? TERN_ERR_MEMORY : TERN_ERR_UNSUPPORTED,
                     "%s: taking memory: %s", device->name, tern_cuda_result_text(device->driver, result));
}

void tern_cuda_free(tern_cuda_device *device, void *memory) {
    if (!memory || device->driver->context_push(device->context))
        return;
    device->driver->memory_free(address(memory));
    pop(device);
}

void tern_cuda_free_beside(tern_cuda_device *device, void *memory) {
    if (!memory || device->driver->context_push(device->context))
        return;
    device->driver->stream_synchronize(device->stream);
    device->driver->memory_free(address(memory));
    pop(device);
}

void *tern_cuda_host_alloc(tern_cuda_device *device, size_t bytes) {
    void *memory;
    keep_unless_full(device, take_host(device, bytes, &memory));
    return memory;
}

void tern_cuda_host_free(tern_cuda_device *device, void *memory) {
    if (!memory || device->driver->context_push(device->context))
        return;
    device->driver->host_free(memory);
    pop(device);
}

size_t tern_cuda_free_bytes(tern_cuda_device *device) {
    size_t free_bytes = 0, total = 0;
    tern_cu_result result = device->driver->context_push(device->context);
    if (!result) {
        result = device->driver->memory_info(&free_bytes, &total);
        pop(device);
    }
    return tern_cuda_check(device, result, "its memory") ? free_bytes : 0;
}

/* ------------------------------------------------------- what is put in line */

void tern_cuda_copy_to_device(tern_cuda_device *device, void *to, const void *from, size_t bytes) {
    if (bytes && !device->status)
        tern_cuda_check(device, device->driver->copy_to_device(address(to), from, bytes, device->stream),
                        "copying to it");
}

void tern_cuda_copy_to_host(tern_cuda_device *device, void *to, const void *from, size_t bytes) {
    if (bytes && !device->status)
        tern_cuda_check(device, device->driver->copy_to_host(to, address(from), bytes, device->stream),
                        "copying from it");
}

void tern_cuda_copy_on_device(tern_cuda_device *device, void *to, const void *from, size_t bytes) {
    if (bytes && !device->status)
        tern_cuda_check(device, device->driver->copy_on_device(address(to), address(from), bytes, device->stream),
                        "copying on it");
}

void tern_cuda_launch_shared(tern_cuda_device *device, tern_cuda_kernel kernel, tern_cuda_grid grid, uint32_t threads,
                             uint32_t shared_bytes, const void *args) {
    void *arguments[] = {(void *)(uintptr_t)args};
    if (!device->status)
        tern_cuda_check(device,
                        device->driver->launch(device->kernels[kernel], grid.x, grid.y, grid.z, threads, 1, 1,
                                               shared_bytes, device->stream, arguments, NULL),
                        kernel_names[kernel]);
}

bool tern_cuda_wait(tern_cuda_device *device) {
    return tern_cuda_check(device, device->driver->stream_synchronize(device->stream), "computing");
}
