/* Where a user's own files are: the XDG base directory specification. */
#ifndef TERN_CLI_USER_PATH_H
#define TERN_CLI_USER_PATH_H

#include <stdbool.h>

/* "$VARIABLE/tern/NAME", or "~/FALLBACK/tern/NAME" where the variable holds no absolute path; to be freed. NULL:
 * neither it nor HOME is set, or no memory. */
char *tern_cli_user_path(const char *variable, const char *fallback, const char *name);
/* Make the folders above `path`, for the user alone; it is changed on the way and the same again in the end. False:
 * errno says why. */
bool tern_cli_make_parents(char *path);

#endif
