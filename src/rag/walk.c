#include "rag/walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { MAX_DEPTH = 64 };

typedef struct walker {
    tern_walk_fn fn;
    void *user;
    bool whole;
} walker;

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* By bytes: alphasort() would follow the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static tern_status walk_folder(walker *w, const char *folder, int depth, tern_error *err);

static tern_status visit(walker *w, const char *path, int depth, tern_error *err) {
    struct stat info;
    if (lstat(path, &info)) {
        if (errno == ENOENT) /* gone since the folder was read */
            return TERN_OK;
        w->whole = false;
        return w->fn(w->user, path, NULL, strerror(errno), err);
    }
    if (S_ISDIR(info.st_mode))
        return walk_folder(w, path, depth + 1, err);
    const char *why = S_ISREG(info.st_mode)   ? NULL
                      : S_ISLNK(info.st_mode) ? "a symbolic link, which is not followed"
                                              : "not a regular file";
    return w->fn(w->user, path, &info, why, err);
}

/* Recursion is bounded by MAX_DEPTH. */
static tern_status walk_folder(walker *w, const char *folder, int depth, tern_error *err) {
    struct dirent **entries;
    if (depth > MAX_DEPTH) {
        w->whole = false;
        return w->fn(w->user, folder, NULL, "folders are nested too deeply", err);
    }
    int n = scandir(folder, &entries, visible, by_name);
    if (n < 0) {
        if (errno == ENOMEM)
            return tern_fail_memory(err, "the list of a folder");
        w->whole = false;
        return w->fn(w->user, folder, NULL, strerror(errno), err);
    }
    tern_status status = TERN_OK;
    for (int i = 0; i < n; i++) {
        tern_buffer path = {0};
        if (!status &&
            tern_buffer_printf(&path, "%s%s%s", folder, strcmp(folder, "/") == 0 ? "" : "/", entries[i]->d_name))
            status = visit(w, path.bytes, depth, err);
        else if (!status)
            status = tern_fail_memory(err, "a path");
        tern_buffer_free(&path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

tern_status tern_walk(const char *root, tern_walk_fn fn, void *user, bool *whole, tern_error *err) {
    walker w = {fn, user, true};
    tern_status status = walk_folder(&w, root, 0, err);
    *whole = w.whole;
    return status;
}
