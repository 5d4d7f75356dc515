/* GPT-2's byte-to-character alphabet, in which the files write tokens: printable Latin-1 bytes stand for themselves,
 * the others for the characters from U+0100 on, in order. */
#ifndef TERN_TOKENIZER_ALPHABET_H
#define TERN_TOKENIZER_ALPHABET_H

#include "base/str.h"

typedef struct tern_alphabet {
    char text[256][2]; /* UTF-8 */
    uint8_t size[256];
} tern_alphabet;

void tern_alphabet_make(tern_alphabet *alphabet);
/* bytes in the alphabet to `out`, which has room for twice as many; the size. */
size_t tern_alphabet_spell(const tern_alphabet *alphabet, tern_view bytes, char *out);
/* Whether the byte stands for itself. */
static inline bool tern_alphabet_printable(unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

#endif
