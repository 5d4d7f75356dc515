/* Who may ask. */
#ifndef TERN_SERVER_AUTH_H
#define TERN_SERVER_AUTH_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the value of an Authorization header (NULL: none was sent) is "Bearer KEY" with one of keys [n_keys]. How
 * long that takes tells nothing about the keys but their number and lengths. */
bool tern_auth_allows(const char *authorization, char *const *keys, size_t n_keys);

/* Whether the Origin header of a browser (NULL: none) is of a page that came from this machine or from a bare address:
 * http://localhost:8080, http://127.0.0.1, http://[::1]. A page of any other name that reaches a server on the
 * loopback has had its name pointed there (DNS rebinding). */
bool tern_auth_origin_is_local(const char *origin);

#endif
