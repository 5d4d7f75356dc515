/* Links the whole grammar room with base and tokenizer alone. */
#include <stdio.h>

#include "grammar/matcher.h"

int main(void) {
    tern_grammar *grammar = NULL;
    tern_error err;
    if (!tern_grammar_parse(NULL, "root ::= \"a\"", &grammar, &err))
        return 1;
    printf("grammar: %s\n", err.message);
    return 0;
}
