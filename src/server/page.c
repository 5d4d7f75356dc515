/* GET / and the other files of the web page. They need no key: they hold nothing, and the page asks for one. */
#include "server/endpoints.h"
#include "server/web/assets.h"

int tern_endpoint_page(tern_exchange *x, tern_api_error *error) {
    tern_web_asset asset;
    if (!tern_web_find(x->path, &asset))
        return tern_api_fail(error, 404, NULL, "unknown_url", "there is no %.100s here", x->path);
    tern_reply_file(x, asset.content_type, asset.bytes, asset.size);
    tern_reply_header(&x->reply, "Content-Security-Policy", "%s", TERN_WEB_POLICY);
    tern_reply_header(&x->reply, "Referrer-Policy", "no-referrer");
    return 0;
}
