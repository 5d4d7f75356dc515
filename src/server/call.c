#include "server/call.h"

/* The strings of the outermost object: "name", NAME, "arguments". */
enum { NAME = 2, ARGUMENTS = 3 };

static void read_string(tern_call_reader *r, char c) {
    if (r->escaped) {
        r->escaped = false;
    } else if (c == '\\') {
        r->escaped = true;
    } else if (c == '"') {
        r->in_string = false;
        if (r->depth == 1 && r->n_strings == NAME)
            r->name_end = r->n_read;
    }
}

static void open_string(tern_call_reader *r) {
    r->in_string = true;
    if (r->depth == 1 && ++r->n_strings == NAME)
        r->name = r->n_read + 1;
}

static void close_value(tern_call_reader *r) {
    if (r->depth == 0)
        return;
    r->depth--;
    if (r->depth == 1 && r->arguments && !r->arguments_end)
        r->arguments_end = r->n_read + 1;
    r->is_whole = r->depth == 0;
}

void tern_call_read(tern_call_reader *r, const char *text, size_t n) {
    for (; r->n_read < n; r->n_read++) {
        char c = text[r->n_read];
        if (r->in_string) {
            read_string(r, c);
        } else if (c == '"') {
            open_string(r);
        } else if (c == '{' || c == '[') {
            if (c == '{' && r->depth == 1 && r->n_strings == ARGUMENTS && !r->arguments)
                r->arguments = r->n_read;
            r->depth++;
        } else if (c == '}' || c == ']') {
            close_value(r);
        }
    }
}
