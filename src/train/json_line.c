#include "train/json_line.h"

#include <stdlib.h>

/* jansson keeps a string's source in a buffer that doubles, and copies it once more. */
enum { LONG_LINE = 1 << 16, COPIES = 4 };

/* jansson (2.14) reads past the end of a long string's buffer when that could not grow: see that it can. */
static bool has_room(size_t size) {
    if (size < LONG_LINE)
        return true;
    void *room = size < SIZE_MAX / COPIES ? malloc(size * COPIES) : NULL;
    /* volatile: a compiler may leave out a pair of malloc() and free() */
    void *volatile seen = room;
    free(seen);
    return room != NULL;
}

json_t *tern_json_line(tern_view line, tern_error *err) {
    json_error_t problem;
    if (!has_room(line.size)) {
        tern_fail_memory(err, "a line of JSON");
        return NULL;
    }
    json_t *root = json_loadb(line.bytes, line.size, JSON_ALLOW_NUL, &problem);
    if (!root)
        tern_fail(err, TERN_ERR_FORMAT, "not JSON: %s", problem.text);
    return root;
}
