#include "hub/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static char *joined(const char *a, const char *b) {
    char *path = NULL;
    return asprintf(&path, "%s%s", a, b) < 0 ? NULL : path;
}

/* A file or folder of Hugging Face's home. */
static char *home_path(const char *rest) {
    const char *home = environment("HF_HOME"), *xdg = environment("XDG_CACHE_HOME"), *user = environment("HOME");
    char *path = NULL, *base = home   ? joined(home, "")
                               : xdg  ? joined(xdg, "/huggingface")
                               : user ? joined(user, "/.cache/huggingface")
                                      : NULL;
    if (base)
        path = joined(base, rest);
    free(base);
    return path;
}

char *tern_cache_default(void) {
    const char *cache = environment("HF_HUB_CACHE");
    if (!cache)
        cache = environment("HUGGINGFACE_HUB_CACHE");
    return cache ? strdup(cache) : home_path("/hub");
}

bool tern_cache_is_on(const char *variable) {
    const char *value = environment(variable);
    return value && (strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0 || strcasecmp(value, "yes") == 0 ||
                     strcasecmp(value, "on") == 0);
}

/* Blanks around it are an editor's. What then is no word of printable characters is no token: it would end the line of
 * the header that it goes into. */
static tern_status clean_token(const char *where, const char *text, char **token, tern_error *err) {
    while (*text == ' ')
        text++;
    size_t n = strlen(text);
    while (n && strchr("\r\n ", text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return tern_fail(err, TERN_ERR_ARGUMENT, "%s: holds no token of the hub (hf_...), but other text", where);
    *token = n ? strndup(text, n) : NULL;
    return n && !*token ? tern_fail_memory(err, where) : TERN_OK;
}

tern_status tern_cache_token(char **token, tern_error *err) {
    static const char *const variables[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    const char *file = environment("HF_TOKEN_PATH");
    char *text;
    size_t n;
    *token = NULL;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (environment(variables[i]))
            return clean_token(variables[i], environment(variables[i]), token, err);
    if (tern_cache_is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        return TERN_OK;
    char *path = file ? strdup(file) : home_path("/token");
    tern_status status = TERN_OK;
    if (path && tern_file_exists(path) && !(status = tern_read_regular(path, 4096, &text, &n, err))) {
        status = clean_token(path, text, token, err);
        free(text);
    }
    free(path);
    return status;
}

char *tern_cache_path(const char *cache, const char *repo, const char *rest, ...) {
    tern_buffer path = {0};
    char tail[2048];
    va_list arguments;
    tern_buffer_printf(&path, "%s/models--", cache);
    for (const char *at = repo; *at; at++)
        tern_buffer_append(&path, *at == '/' ? "--" : at, *at == '/' ? 2 : 1);
    va_start(arguments, rest);
    int n = vsnprintf(tail, sizeof tail, rest, arguments);
    va_end(arguments);
    path.failed |= n < 0 || n >= (int)sizeof tail;
    if (n > 0)
        tern_buffer_printf(&path, "/%s", tail);
    size_t n_bytes;
    return tern_buffer_take(&path, &n_bytes);
}

tern_status tern_cache_make_parents(const char *path, tern_error *err) {
    char *copy = strdup(path);
    tern_status status = copy ? TERN_OK : tern_fail_memory(err, path);
    for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash && !status; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(copy, 0777) && errno != EEXIST)
            status = tern_fail(err, TERN_ERR_IO, "%s: cannot make this folder of the cache: %s", copy, strerror(errno));
        *slash = '/';
    }
    free(copy);
    return status;
}

/* ------------------------------------------------------------------- revisions */

bool tern_cache_read_ref(const char *cache, const char *repo, const char *revision, char commit[41]) {
    char *path, *text;
    size_t n;
    tern_error ignored;
    if (tern_hub_is_hex(revision, 40)) {
        snprintf(commit, 41, "%s", revision);
        return true;
    }
    if (!(path = tern_cache_path(cache, repo, "refs/%s", revision)))
        return false;
    tern_status status = tern_read_regular(path, 256, &text, &n, &ignored);
    free(path);
    if (status)
        return false;
    text[strcspn(text, "\r\n ")] = 0;
    bool good = tern_hub_is_hex(text, 40);
    if (good)
        memcpy(commit, text, 41);
    free(text);
    return good;
}

tern_status tern_cache_write_ref(const char *cache, const char *repo, const char *revision, const char *commit,
                                 tern_error *err) {
    tern_writer writer;
    if (tern_hub_is_hex(revision, 40))
        return TERN_OK;
    char *path = tern_cache_path(cache, repo, "refs/%s", revision);
    if (!path)
        return tern_fail_memory(err, repo);
    tern_status status = tern_cache_make_parents(path, err);
    if (!status)
        status = tern_writer_open(path, &writer, err);
    if (!status) {
        fputs(commit, writer.file);
        status = tern_writer_commit(&writer, err);
    }
    free(path);
    return status;
}

/* The link has a name of its own first: another tool that looks sees the old one or the new one. */
tern_status tern_cache_link(const char *cache, const char *repo, const char *commit, const char *file,
                            const char *digest, tern_error *err) {
    char *path = tern_cache_path(cache, repo, "snapshots/%s/%s", commit, file);
    tern_buffer target = {0};
    tern_buffer_text(&target, "../../");
    for (const char *slash = file; (slash = strchr(slash, '/')); slash++)
        tern_buffer_text(&target, "../");
    tern_buffer_printf(&target, "blobs/%s", digest);
    char *temporary = NULL;
    tern_status status = !path || target.failed || asprintf(&temporary, "%s.%ld.tmp", path, (long)getpid()) < 0
                             ? tern_fail_memory(err, file)
                             : tern_cache_make_parents(path, err);
    if (!status) {
        unlink(temporary);
        if (symlink(target.bytes, temporary) || rename(temporary, path)) {
            status = tern_fail(err, TERN_ERR_IO, "%s: cannot make this link: %s", path, strerror(errno));
            unlink(temporary);
        }
    }
    tern_buffer_free(&target);
    free(temporary);
    free(path);
    return status;
}

/* ------------------------------------------------------------------- locks */

static char *lock_folder(const char *cache, const char *repo) {
    char *locks = joined(cache, "/.locks"), *folder = locks ? tern_cache_path(locks, repo, "%s", "") : NULL;
    free(locks);
    return folder;
}

static tern_status lock_file(const char *path, int *fd, bool *busy, tern_error *err) {
    *busy = false;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot make this lock: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return TERN_OK;
    *busy = errno == EWOULDBLOCK || errno == EINTR;
    tern_status status = *busy ? TERN_OK : tern_fail(err, TERN_ERR_IO, "%s: cannot lock: %s", path, strerror(errno));
    close(*fd);
    *fd = -1;
    return status;
}

tern_status tern_cache_lock(const char *cache, const char *repo, const char *digest, int *fd, bool *busy,
                            tern_error *err) {
    char *folder = lock_folder(cache, repo), *path = NULL;
    *fd = -1;
    tern_status status = !folder || asprintf(&path, "%s/%s.lock", folder, digest) < 0
                             ? tern_fail_memory(err, "a lock")
                             : tern_cache_make_parents(path, err);
    if (!status)
        status = lock_file(path, fd, busy, err);
    free(folder);
    free(path);
    return status;
}

/* ------------------------------------------------------------------- removal */

/* All locks there are of a repository -> fds [*n], closed by unlock(). */
static tern_status lock_all(const char *folder, const char *repo, int **fds, size_t *n, tern_error *err) {
    size_t capacity = 0;
    tern_status status = TERN_OK;
    DIR *locks = opendir(folder);
    *fds = NULL;
    *n = 0;
    if (!locks)
        return TERN_OK;
    for (struct dirent *entry; !status && (entry = readdir(locks));) {
        char path[4096];
        bool busy;
        int fd;
        if (entry->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path)
            continue;
        if (!tern_grow_array((void **)fds, &capacity, *n + 1, sizeof **fds))
            status = tern_fail_memory(err, "the locks");
        else if (!(status = lock_file(path, &fd, &busy, err)) && busy)
            status = tern_fail(err, TERN_ERR_BUSY,
                               "%s: is being fetched by another process; remove it when that has ended", repo);
        else if (!status)
            (*fds)[(*n)++] = fd;
    }
    closedir(locks);
    return status;
}

static uint64_t removed_bytes; /* nftw() passes nothing on */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)type, (void)place;
    if (S_ISREG(info->st_mode))
        removed_bytes += (uint64_t)info->st_blocks * 512;
    return remove(path);
}

tern_status tern_cache_remove(const char *cache, const char *repo, uint64_t *bytes, bool *found, tern_error *err) {
    char *path = tern_cache_path(cache, repo, "%s", ""), *locks = lock_folder(cache, repo);
    int *fds = NULL;
    size_t n = 0;
    tern_status status = path && locks ? TERN_OK : tern_fail_memory(err, repo);
    *bytes = 0;
    *found = !status && tern_is_directory(path);
    if (*found)
        status = lock_all(locks, repo, &fds, &n, err);
    if (*found && !status) {
        removed_bytes = 0;
        if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS))
            status = tern_fail(err, TERN_ERR_IO, "%s: cannot remove all of it: %s", path, strerror(errno));
        *bytes = removed_bytes;
    }
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    free(fds);
    free(path);
    free(locks);
    return status;
}
