/* What a user writes, REPO[@REVISION][:FILE], and which names from outside may become paths. */
#ifndef TERN_HUB_NAME_H
#define TERN_HUB_NAME_H

#include <stdbool.h>

#include "base/status.h"

typedef struct tern_hub_name {
    char repo[128];     /* "microsoft/bitnet-b1.58-2B-4T-gguf" */
    char revision[128]; /* a branch, a tag or a commit; "main" if none was written */
    char file[512];     /* of the repository, or a part of its name; "" if none was written */
} tern_hub_name;

/* TERN_ERR_ARGUMENT says what is wrong with it. A page's address, https://huggingface.co/ORG/NAME, is a name, too. */
tern_status tern_hub_parse_name(const char *text, tern_hub_name *name, tern_error *err);

/* It may be the name of a model of the hub rather than a path: ORG/NAME[@...][:...], of the characters that the hub
 * has. */
bool tern_hub_looks_like_name(const char *text);

/* A path inside a repository that stays inside: relative, no "..", no control characters. */
bool tern_hub_safe_path(const char *path);
/* `digits` lower-case hexadecimal digits and nothing else. */
bool tern_hub_is_hex(const char *text, size_t digits);

#endif
