/* Any bytes as a GBNF grammar. One that compiles is walked along a random text: whatever the mask allows can be
 * accepted, and there is always something that it allows. */
#include "fuzz_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_grammar(data, size, false);
    return 0;
}
