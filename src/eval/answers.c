#define PCRE2_CODE_UNIT_WIDTH 8
#include "eval/answers.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "eval/math_answer.h"
#include "eval/regex_limit.h"
#include "eval/template.h"
#include "tokenizer/unicode.h"

enum { CAPITAL_SIGMA = 0x3a3, FINAL_SIGMA = 0x3c2 };

struct tern_answers {
    const tern_task *task;
    pcre2_code *filters[TERN_TASK_MAX_LIST], *ignored[TERN_TASK_MAX_LIST];
};

static tern_status compile(const tern_task *task, const char *regex, pcre2_code **code, tern_error *err) {
    int number;
    PCRE2_SIZE at;
    PCRE2_UCHAR problem[120];
    *code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                          &number, &at, NULL);
    if (*code)
        return TERN_OK;
    pcre2_get_error_message(number, problem, sizeof problem);
    return tern_fail(err, TERN_ERR_FORMAT, "%s: the expression '%.60s': %s", task->where, regex, (char *)problem);
}

tern_status tern_answers_create(const tern_task *task, tern_answers **answers, tern_error *err) {
    tern_answers *a = calloc(1, sizeof *a);
    tern_status status = a ? TERN_OK : tern_fail_memory(err, "the filters");
    if (a)
        a->task = task;
    for (size_t i = 0; !status && i < task->n_filters; i++)
        if (task->filters[i].regex)
            status = compile(task, task->filters[i].regex, &a->filters[i], err);
    for (size_t i = 0; !status && i < task->n_ignored; i++)
        status = compile(task, task->ignored[i], &a->ignored[i], err);
    if (status)
        tern_answers_free(a);
    else
        *answers = a;
    return status;
}

void tern_answers_free(tern_answers *a) {
    for (size_t i = 0; a && i < TERN_TASK_MAX_LIST; i++) {
        pcre2_code_free(a->filters[i]);
        pcre2_code_free(a->ignored[i]);
    }
    free(a);
}

/* Call `use` for each match in text, in order, as Python's re.findall() finds them. What cannot be matched (text that
 * is no UTF-8) has no matches; an expression that needs too many steps, which becomes *gave_up, has no further ones. */
static tern_status each_match(const pcre2_code *code, const char *text, size_t n,
                              void (*use)(void *user, const char *text, const PCRE2_SIZE *places, uint32_t n_groups),
                              void *user, bool *gave_up, tern_error *err) {
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    if (!data)
        return tern_fail_memory(err, "an answer");
    const uint32_t n_groups = pcre2_get_ovector_count(data);
    const PCRE2_SIZE *places = pcre2_get_ovector_pointer(data);
    for (size_t at = 0; at <= n;) {
        int number = pcre2_match(code, (PCRE2_SPTR)text, n, at, 0, data, NULL);
        *gave_up |= tern_regex_gave_up(number);
        if (number < 0)
            break;
        use(user, text, places, n_groups);
        at = places[1] > places[0] ? places[1] : places[1] + 1;
        while (at < n && ((unsigned char)text[at] & 0xc0) == 0x80) /* not into a character */
            at++;
    }
    pcre2_match_data_free(data);
    return TERN_OK;
}

/* ----------------------------------------------------------------------- filters */

typedef struct found {
    const char *text;
    size_t n;
    bool any, last;
} found;

/* The first group that is not empty; without groups, the match. */
static void take(void *user, const char *text, const PCRE2_SIZE *places, uint32_t n_groups) {
    found *f = user;
    if (f->any && !f->last)
        return;
    f->any = true;
    f->n = n_groups > 1 ? 0 : places[1] - places[0];
    f->text = text + places[0];
    for (uint32_t i = 1; i < n_groups && f->n == 0; i++)
        if (places[2 * i] != PCRE2_UNSET && places[2 * i + 1] > places[2 * i]) {
            f->text = text + places[2 * i];
            f->n = places[2 * i + 1] - places[2 * i];
        }
}

tern_status tern_answers_extract(const tern_answers *a, size_t index, const char *text, char **answer, bool *gave_up,
                                 tern_error *err) {
    const tern_task_filter *filter = &a->task->filters[index];
    found f = {.text = text, .n = strlen(text), .any = true, .last = filter->last};
    tern_status status = TERN_OK;
    if (a->filters[index]) {
        f.any = false;
        status = each_match(a->filters[index], text, strlen(text), take, &f, gave_up, err);
        if (!f.any || f.n == 0) {
            f.text = "[invalid]";
            f.n = strlen(f.text);
        }
    } else if (filter->boxed) {
        f.text = tern_math_boxed(text, &f.n);
        if (!f.text) {
            f.text = "[invalid]";
            f.n = strlen(f.text);
        }
    }
    if (filter->strip) {
        f.n = tern_text_end(f.text, f.n);
        size_t begin = tern_text_begin(f.text, f.n);
        f.text += begin;
        f.n -= begin;
    }
    if (status)
        return status;
    *answer = strndup(f.text, f.n);
    return *answer ? TERN_OK : tern_fail_memory(err, "an answer");
}

/* --------------------------------------------------------------------- comparing */

/* Small letters as Python's str.lower() makes them -> *text, new. A sigma at a word's end is another small letter.
 * Where one becomes two characters the text's end is cut off: the harness has it done by numpy, in an array of that
 * width. */
static bool lower(char **text) {
    const uint8_t *from = (const uint8_t *)*text;
    size_t n = strlen(*text), n_grown = 0;
    bool in_word = false;
    tern_buffer out = {0};
    for (size_t at = 0, length; at < n; at += length) {
        char bytes[4];
        uint32_t c, next = ' ', image[3];
        length = tern_utf8_decode(from + at, n - at, &c);
        if (c == TERN_BAD_CHAR) {
            tern_buffer_append(&out, *text + at, length);
            continue;
        }
        if (at + length < n)
            tern_utf8_decode(from + at + length, n - at - length, &next);
        size_t n_image = tern_case_map(TERN_CASE_LOWER, c, image);
        if (c == CAPITAL_SIGMA && in_word && tern_char_class(next) != TERN_CLASS_LETTER)
            image[0] = FINAL_SIGMA;
        for (size_t i = 0; i < n_image; i++)
            tern_buffer_append(&out, bytes, tern_utf8_encode(image[i], bytes));
        n_grown += n_image - 1;
        in_word = tern_char_class(c) == TERN_CLASS_LETTER;
    }
    for (; n_grown > 0 && out.size > 0; n_grown--)
        do {
            out.size--;
        } while (out.size > 0 && ((unsigned char)out.bytes[out.size] & 0xc0) == 0x80);
    free(*text);
    *text = tern_buffer_take(&out, NULL);
    return *text != NULL;
}

typedef struct cut {
    tern_buffer out;
    size_t at;
} cut;

static void cut_out(void *user, const char *text, const PCRE2_SIZE *places, uint32_t n_groups) {
    cut *c = user;
    (void)n_groups;
    tern_buffer_append(&c->out, text + c->at, places[0] - c->at);
    c->at = places[1];
}

/* The text as it is compared, freed with free(). */
static tern_status normalise(const tern_answers *a, const char *text, char **out, bool *gave_up, tern_error *err) {
    char *now = strdup(text);
    tern_status status = now ? TERN_OK : tern_fail_memory(err, "an answer");
    for (size_t i = 0; !status && i < a->task->n_ignored; i++) {
        cut c = {.at = 0};
        size_t n = strlen(now);
        status = each_match(a->ignored[i], now, n, cut_out, &c, gave_up, err);
        tern_buffer_append(&c.out, now + c.at, n - c.at);
        free(now);
        now = tern_buffer_take(&c.out, NULL);
        if (!status && !now)
            status = tern_fail_memory(err, "an answer");
    }
    if (!status && a->task->math) {
        char *plain = tern_math_normalise(now);
        free(now);
        now = plain;
        status = now ? TERN_OK : tern_fail_memory(err, "an answer");
    }
    if (!status && a->task->ignore_case && !lower(&now))
        status = tern_fail_memory(err, "an answer");
    if (!status && a->task->ignore_punctuation) {
        char *to = now;
        for (const char *from = now; *from; from++)
            if (!ispunct((unsigned char)*from) || (unsigned char)*from >= 0x80)
                *to++ = *from;
        *to = 0;
    }
    if (status)
        free(now);
    else
        *out = now;
    return status;
}

tern_status tern_answers_match(const tern_answers *a, const char *answer, const char *const *targets, size_t n,
                               bool *match, bool *gave_up, tern_error *err) {
    char *said, *right;
    tern_status status = normalise(a, answer, &said, gave_up, err);
    if (status)
        return status;
    *match = false;
    for (size_t i = 0; !status && i < n && !*match; i++) {
        status = normalise(a, targets[i], &right, gave_up, err);
        if (status)
            break;
        *match = strcmp(said, right) == 0;
        free(right);
    }
    free(said);
    return status;
}
