/* Who may ask. */
#ifndef TERN_SERVER_AUTH_H
#define TERN_SERVER_AUTH_H

#include <stdbool.h>
#include <stddef.h>

/* The value of an Authorization header (NULL: none was sent): "Bearer KEY" with one of keys [n_keys]: that one's
 * number, from 1; else 0. How long that takes tells nothing about the keys but their number and lengths. */
size_t tern_auth_find(const char *authorization, char *const *keys, size_t n_keys);

/* Whether the Origin header of a browser (NULL: none) is of a page that came from this machine or from a bare address:
 * http://localhost:8080, http://127.0.0.1, http://[::1]. A page of any other name that reaches a server on the
 * loopback has had its name pointed there (DNS rebinding). */
bool tern_auth_origin_is_local(const char *origin);

/* Whether a Host header (NULL: none) may be a name that anybody can point to any address: it is no address, has a dot,
 * and its end is none of those that stand for this machine or its own network (localhost, local, internal...). */
bool tern_auth_host_is_public(const char *host);
/* Whether a Host header is of the same host as an address or a page's origin: "chat.example.org:8080" and
 * "https://chat.example.org". Ports do not count. */
bool tern_auth_same_host(const char *host, const char *origin);

#endif
