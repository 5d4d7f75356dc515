#include "cli/user_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *tern_cli_user_path(const char *variable, const char *fallback, const char *name) {
    const char *folder = getenv(variable), *home = getenv("HOME");
    char *path = NULL;
    int n = -1;
    if (folder && *folder == '/') /* the specification: relative paths are to be ignored */
        n = asprintf(&path, "%s/tern/%s", folder, name);
    else if (home && *home)
        n = asprintf(&path, "%s/%s/tern/%s", home, fallback, name);
    return n < 0 ? NULL : path;
}

bool tern_cli_make_parents(char *path) {
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        int failed = mkdir(path, 0700) && errno != EEXIST;
        *slash = '/';
        if (failed)
            return false;
    }
    return true;
}
