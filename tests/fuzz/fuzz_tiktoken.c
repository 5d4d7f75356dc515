/* Any bytes as a tiktoken file; the first byte says how many tokens the vocabulary shall have. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tern_tokenizer *tokenizer = NULL;
    tern_error err;
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    if (tern_tokenizer_from_tiktoken("fuzz", text, size - 1, data[0] < 128 ? 0 : 2 * data[0], &tokenizer, &err))
        return 0;
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n, n_back, n_text = size - 1 < 2000 ? size - 1 : 2000;
    if (tern_tokenize(tokenizer, text, n_text, TERN_TOKENIZE_SPECIAL, &ids, &n, &err) ||
        tern_detokenize(tokenizer, ids, n, false, &back, &n_back, &err) || n_back != n_text ||
        memcmp(back, text, n_text) != 0)
        abort();
    free(ids);
    free(back);
    tern_tokenizer_free(tokenizer);
    return 0;
}
