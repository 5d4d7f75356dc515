#include "cuda/device.h"

#include <string.h>

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

static tern_status load_kernels(tern_cuda_device *device, tern_error *err) {
    tern_cu_result result = device->driver->module_load(&device->module, tern_cuda_image);
    if (result && !tern_cuda_image_is_real)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "this build has no CUDA kernels: nvcc was not found when it was built; use the CPU "
                         "(TERN_BACKEND=cpu)");
    if (result == TERN_CU_NO_BINARY_FOR_GPU || result == TERN_CU_INVALID_IMAGE)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: the kernels need compute capability 7.5, it has %d.%d; use the CPU (TERN_BACKEND=cpu)",
                         device->name, device->major, device->minor);
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
    if (!device->status)
        tern_cuda_check(device, driver->context_set(device->context), "opening it");
    if (!device->status)
        tern_cuda_check(device, driver->stream_create(&device->stream, TERN_CU_STREAM_NON_BLOCKING), "a stream");
    status = tern_cuda_take_error(device, err);
    if (!status)
        status = load_kernels(device, err);
    if (status)
        tern_cuda_device_close(device);
    return status;
}

void tern_cuda_device_close(tern_cuda_device *device) {
    if (device->context)
        device->driver->context_set(device->context);
    if (device->stream) {
        device->driver->stream_synchronize(device->stream);
        device->driver->stream_destroy(device->stream);
    }
    if (device->module)
        device->driver->module_unload(device->module);
    if (device->context) {
        device->driver->context_set(NULL);
        device->driver->context_release(device->device);
    }
    *device = (tern_cuda_device){0};
}

void tern_cuda_enter(tern_cuda_device *device) {
    tern_cuda_check(device, device->driver->context_set(device->context), "using it");
}

/* ------------------------------------------------------------------ memory */

static tern_cu_address address(const void *memory) { return (tern_cu_address)(uintptr_t)memory; }

/* Sets no failure of the device: its callers say what was too much. */
void *tern_cuda_alloc(tern_cuda_device *device, size_t bytes) {
    tern_cu_address memory = 0;
    if (device->driver->context_set(device->context) || device->driver->memory_alloc(&memory, bytes ? bytes : 1))
        return NULL;
    return (void *)(uintptr_t)memory;
}

void tern_cuda_free(tern_cuda_device *device, void *memory) {
    if (memory && !device->driver->context_set(device->context))
        device->driver->memory_free(address(memory));
}

void *tern_cuda_host_alloc(tern_cuda_device *device, size_t bytes) {
    void *memory = NULL;
    if (device->driver->context_set(device->context) || device->driver->host_alloc(&memory, bytes ? bytes : 1, 0))
        return NULL;
    return memory;
}

void tern_cuda_host_free(tern_cuda_device *device, void *memory) {
    if (memory && !device->driver->context_set(device->context))
        device->driver->host_free(memory);
}

size_t tern_cuda_free_bytes(tern_cuda_device *device) {
    size_t free_bytes = 0, total = 0;
    if (device->driver->context_set(device->context) || device->driver->memory_info(&free_bytes, &total))
        return 0;
    return free_bytes;
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
