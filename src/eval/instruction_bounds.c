/* Instructions of IFEval whose checks want what is not here, langdetect or the data of NLTK's splitter of sentences:
 * what is certain of an answer whatever these would say. */
#include <string.h>

#include "eval/instruction_checks.h"
#include "eval/pattern.h"

/* What langdetect 1.0.9 looks at. */
enum { LOOKED_AT = 10000 };

typedef tern_instruction_job job;

static size_t count(const job *j, const char *pattern, size_t most) {
    size_t n = 0;
    return tern_pattern_find(pattern, 0, j->text, j->n, most, NULL, &n, NULL) ? SIZE_MAX : n;
}

/* ------------------------------------------------------------------------ language */

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Languages of whose texts langdetect's profiles keep no letters of ASCII: of a text of such letters alone every Latin
 * language is more probable. */
static bool has_no_latin(const char *language) {
    static const char *const languages[] = {"ar", "fa", "hi", "ja", "ko", "mr", "ne", "ur"};
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (strcmp(language, languages[i]) == 0)
            return true;
    return false;
}

/* Scripts whose letters only one of its profiles has: a text of nothing else is that language, or, of letters too rare
 * for it, one of which it knows nothing; IFEval takes that as followed. */
static const char *only_script_of(const char *language) {
    static const struct {
        const char *language, *other; /* what is of another script, and no ASCII but letters */
    } rows[] = {
        {"bn", "[^\\x{980}-\\x{9ff}\\x00-@[-`{-\\x7f]"}, {"pa", "[^\\x{a00}-\\x{a7f}\\x00-@[-`{-\\x7f]"},
        {"gu", "[^\\x{a80}-\\x{aff}\\x00-@[-`{-\\x7f]"}, {"te", "[^\\x{c00}-\\x{c7f}\\x00-@[-`{-\\x7f]"},
        {"kn", "[^\\x{c80}-\\x{cff}\\x00-@[-`{-\\x7f]"}, {"ml", "[^\\x{d00}-\\x{d7f}\\x00-@[-`{-\\x7f]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(language, rows[i].language) == 0)
            return rows[i].other;
    return NULL;
}

tern_verdict tern_judge_language(const job *j) {
    const char *language = json_string_value(json_object_get(j->arguments, "language"));
    const char *other = only_script_of(language);
    bool ascii = true, letters = false, addresses = false; /* it cuts these out */
    for (size_t i = 0; i < j->n; i++) {
        ascii &= !((unsigned char)j->text[i] & 0x80);
        letters |= is_letter(j->text[i]) && i < LOOKED_AT;
        addresses |= j->text[i] == '@' || (j->text[i] == ':' && i + 1 < j->n && j->text[i + 1] == '/');
    }
    if (ascii && !letters && j->n <= LOOKED_AT)
        return TERN_FOLLOWED; /* of no language */
    if (ascii && letters && !addresses && has_no_latin(language))
        return TERN_NOT_FOLLOWED;
    return other && count(j, other, 1) == 0 ? TERN_FOLLOWED : TERN_UNDECIDED;
}

/* ---------------------------------------------------------------------------- case */

/* What is in capitals, or has none, is followed if it is English, too. */
#define CIRCLED "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define CAPITALS "[\\p{Lu}\\x{2160}-\\x{216f}\\x{24b6}-\\x{24cf}" CIRCLED "]"
#define SMALLS "\\xaa\\xba\\x{2170}-\\x{217f}\\x{24d0}-\\x{24e9}"

tern_verdict tern_judge_capitals(const job *j) {
    bool others = count(j, "[\\p{Ll}\\p{Lt}" SMALLS "]", 1) > 0, capitals = count(j, CAPITALS, 1) > 0;
    return others || !capitals ? TERN_NOT_FOLLOWED : TERN_UNDECIDED;
}

/* Some letters that modify others (Lm) are small ones. */
tern_verdict tern_judge_small_letters(const job *j) {
    bool others = count(j, CAPITALS "|\\p{Lt}", 1) > 0;
    bool smalls = count(j, "[\\p{Ll}\\p{Lm}\\x{345}" SMALLS "]", 1) > 0;
    return others || !smalls ? TERN_NOT_FOLLOWED : TERN_UNDECIDED;
}

/* ----------------------------------------------------------------------- sentences */

/* NLTK's splitter (Punkt; Kiss and Strunk 2006) cuts at most behind each of .?! that white space and a further word, or
 * a mark that ends words, follows; it always does behind a word with one ? or !, white space and a letter. In between
 * is what it has learnt: which words are abbreviations, and begin sentences. */
tern_verdict tern_judge_sentences(const job *j) {
    static const char may[] = "[.?!](?=[)\";}\\]*:@'({\\[\\x{2018}\\x{2019}\\x{201c}\\x{201d}\\xab\\xbb?!]|"
                              "[\\s\\x1c-\\x1f\\x85\\p{Z}]+[^\\s\\x1c-\\x1f\\x85\\p{Z}])";
    static const char must[] = "(?<=[A-Za-z])[?!](?=[ \\n]+[A-Za-z])";
    const char *relation = json_string_value(json_object_get(j->arguments, "relation"));
    double wanted = json_number_value(json_object_get(j->arguments, "num_sentences"));
    size_t least = count(j, must, SIZE_MAX), most = count(j, may, SIZE_MAX);
    if (least == SIZE_MAX || most == SIZE_MAX) /* an expression gave up */
        return TERN_UNDECIDED;
    bool surely = (double)(least + 1) >= wanted, never = (double)(most + 1) < wanted;
    if (!surely && !never)
        return TERN_UNDECIDED;
    return surely == (strcmp(relation, "at least") == 0) ? TERN_FOLLOWED : TERN_NOT_FOLLOWED;
}
