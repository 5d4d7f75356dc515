/* UTF-8 and the few Unicode properties the tokenizer and the chat template
 * need, from own tables: the same text gives the same ids on every machine,
 * whatever Unicode version its libraries have. */
#ifndef TERN_TOKENIZER_UNICODE_H
#define TERN_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { TERN_CLASS_OTHER, TERN_CLASS_LETTER, TERN_CLASS_NUMBER, TERN_CLASS_SPACE };

#define TERN_BAD_CHAR 0xffffffffu /* what a byte that belongs to no valid character decodes to; class OTHER */

extern const uint32_t tern_class_limit; /* no letter, number or space from here on */
extern const uint8_t tern_class_index[];
extern const uint8_t tern_class_blocks[][64]; /* two bits a character, 256 characters a block */

static inline unsigned tern_char_class(uint32_t c) {
    if (c >= tern_class_limit)
        return TERN_CLASS_OTHER;
    return tern_class_blocks[tern_class_index[c >> 8]][(c & 255) >> 2] >> 2 * (c & 3) & 3;
}

/* Decode the character at text [n_bytes >= 1] into *c and return its length;
 * a byte that starts no valid character gives TERN_BAD_CHAR and 1. Strict: no
 * overlong forms, no surrogates, nothing above U+10FFFF. */
static inline size_t tern_utf8_decode(const uint8_t *text, size_t n_bytes, uint32_t *c) {
    uint32_t first = text[0];
    *c = TERN_BAD_CHAR;
    if (first < 0x80) {
        *c = first;
        return 1;
    }
    if (first < 0xc2 || first > 0xf4 || n_bytes < 2 || (text[1] & 0xc0) != 0x80)
        return 1;
    uint32_t value = first << 6 | (text[1] & 0x3fu);
    if (first < 0xe0) {
        *c = value & 0x7ff;
        return 2;
    }
    if (n_bytes < 3 || (text[2] & 0xc0) != 0x80)
        return 1;
    value = value << 6 | (text[2] & 0x3fu);
    if (first < 0xf0) {
        value &= 0xffff;
        if (value < 0x800 || (value & 0xf800) == 0xd800)
            return 1;
        *c = value;
        return 3;
    }
    if (n_bytes < 4 || (text[3] & 0xc0) != 0x80)
        return 1;
    value = (value << 6 | (text[3] & 0x3fu)) & 0x1fffff;
    if (value < 0x10000 || value > 0x10ffff)
        return 1;
    *c = value;
    return 4;
}

/* Encode a valid character into out [4]; returns the length. */
size_t tern_utf8_encode(uint32_t c, char *out);

/* What Python's str.isspace() says: White_Space and U+001C-U+001F. */
static inline bool tern_is_python_space(uint32_t c) {
    return tern_char_class(c) == TERN_CLASS_SPACE || (c >= 0x1c && c <= 0x1f);
}

typedef struct tern_case_range {
    uint32_t first, last, stride; /* first, first + stride, ... last */
    int32_t delta;
} tern_case_range;

typedef enum tern_case { TERN_CASE_LOWER, TERN_CASE_UPPER, TERN_CASE_TITLE } tern_case;

typedef struct tern_case_exception {
    uint32_t c;
    uint8_t kind, n; /* a tern_case; n characters */
    uint32_t image[3];
} tern_case_exception; /* sorted by kind, then c */

extern const tern_case_range tern_lower_ranges[], tern_upper_ranges[];
extern const tern_case_exception tern_case_exceptions[];
extern const size_t tern_n_lower_ranges, tern_n_upper_ranges, tern_n_case_exceptions;

/* The image of c under a full case mapping (without the context rule of the
 * final sigma) in image [3]; returns how many characters it has. */
size_t tern_case_map(tern_case kind, uint32_t c, uint32_t image[3]);

#endif
