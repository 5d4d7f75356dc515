#include "hub/name.h"

#include <stdio.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define REPO_CHARACTERS LETTERS "0123456789._-"

bool tern_hub_safe_path(const char *path) {
    if (!*path || *path == '/')
        return false;
    for (const char *part = path;; part++) { /* `part` begins a component */
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)part[i] < 0x20 || part[i] == 0x7f)
                return false;
        part += n;
        if (!*part)
            return true;
    }
}

bool tern_hub_is_hex(const char *text, size_t digits) {
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

/* "name" or "org/name"; the hub forbids "--" and "..", and "--" stands for "/" in names of folders. */
static bool good_repo(const char *repo) {
    const char *slash = strchr(repo, '/');
    if (strspn(repo, REPO_CHARACTERS "/") != strlen(repo) || strstr(repo, "--") || strstr(repo, ".."))
        return false;
    if (slash && (strchr(slash + 1, '/') || !strspn(slash + 1, LETTERS "0123456789_")))
        return false;
    return strspn(repo, LETTERS "0123456789_") > 0;
}

/* The part of `text` up to one of the characters `ends` -> out; where it ends, NULL if it is too long. */
static const char *take(const char *text, const char *ends, char *out, size_t size) {
    size_t n = strcspn(text, ends);
    if (n >= size)
        return NULL;
    memcpy(out, text, n);
    out[n] = 0;
    return text + n;
}

static const char *without_address(const char *text) {
    static const char *const addresses[] = {"https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/"};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        if (strncmp(text, addresses[i], strlen(addresses[i])) == 0)
            return text + strlen(addresses[i]);
    return text;
}

static bool parse(const char *text, tern_hub_name *name, const char **why) {
    memset(name, 0, sizeof *name);
    *why = "it is too long";
    const char *at = take(without_address(text), "@:", name->repo, sizeof name->repo);
    if (at && *at == '@') {
        at = take(at + 1, ":", name->revision, sizeof name->revision);
        if (at && (!tern_hub_safe_path(name->revision) ||
                   strspn(name->revision, REPO_CHARACTERS "/+") != strlen(name->revision))) {
            *why = "behind the @ belongs a branch, a tag or a commit";
            return false;
        }
    }
    if (at && *at == ':') {
        at = take(at + 1, "", name->file, sizeof name->file);
        if (at && !tern_hub_safe_path(name->file)) {
            *why = "behind the colon belongs a file of the repository";
            return false;
        }
    }
    if (!at)
        return false;
    if (!name->revision[0])
        snprintf(name->revision, sizeof name->revision, "main");
    *why = "a repository is written ORGANISATION/NAME, as in microsoft/bitnet-b1.58-2B-4T-gguf";
    return good_repo(name->repo);
}

tern_status tern_hub_parse_name(const char *text, tern_hub_name *name, tern_error *err) {
    const char *why;
    if (parse(text, name, &why))
        return TERN_OK;
    return tern_fail(err, TERN_ERR_ARGUMENT, "'%.200s' is no model of the hub: %s", text, why);
}

bool tern_hub_looks_like_name(const char *text) {
    tern_hub_name name;
    const char *why;
    return parse(text, &name, &why) && strchr(name.repo, '/');
}
