/* The hub's cache, laid out as huggingface_hub has it, so that its tools and tern find each other's files:
 *
 *     models--ORG--NAME/refs/main                        the commit that "main" was
 *                       snapshots/COMMIT/model.gguf   -> ../../blobs/DIGEST
 *                       blobs/DIGEST                     contents, by SHA-256 or git's blob id
 *                       blobs/DIGEST.tern-part           contents on their way (part.h)
 *     .locks/models--ORG--NAME/DIGEST.lock               flock()ed by who fetches these contents
 */
#ifndef TERN_HUB_CACHE_H
#define TERN_HUB_CACHE_H

#include "hub/name.h"

/* $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub; to
 * be freed. NULL: none of these is set, or no memory. */
char *tern_cache_default(void);
/* $HF_TOKEN, $HUGGING_FACE_HUB_TOKEN, or what the hub's own login left ($HF_TOKEN_PATH, $HF_HOME/token) -> *token, to
 * be freed; NULL: there is none. One that cannot be a token is an error. */
tern_status tern_cache_token(char **token, tern_error *err);
/* An environment variable that says yes: 1, true, yes, on. */
bool tern_cache_is_on(const char *variable);

/* CACHE/models--ORG--NAME/REST, to be freed; NULL: no memory. */
char *tern_cache_path(const char *cache, const char *repo, const char *rest, ...) TERN_PRINTF(3, 4);
/* Make the folders above a path. */
tern_status tern_cache_make_parents(const char *path, tern_error *err);

/* The commit that `revision` was when it was pulled: a commit is itself. False: it never was. */
bool tern_cache_read_ref(const char *cache, const char *repo, const char *revision, char commit[41]);
tern_status tern_cache_write_ref(const char *cache, const char *repo, const char *revision, const char *commit,
                                 tern_error *err);
/* Have snapshots/COMMIT/FILE point to blobs/DIGEST. */
tern_status tern_cache_link(const char *cache, const char *repo, const char *commit, const char *file,
                            const char *digest, tern_error *err);

/* The lock on some contents; *fd is closed to give it back. *busy: somebody else has it, and *fd is -1. */
tern_status tern_cache_lock(const char *cache, const char *repo, const char *digest, int *fd, bool *busy,
                            tern_error *err);

/* Remove a repository's folder, with what is unfinished. *bytes: what it held; *found: it was there. Nothing is removed
 * while somebody fetches one of its files. */
tern_status tern_cache_remove(const char *cache, const char *repo, uint64_t *bytes, bool *found, tern_error *err);

#endif
