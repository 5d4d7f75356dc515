/* Pre-tokenisers that are given as a regular expression. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>

#include "tokenizer/pretokenize.h"
#include "tokenizer/unicode.h"

#define MAX_PATTERN 16384 /* bytes; the longest in use has some 400 */
#define JIT_STACK (1024 * 1024)

struct tern_pattern {
    pcre2_code *code; /* immutable, shared by threads */
    char *source;
};

static tern_status fail_pcre2(tern_error *err, tern_status status, const char *name, const char *what, int code) {
    PCRE2_UCHAR text[160];
    if (pcre2_get_error_message(code, text, sizeof text) < 0)
        text[0] = 0;
    return tern_fail(err, status, "%s: the pre-tokeniser's regular expression %s: %s", name, what, (const char *)text);
}

tern_status tern_pattern_create(const char *name, const char *source, size_t n_bytes, tern_pattern **pattern,
                                tern_error *err) {
    if (n_bytes > MAX_PATTERN)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: the pre-tokeniser's regular expression has more than %d bytes",
                         name, MAX_PATTERN);
    tern_pattern *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "a regular expression");
    int code = 0;
    size_t offset = 0;
    made->code = pcre2_compile((PCRE2_SPTR)source, n_bytes, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code,
                               &offset, NULL);
    made->source = made->code ? malloc(n_bytes + 1) : NULL;
    if (made->code && !made->source) {
        tern_pattern_free(made);
        return tern_fail_memory(err, "a regular expression");
    }
    if (!made->code) {
        free(made);
        return fail_pcre2(err, TERN_ERR_UNSUPPORTED, name, "cannot be used", code);
    }
    memcpy(made->source, source, n_bytes);
    made->source[n_bytes] = 0;
    pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE); /* without JIT pcre2_match interprets: slower, the same result */
    *pattern = made;
    return TERN_OK;
}

void tern_pattern_free(tern_pattern *pattern) {
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    free(pattern->source);
    free(pattern);
}

const char *tern_pattern_source(const tern_pattern *pattern) { return pattern ? pattern->source : NULL; }

tern_status tern_cutter_open(tern_cutter *cutter, const tern_pattern *pattern, const char *text, size_t n_bytes,
                             tern_error *err) {
    cutter->pattern = pattern;
    cutter->text = (const uint8_t *)text;
    cutter->n_bytes = n_bytes;
    cutter->pos = cutter->valid_start = cutter->valid_end = cutter->match_start = cutter->match_end = 0;
    if (!pattern)
        return TERN_OK;
    if (!cutter->match) {
        cutter->match = pcre2_match_data_create_from_pattern(pattern->code, NULL);
        cutter->context = pcre2_match_context_create(NULL);
        cutter->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, NULL);
        if (!cutter->match || !cutter->context)
            return tern_fail_memory(err, "a regular expression");
        if (cutter->stack) /* else the 32 KB of the machine stack serve */
            pcre2_jit_stack_assign(cutter->context, NULL, cutter->stack);
    }
    /* One honest match may walk over the whole text a few times; a pattern made to backtrack for ever is stopped. */
    size_t limit = 1000000 + 16 * n_bytes;
    pcre2_set_match_limit(cutter->context, limit < 0x7fffffff ? (uint32_t)limit : 0x7fffffff);
    return TERN_OK;
}

void tern_cutter_free(tern_cutter *cutter) {
    pcre2_match_data_free(cutter->match);
    pcre2_match_context_free(cutter->context);
    pcre2_jit_stack_free(cutter->stack);
    *cutter = (tern_cutter){0};
}

/* From cutter->pos, the end of the run of characters that are valid (or not). */
static size_t run_end(const tern_cutter *cutter, bool valid) {
    size_t pos = cutter->pos;
    while (pos < cutter->n_bytes) {
        uint32_t c;
        size_t size = tern_utf8_decode(cutter->text + pos, cutter->n_bytes - pos, &c);
        if ((c != TERN_BAD_CHAR) != valid)
            break;
        pos += size;
    }
    return pos;
}

/* Find the next non-empty match at or after cutter->pos; none: an empty one at the end of the valid run. */
static tern_status find_match(tern_cutter *cutter, tern_error *err) {
    const uint8_t *run = cutter->text + cutter->valid_start;
    int code = pcre2_match(cutter->pattern->code, run, cutter->valid_end - cutter->valid_start,
                           cutter->pos - cutter->valid_start, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, cutter->match,
                           cutter->context);
    cutter->match_start = cutter->match_end = cutter->valid_end;
    if (code == PCRE2_ERROR_NOMATCH)
        return TERN_OK;
    if (code < 0)
        return fail_pcre2(err, TERN_ERR_UNSUPPORTED, "tokenizer", "fails on this text", code);
    const size_t *offsets = pcre2_get_ovector_pointer(cutter->match);
    size_t start = cutter->valid_start + offsets[0], end = cutter->valid_start + offsets[1];
    if (start < cutter->pos) /* a \K can move the start back */
        start = cutter->pos;
    if (start < end) {
        cutter->match_start = start;
        cutter->match_end = end;
    }
    return TERN_OK;
}

tern_status tern_cutter_next(tern_cutter *cutter, size_t *start, size_t *end, tern_error *err) {
    size_t pos = cutter->pos, stop;
    if (pos == cutter->n_bytes) {
        stop = pos;
    } else if (!cutter->pattern) {
        stop = tern_llama3_pretoken(cutter->text, cutter->n_bytes, pos);
    } else {
        if (pos == cutter->valid_end) {
            cutter->valid_start = pos;
            cutter->valid_end = run_end(cutter, true);
            cutter->match_start = cutter->match_end = pos;
        }
        if (pos == cutter->valid_end) { /* no valid run here: the invalid one is a piece */
            stop = cutter->valid_start = cutter->valid_end = run_end(cutter, false);
        } else {
            if (pos == cutter->match_end) {
                tern_status status = find_match(cutter, err);
                if (status)
                    return status;
            }
            stop = pos < cutter->match_start ? cutter->match_start : cutter->match_end;
        }
    }
    *start = pos;
    *end = cutter->pos = stop;
    return TERN_OK;
}
