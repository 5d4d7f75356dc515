#include "base/compressed.h"

#include <string.h>

const char *tern_unpacker_of(const void *bytes, size_t n_bytes) {
    static const struct {
        const char *magic, *tool;
    } known[] = {{"\xfd"
                  "7zXZ",
                  "xz"},
                 {"\x1f\x8b", "gzip"},
                 {"\x28\xb5\x2f\xfd", "zstd"},
                 {"BZh", "bzip2"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].magic);
        if (n_bytes >= n && memcmp(bytes, known[i].magic, n) == 0)
            return known[i].tool;
    }
    return NULL;
}
