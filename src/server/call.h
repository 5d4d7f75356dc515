/* A call of a function as the model writes it, {"name": NAME, "arguments": {...}}: where its parts are, while it comes.
 */
#ifndef TERN_SERVER_CALL_H
#define TERN_SERVER_CALL_H

#include <stdbool.h>
#include <stddef.h>

/* What is known of a text so far. Zero-initialised: nothing was read. Offsets into the text; 0: not there yet. */
typedef struct tern_call_reader {
    size_t n_read;                   /* bytes that were looked at */
    size_t depth;                    /* objects and arrays that are open */
    size_t n_strings;                /* of the outermost object */
    size_t name, name_end;           /* between the quotes */
    size_t arguments, arguments_end; /* the braces included; the end is 0 until the last one is there */
    bool in_string, escaped;
    bool is_whole; /* the outermost object is closed */
} tern_call_reader;

/* Go on with a text that has become longer, [n] bytes, and is (the beginning of) JSON made by a grammar of such calls,
 * with "name" first: what else JSON may look like is not checked. */
void tern_call_read(tern_call_reader *reader, const char *text, size_t n);

#endif
