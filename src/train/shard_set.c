#include "train/shard_set.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"

struct tern_shard_set {
    char *path;
    tern_shard_params params;
    uint64_t max_bytes;
    tern_shard_writer **shards; /* [n]; all but the last one sealed */
    size_t n, capacity;
};

/* "web.shard" with numbers in front of its ending; of a name without one, at its end. */
char *tern_shard_set_name(const tern_shard_set *set, size_t i) {
    size_t size = strlen(set->path) + sizeof "-00001-of-00001";
    char *name = malloc(size);
    const char *slash = strrchr(set->path, '/'), *base = slash ? slash + 1 : set->path, *dot = strrchr(base, '.');
    int stem = (int)((dot && dot > base ? dot : set->path + strlen(set->path)) - set->path);
    if (!name || !set->max_bytes)
        return name ? strcpy(name, set->path) : NULL;
    snprintf(name, size, "%.*s-%05zu-of-%05zu%s", stem, set->path, i + 1, set->n, set->path + stem);
    return name;
}

static tern_status begin_shard(tern_shard_set *set, tern_error *err) {
    if (set->n == TERN_SHARD_SET_MOST)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: would be more than %d shards; allow each of them more bytes",
                         set->path, TERN_SHARD_SET_MOST);
    if (!tern_grow_array((void **)&set->shards, &set->capacity, set->n + 1, sizeof *set->shards))
        return tern_fail_memory(err, "the list of shards");
    set->n++; /* a name of its own, should the file system want one for what is not yet in its place */
    set->shards[set->n - 1] = NULL;
    char *name = tern_shard_set_name(set, set->n - 1);
    tern_status status = name ? tern_shard_writer_create(name, &set->params, &set->shards[set->n - 1], err)
                              : tern_fail_memory(err, "the list of shards");
    free(name);
    return status;
}

tern_status tern_shard_set_create(const char *path, const tern_shard_params *params, uint64_t max_bytes,
                                  tern_shard_set **set, tern_error *err) {
    struct stat info;
    if (max_bytes && stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is no file, and cannot stand for several shards", path);
    tern_shard_set *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the shards");
    *made = (tern_shard_set){.path = strdup(path), .params = *params, .max_bytes = max_bytes};
    tern_status status = made->path ? begin_shard(made, err) : tern_fail_memory(err, "the shards");
    if (status)
        tern_shard_set_abort(made);
    else
        *set = made;
    return status;
}

static bool is_full(const tern_shard_set *set, const tern_shard_item *items, size_t n) {
    const tern_shard_writer *last = set->shards[set->n - 1];
    uint64_t size = tern_shard_writer_size(last);
    if (!set->max_bytes || tern_shard_writer_documents(last) == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        size += tern_shard_writer_size_of(last, items[i].n);
    return size > set->max_bytes;
}

tern_status tern_shard_set_add(tern_shard_set *set, tern_split split, const tern_shard_item *items, size_t n,
                               tern_error *err) {
    tern_status status = TERN_OK;
    if (is_full(set, items, n) && !(status = tern_shard_writer_seal(set->shards[set->n - 1], err)))
        status = begin_shard(set, err);
    for (size_t i = 0; !status && i < n; i++)
        status = tern_shard_writer_add(set->shards[set->n - 1], split, items[i].ids, items[i].mask, items[i].n,
                                       items[i].text_bytes, err);
    return status;
}

size_t tern_shard_set_count(const tern_shard_set *set) { return set->n; }

static void add_info(tern_shard_info *sum, const tern_shard_info *one) {
    tern_shard_info of = *one;
    for (int split = 0; split < TERN_N_SPLITS; split++) {
        of.n_documents[split] += sum->n_documents[split];
        of.n_tokens[split] += sum->n_tokens[split];
        of.text_bytes[split] += sum->text_bytes[split];
    }
    *sum = of;
}

tern_status tern_shard_set_finish(tern_shard_set *set, tern_shard_fn told, void *user, tern_shard_info *info,
                                  tern_error *err) {
    tern_status status = tern_shard_writer_seal(set->shards[set->n - 1], err);
    *info = (tern_shard_info){0};
    for (size_t i = 0; !status && i < set->n; i++) {
        tern_shard_info one;
        char *name = tern_shard_set_name(set, i);
        tern_shard_writer *writer = set->shards[i];
        if (name) {
            set->shards[i] = NULL; /* commit() frees it, whatever comes */
            status = tern_shard_writer_commit(writer, set->max_bytes ? name : NULL, &one, err);
        } else {
            status = tern_fail_memory(err, "the list of shards");
        }
        if (!status)
            add_info(info, &one);
        if (!status && told)
            told(user, name, &one);
        free(name);
    }
    tern_shard_set_abort(set);
    return status;
}

void tern_shard_set_abort(tern_shard_set *set) {
    if (!set)
        return;
    for (size_t i = 0; i < set->n; i++)
        tern_shard_writer_abort(set->shards[i]);
    free(set->shards);
    free(set->path);
    free(set);
}
