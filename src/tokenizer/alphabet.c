#include "tokenizer/alphabet.h"

void tern_alphabet_make(tern_alphabet *alphabet) {
    unsigned next = 256;
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned character = tern_alphabet_printable(byte) ? byte : next++;
        alphabet->size[byte] = character < 128 ? 1 : 2;
        alphabet->text[byte][0] = (char)(character < 128 ? character : 0xc0 | character >> 6);
        alphabet->text[byte][1] = (char)(0x80 | (character & 63));
    }
}

size_t tern_alphabet_spell(const tern_alphabet *alphabet, tern_view bytes, char *out) {
    size_t size = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = (uint8_t)bytes.bytes[i];
        memcpy(out + size, alphabet->text[byte], alphabet->size[byte]);
        size += alphabet->size[byte];
    }
    return size;
}
