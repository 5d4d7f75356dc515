#include "tokenizer/unicode.h"

#include "tokenizer/stream.h"

size_t tern_utf8_encode(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[n] | c);
    return n;
}

static uint32_t map_by_ranges(const tern_case_range *ranges, size_t n, uint32_t c) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const tern_case_range *range = &ranges[middle];
        if (c > range->last)
            low = middle + 1;
        else if (c < range->first)
            high = middle;
        else
            return (c - range->first) % range->stride == 0 ? (uint32_t)((int32_t)c + range->delta) : c;
    }
    return c;
}

static const tern_case_exception *find_exception(tern_case kind, uint32_t c) {
    size_t low = 0, high = tern_n_case_exceptions;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const tern_case_exception *row = &tern_case_exceptions[middle];
        if (row->kind == kind && row->c == c)
            return row;
        if (row->kind < kind || (row->kind == kind && row->c < c))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

size_t tern_case_map(tern_case kind, uint32_t c, uint32_t image[3]) {
    const tern_case_exception *row = find_exception(kind, c);
    if (!row && kind == TERN_CASE_TITLE) /* the table has only where title case is not upper case */
        row = find_exception(TERN_CASE_UPPER, c);
    if (row) {
        memcpy(image, row->image, sizeof row->image);
        return row->n;
    }
    image[0] = kind == TERN_CASE_LOWER ? map_by_ranges(tern_lower_ranges, tern_n_lower_ranges, c)
                                       : map_by_ranges(tern_upper_ranges, tern_n_upper_ranges, c);
    return 1;
}

/* Could these n bytes (1 to 3, the first a lead byte) be the beginning of a character? Unicode table 3-7. */
static bool is_open_character(const uint8_t *bytes, size_t n) {
    uint8_t lead = bytes[0];
    size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                    : lead >= 0xe0 && lead <= 0xef ? 3
                    : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                   : 0;
    if (n >= length)
        return false;
    if (n >= 2) {
        uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (bytes[1] < low || bytes[1] > high)
            return false;
    }
    return n < 3 || (bytes[2] & 0xc0) == 0x80;
}

size_t tern_utf8_complete(const char *bytes, size_t n) {
    const uint8_t *text = (const uint8_t *)bytes;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        if ((text[n - back] & 0xc0) == 0x80)
            continue; /* a continuation byte: the lead is further back */
        return is_open_character(text + n - back, back) ? n - back : n;
    }
    return n;
}
