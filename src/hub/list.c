/* What the cache holds, and its removal. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "hub/cache.h"
#include "hub/client.h"

typedef bool (*entry_fn)(void *user, const char *folder, const char *name);

/* All entries of a folder but those that begin with a dot; none if there is no such folder. False: fn returned false.
 */
static bool each_entry(const char *folder, entry_fn fn, void *user) {
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort);
    bool good = true;
    for (int i = 0; i < n; i++) {
        if (good && entries[i]->d_name[0] != '.')
            good = fn(user, folder, entries[i]->d_name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return good;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* ------------------------------------------------------------------- one repository */

static bool add_blob(void *user, const char *folder, const char *name) {
    tern_hub_entry *entry = user;
    char path[4096];
    struct stat info;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || lstat(path, &info) ||
        !S_ISREG(info.st_mode))
        return true;
    entry->bytes += (uint64_t)info.st_blocks * 512;
    if (ends_with(name, ".tern-part") || ends_with(name, ".incomplete"))
        entry->unfinished_bytes += (uint64_t)info.st_blocks * 512;
    return true;
}

typedef struct refs {
    const char *commit;
    char prefix[256]; /* of the folder below refs/ */
    tern_buffer *text;
} refs;

/* The names of a commit: "main", "refs/pr/1". */
static bool add_ref(void *user, const char *folder, const char *name) {
    refs *r = user;
    char path[4096], text[64] = "", inner[256];
    struct stat info;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || stat(path, &info))
        return true;
    if (S_ISDIR(info.st_mode)) {
        refs below = *r;
        if (snprintf(inner, sizeof inner, "%s%s/", r->prefix, name) < (int)sizeof inner && strlen(inner) < 100) {
            memcpy(below.prefix, inner, sizeof inner);
            each_entry(path, add_ref, &below);
        }
        return true;
    }
    FILE *file = fopen(path, "rbe");
    size_t n = file ? fread(text, 1, 40, file) : 0;
    if (file)
        fclose(file);
    if (n == 40 && strcmp(text, r->commit) == 0)
        tern_buffer_printf(r->text, "%s%s ", r->prefix, name);
    return true;
}

typedef struct snapshots {
    tern_hub *hub;
    const char *repo;
    char **lines; /* [n] */
    size_t n, capacity;
    tern_status status;
    tern_error *err;
} snapshots;

/* "main 3ca0e2f ggml-model-i2_s.gguf" */
static bool add_snapshot(void *user, const char *folder, const char *commit) {
    snapshots *s = user;
    char name[300], *path = NULL;
    tern_buffer text = {0};
    tern_error ignored;
    if (!tern_hub_is_hex(commit, 40))
        return true;
    refs r = {.commit = commit, .text = &text};
    char *ref_folder = tern_cache_path(s->hub->cache, s->repo, "refs");
    if (ref_folder)
        each_entry(ref_folder, add_ref, &r);
    free(ref_folder);
    snprintf(name, sizeof name, "%s@%s", s->repo, commit);
    if (tern_hub_find(s->hub, name, &path, &ignored))
        path = NULL;
    size_t skip = strlen(folder) + 1 + 40; /* .../snapshots/COMMIT/FILE */
    const char *model = !path ? "no whole model" : path[skip] ? path + skip + 1 : "a Hugging Face folder";
    tern_buffer_printf(&text, "%.7s %s", commit, model);
    free(path);
    char *line = tern_buffer_take(&text, NULL);
    if (!line || !tern_grow_array((void **)&s->lines, &s->capacity, s->n + 1, sizeof *s->lines)) {
        free(line);
        s->status = tern_fail_memory(s->err, "the list");
        return false;
    }
    s->lines[s->n++] = line;
    return true;
}

/* ------------------------------------------------------------------- all */

typedef struct listing {
    tern_hub *hub;
    bool (*visit)(void *user, const tern_hub_entry *entry);
    void *user;
    tern_status status;
    tern_error *err;
} listing;

/* models--ORG--NAME -> ORG/NAME */
static bool repo_of(const char *folder, char repo[128]) {
    static const char prefix[] = "models--";
    size_t n = 0;
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0)
        return false;
    for (const char *at = folder + sizeof prefix - 1; *at; at++) {
        if (n + 1 >= 128)
            return false;
        repo[n++] = at[0] == '-' && at[1] == '-' ? '/' : *at;
        at += at[0] == '-' && at[1] == '-';
    }
    repo[n] = 0;
    tern_hub_name name;
    tern_error ignored;
    return tern_hub_parse_name(repo, &name, &ignored) == TERN_OK && strcmp(name.repo, repo) == 0;
}

static bool add_repo(void *user, const char *folder, const char *name) {
    listing *l = user;
    char repo[128];
    tern_hub_entry entry = {.repo = repo};
    (void)folder;
    if (!repo_of(name, repo))
        return true;
    snapshots s = {.hub = l->hub, .repo = repo, .err = l->err};
    char *blobs = tern_cache_path(l->hub->cache, repo, "blobs"),
         *links = tern_cache_path(l->hub->cache, repo, "snapshots");
    bool good = blobs && links;
    if (good) {
        each_entry(blobs, add_blob, &entry);
        good = each_entry(links, add_snapshot, &s);
    }
    l->status = s.status;
    if (!good && !s.status)
        l->status = tern_fail_memory(l->err, "the list");
    entry.n_snapshots = s.n;
    entry.snapshots = (const char *const *)s.lines;
    if (good && (entry.bytes || s.n))
        good = l->visit(l->user, &entry);
    for (size_t i = 0; i < s.n; i++)
        free(s.lines[i]);
    free(s.lines);
    free(blobs);
    free(links);
    return good;
}

tern_status tern_hub_list(tern_hub *hub, bool (*visit)(void *user, const tern_hub_entry *entry), void *user,
                          tern_error *err) {
    listing l = {.hub = hub, .visit = visit, .user = user, .err = err};
    each_entry(hub->cache, add_repo, &l);
    return l.status;
}

tern_status tern_hub_remove(tern_hub *hub, const char *text, uint64_t *bytes, tern_error *err) {
    tern_hub_name name;
    bool found;
    tern_status status = tern_hub_parse_name(text, &name, err);
    if (!status && (strchr(text, '@') || name.file[0]))
        return tern_fail(err, TERN_ERR_ARGUMENT, "'%s': a repository is removed whole, without @REVISION and :FILE",
                         text);
    if (!status)
        status = tern_cache_remove(hub->cache, name.repo, bytes, &found, err);
    if (!status && !found)
        status = tern_fail(err, TERN_ERR_IO, "%s: is not in the cache (%s)", name.repo, hub->cache);
    return status;
}
