/* Folders of files: one that appears whole or not at all, and the files in it. */
#ifndef TERN_BASE_FOLDER_H
#define TERN_BASE_FOLDER_H

#include "base/status.h"

/* A folder that appears whole: made beside `path` under another name. */
typedef struct tern_staging {
    char *path, *temporary;
} tern_staging;

/* If there is a folder at `path` already, it must hold nothing but files of these names [n]: it will be replaced. */
tern_status tern_staging_begin(const char *path, const char *const *names, size_t n, tern_staging *staging,
                               tern_error *err);
/* Whether _begin() would take this place: to be asked before a long computation. */
tern_status tern_staging_check(const char *path, const char *const *names, size_t n, tern_error *err);
/* Put it in the old one's place, or (_abort) remove what there is. Both free. */
tern_status tern_staging_commit(tern_staging *staging, const char *const *names, size_t n, tern_error *err);
void tern_staging_abort(tern_staging *staging, const char *const *names, size_t n);

/* "folder/name", to be freed with free(); NULL: no memory. */
char *tern_folder_path(const char *folder, const char *name);
tern_status tern_folder_write(const char *folder, const char *name, const char *text, size_t n_bytes, tern_error *err);
/* *text is NULL if there is no such file; else zero-terminated, to be freed with free(). More bytes are an error. */
tern_status tern_folder_read(const char *folder, const char *name, size_t max_bytes, char **text, size_t *n_bytes,
                             tern_error *err);
/* Nothing happens if there is no such file: *copied (may be NULL) says. */
tern_status tern_folder_copy(const char *from, const char *to, const char *name, size_t max_bytes, bool *copied,
                             tern_error *err);

#endif
