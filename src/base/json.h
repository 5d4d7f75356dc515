/* json_loadb() and json_dumps() without the trust in memory that jansson has (base/guard.h). For the rooms that link
 * jansson, which this one does not: so all of it stands here. */
#ifndef TERN_BASE_JSON_H
#define TERN_BASE_JSON_H

#include <stdio.h>

#include <jansson.h>

#include "base/guard.h"

typedef struct tern_json_text {
    const char *bytes;
    size_t n_bytes, flags;
    json_t *root;
    json_error_t *where;
} tern_json_text;

static inline void tern_json_load_guarded(void *user) {
    tern_json_text *t = user;
    t->root = json_loadb(t->bytes, t->n_bytes, t->flags, t->where);
}

/* The value, for json_decref(); NULL and *where if the text is no JSON, or if there is no memory for it. Safe in a
 * process whose jansson allocates by tern_guard_malloc(); elsewhere it is json_loadb(). */
static inline json_t *tern_json_load(const char *bytes, size_t n_bytes, size_t flags, json_error_t *where) {
    tern_json_text text = {bytes ? bytes : "", n_bytes, flags, NULL, where};
    if (tern_guarded(tern_json_load_guarded, &text))
        return text.root;
    *where = (json_error_t){.line = 1};
    snprintf(where->text, sizeof where->text, "out of memory");
    where->text[sizeof where->text - 1] = (char)json_error_out_of_memory; /* where json_error_code() looks */
    return NULL;
}

/* Whether that was it. */
static inline bool tern_json_no_memory(const json_error_t *where) {
    return json_error_code(where) == json_error_out_of_memory;
}

typedef struct tern_json_dumped {
    const json_t *value;
    size_t flags;
    char *text;
} tern_json_dumped;

static inline void tern_json_dump_guarded(void *user) {
    tern_json_dumped *d = user;
    d->text = json_dumps(d->value, d->flags);
}

/* json_dumps(), which up to 2.14 leaves out a key that there is no memory for, and goes on. To be freed with free();
 * NULL: no memory. */
static inline char *tern_json_dump(const json_t *value, size_t flags) {
    tern_json_dumped dumped = {value, flags, NULL};
    return tern_guarded(tern_json_dump_guarded, &dumped) ? dumped.text : NULL;
}

#endif
