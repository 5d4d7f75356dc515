/* Which files of a repository make a model that tern runs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hub/listing.h"

#define WEIGHTS "model.safetensors"
#define INDEX "model.safetensors.index.json"

/* In the names of GGUF files, what tern reads best first. */
static const char *const preferred[] = {"i2_s", "tq2_0", "tq1_0", "bf16", "f16", "f32"};

/* What a Hugging Face folder has beside the weights; it is a model once config.json is there. */
static const char *const beside[] = {
    "generation_config.json", "tokenizer.json",          "tokenizer.model", "tokenizer_config.json",
    "chat_template.jinja",    "special_tokens_map.json", "config.json"};

typedef struct choice {
    const tern_hub_listing *listing;
    size_t *chosen, n;
} choice;

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_gguf(const char *path) { return ends_with(path, ".gguf") || ends_with(path, ".GGUF"); }

static const tern_hub_file *find(const tern_hub_listing *listing, const char *path, size_t *index) {
    for (size_t i = 0; i < listing->n; i++)
        if (strcmp(listing->files[i].path, path) == 0) {
            *index = i;
            return &listing->files[i];
        }
    return NULL;
}

static bool take(choice *c, const char *path) {
    size_t index;
    if (!find(c->listing, path, &index))
        return false;
    c->chosen[c->n++] = index;
    return true;
}

/* The GGUF files whose names hold `part`, whatever the case: their number, and one of them. */
static size_t count_ggufs(const tern_hub_listing *listing, const char *part, size_t *index) {
    size_t count = 0;
    for (size_t i = 0; i < listing->n; i++)
        if (is_gguf(listing->files[i].path) && strcasestr(listing->files[i].path, part)) {
            *index = i;
            count++;
        }
    return count;
}

/* "a.gguf, b.gguf and 3 more" */
static void name_ggufs(const tern_hub_listing *listing, const char *part, tern_buffer *text) {
    size_t named = 0, index, count = count_ggufs(listing, part, &index);
    for (size_t i = 0; i < listing->n && named < 4; i++)
        if (is_gguf(listing->files[i].path) && strcasestr(listing->files[i].path, part))
            tern_buffer_printf(text, "%s%.60s", named++ ? ", " : "", listing->files[i].path);
    if (count > named)
        tern_buffer_printf(text, " and %zu more", count - named);
}

static tern_status fail_ambiguous(const choice *c, const tern_hub_name *name, const char *part, tern_error *err) {
    tern_buffer text = {0};
    name_ggufs(c->listing, part, &text);
    char *names = tern_buffer_take(&text, NULL);
    tern_status status = names
                             ? tern_fail(err, TERN_ERR_FORMAT,
                                         "%s: which of its GGUF files? Name one behind a colon: %s", name->repo, names)
                             : tern_fail_memory(err, name->repo);
    free(names);
    return status;
}

static tern_status choose_named(choice *c, const tern_hub_name *name, tern_error *err) {
    size_t index = 0;
    if (take(c, name->file))
        return TERN_OK;
    size_t count = count_ggufs(c->listing, name->file, &index);
    if (count > 1)
        return fail_ambiguous(c, name, name->file, err);
    if (count == 0)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: has no file '%s' and no GGUF file with that in its name",
                         name->repo, name->file);
    c->chosen[c->n++] = index;
    return TERN_OK;
}

static tern_status choose_gguf(choice *c, size_t count, const tern_hub_name *name, tern_error *err) {
    size_t index = 0;
    count_ggufs(c->listing, "", &index); /* the one, if it is one */
    for (size_t i = 0; count > 1 && i < sizeof preferred / sizeof *preferred; i++) {
        size_t such = count_ggufs(c->listing, preferred[i], &index);
        if (such > 1)
            return fail_ambiguous(c, name, preferred[i], err);
        if (such == 1)
            count = 1;
    }
    if (count > 1)
        return fail_ambiguous(c, name, "", err);
    c->chosen[c->n++] = index;
    return TERN_OK;
}

/* The shards that the index's weight_map names, each once. */
static tern_status take_shards(choice *c, const tern_hub_name *name, tern_view text, tern_error *err) {
    json_error_t why;
    json_t *root = tern_json_load(text.bytes, text.size, 0, &why), *names = json_object(), *shard;
    json_t *map = json_object_get(root, "weight_map");
    const char *tensor, *path, *last = "";
    tern_status status = TERN_OK;
    if (!names || (!root && tern_json_no_memory(&why)))
        status = tern_fail_memory(err, INDEX);
    else if (!json_is_object(map) || json_object_size(map) == 0)
        status =
            tern_fail(err, TERN_ERR_FORMAT, "%s: " INDEX " has no weight_map: the repository is damaged", name->repo);
    json_object_foreach(map, tensor, shard) { /* neighbours are mostly in the same one */
        path = json_string_value(shard);
        if (status || (path && strcmp(path, last) == 0))
            continue;
        last = path ? path : "";
        if (!path || !tern_hub_safe_path(path) || !ends_with(path, ".safetensors"))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: " INDEX " has no file for tensor %.100s", name->repo, tensor);
        else if (json_object_get(names, path))
            continue;
        else if (json_object_set_new(names, path, json_true()))
            status = tern_fail_memory(err, INDEX);
        else if (!take(c, path))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: " INDEX " names %.100s, which the repository does not have",
                               name->repo, path);
    }
    json_decref(names);
    json_decref(root);
    return status;
}

const tern_hub_file *tern_hub_index_of(const tern_hub_listing *listing, const tern_hub_name *name) {
    size_t index;
    if (name->file[0] || count_ggufs(listing, "", &index) || find(listing, WEIGHTS, &index))
        return NULL;
    return find(listing, INDEX, &index);
}

/* model.safetensors, or the shards that its index names. */
static tern_status take_weights(choice *c, const tern_hub_name *name, tern_view index, tern_error *err) {
    if (take(c, WEIGHTS) || !take(c, INDEX) || !index.bytes)
        return TERN_OK;
    return take_shards(c, name, index, err);
}

static tern_status choose_folder(choice *c, const tern_hub_name *name, tern_view index, tern_error *err) {
    size_t config;
    tern_status status = take_weights(c, name, index, err);
    if (status)
        return status;
    size_t n_weights = c->n;
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
        take(c, beside[i]);
    if (n_weights && find(c->listing, "config.json", &config))
        return TERN_OK;
    return tern_fail(err, TERN_ERR_FORMAT,
                     "%s: is no model that tern reads: it has neither a GGUF file nor config.json with " WEIGHTS,
                     name->repo);
}

tern_status tern_hub_choose(const tern_hub_listing *listing, const tern_hub_name *name, tern_view shards,
                            size_t **chosen, size_t *n, bool *folder, tern_error *err) {
    choice c = {.listing = listing,
                .chosen = tern_alloc_array(listing->n + sizeof beside / sizeof *beside + 2, sizeof *c.chosen)};
    size_t index, ggufs = count_ggufs(listing, "", &index);
    tern_status status = TERN_OK;
    *chosen = NULL;
    *n = 0;
    *folder = false;
    if (!c.chosen)
        return tern_fail_memory(err, "the list of files");
    if (name->file[0])
        status = choose_named(&c, name, err);
    else if (ggufs)
        status = choose_gguf(&c, ggufs, name, err);
    else {
        *folder = true;
        status = choose_folder(&c, name, shards, err);
    }
    if (status) {
        free(c.chosen);
        return status;
    }
    *chosen = c.chosen;
    *n = c.n;
    return TERN_OK;
}
