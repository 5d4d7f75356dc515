#include "cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static const char library_name[] = "libcuda.so.1";

static tern_cuda_driver the_driver;
static tern_status the_status;
static tern_error the_error;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX lets a pointer to an object hold a function's; ISO C has no conversion, hence the copy of its bytes. */
static const char *look_up(void *library, tern_cuda_driver *driver) {
    static const struct {
        const char *name;
        size_t place;
    } rows[] = {
#define ROW(member, name, parameters) {name, offsetof(tern_cuda_driver, member)},
        TERN_CU_CALLS(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *function = dlsym(library, rows[i].name);
        if (!function)
            return rows[i].name;
        memcpy((char *)driver + rows[i].place, &function, sizeof function);
    }
    return NULL;
}

static void open_once(void) {
    void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        the_status = tern_fail(&the_error, TERN_ERR_UNSUPPORTED,
                               "no NVIDIA driver: %s; install one, or use the CPU (TERN_BACKEND=cpu)", dlerror());
        return;
    }
    const char *missing = look_up(library, &the_driver);
    tern_cu_result result = missing ? 0 : the_driver.init(0);
    if (missing)
        the_status = tern_fail(&the_error, TERN_ERR_UNSUPPORTED, "the NVIDIA driver has no %s; 470 and newer ones have",
                               missing);
    else if (result)
        the_status = tern_fail(&the_error, TERN_ERR_UNSUPPORTED, "the NVIDIA driver does not start: %s",
                               tern_cuda_result_text(&the_driver, result));
    if (the_status)
        dlclose(library);
}

tern_status tern_cuda_driver_open(const tern_cuda_driver **driver, tern_error *err) {
    pthread_once(&once, open_once);
    *driver = &the_driver;
    return the_status ? tern_fail(err, the_status, "%s", the_error.message) : TERN_OK;
}

const char *tern_cuda_result_text(const tern_cuda_driver *driver, tern_cu_result result) {
    const char *text = NULL;
    return driver->get_error_string(result, &text) == 0 && text ? text : "an unknown error of the driver";
}
