#include "base/module.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

bool tern_module_find(const char *name, char path[static TERN_MODULE_PATH]) {
    static const char *const places[] = {"", TERN_MODULE_FROM_BIN "/"};
    char own[TERN_MODULE_PATH];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length <= 0)
        return false;
    own[length] = 0;
    *strrchr(own, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (snprintf(path, TERN_MODULE_PATH, "%s/%s%s", own, places[i], name) < TERN_MODULE_PATH &&
            tern_file_exists(path))
            return true;
    return false;
}
