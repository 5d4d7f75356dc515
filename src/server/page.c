/* GET / and the other files of the web page. They need no key: they hold nothing, and the page asks for one. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "server/endpoints.h"
#include "server/web/assets.h"

int tern_endpoint_page(tern_exchange *x, tern_api_error *error) {
    tern_web_asset asset;
    char tag[24];
    if (!tern_web_find(x->path, &asset))
        return tern_api_fail(error, 404, NULL, "unknown_url", "there is no %.100s here", x->path);
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)tern_hash_bytes(asset.bytes, asset.size));
    bool known = x->if_none_match && strstr(x->if_none_match, tag);
    x->reply = (tern_reply){.status = known ? 304 : 200,
                            .content_type = asset.content_type,
                            .body = (const char *)asset.bytes,
                            .n_bytes = known ? 0 : asset.size,
                            .is_static = true};
    tern_reply_header(&x->reply, "ETag", "%s", tag);
    tern_reply_header(&x->reply, "Cache-Control", "no-cache"); /* ask each time whether it is still this one */
    tern_reply_header(&x->reply, "Content-Security-Policy", "%s", TERN_WEB_POLICY);
    tern_reply_header(&x->reply, "Referrer-Policy", "no-referrer");
    return 0;
}
