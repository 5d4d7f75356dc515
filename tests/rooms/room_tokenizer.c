/* Links the whole tokenizer room with base alone. */
#include <stdio.h>

#include "tokenizer/tokenizer.h"

int main(void) {
    tern_tokenizer *tokenizer = NULL;
    tern_error err;
    if (!tern_tokenizer_from_json("junk", "{", 1, &tokenizer, &err))
        return 1;
    printf("tokenizer: %s\n", err.message);
    return 0;
}
