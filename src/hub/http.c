#include "hub/http.h"

#include <string.h>

#ifdef TERN_CURL_LINKED

extern const tern_http_functions tern_http_module;

tern_status tern_http_load(const tern_http_functions **functions, tern_error *err) {
    (void)err;
    *functions = &tern_http_module;
    return TERN_OK;
}

#else

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"

#define MODULE_NAME "tern_curl.so"

/* Beside the executable (in the build folder), else in the folder of libraries that belongs to its own. */
static bool find_module(char path[static 1024]) {
    static const char *const places[] = {"", TERN_MODULE_FROM_BIN "/"};
    char own[1024];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length <= 0)
        return false;
    own[length] = 0;
    *strrchr(own, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (snprintf(path, 1024, "%s/%s" MODULE_NAME, own, places[i]) < 1024 && tern_file_exists(path))
            return true;
    return false;
}

tern_status tern_http_load(const tern_http_functions **functions, tern_error *err) {
    char path[1024];
    if (!find_module(path))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "this tern has no " MODULE_NAME
                         ": install libcurl's development files (libcurl4-openssl-dev) and build it again");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays until the process ends */
    if (!library)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: cannot load: %s", path, dlerror());
    *functions = dlsym(library, "tern_http_module");
    if (!*functions || (*functions)->version != TERN_HTTP_VERSION)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: belongs to another version of tern; install both anew", path);
    return TERN_OK;
}

#endif
