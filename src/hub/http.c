#include "hub/http.h"

#ifdef TERN_CURL_LINKED

extern const tern_http_functions tern_http_module;

tern_status tern_http_load(const tern_http_functions **functions, tern_error *err) {
    (void)err;
    *functions = &tern_http_module;
    return TERN_OK;
}

#else

#include <dlfcn.h>

#include "base/module.h"

#define MODULE_NAME "tern_curl.so"

tern_status tern_http_load(const tern_http_functions **functions, tern_error *err) {
    char path[TERN_MODULE_PATH];
    if (!tern_module_find(MODULE_NAME, path))
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
