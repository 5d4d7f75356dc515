#define PCRE2_CODE_UNIT_WIDTH 8
#include "eval/pattern.h"

#include <pcre2.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/status.h"
#include "eval/regex_limit.h"

static tern_status compile(const char *pattern, unsigned flags, pcre2_code **code, tern_error *err) {
    static const uint32_t options[] = {PCRE2_CASELESS, PCRE2_MULTILINE, PCRE2_LITERAL, PCRE2_ANCHORED,
                                       PCRE2_ENDANCHORED};
    int number;
    PCRE2_SIZE at;
    PCRE2_UCHAR problem[120];
    uint32_t bits = PCRE2_UTF;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        bits |= flags >> i & 1 ? options[i] : 0;
    if (!(flags & TERN_PATTERN_LITERAL))
        bits |= PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return tern_fail_memory(err, "an expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, bits, &number, &at, context);
    pcre2_compile_context_free(context);
    if (*code)
        return TERN_OK;
    pcre2_get_error_message(number, problem, sizeof problem);
    return tern_fail(err, TERN_ERR_FORMAT, "the expression '%.60s': %s", pattern, (char *)problem);
}

static tern_status fail_match(const char *pattern, int number, tern_error *err) {
    PCRE2_UCHAR problem[120];
    if (number == PCRE2_ERROR_NOMEMORY)
        return tern_fail_memory(err, "an expression");
    pcre2_get_error_message(number, problem, sizeof problem);
    return tern_fail(err, tern_regex_gave_up(number) ? TERN_ERR_UNSUPPORTED : TERN_ERR_FORMAT,
                     "the expression '%.60s' on an answer: %s", pattern, (char *)problem);
}

tern_status tern_pattern_find(const char *pattern, unsigned flags, const char *text, size_t n, size_t most,
                              tern_spans *spans, size_t *count, tern_error *err) {
    pcre2_code *code = NULL;
    tern_status status = compile(pattern, flags, &code, err);
    pcre2_match_data *data = status ? NULL : pcre2_match_data_create_from_pattern(code, NULL);
    if (!status && !data)
        status = tern_fail_memory(err, "an expression");
    *count = 0;
    for (size_t at = 0; !status && at <= n && *count < most;) {
        int number = pcre2_match(code, (PCRE2_SPTR)text, n, at, 0, data, NULL);
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(data);
        if (number == PCRE2_ERROR_NOMATCH)
            break;
        if (number < 0)
            status = fail_match(pattern, number, err);
        else if (spans && !tern_grow_array((void **)&spans->at, &spans->capacity, spans->n + 1, sizeof *spans->at))
            status = tern_fail_memory(err, "an answer");
        if (status)
            break;
        if (spans)
            spans->at[spans->n++] = (tern_span){places[0], places[1]};
        ++*count;
        at = places[1] > places[0] ? places[1] : places[1] + 1;
        while (at < n && ((unsigned char)text[at] & 0xc0) == 0x80) /* not into a character */
            at++;
    }
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return status;
}

tern_status tern_pattern_replace(const char *pattern, const char *with, tern_buffer *text, tern_error *err) {
    const uint32_t options = PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH;
    pcre2_code *code = NULL;
    tern_buffer out = {0};
    tern_status status = compile(pattern, 0, &code, err);
    PCRE2_SIZE size = 2 * text->size + 64;
    for (bool again = true; !status && again;) {
        PCRE2_SIZE room = size;
        char *bytes = malloc(room);
        int number =
            bytes ? pcre2_substitute(code, (PCRE2_SPTR)(text->bytes ? text->bytes : ""), text->size, 0, options, NULL,
                                     NULL, (PCRE2_SPTR)with, PCRE2_ZERO_TERMINATED, (PCRE2_UCHAR *)bytes, &size)
                  : PCRE2_ERROR_NOMEMORY;
        again = bytes && number == PCRE2_ERROR_NOMEMORY && size > room; /* it said how much it needs */
        if (number >= 0 && !tern_buffer_append(&out, bytes, size))
            status = tern_fail_memory(err, "an answer");
        else if (number < 0 && !again)
            status = fail_match(pattern, number, err);
        free(bytes);
    }
    pcre2_code_free(code);
    if (status) {
        tern_buffer_free(&out);
        return status;
    }
    tern_buffer_free(text);
    *text = out;
    return TERN_OK;
}
