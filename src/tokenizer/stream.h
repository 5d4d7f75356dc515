/* Token bytes in, whole UTF-8 characters out: a character that is split over
 * tokens is held back until it is complete; bytes that can never become one
 * pass as they are. */
#ifndef TERN_TOKENIZER_STREAM_H
#define TERN_TOKENIZER_STREAM_H

#include <stddef.h>

/* Length of the longest prefix of bytes [n] that does not end inside a character that more bytes could complete. */
size_t tern_utf8_complete(const char *bytes, size_t n);

#endif
