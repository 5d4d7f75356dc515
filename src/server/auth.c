#include "server/auth.h"

#include <string.h>
#include <strings.h>

/* Every byte of the key is looked at, whatever was given. */
static unsigned differ(const char *given, size_t n_given, const char *key) {
    size_t n_key = strlen(key);
    volatile unsigned difference = n_given != n_key;
    for (size_t i = 0; i < n_key; i++)
        difference |= (unsigned char)key[i] ^ (unsigned char)(n_given ? given[i % n_given] : 0);
    return difference;
}

bool tern_auth_allows(const char *authorization, char *const *keys, size_t n_keys) {
    static const char scheme[] = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *given = authorization + sizeof scheme - 1;
    given += strspn(given, " ");
    size_t n_given = strlen(given);
    bool allowed = false;
    for (size_t i = 0; i < n_keys; i++)
        allowed |= differ(given, n_given, keys[i]) == 0;
    return allowed;
}

bool tern_auth_origin_is_local(const char *origin) {
    if (!origin)
        return true;
    const char *host = strstr(origin, "://");
    if (!host)
        return false; /* "null": a page of no origin, as in a sandboxed frame or a file */
    host += 3;
    if (*host == '[') /* an IPv6 address; no name has brackets */
        return host[1] && host[1 + strspn(host + 1, "0123456789abcdefABCDEF:.")] == ']';
    size_t length = strcspn(host, ":/");
    if (length == 0)
        return false;
    if (length == 9 && strncasecmp(host, "localhost", 9) == 0)
        return true;
    if (length > 10 && strncasecmp(host + length - 10, ".localhost", 10) == 0)
        return true;
    size_t digits = strspn(host, "0123456789.");
    return digits == length; /* an IPv4 address: no top-level domain is a number */
}
