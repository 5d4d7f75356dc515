/* Citations in an answer: a grammar that has them in it, and which ones there are. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "rag/rag.h"

/* Text is anything but the end of a sentence, a line break and brackets around a number; a mark of a sentence's end
 * with no blank behind it ("3.5", "FILE.md") is text. */
static const char sentences[] = "answer ::= mark? sentence (gap sentence)*\n"
                                "sentence ::= text (text | cite)* (cite stop? | stop \" \"? cite{1,3} stop?)\n"
                                "text ::= [^.!?\\[\\n] | stop [^ .!?\\[\\n] | \"[\" [^0-9.!?\\[\\n ]\n"
                                "stop ::= [.!?]+\n"
                                "gap ::= \" \" | \"\\n\" \"\\n\"? mark?\n"
                                "mark ::= (\"-\" | \"*\" | [0-9]+ \".\") \" \"\n"
                                "cite ::= \"[\" number (\",\" \" \"? number){0,3} \"]\"\n";

char *tern_rag_grammar(size_t n_sources) {
    tern_buffer gbnf = {0};
    tern_buffer_printf(&gbnf, "root ::= \"%s\"%s\n", TERN_RAG_NO_ANSWER, n_sources ? " | answer" : "");
    if (n_sources)
        tern_buffer_printf(&gbnf, "%snumber ::= \"1\"", sentences);
    for (size_t i = 2; i <= n_sources; i++)
        tern_buffer_printf(&gbnf, " | \"%zu\"", i);
    return tern_buffer_take(&gbnf, NULL);
}

/* A list of numbers behind a '[' -> whether `number` is among them; false if it is none, or not closed. */
static bool lists(const char *item, size_t number) {
    bool found = false;
    for (;; item++) {
        char *end;
        item += strspn(item, " ");
        if (*item < '0' || *item > '9')
            return false;
        found |= strtoull(item, &end, 10) == number;
        item = end + strspn(end, " ");
        if (*item != ',')
            return found && *item == ']';
    }
}

bool tern_rag_cites(const char *answer, size_t number) {
    for (const char *at = answer; (at = strchr(at, '[')); at++)
        if (lists(at + 1, number))
            return true;
    return false;
}

bool tern_rag_is_founded(const char *answer, size_t n_sources) {
    for (size_t i = 1; i <= n_sources; i++)
        if (tern_rag_cites(answer, i))
            return true;
    return strcmp(answer, TERN_RAG_NO_ANSWER) == 0;
}
