#include "hub/listing.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

enum { MAX_DEPTH = 8 }; /* of folders in a repository */
enum { MAX_INDEX = 64 << 20 };

void tern_hub_listing_free(tern_hub_listing *listing) {
    free(listing->files);
    tern_arena_free(&listing->names);
    *listing = (tern_hub_listing){0};
}

static tern_hub_file *add_file(tern_hub_listing *listing, size_t *capacity, const char *path) {
    char *copy = tern_arena_copy(&listing->names, path, strlen(path));
    if (!copy || !tern_grow_array((void **)&listing->files, capacity, listing->n + 1, sizeof *listing->files))
        return NULL;
    tern_hub_file *file = &listing->files[listing->n++];
    *file = (tern_hub_file){.path = copy, .size = UINT64_MAX};
    return file;
}

/* ------------------------------------------------------------------- of the hub */

/* Size and digest of one entry: {"rfilename", "size", "blobId", "lfs": {"sha256", "size"}}. */
static bool read_contents(const json_t *entry, tern_hub_file *file) {
    const json_t *lfs = json_object_get(entry, "lfs");
    const json_t *size = json_object_get(json_is_object(lfs) ? lfs : entry, "size");
    const char *sha256 = json_string_value(json_object_get(lfs, "sha256"));
    const char *blob = json_string_value(json_object_get(entry, "blobId"));
    const char *digest = sha256 ? sha256 : blob && !json_is_object(lfs) ? blob : "";
    if (*digest && !tern_hub_is_hex(digest, sha256 ? 64 : 40))
        return false;
    snprintf(file->digest, sizeof file->digest, "%s", digest);
    if (!json_is_integer(size))
        return true;
    if (json_integer_value(size) < 0 || json_integer_value(size) > INT64_MAX / 2)
        return false;
    file->size = (uint64_t)json_integer_value(size);
    return true;
}

static tern_status read_files(const json_t *siblings, tern_hub_listing *listing, tern_error *err) {
    size_t capacity = 0, i;
    const json_t *entry;
    json_array_foreach(siblings, i, entry) {
        const char *path = json_string_value(json_object_get(entry, "rfilename"));
        if (!path || strlen(path) > 500 || !tern_hub_safe_path(path))
            continue;
        tern_hub_file *file = add_file(listing, &capacity, path);
        if (!file)
            return tern_fail_memory(err, "the list of files");
        if (!read_contents(entry, file))
            return tern_fail(err, TERN_ERR_FORMAT, "the hub says an impossible size or digest of '%s'", path);
    }
    return TERN_OK;
}

tern_status tern_hub_read_listing(const char *json, size_t n_bytes, tern_hub_listing *listing, tern_error *err) {
    json_error_t why;
    *listing = (tern_hub_listing){0};
    json_t *root = tern_json_load(json, n_bytes, 0, &why);
    const char *commit = json_string_value(json_object_get(root, "sha"));
    const json_t *siblings = json_object_get(root, "siblings");
    tern_status status = TERN_OK;
    if (!root)
        status = tern_fail(err, TERN_ERR_FORMAT, "the hub's answer is no JSON (%s); is HF_ENDPOINT right?", why.text);
    else if (!commit || !tern_hub_is_hex(commit, 40) || !json_is_array(siblings))
        status =
            tern_fail(err, TERN_ERR_FORMAT, "the hub's answer has no commit and list of files; is HF_ENDPOINT right?");
    else
        snprintf(listing->commit, sizeof listing->commit, "%s", commit);
    if (!status)
        status = read_files(siblings, listing, err);
    json_decref(root);
    if (status)
        tern_hub_listing_free(listing);
    return status;
}

/* ------------------------------------------------------------------- of a folder */

/* The files below root/path, `path` being "" or ending in a slash. */
static tern_status walk(const char *root, const char *path, int depth, tern_hub_listing *listing, size_t *capacity,
                        tern_error *err) {
    char name[1024], full[4096];
    tern_status status = TERN_OK;
    if (snprintf(full, sizeof full, "%s/%s", root, path) >= (int)sizeof full || depth > MAX_DEPTH)
        return TERN_OK;
    DIR *folder = opendir(full);
    if (!folder)
        return errno == ENOENT ? TERN_OK : tern_fail(err, TERN_ERR_IO, "%s: cannot read: %s", full, strerror(errno));
    for (struct dirent *entry; !status && (entry = readdir(folder));) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            snprintf(name, sizeof name, "%s%s", path, entry->d_name) >= (int)sizeof name ||
            snprintf(full, sizeof full, "%s/%s", root, name) >= (int)sizeof full || stat(full, &info))
            continue; /* a link to contents that are gone is no file */
        if (S_ISREG(info.st_mode))
            status = add_file(listing, capacity, name) ? TERN_OK : tern_fail_memory(err, "the list of files");
        else if (S_ISDIR(info.st_mode) && strlen(name) + 1 < sizeof name)
            status = walk(root, strcat(name, "/"), depth + 1, listing, capacity, err);
    }
    closedir(folder);
    return status;
}

tern_status tern_hub_read_folder(const char *folder, tern_hub_listing *listing, tern_error *err) {
    size_t capacity = 0;
    *listing = (tern_hub_listing){0};
    tern_status status = walk(folder, "", 0, listing, &capacity, err);
    if (status)
        tern_hub_listing_free(listing);
    return status;
}

bool tern_hub_index_is_whole(const char *folder) {
    json_error_t why;
    struct stat info;
    char index[4096], *text;
    size_t n_bytes;
    if (snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder) >= (int)sizeof index)
        return false;
    if (stat(index, &info)) /* model.safetensors alone */
        return true;
    if (tern_read_file(index, MAX_INDEX, &text, &n_bytes, NULL))
        return false;
    json_t *root = tern_json_load(text, n_bytes, 0, &why);
    free(text);
    json_t *map = json_object_get(root, "weight_map"), *shard;
    const char *tensor;
    bool whole = root != NULL;
    json_object_foreach(map, tensor, shard) {
        char path[4096];
        const char *name = json_string_value(shard);
        whole = whole && name && tern_hub_safe_path(name) &&
                snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && stat(path, &info) == 0;
    }
    json_decref(root);
    return whole;
}
