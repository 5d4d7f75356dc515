#include "base/nvml.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* POSIX lets a pointer to an object hold a function's; ISO C has no conversion, hence the copy of its bytes. */
static bool look_up(tern_nvml *nvml, const char **missing) {
    static const struct {
        const char *name;
        size_t place;
    } rows[] = {
        {"nvmlInit_v2", offsetof(tern_nvml, init)},
        {"nvmlShutdown", offsetof(tern_nvml, shutdown)},
        {"nvmlErrorString", offsetof(tern_nvml, error)},
        {"nvmlDeviceGetCount_v2", offsetof(tern_nvml, count)},
        {"nvmlDeviceGetHandleByIndex_v2", offsetof(tern_nvml, device)},
        {"nvmlDeviceGetName", offsetof(tern_nvml, name)},
        {"nvmlDeviceGetTotalEnergyConsumption", offsetof(tern_nvml, energy)},
        {"nvmlDeviceGetPowerUsage", offsetof(tern_nvml, power)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *function = dlsym(nvml->library, rows[i].name);
        *missing = rows[i].name;
        if (!function)
            return false;
        memcpy((char *)nvml + rows[i].place, &function, sizeof function);
    }
    return true;
}

tern_status tern_nvml_open(const char *path, tern_nvml *nvml, tern_error *err) {
    const char *missing;
    tern_status status = TERN_OK;
    memset(nvml, 0, sizeof *nvml);
    nvml->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!nvml->library)
        return strchr(path, '/') ? tern_fail(err, TERN_ERR_UNSUPPORTED, "cannot load NVML: %s", dlerror()) : TERN_OK;
    if (!look_up(nvml, &missing))
        status = tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: has no %s; a newer driver has", path, missing);
    else {
        tern_nvml_result code = nvml->init();
        if (code)
            status = tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: %s", path, nvml->error(code));
    }
    if (status) {
        dlclose(nvml->library);
        nvml->library = NULL;
    }
    return status;
}

void tern_nvml_close(tern_nvml *nvml) {
    if (!nvml->library)
        return;
    nvml->shutdown();
    dlclose(nvml->library);
    nvml->library = NULL;
}
