#include "rag/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/unicode.h"

/* How good a place to cut is, worst first. */
enum { CUT_NONE, CUT_CHARACTER, CUT_WORD, CUT_LINE, CUT_SENTENCE, CUT_PARAGRAPH };

typedef struct cutter {
    const char *text;
    size_t n_bytes;
    const size_t *ends;
    size_t n_tokens, max_tokens, overlap;
} cutter;

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

/* Does text [n] end with a sentence? Latin, Chinese and Japanese full stops. */
static bool ends_sentence(const char *text, size_t n) {
    if (n >= 3 && (memcmp(text + n - 3, "\xe3\x80\x82", 3) == 0 || memcmp(text + n - 3, "\xef\xbc\x81", 3) == 0 ||
                   memcmp(text + n - 3, "\xef\xbc\x9f", 3) == 0))
        return true;
    return n && memchr(".!?", text[n - 1], 3);
}

/* Of a cut between the bytes at - 1 and at, both of which there are. */
static int rate(const char *text, size_t at) {
    if (((unsigned char)text[at] & 0xc0) == 0x80)
        return CUT_NONE;
    if (!is_blank(text[at - 1]))
        return (unsigned char)text[at - 1] >= 0x80 && ends_sentence(text, at) ? CUT_SENTENCE : CUT_CHARACTER;
    if (is_blank(text[at]) && text[at] != '\n' && text[at] != '\r' && text[at - 1] != '\n')
        return CUT_CHARACTER; /* inside of blanks: their end is the better place */
    size_t end = at;
    unsigned n_lines = 0;
    while (end && is_blank(text[end - 1]))
        n_lines += text[--end] == '\n';
    if (n_lines >= 2)
        return CUT_PARAGRAPH;
    if (ends_sentence(text, end))
        return CUT_SENTENCE;
    return n_lines ? CUT_LINE : CUT_WORD;
}

/* The token that byte `at` belongs to, n_tokens behind the last. */
static size_t token_at(const cutter *c, size_t at) {
    size_t low = 0, high = c->n_tokens;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->ends[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Where the chunk that begins at `start` ends. */
static size_t find_end(const cutter *c, size_t start) {
    size_t first = token_at(c, start);
    if (c->n_tokens - first <= c->max_tokens)
        return c->n_bytes;
    size_t most = c->ends[first + c->max_tokens - 1], least = c->ends[first + c->max_tokens / 2 - 1], best = 0;
    int best_rate = CUT_NONE;
    for (size_t at = most; at > least; at--) {
        int rated = rate(c->text, at);
        if (rated > best_rate)
            best = at, best_rate = rated;
    }
    if (best)
        return best;
    for (best = most; best > start + 1 && rate(c->text, best) == CUT_NONE; best--) { /* tokens of less than a byte? */
    }
    return best > start + 1 ? best : most;
}

/* Where the chunk behind one that ends at `end` begins. */
static size_t find_start(const cutter *c, size_t start, size_t end) {
    size_t last = token_at(c, end - 1), words = end;
    if (c->overlap == 0 || last + 1 < c->overlap + 1)
        return end;
    size_t least = c->ends[last - c->overlap];
    if (least <= start)
        least = start + 1;
    for (size_t at = least; at < end; at++) {
        int rated = rate(c->text, at);
        if (rated >= CUT_LINE && !is_blank(c->text[at]))
            return at;
        if (rated == CUT_WORD && words == end)
            words = at;
    }
    return words;
}

static size_t count_lines(const char *text, size_t from, size_t to) {
    size_t n = 0;
    for (const char *at = text + from; (at = memchr(at, '\n', (size_t)(text + to - at))); at++)
        n++;
    return n;
}

tern_status tern_chunk_text(const char *text, size_t n_bytes, const size_t *ends, size_t n_tokens, size_t max_tokens,
                            size_t overlap_tokens, tern_chunk **chunks, size_t *n_chunks, tern_error *err) {
    const cutter c = {text, n_bytes, ends, n_tokens, max_tokens, overlap_tokens};
    tern_chunk *list = NULL;
    size_t n = 0, capacity = 0, start = 0, counted = 0, line = 1;
    for (;;) {
        while (start < n_bytes && is_blank(text[start]))
            start++;
        if (start == n_bytes)
            break;
        size_t cut = find_end(&c, start), end = cut, next = cut;
        line += count_lines(text, counted, start);
        counted = start;
        if (end < n_bytes)
            next = find_start(&c, start, end);
        while (is_blank(text[end - 1]))
            end--;
        if (n && end <= list[n - 1].offset + list[n - 1].size) { /* what is new is blank */
            start = cut;
            continue;
        }
        if (!tern_grow_array((void **)&list, &capacity, n + 1, sizeof *list)) {
            free(list);
            return tern_fail_memory(err, "the chunks of a text");
        }
        size_t last_line = line + count_lines(text, start, end);
        list[n++] = (tern_chunk){start, end - start, (uint32_t)line, (uint32_t)last_line};
        start = next;
    }
    *chunks = list;
    *n_chunks = n;
    return TERN_OK;
}

bool tern_is_utf8_text(const char *text, size_t n_bytes) {
    uint32_t c;
    for (size_t i = 0; i < n_bytes;) {
        i += tern_utf8_decode((const uint8_t *)text + i, n_bytes - i, &c);
        if (c == TERN_BAD_CHAR || c == 0)
            return false;
    }
    return true;
}
