#include "server/json.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"

int tern_json_parse(const char *bytes, size_t n_bytes, json_t **object, tern_api_error *error) {
    json_error_t where;
    /* JSON_ALLOW_NUL: "\u0000" is a character like any other in a prompt; jansson checks UTF-8 and depth. */
    json_t *root = tern_json_load(bytes, n_bytes, JSON_ALLOW_NUL, &where);
    if (!root && tern_json_no_memory(&where))
        return tern_api_fail_memory(error);
    if (!root && json_error_code(&where) == json_error_numeric_overflow)
        return tern_api_fail(error, 400, NULL, "invalid_value",
                             "line %d column %d: a number is too large; whole numbers go up to 2^63 - 1", where.line,
                             where.column);
    if (!root)
        return tern_api_fail(error, 400, NULL, "invalid_json", "the body is not valid JSON: line %d column %d: %.200s",
                             where.line, where.column, where.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return tern_api_fail(error, 400, NULL, "invalid_json", "the body must be a JSON object");
    }
    *object = root;
    return 0;
}

const json_t *tern_field(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

const char *tern_json_type_name(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "a boolean", [JSON_FALSE] = "a boolean", [JSON_NULL] = "null",
    };
    return value ? names[json_typeof(value)] : "nothing";
}

static int wrong_type(const json_t *value, const char *name, const char *wanted, tern_api_error *error) {
    return tern_api_fail(error, 400, name, "invalid_type", "'%s' must be %s, not %s", name, wanted,
                         tern_json_type_name(value));
}

int tern_field_bool(const json_t *object, const char *name, bool *value, tern_api_error *error) {
    const json_t *field = tern_field(object, name);
    if (!field)
        return 0;
    if (!json_is_boolean(field))
        return wrong_type(field, name, "true or false", error);
    *value = json_is_true(field);
    return 0;
}

int tern_field_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *value,
                   tern_api_error *error) {
    const json_t *field = tern_field(object, name);
    if (!field)
        return 0;
    double real = json_number_value(field);
    if (json_is_real(field) && (real != floor(real) || fabs(real) > 9e15))
        return tern_api_fail(error, 400, name, "invalid_type", "'%s' is %g, but must be a whole number", name, real);
    if (!json_is_number(field))
        return wrong_type(field, name, "a whole number", error);
    json_int_t number = json_is_real(field) ? (json_int_t)real : json_integer_value(field); /* 3.0 is whole, too */
    if (number < min || number > max)
        return tern_api_fail(error, 400, name, "invalid_value", "'%s' is %lld, but must be from %lld to %lld", name,
                             (long long)number, (long long)min, (long long)max);
    *value = number;
    return 0;
}

int tern_field_float(const json_t *object, const char *name, double min, double max, float *value,
                     tern_api_error *error) {
    const json_t *field = tern_field(object, name);
    if (!field)
        return 0;
    if (!json_is_number(field))
        return wrong_type(field, name, "a number", error);
    double number = json_number_value(field);
    if (!(number >= min && number <= max))
        return tern_api_fail(error, 400, name, "invalid_value", "'%s' is %g, but must be from %g to %g", name, number,
                             min, max);
    *value = (float)number;
    return 0;
}

int tern_field_string(const json_t *object, const char *name, const char **value, tern_api_error *error) {
    const json_t *field = tern_field(object, name);
    if (!field)
        return 0;
    if (!json_is_string(field))
        return wrong_type(field, name, "a string", error);
    if (strlen(json_string_value(field)) != json_string_length(field))
        return tern_api_fail(error, 400, name, "invalid_value", "'%s' must not hold the character U+0000", name);
    *value = json_string_value(field);
    return 0;
}

int tern_field_object(const json_t *object, const char *name, const json_t **value, tern_api_error *error) {
    const json_t *field = tern_field(object, name);
    if (field && !json_is_object(field))
        return wrong_type(field, name, "an object", error);
    if (field)
        *value = field;
    return 0;
}

int tern_field_array(const json_t *object, const char *name, const json_t **value, tern_api_error *error) {
    const json_t *field = tern_field(object, name);
    if (field && !json_is_array(field))
        return wrong_type(field, name, "an array", error);
    if (field)
        *value = field;
    return 0;
}

int tern_json_ids(const json_t *array, int64_t limit, const char *param, int32_t **ids, size_t *n_ids,
                  tern_api_error *error) {
    size_t n = json_array_size(array);
    int32_t *list = tern_alloc_array(n ? n : 1, sizeof *list);
    if (!list)
        return tern_api_fail_memory(error);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id >= limit) {
            free(list);
            return tern_api_fail(error, 400, param, "invalid_value", "'%s': item %zu is no token id from 0 to %lld",
                                 param, i, (long long)limit - 1);
        }
        list[i] = (int32_t)id;
    }
    *ids = list;
    *n_ids = n;
    return 0;
}

size_t tern_utf8_length(const char *text, size_t n) {
    const unsigned char *t = (const unsigned char *)text;
    if (t[0] < 0x80)
        return 1;
    size_t length = t[0] >= 0xc2 && t[0] < 0xe0   ? 2
                    : t[0] >= 0xe0 && t[0] < 0xf0 ? 3
                    : t[0] >= 0xf0 && t[0] < 0xf5 ? 4
                                                  : 0;
    if (length == 0 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((t[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates, and what is beyond U+10FFFF (RFC 3629, section 4) */
    if ((t[0] == 0xe0 && t[1] < 0xa0) || (t[0] == 0xed && t[1] > 0x9f) || (t[0] == 0xf0 && t[1] < 0x90) ||
        (t[0] == 0xf4 && t[1] > 0x8f))
        return 0;
    return length;
}

static void write_escaped(tern_buffer *out, unsigned char c) {
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (c == '"' || c == '\\')
        tern_buffer_printf(out, "\\%c", c);
    else if (c < sizeof letters && letters[c])
        tern_buffer_printf(out, "\\%c", letters[c]);
    else
        tern_buffer_printf(out, "\\u%04x", c);
}

void tern_json_write_string(tern_buffer *out, const char *bytes, size_t n_bytes) {
    size_t plain = 0; /* bytes[plain..i) go out as they are */
    tern_buffer_text(out, "\"");
    for (size_t i = 0; i < n_bytes;) {
        unsigned char c = (unsigned char)bytes[i];
        size_t length = tern_utf8_length(bytes + i, n_bytes - i);
        if (length && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += length;
            continue;
        }
        tern_buffer_append(out, bytes + plain, i - plain);
        if (length)
            write_escaped(out, c);
        else
            tern_buffer_text(out, "\xef\xbf\xbd");
        plain = ++i;
    }
    tern_buffer_append(out, bytes + plain, n_bytes - plain);
    tern_buffer_text(out, "\"");
}

void tern_json_write_text(tern_buffer *out, const char *text) { tern_json_write_string(out, text, strlen(text)); }

void tern_json_write_float(tern_buffer *out, float value) {
    if (isnan(value))
        tern_buffer_text(out, "null");
    else if (isinf(value))
        tern_buffer_text(out, value < 0 ? "-9999.0" : "9999.0");
    else
        tern_buffer_printf(out, "%.9g", (double)value);
}
