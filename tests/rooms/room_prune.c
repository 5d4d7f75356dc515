/* Links the whole prune room with what it may use alone: train, base, format, tokenizer, kernels and model. */
#include <stdio.h>

#include "prune/prune.h"

int main(void) {
    tern_pruner *pruner;
    tern_error err;
    if (tern_pruner_create("no such model", 1, &pruner, &err) == TERN_OK)
        return 1;
    printf("prune: %s\n", err.message);
    return 0;
}
