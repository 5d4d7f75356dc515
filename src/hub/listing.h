/* What a repository holds at one commit, and which of it makes a model. */
#ifndef TERN_HUB_LISTING_H
#define TERN_HUB_LISTING_H

#include "base/mem.h"
#include "base/str.h"
#include "hub/digest.h"
#include "hub/name.h"

typedef struct tern_hub_file {
    const char *path;             /* inside the repository; safe (tern_hub_safe_path) */
    uint64_t size;                /* bytes; UINT64_MAX: not said */
    char digest[TERN_DIGEST_HEX]; /* SHA-256 of the contents (64 digits) or the id of the git blob (40); "": not said */
} tern_hub_file;

typedef struct tern_hub_listing {
    char commit[41];
    tern_hub_file *files; /* [n] */
    size_t n;
    tern_arena names;
} tern_hub_listing; /* zero-initialised is empty */

/* The answer of /api/models/REPO/revision/REVISION?blobs=true. Files whose names could lead out of a folder are left
 * out, contents with impossible sizes or digests are an error. */
tern_status tern_hub_read_listing(const char *json, size_t n_bytes, tern_hub_listing *listing, tern_error *err);
/* All files below a folder of the cache, size and digest not said. A folder that is not there is an empty listing. */
tern_status tern_hub_read_folder(const char *folder, tern_hub_listing *listing, tern_error *err);
/* A folder has every shard that its model.safetensors.index.json names, or no such index. */
bool tern_hub_index_is_whole(const char *folder);
void tern_hub_listing_free(tern_hub_listing *listing);

/* The index whose contents say which files the weights of `name` are in; NULL: it needs none. */
const tern_hub_file *tern_hub_index_of(const tern_hub_listing *listing, const tern_hub_name *name);

/* The files that make the model `name`: -> chosen [*n], indices, freed with free(); those of a folder with config.json
 * last, so that what has one is whole. *folder: it is a Hugging Face folder, else one file. `index`: the contents of
 * tern_hub_index_of(); bytes NULL: of several files of weights only the index is chosen. TERN_ERR_FORMAT names what
 * there is to choose from; *n is then 0. */
tern_status tern_hub_choose(const tern_hub_listing *listing, const tern_hub_name *name, tern_view index,
                            size_t **chosen, size_t *n, bool *folder, tern_error *err);

#endif
