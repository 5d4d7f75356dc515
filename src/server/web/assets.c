#include "server/web/assets.h"

#include <string.h>

#include "base/embed.h"

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"
#define IMAGE "image/svg+xml"

/* FILE(symbol, path in requests, file name, content type) */
#define FILES(FILE)                                                                                                    \
    FILE(index, "/", "index.html", HTML)                                                                               \
    FILE(style, "/style.css", "style.css", CSS)                                                                        \
    FILE(theme, "/theme.js", "theme.js", SCRIPT)                                                                       \
    FILE(app, "/app.js", "app.js", SCRIPT)                                                                             \
    FILE(chat, "/chat.js", "chat.js", SCRIPT)                                                                          \
    FILE(view, "/view.js", "view.js", SCRIPT)                                                                          \
    FILE(settings, "/settings.js", "settings.js", SCRIPT)                                                              \
    FILE(store, "/store.js", "store.js", SCRIPT)                                                                       \
    FILE(api, "/api.js", "api.js", SCRIPT)                                                                             \
    FILE(markdown, "/markdown.js", "markdown.js", SCRIPT)                                                              \
    FILE(dom, "/dom.js", "dom.js", SCRIPT)                                                                             \
    FILE(inline, "/inline.js", "inline.js", SCRIPT)                                                                    \
    FILE(code, "/code.js", "code.js", SCRIPT)                                                                          \
    FILE(logo, "/tern.svg", "tern.svg", IMAGE)

/* TERN_WEB_DIR comes from cmake/rooms.cmake, which also rebuilds this file when one of them changes. */
#define EMBED(symbol, path, file, type) TERN_EMBED(tern_web_##symbol, TERN_WEB_DIR "/" file);
FILES(EMBED)

#define ROW(symbol, path, file, type) {path, type, tern_web_##symbol, tern_web_##symbol##_end},
static const struct {
    const char *path, *content_type;
    const unsigned char *begin, *end;
} files[] = {FILES(ROW)};

bool tern_web_find(const char *path, tern_web_asset *asset) {
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strcmp(path, files[i].path) != 0)
            continue;
        *asset = (tern_web_asset){files[i].path, files[i].content_type, files[i].begin,
                                  (size_t)(files[i].end - files[i].begin)};
        return true;
    }
    return false;
}
