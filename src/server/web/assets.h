/* The web page of `tern serve`: its files as read-only bytes in the program, so that the page needs nothing else. */
#ifndef TERN_SERVER_WEB_ASSETS_H
#define TERN_SERVER_WEB_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Every file is sent with TERN_WEB_POLICY as its Content-Security-Policy: nothing but the page's own files runs, and
 * nothing leaves for another host, whatever a model's answer says. Addresses in the page are relative, so that it also
 * works behind a proxy that serves it under a path.
 */
#define TERN_WEB_POLICY                                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "              \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

typedef struct tern_web_asset {
    const char *path;           /* as in the request: "/" or "/name" */
    const char *content_type;   /* with its charset */
    const unsigned char *bytes; /* [size], as long as the program runs */
    size_t size;
} tern_web_asset;

/* The file that a request for `path` (without a query) gets -> *asset; false if there is none. */
bool tern_web_find(const char *path, tern_web_asset *asset);

#endif
