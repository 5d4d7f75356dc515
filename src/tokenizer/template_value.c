#include "tokenizer/template_value.h"

#include <inttypes.h>
#include <stdio.h>

#include "tokenizer/unicode.h"

bool tern_render_fail(tern_render *r, tern_status status, const char *format, ...) {
    if (r->status)
        return false;
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    r->status = tern_fail(r->err, status, "chat template, line %u: %s", r->line, message);
    return false;
}

tern_value tern_render_fail_value(tern_render *r, const char *format, ...) {
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    tern_render_fail(r, TERN_ERR_FORMAT, "%s", message);
    return tern_value_of(VALUE_UNDEFINED, 0);
}

bool tern_render_work(tern_render *r, uint64_t units) {
    if (units > r->work_left)
        return tern_render_fail(r, TERN_ERR_UNSUPPORTED, "the template takes too many steps");
    r->work_left -= units;
    return r->status == TERN_OK;
}

void *tern_render_alloc(tern_render *r, size_t bytes) {
    if (r->status)
        return NULL;
    if (bytes > r->memory_left) {
        tern_render_fail(r, TERN_ERR_UNSUPPORTED, "the template makes too much text");
        return NULL;
    }
    r->memory_left -= bytes;
    void *memory = tern_arena_alloc(&r->arena, bytes);
    if (!memory)
        r->status = tern_fail_memory(r->err, "the chat template");
    return memory;
}

const char *tern_value_name(const tern_value *value) {
    static const char *const names[] = {"an undefined value", "none",   "a truth value", "a number",
                                        "a string",           "a list", "a message",     "the loop"};
    return names[value->kind];
}

bool tern_value_true(const tern_value *value) {
    switch (value->kind) {
    case VALUE_BOOL:
    case VALUE_INT:
        return value->number != 0;
    case VALUE_STRING:
        return value->string.size > 0;
    case VALUE_LIST:
        return value->list.n > 0;
    default:
        return value->kind == VALUE_MESSAGE || value->kind == VALUE_LOOP;
    }
}

bool tern_value_to_string(tern_render *r, const tern_value *value, tern_string *out) {
    *out = (tern_string){.bytes = ""};
    char *digits;
    switch (value->kind) {
    case VALUE_UNDEFINED:
        return true;
    case VALUE_NONE:
        *out = (tern_string){.bytes = "None", .size = 4};
        return true;
    case VALUE_BOOL:
        *out = (tern_string){.bytes = value->number ? "True" : "False", .size = value->number ? 4 : 5};
        return true;
    case VALUE_INT:
        digits = tern_render_alloc(r, 24);
        if (!digits)
            return false;
        out->bytes = digits;
        out->size = (size_t)snprintf(digits, 24, "%" PRId64, value->number);
        return true;
    case VALUE_STRING:
        *out = value->string;
        return true;
    default:
        return tern_render_fail(r, TERN_ERR_UNSUPPORTED, "%s cannot be used as text", tern_value_name(value));
    }
}

void tern_string_write_taint(const tern_string *string, uint8_t *out) {
    if (string->taint)
        memcpy(out, string->taint, string->size);
    else
        memset(out, string->tainted, string->size);
}

tern_value tern_string_concat(tern_render *r, const tern_string *a, const tern_string *b) {
    size_t size = a->size + b->size;
    bool uniform = (!a->taint && !b->taint && a->tainted == b->tainted) || a->size == 0 || b->size == 0;
    if (a->size == 0 || b->size == 0)
        return (tern_value){.kind = VALUE_STRING, {.string = a->size ? *a : *b}};
    if (!tern_render_work(r, size / 16))
        return tern_value_of(VALUE_UNDEFINED, 0);
    char *bytes = tern_render_alloc(r, uniform ? size : 2 * size);
    if (!bytes)
        return tern_value_of(VALUE_UNDEFINED, 0);
    memcpy(bytes, a->bytes, a->size);
    memcpy(bytes + a->size, b->bytes, b->size);
    tern_value joined = tern_value_string(bytes, size, a->tainted);
    if (!uniform) {
        uint8_t *taint = (uint8_t *)bytes + size;
        tern_string_write_taint(a, taint);
        tern_string_write_taint(b, taint + a->size);
        joined.string.taint = taint;
    }
    return joined;
}

static tern_value sub_string(const tern_string *string, size_t start, size_t end) {
    tern_value value = {.kind = VALUE_STRING, {.string = *string}};
    value.string.bytes += start;
    value.string.size = end - start;
    if (value.string.taint)
        value.string.taint += start;
    return value;
}

static size_t next_char(const tern_string *string, size_t pos, uint32_t *c) {
    return tern_utf8_decode((const uint8_t *)string->bytes + pos, string->size - pos, c);
}

size_t tern_string_length(const tern_string *string) {
    size_t n = 0;
    uint32_t c;
    for (size_t pos = 0; pos < string->size; n++)
        pos += next_char(string, pos, &c);
    return n;
}

void tern_slice_ends(size_t n, const int64_t *from, const int64_t *to, size_t *start, size_t *end) {
    const int64_t *ends[2] = {from, to};
    size_t at[2] = {0, n};
    for (int i = 0; i < 2; i++) {
        if (!ends[i])
            continue;
        int64_t value = *ends[i] < 0 ? *ends[i] + (int64_t)n : *ends[i];
        at[i] = value < 0 ? 0 : value > (int64_t)n ? n : (size_t)value;
    }
    *start = at[0];
    *end = at[1] < at[0] ? at[0] : at[1];
}

tern_value tern_string_slice(tern_render *r, const tern_string *string, const int64_t *from, const int64_t *to) {
    if (!tern_render_work(r, string->size / 16))
        return tern_value_of(VALUE_UNDEFINED, 0);
    size_t start, end, start_pos = string->size, end_pos = string->size, pos = 0;
    tern_slice_ends(tern_string_length(string), from, to, &start, &end);
    uint32_t c;
    for (size_t i = 0; pos < string->size; i++) {
        if (i == start)
            start_pos = pos;
        if (i == end)
            end_pos = pos;
        pos += next_char(string, pos, &c);
    }
    return sub_string(string, start_pos, end_pos < start_pos ? start_pos : end_pos);
}

/* Map the first character by `first` and the others by `rest`; bytes that are no valid UTF-8 stay. */
static tern_value map_case(tern_render *r, const tern_string *string, tern_case first, tern_case rest) {
    size_t n = 0, size;
    uint32_t c, image[3] = {0};
    /* A mapping makes a character at most 3 times as long (U+0390, 2 bytes, to 3 characters of 2). */
    if (!tern_render_work(r, string->size / 4) || string->size > SIZE_MAX / 8)
        return tern_value_of(VALUE_UNDEFINED, 0);
    char *bytes = tern_render_alloc(r, 6 * string->size + 1);
    if (!bytes)
        return tern_value_of(VALUE_UNDEFINED, 0);
    uint8_t *taint = (uint8_t *)bytes + 3 * string->size;
    for (size_t pos = 0; pos < string->size; pos += size) {
        size = next_char(string, pos, &c);
        size_t before = n;
        if (c == TERN_BAD_CHAR) {
            bytes[n++] = string->bytes[pos];
        } else {
            size_t n_image = tern_case_map(pos ? rest : first, c, image);
            for (size_t i = 0; i < n_image; i++)
                n += tern_utf8_encode(image[i], bytes + n);
        }
        memset(taint + before, string->taint ? string->taint[pos] : string->tainted, n - before);
    }
    tern_value mapped = tern_value_string(bytes, n, string->tainted);
    mapped.string.taint = string->taint ? taint : NULL;
    return mapped;
}

static tern_value trim(tern_render *r, const tern_string *string) {
    tern_view right = tern_strip_right((tern_view){string->bytes, string->size});
    tern_view both = tern_strip_left(right);
    tern_render_work(r, (string->size - both.size) / 4);
    size_t start = (size_t)(both.bytes - string->bytes);
    return sub_string(string, start, start + both.size);
}

static tern_value length(tern_render *r, const tern_value *value) {
    switch (value->kind) {
    case VALUE_UNDEFINED:
        return tern_value_of(VALUE_INT, 0);
    case VALUE_LIST:
        return tern_value_of(VALUE_INT, (int64_t)value->list.n);
    case VALUE_MESSAGE:
        return tern_value_of(VALUE_INT, 2);
    case VALUE_STRING:
        tern_render_work(r, value->string.size / 16);
        return tern_value_of(VALUE_INT, (int64_t)tern_string_length(&value->string));
    default:
        return tern_render_fail_value(r, "%s has no length", tern_value_name(value));
    }
}

tern_value tern_apply_filter(tern_render *r, tern_filter filter, const tern_value *value, const tern_value *args,
                             size_t n_args) {
    if (filter == FILTER_LENGTH)
        return length(r, value);
    if (filter == FILTER_DEFAULT) {
        bool wanted =
            value->kind == VALUE_UNDEFINED || (n_args > 1 && tern_value_true(&args[1]) && !tern_value_true(value));
        return wanted ? args[0] : *value;
    }
    tern_string string;
    if (!tern_value_to_string(r, value, &string))
        return tern_value_of(VALUE_UNDEFINED, 0);
    switch (filter) {
    case FILTER_TRIM:
        return trim(r, &string);
    case FILTER_UPPER:
        return map_case(r, &string, TERN_CASE_UPPER, TERN_CASE_UPPER);
    case FILTER_LOWER:
        return map_case(r, &string, TERN_CASE_LOWER, TERN_CASE_LOWER);
    default:
        return map_case(r, &string, TERN_CASE_TITLE, TERN_CASE_LOWER);
    }
}
