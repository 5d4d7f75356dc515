/*
 * Llama-3's pre-tokeniser by hand. Its pattern, with alternatives tried in order:
 *
 *   1 (?i:'s|'t|'re|'ve|'m|'ll|'d)   2 [^\r\n\p{L}\p{N}]?\p{L}+   3 \p{N}{1,3}
 *   4  ?[^\s\p{L}\p{N}]+[\r\n]*      5 \s*[\r\n]+   6 \s+(?!\S)   7 \s+
 *
 * A regex engine spends most of the tokenizer's time on it; this scanner needs one look-up a character. The unit test
 * compares the two over all of Unicode and on random text.
 */
#include "tokenizer/pretokenize.h"

#include "tokenizer/unicode.h"

const char tern_llama3_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                                   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char tern_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ASCII, so that English never reaches the big table. */
static const uint8_t ascii_class[128] = {
    ['\t'] = TERN_CLASS_SPACE,
    ['\n'] = TERN_CLASS_SPACE,
    ['\v'] = TERN_CLASS_SPACE,
    ['\f'] = TERN_CLASS_SPACE,
    ['\r'] = TERN_CLASS_SPACE,
    [' '] = TERN_CLASS_SPACE,
#define L TERN_CLASS_LETTER
#define N TERN_CLASS_NUMBER
    ['0'] = N,
    ['1'] = N,
    ['2'] = N,
    ['3'] = N,
    ['4'] = N,
    ['5'] = N,
    ['6'] = N,
    ['7'] = N,
    ['8'] = N,
    ['9'] = N,
    ['a'] = L,
    ['b'] = L,
    ['c'] = L,
    ['d'] = L,
    ['e'] = L,
    ['f'] = L,
    ['g'] = L,
    ['h'] = L,
    ['i'] = L,
    ['j'] = L,
    ['k'] = L,
    ['l'] = L,
    ['m'] = L,
    ['n'] = L,
    ['o'] = L,
    ['p'] = L,
    ['q'] = L,
    ['r'] = L,
    ['s'] = L,
    ['t'] = L,
    ['u'] = L,
    ['v'] = L,
    ['w'] = L,
    ['x'] = L,
    ['y'] = L,
    ['z'] = L,
    ['A'] = L,
    ['B'] = L,
    ['C'] = L,
    ['D'] = L,
    ['E'] = L,
    ['F'] = L,
    ['G'] = L,
    ['H'] = L,
    ['I'] = L,
    ['J'] = L,
    ['K'] = L,
    ['L'] = L,
    ['M'] = L,
    ['N'] = L,
    ['O'] = L,
    ['P'] = L,
    ['Q'] = L,
    ['R'] = L,
    ['S'] = L,
    ['T'] = L,
    ['U'] = L,
    ['V'] = L,
    ['W'] = L,
    ['X'] = L,
    ['Y'] = L,
    ['Z'] = L,
#undef L
#undef N
};

typedef struct scan_char {
    size_t size; /* 0 at the end of the text */
    unsigned class;
} scan_char;

static inline scan_char look(const uint8_t *text, size_t n_bytes, size_t pos) {
    if (pos >= n_bytes)
        return (scan_char){0, TERN_CLASS_OTHER};
    if (text[pos] < 0x80)
        return (scan_char){1, ascii_class[text[pos]]};
    uint32_t c;
    size_t size = tern_utf8_decode(text + pos, n_bytes - pos, &c);
    return (scan_char){size, tern_char_class(c)};
}

static inline size_t skip_class(const uint8_t *text, size_t n_bytes, size_t pos, unsigned class) {
    for (;;) {
        scan_char c = look(text, n_bytes, pos);
        if (c.size == 0 || c.class != class)
            return pos;
        pos += c.size;
    }
}

static inline bool is_newline(uint8_t byte) { return byte == '\n' || byte == '\r'; }

/* Bytes of a contraction after the apostrophe at text[pos], 0 if there is none. */
static size_t contraction(const uint8_t *text, size_t n_bytes, size_t pos) {
    size_t left = n_bytes - pos - 1;
    const uint8_t *after = text + pos + 1;
    unsigned first = left > 0 ? after[0] : 0, second = left > 1 ? after[1] : 0;
    if (first == 0xc5 && second == 0xbf) /* U+017F, which folds to s; no other letter here has a second form */
        return 2;
    first |= 0x20; /* lower case; the only other bytes that become letters are upper-case letters */
    second |= 0x20;
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 1;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
        return 2;
    return 0;
}

/* Alternatives 5 to 7: text[pos] is a space that neither leads a word nor symbols. */
static size_t scan_spaces(const uint8_t *text, size_t n_bytes, size_t pos) {
    size_t end = pos, last = pos, after_newline = 0; /* last: where the last character of the run begins */
    for (;;) {
        scan_char c = look(text, n_bytes, end);
        if (c.size == 0 || c.class != TERN_CLASS_SPACE)
            break;
        last = end;
        end += c.size;
        if (is_newline(text[last]))
            after_newline = end;
    }
    if (after_newline)
        return after_newline;
    if (end == n_bytes || last == pos)
        return end;
    return last; /* the last space stays for what follows */
}

size_t tern_llama3_pretoken(const uint8_t *text, size_t n_bytes, size_t pos) {
    scan_char first = look(text, n_bytes, pos);
    size_t next_pos = pos + first.size;
    switch (first.class) {
    case TERN_CLASS_LETTER:
        return skip_class(text, n_bytes, next_pos, TERN_CLASS_LETTER);
    case TERN_CLASS_NUMBER:
        for (int more = 0; more < 2; more++) {
            scan_char c = look(text, n_bytes, next_pos);
            if (c.size == 0 || c.class != TERN_CLASS_NUMBER)
                break;
            next_pos += c.size;
        }
        return next_pos;
    default:
        break;
    }
    if (text[pos] == '\'') {
        size_t size = contraction(text, n_bytes, pos);
        if (size)
            return next_pos + size;
    }
    scan_char next = look(text, n_bytes, next_pos);
    bool newline = is_newline(text[pos]);
    if (next.size && next.class == TERN_CLASS_LETTER && !newline)
        return skip_class(text, n_bytes, next_pos + next.size, TERN_CLASS_LETTER);
    if (first.class == TERN_CLASS_SPACE && !(text[pos] == ' ' && next.size && next.class == TERN_CLASS_OTHER))
        return scan_spaces(text, n_bytes, pos);
    pos = skip_class(text, n_bytes, next_pos, TERN_CLASS_OTHER);
    while (pos < n_bytes && is_newline(text[pos]))
        pos++;
    return pos;
}
