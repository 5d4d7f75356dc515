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

size_t tern_auth_find(const char *authorization, char *const *keys, size_t n_keys) {
    static const char scheme[] = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return 0;
    const char *given = authorization + sizeof scheme - 1;
    given += strspn(given, " ");
    size_t n_given = strlen(given);
    size_t found = 0;
    for (size_t i = 0; i < n_keys; i++) {
        size_t same = differ(given, n_given, keys[i]) == 0;
        found += same * (found == 0) * (i + 1);
    }
    return found;
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

/* Of "name", "name:8080", "name.", "[::1]:8080". */
static size_t host_length(const char *host) {
    size_t length = *host == '[' ? strcspn(host, "]") : strcspn(host, ":/");
    length += *host == '[' && host[length] == ']';
    return length && host[length - 1] == '.' ? length - 1 : length;
}

bool tern_auth_host_is_public(const char *host) {
    static const char *const own[] = {"localhost", "local", "internal", "localdomain", "lan", "home.arpa"};
    if (!host || *host == '[')
        return false;
    size_t length = host_length(host);
    if (strspn(host, "0123456789.") >= length) /* an IPv4 address: no top-level domain is a number */
        return false;
    if (!memchr(host, '.', length)) /* the name of a machine or a container */
        return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        size_t n = strlen(own[i]);
        if (length > n && host[length - n - 1] == '.' && strncasecmp(host + length - n, own[i], n) == 0)
            return false;
    }
    return true;
}

bool tern_auth_same_host(const char *host, const char *origin) {
    const char *start = origin ? strstr(origin, "://") : NULL;
    start = start ? start + 3 : origin;
    return start && host_length(host) == host_length(start) && strncasecmp(host, start, host_length(start)) == 0;
}
