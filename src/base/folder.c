#include "base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

static bool is_among(const char *name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Whatever else lies in a folder is somebody's: it must not go away with the old model. */
static tern_status check_contents(const char *path, const char *const *names, size_t n, tern_error *err) {
    DIR *folder = opendir(path);
    if (!folder && errno == ENOENT)
        return TERN_OK;
    if (!folder)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot be replaced by a folder: %s", path, strerror(errno));
    tern_status status = TERN_OK;
    for (struct dirent *entry; !status && (entry = readdir(folder));)
        if (!is_among(entry->d_name, names, n))
            status = tern_fail(err, TERN_ERR_ARGUMENT,
                               "%s: holds %.100s, which is no part of a model that tern writes; name another folder",
                               path, entry->d_name);
    closedir(folder);
    return status;
}

static void remove_folder(const char *path, const char *const *names, size_t n) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < n; i++)
        unlinkat(fd, names[i], 0);
    if (fd >= 0)
        close(fd);
    rmdir(path);
}

static void free_staging(tern_staging *staging) {
    free(staging->path);
    free(staging->temporary);
    *staging = (tern_staging){0};
}

/* A link stays a link: what it points to is replaced. */
static char *target_of(const char *path) {
    char *target = realpath(path, NULL);
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return target ? target : strndup(path, length);
}

tern_status tern_staging_check(const char *path, const char *const *names, size_t n, tern_error *err) {
    char *target = target_of(path);
    tern_status status = target ? check_contents(target, names, n, err) : tern_fail_memory(err, path);
    free(target);
    return status;
}

tern_status tern_staging_begin(const char *path, const char *const *names, size_t n, tern_staging *staging,
                               tern_error *err) {
    tern_buffer temporary = {0};
    *staging = (tern_staging){.path = target_of(path)};
    if (staging->path)
        tern_buffer_printf(&temporary, "%s.tmpXXXXXX", staging->path);
    staging->temporary = tern_buffer_take(&temporary, NULL);
    tern_status status = staging->path && staging->temporary ? check_contents(staging->path, names, n, err)
                                                             : tern_fail_memory(err, path);
    if (!status && !mkdtemp(staging->temporary))
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot make the folder: %s", staging->path, strerror(errno));
    if (status) {
        free_staging(staging);
        return status;
    }
    mode_t mask = umask(0); /* mkdtemp makes 0700; a new folder should follow the user's umask */
    umask(mask);
    chmod(staging->temporary, 0777 & ~mask);
    return TERN_OK;
}

/* The new folder under the old one's name, in one step where the system can swap two names; the old one is then at
 * `temporary`. Else the old one is moved away first: a kill in between leaves both, whole, under other names. */
static bool swap(tern_staging *staging, const char *const *names, size_t n) {
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, staging->temporary, AT_FDCWD, staging->path, RENAME_EXCHANGE) == 0)
        return true;
#endif
    if (rename(staging->temporary, staging->path) == 0) /* there was none, or an empty one */
        return true;
    tern_buffer old = {0};
    if (!tern_buffer_printf(&old, "%s.old", staging->temporary))
        return false;
    bool ok = rename(staging->path, old.bytes) == 0;
    if (ok && rename(staging->temporary, staging->path) != 0) {
        int code = errno;
        ok = false;
        rename(old.bytes, staging->path);
        errno = code;
    } else if (ok) {
        remove_folder(old.bytes, names, n);
    }
    tern_buffer_free(&old);
    return ok;
}

tern_status tern_staging_commit(tern_staging *staging, const char *const *names, size_t n, tern_error *err) {
    tern_status status = TERN_OK;
    if (!swap(staging, names, n))
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot be put in its place: %s", staging->path, strerror(errno));
    remove_folder(staging->temporary, names, n);
    free_staging(staging);
    return status;
}

void tern_staging_abort(tern_staging *staging, const char *const *names, size_t n) {
    if (staging->temporary)
        remove_folder(staging->temporary, names, n);
    free_staging(staging);
}

/* ------------------------------------------------------------------- files */

char *tern_folder_path(const char *folder, const char *name) {
    tern_buffer path = {0};
    tern_buffer_printf(&path, "%s/%s", folder, name);
    return tern_buffer_take(&path, NULL);
}

tern_status tern_folder_write(const char *folder, const char *name, const char *text, size_t n_bytes, tern_error *err) {
    tern_writer writer;
    char *path = tern_folder_path(folder, name);
    tern_status status = path ? tern_writer_open(path, &writer, err) : tern_fail_memory(err, name);
    free(path);
    if (status)
        return status;
    fwrite(text, 1, n_bytes, writer.file);
    return tern_writer_commit(&writer, err); /* sees every error */
}

tern_status tern_folder_read(const char *folder, const char *name, size_t max_bytes, char **text, size_t *n_bytes,
                             tern_error *err) {
    char *path = tern_folder_path(folder, name);
    tern_status status = path ? TERN_OK : tern_fail_memory(err, name);
    *text = NULL;
    if (!status && tern_file_exists(path))
        status = tern_read_regular(path, max_bytes, text, n_bytes, err);
    free(path);
    return status;
}

tern_status tern_folder_copy(const char *from, const char *to, const char *name, size_t max_bytes, bool *copied,
                             tern_error *err) {
    char *text;
    size_t n_bytes;
    tern_status status = tern_folder_read(from, name, max_bytes, &text, &n_bytes, err);
    if (copied)
        *copied = text != NULL;
    if (!status && text)
        status = tern_folder_write(to, name, text, n_bytes, err);
    free(text);
    return status;
}
