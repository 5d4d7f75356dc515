/* All files below a folder. */
#ifndef TERN_RAG_WALK_H
#define TERN_RAG_WALK_H

#include <sys/stat.h>

#include "base/status.h"

/* One regular file (`why` NULL), or something that was left out and why. An error ends the walk. */
typedef tern_status (*tern_walk_fn)(void *user, const char *path, const struct stat *info, const char *why,
                                    tern_error *err);

/* Call fn for the files below the folder `root`, each folder's in the order of their names. Names that begin with a
 * dot are passed over silently; symbolic links, what cannot be read and what is too deep (64 folders) are told with a
 * reason. *whole: nothing that might hold files had to be left out. */
tern_status tern_walk(const char *root, tern_walk_fn fn, void *user, bool *whole, tern_error *err);

#endif
