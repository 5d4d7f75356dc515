/* Any bytes as a JSON schema; as fuzz_gbnf.c. */
#include "fuzz_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_grammar(data, size, true);
    return 0;
}
