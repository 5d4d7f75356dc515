#include "eval/instruction_checks.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "eval/pattern.h"
#include "eval/template.h"

/* White space as str.isspace() has it, and what \w means, inside of []: Python's differ a little from PCRE2's. */
#define SPACES                                                                                                         \
    "\\x09-\\x0d\\x1c-\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define SPACE "[" SPACES "]"
#define WORD "[\\p{L}\\p{N}_]"
/* \w as NLTK means it, by the module regex: combining marks belong to words, fractions do not. */
#define CIRCLED "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define NLTK_WORD "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}" CIRCLED "]"
#define BOUNDARY "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))"
/* What str.isupper() calls capital, and what it must not find. */
#define CAPITAL "[\\p{Lu}\\x{2160}-\\x{216f}\\x{24b6}-\\x{24cf}]"
#define SMALLS "\\p{Ll}\\p{Lt}\\xaa\\xba\\x{2b0}-\\x{2b8}\\x{2170}-\\x{217f}\\x{24d0}-\\x{24e9}"

typedef tern_instruction_job job;

/* ------------------------------------------------------------------------ arguments */

static double number(const job *j, const char *name) { return json_number_value(json_object_get(j->arguments, name)); }

static const char *text_of(const job *j, const char *name) {
    return json_string_value(json_object_get(j->arguments, name));
}

static bool compare(const job *j, const char *relation, size_t n, const char *threshold) {
    bool less = strcmp(text_of(j, relation), "less than") == 0, below = (double)n < number(j, threshold);
    return less ? below : !below;
}

static tern_view strip(const char *text, size_t n) {
    size_t end = tern_text_end(text, n), begin = tern_text_begin(text, end);
    return (tern_view){text + begin, end - begin};
}

static bool is_blank(const char *text, size_t n) { return tern_text_begin(text, n) == n; }

/* "before" + the argument without white space at its ends + "behind", freed with free(). */
static tern_status make_pattern(const char *before, const char *argument, const char *behind, char **pattern,
                                tern_error *err) {
    tern_view middle = strip(argument, strlen(argument));
    tern_buffer made = {0};
    tern_buffer_text(&made, before);
    tern_buffer_append(&made, middle.bytes, middle.size);
    tern_buffer_text(&made, behind);
    *pattern = tern_buffer_take(&made, NULL);
    return *pattern ? TERN_OK : tern_fail_memory(err, "an expression");
}

static tern_status count(const job *j, const char *pattern, unsigned flags, size_t *n) {
    return tern_pattern_find(pattern, flags, j->text, j->n, SIZE_MAX, NULL, n, j->err);
}

/* Whether the argument, without white space at its ends, stands where `flags` say in text [n], in capitals or not. */
static tern_status has_literal(const job *j, const char *name, tern_view text, unsigned flags, bool *has) {
    char *pattern;
    size_t n = 0;
    tern_status status = make_pattern("", text_of(j, name), "", &pattern, j->err);
    if (status)
        return status;
    if (*pattern)
        status = tern_pattern_find(pattern, TERN_PATTERN_LITERAL | TERN_PATTERN_CASELESS | flags, text.bytes, text.size,
                                   1, NULL, &n, j->err);
    *has = n > 0 || !*pattern;
    free(pattern);
    return status;
}

/* ------------------------------------------------------------------------- keywords */

static tern_status has_keywords(const job *j, bool *follows) {
    const json_t *words = json_object_get(j->arguments, "keywords");
    tern_status status = TERN_OK;
    *follows = true;
    for (size_t i = 0; !status && i < json_array_size(words); i++) {
        size_t n = 0;
        status = tern_pattern_find(json_string_value(json_array_get(words, i)), TERN_PATTERN_CASELESS, j->text, j->n, 1,
                                   NULL, &n, j->err);
        *follows &= n > 0;
    }
    return status;
}

static tern_status lacks_words(const job *j, bool *follows) {
    const json_t *words = json_object_get(j->arguments, "forbidden_words");
    tern_status status = TERN_OK;
    *follows = true;
    for (size_t i = 0; !status && i < json_array_size(words); i++) {
        tern_buffer pattern = {0};
        size_t n = 0;
        tern_buffer_text(&pattern, BOUNDARY);
        tern_buffer_text(&pattern, json_string_value(json_array_get(words, i)));
        tern_buffer_text(&pattern, BOUNDARY);
        status = pattern.failed
                     ? tern_fail_memory(j->err, "an expression")
                     : tern_pattern_find(pattern.bytes, TERN_PATTERN_CASELESS, j->text, j->n, 1, NULL, &n, j->err);
        tern_buffer_free(&pattern);
        *follows &= n == 0;
    }
    return status;
}

static tern_status repeats_keyword(const job *j, bool *follows) {
    char *pattern;
    size_t n = 0;
    tern_status status = make_pattern("", text_of(j, "keyword"), "", &pattern, j->err);
    if (!status)
        status = count(j, pattern, TERN_PATTERN_CASELESS, &n);
    *follows = compare(j, "relation", n, "frequency");
    free(pattern);
    return status;
}

/* A small letter of ASCII, or a capital one whose small letter it is. Two beyond ASCII are: the sign of the kelvin, and
 * the Turkish capital I, which becomes an i and a dot. */
static tern_status repeats_letter(const job *j, bool *follows) {
    char letter = (char)(*text_of(j, "letter") | 0x20);
    size_t n = 0;
    for (size_t i = 0; i < j->n; i++) {
        n += (char)(j->text[i] | 0x20) == letter &&
             ((j->text[i] >= 'a' && j->text[i] <= 'z') || (j->text[i] >= 'A' && j->text[i] <= 'Z'));
        n += letter == 'k' && j->n - i >= 3 && memcmp(j->text + i, "\u212a", 3) == 0;
        n += letter == 'i' && j->n - i >= 2 && memcmp(j->text + i, "\u0130", 2) == 0;
    }
    *follows = compare(j, "let_relation", n, "let_frequency");
    return TERN_OK;
}

static bool is_letter(const json_t *arguments) {
    const char *text = json_string_value(json_object_get(arguments, "letter"));
    return text[1] == 0 && ((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z'));
}

/* --------------------------------------------------------------------------- length */

static tern_status has_words(const job *j, bool *follows) {
    size_t n = 0;
    tern_status status = count(j, NLTK_WORD "++", 0, &n);
    *follows = compare(j, "relation", n, "num_words");
    return status;
}

/* Paragraphs with *** between them; at both ends there may be nothing. */
static tern_status has_paragraphs(const job *j, bool *follows) {
    tern_spans marks = {0};
    size_t n = 0, from = 0;
    tern_status status =
        tern_pattern_find(SPACE "?\\*\\*\\*" SPACE "?", 0, j->text, j->n, SIZE_MAX, &marks, &n, j->err);
    size_t n_paragraphs = n + 1;
    *follows = true;
    for (size_t i = 0; !status && i <= n; i++) {
        size_t to = i < n ? marks.at[i].begin : j->n;
        if (is_blank(j->text + from, to - from)) {
            *follows &= i == 0 || i == n;
            n_paragraphs--;
        }
        from = i < n ? marks.at[i].end : j->n;
    }
    free(marks.at);
    *follows &= (double)n_paragraphs == number(j, "num_paragraphs");
    return status;
}

/* The piece of text [from, to) before the next separator, behind which *next begins; false: there are no more. */
static bool next_piece(const job *j, const char *separator, const char **next, tern_view *piece) {
    const char *end = j->text + j->n, *at;
    if (!*next)
        return false;
    at = strstr(*next, separator);
    *piece = (tern_view){*next, (size_t)((at ? at : end) - *next)};
    *next = at ? at + strlen(separator) : NULL;
    return true;
}

/* The first word: up to white space, without quotation marks in front, and without what a mark ends. */
static tern_view first_word(tern_view paragraph) {
    tern_view word = {paragraph.bytes, 0};
    while (word.size < paragraph.size && !is_blank(word.bytes + word.size, 1) &&
           tern_text_begin(word.bytes + word.size, paragraph.size - word.size) == 0)
        word.size++;
    while (word.size && *word.bytes == '\'')
        word.bytes++, word.size--;
    while (word.size && *word.bytes == '"')
        word.bytes++, word.size--;
    for (size_t i = 0; i < word.size; i++)
        if (strchr(".,?!'\"", word.bytes[i]))
            word.size = i;
    return word;
}

static tern_status begins_paragraph(const job *j, bool *follows) {
    const char *next = j->text;
    double n = 0, n_all = 0, nth = number(j, "nth_paragraph");
    tern_view piece, wanted = {NULL, 0};
    while (next_piece(j, "\n\n", &next, &piece)) {
        piece = strip(piece.bytes, piece.size);
        n += piece.size > 0;
        if (++n_all == nth)
            wanted = piece;
    }
    *follows = false;
    if (nth > n || wanted.size == 0 || n != number(j, "num_paragraphs"))
        return TERN_OK;
    const char *word = text_of(j, "first_word");
    size_t found = 0;
    tern_view first = first_word(wanted);
    tern_status status = tern_pattern_find(
        word, TERN_PATTERN_LITERAL | TERN_PATTERN_CASELESS | TERN_PATTERN_AT_BEGINNING | TERN_PATTERN_AT_END,
        first.bytes, first.size, 1, NULL, &found, j->err);
    *follows = found > 0;
    return status;
}

static bool is_paragraph(const json_t *arguments) {
    return json_number_value(json_object_get(arguments, "nth_paragraph")) <=
           json_number_value(json_object_get(arguments, "num_paragraphs"));
}

/* ------------------------------------------------------------------ content and form */

static tern_status has_placeholders(const job *j, bool *follows) {
    size_t n = 0;
    tern_status status = count(j, "\\[[^\\n\\]]*+\\]", 0, &n);
    *follows = (double)n >= number(j, "num_placeholders");
    return status;
}

static tern_status has_postscript(const job *j, bool *follows) {
    const char *text = text_of(j, "postscript_marker");
    tern_view marker = strip(text, strlen(text));
    char *pattern = NULL;
    size_t n = 0;
    tern_status status;
    if (tern_view_equal(marker, tern_view_of("P.P.S")))
        status = count(j, "p\\." SPACE "?p\\." SPACE "?s", TERN_PATTERN_CASELESS, &n);
    else if (tern_view_equal(marker, tern_view_of("P.S.")))
        status = count(j, "p\\." SPACE "?s\\.", TERN_PATTERN_CASELESS, &n);
    else if (!(status = make_pattern("", text, "", &pattern, j->err)))
        status = count(j, pattern, TERN_PATTERN_CASELESS, &n);
    free(pattern);
    *follows = n > 0;
    return status;
}

static tern_status has_bullets(const job *j, bool *follows) {
    size_t stars = 0, dashes = 0;
    tern_status status = count(j, "^" SPACE "*+\\*[^*].*$", TERN_PATTERN_MULTILINE, &stars);
    if (!status)
        status = count(j, "^" SPACE "*+-.*$", TERN_PATTERN_MULTILINE, &dashes);
    *follows = (double)(stars + dashes) == number(j, "num_bullets");
    return status;
}

/* How many matches have more in them than `mark` and white space. */
static tern_status count_filled(const job *j, const char *pattern, const char *marks, size_t *n) {
    tern_spans spans = {0};
    size_t n_spans = 0;
    tern_status status = tern_pattern_find(pattern, 0, j->text, j->n, SIZE_MAX, &spans, &n_spans, j->err);
    for (size_t i = 0; i < spans.n; i++) {
        const char *begin = j->text + spans.at[i].begin, *end = j->text + spans.at[i].end;
        while (begin < end && *begin == marks[0])
            begin++;
        while (end > begin && end[-1] == marks[1])
            end--;
        *n += !is_blank(begin, (size_t)(end - begin));
    }
    free(spans.at);
    return status;
}

static tern_status has_highlights(const job *j, bool *follows) {
    size_t n = 0;
    tern_status status = count_filled(j, "\\*[^\\n*]*+\\*", "**", &n);
    if (!status)
        status = count_filled(j, "\\*\\*[^\\n*]*+\\*\\*", "**", &n);
    *follows = (double)n >= number(j, "num_highlights");
    return status;
}

static tern_status has_title(const job *j, bool *follows) {
    size_t n = 0;
    tern_status status = count_filled(j, "<<[^\\n]+>>", "<>", &n);
    *follows = n > 0;
    return status;
}

static tern_status has_sections(const job *j, bool *follows) {
    char *pattern;
    size_t n = 0;
    tern_status status =
        make_pattern(SPACE "?", text_of(j, "section_spliter"), SPACE "?\\p{Nd}+" SPACE "?", &pattern, j->err);
    if (!status)
        status = count(j, pattern, 0, &n);
    free(pattern);
    *follows = (double)n >= number(j, "num_sections");
    return status;
}

static tern_status is_json(const job *j, bool *follows) {
    static const char *const fences[] = {"```json", "```Json", "```JSON", "```"};
    tern_view text = strip(j->text, j->n);
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++) {
        size_t n = strlen(fences[i]);
        if (text.size >= n && memcmp(text.bytes, fences[i], n) == 0)
            text = (tern_view){text.bytes + n, text.size - n};
    }
    if (text.size >= 3 && memcmp(text.bytes + text.size - 3, "```", 3) == 0)
        text.size -= 3;
    text = strip(text.bytes, text.size);
    *follows = tern_is_json(text.bytes, text.size);
    return TERN_OK;
}

static tern_status is_option(const job *j, bool *follows) {
    *follows = strstr(j->text, "My answer is yes.") || strstr(j->text, "My answer is no.") ||
               strstr(j->text, "My answer is maybe.");
    return TERN_OK;
}

/* ------------------------------------------------------------- combination, both ends */

/* Two different texts with ****** between them; at both ends there may be nothing more. */
static tern_status is_two(const job *j, bool *follows) {
    const char *next = j->text;
    tern_view piece, two[2] = {{NULL, 0}, {NULL, 0}};
    size_t n = 0;
    *follows = true;
    for (bool first = true; next_piece(j, "******", &next, &piece); first = false) {
        piece = strip(piece.bytes, piece.size);
        if (piece.size == 0)
            *follows &= first || !next;
        else if (n++ < 2)
            two[n - 1] = piece;
    }
    *follows &= n == 2 && !tern_view_equal(two[0], two[1]);
    return TERN_OK;
}

static tern_status repeats_prompt(const job *j, bool *follows) {
    return has_literal(j, "prompt_to_repeat", strip(j->text, j->n), TERN_PATTERN_AT_BEGINNING, follows);
}

static tern_status ends_with(const job *j, bool *follows) {
    tern_view text = strip(j->text, j->n);
    while (text.size && *text.bytes == '"')
        text.bytes++, text.size--;
    while (text.size && text.bytes[text.size - 1] == '"')
        text.size--;
    return has_literal(j, "end_phrase", text, TERN_PATTERN_AT_END, follows);
}

static tern_status is_quoted(const job *j, bool *follows) {
    tern_view text = strip(j->text, j->n);
    *follows = text.size > 1 && text.bytes[0] == '"' && text.bytes[text.size - 1] == '"';
    return TERN_OK;
}

static tern_status lacks_commas(const job *j, bool *follows) {
    *follows = !memchr(j->text, ',', j->n);
    return TERN_OK;
}

/* ------------------------------------------------------------------------ capital words */

/*
 * Words as NLTK's word_tokenize() has them (the Penn Treebank's rules), as far as it matters how many of them are
 * capital: only what cuts letters from letters counts. In this order.
 */
static const char *const cuts[][2] = {
    /* an opening quotation mark stands alone, a contraction's does not */
    {"(?i)(?<!" NLTK_WORD ")'(?!(?:re|ve|ll|m|t|s|d|n)(?!" NLTK_WORD "))(?=" NLTK_WORD ")", "' "},
    {"[:,](?!\\p{Nd})|[;@#$%&?!*()\\[\\]{}<>\"`\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e\\x{2012}-\\x{2015}]|''|"
     "\\.{2,}|--",
     " "},
    {"\\.(?=" SPACE "|\\z)", " "}, /* that of a sentence's end; one behind an abbreviation cuts nothing */
    {SPACE "+", " "},
    {"([^' ])('[sSmMdD]) ", "$1 $2 "},
    {"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "},
    {"(?i)(?<!" WORD ")(can(?=not(?!" WORD "))|d(?='ye(?!" WORD "))|gim(?=me(?!" WORD "))|gon(?=na(?!" WORD
     "))|got(?=ta(?!" WORD "))|lem(?=me(?!" WORD "))|more(?='n(?!" WORD "))|wan(?=na ))",
     "$1 "},
};

static tern_status has_capitals(const job *j, bool *follows) {
    static const char capital_word[] =
        "(?<![^" SPACES "])(?=[^" SPACES "]*" CAPITAL ")[^" SPACES SMALLS "]++(?![^" SPACES "])";
    tern_buffer text = {0};
    size_t n = 0;
    tern_buffer_text(&text, " ");
    tern_buffer_append(&text, j->text, j->n);
    tern_buffer_text(&text, " ");
    tern_status status = text.failed ? tern_fail_memory(j->err, "an answer") : TERN_OK;
    for (size_t i = 0; !status && i < sizeof cuts / sizeof *cuts; i++)
        status = tern_pattern_replace(cuts[i][0], cuts[i][1], &text, j->err);
    if (!status)
        status =
            tern_pattern_find(capital_word, 0, text.bytes ? text.bytes : "", text.size, SIZE_MAX, NULL, &n, j->err);
    tern_buffer_free(&text);
    *follows = compare(j, "capital_relation", n, "capital_frequency");
    return status;
}

/* ---------------------------------------------------------------------------- the table */

#define NUMBER(name)                                                                                                   \
    { name, TERN_ARGUMENT_NUMBER }
#define RELATION(name)                                                                                                 \
    { name, TERN_ARGUMENT_RELATION }
#define TEXT(name)                                                                                                     \
    { name, TERN_ARGUMENT_TEXT }
#define TEXTS(name)                                                                                                    \
    { name, TERN_ARGUMENT_TEXTS }

static const tern_instruction_kind kinds[] = {
    {"keywords:existence", has_keywords, {TEXTS("keywords")}, NULL, NULL},
    {"keywords:frequency", repeats_keyword, {TEXT("keyword"), NUMBER("frequency"), RELATION("relation")}, NULL, NULL},
    {"keywords:forbidden_words", lacks_words, {TEXTS("forbidden_words")}, NULL, NULL},
    {"keywords:letter_frequency",
     repeats_letter,
     {TEXT("letter"), NUMBER("let_frequency"), RELATION("let_relation")},
     is_letter,
     NULL},
    {"language:response_language", NULL, {TEXT("language")}, NULL, tern_judge_language},
    {"length_constraints:number_sentences",
     NULL,
     {NUMBER("num_sentences"), RELATION("relation")},
     NULL,
     tern_judge_sentences},
    {"length_constraints:number_paragraphs", has_paragraphs, {NUMBER("num_paragraphs")}, NULL, NULL},
    {"length_constraints:number_words", has_words, {NUMBER("num_words"), RELATION("relation")}, NULL, NULL},
    {"length_constraints:nth_paragraph_first_word",
     begins_paragraph,
     {NUMBER("num_paragraphs"), NUMBER("nth_paragraph"), TEXT("first_word")},
     is_paragraph,
     NULL},
    {"detectable_content:number_placeholders", has_placeholders, {NUMBER("num_placeholders")}, NULL, NULL},
    {"detectable_content:postscript", has_postscript, {TEXT("postscript_marker")}, NULL, NULL},
    {"detectable_format:number_bullet_lists", has_bullets, {NUMBER("num_bullets")}, NULL, NULL},
    {"detectable_format:constrained_response", is_option, {{NULL, 0}}, NULL, NULL},
    {"detectable_format:number_highlighted_sections", has_highlights, {NUMBER("num_highlights")}, NULL, NULL},
    {"detectable_format:multiple_sections",
     has_sections,
     {TEXT("section_spliter"), NUMBER("num_sections")},
     NULL,
     NULL},
    {"detectable_format:json_format", is_json, {{NULL, 0}}, NULL, NULL},
    {"detectable_format:title", has_title, {{NULL, 0}}, NULL, NULL},
    {"combination:two_responses", is_two, {{NULL, 0}}, NULL, NULL},
    {"combination:repeat_prompt", repeats_prompt, {TEXT("prompt_to_repeat")}, NULL, NULL},
    {"startend:end_checker", ends_with, {TEXT("end_phrase")}, NULL, NULL},
    {"startend:quotation", is_quoted, {{NULL, 0}}, NULL, NULL},
    {"change_case:capital_word_frequency",
     has_capitals,
     {NUMBER("capital_frequency"), RELATION("capital_relation")},
     NULL,
     NULL},
    {"change_case:english_capital", NULL, {{NULL, 0}}, NULL, tern_judge_capitals},
    {"change_case:english_lowercase", NULL, {{NULL, 0}}, NULL, tern_judge_small_letters},
    {"punctuation:no_comma", lacks_commas, {{NULL, 0}}, NULL, NULL},
};

const tern_instruction_kind *tern_instruction_find(const char *id) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].id, id) == 0)
            return &kinds[i];
    return NULL;
}
