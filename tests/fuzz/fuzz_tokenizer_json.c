/* Any bytes as a tokenizer.json. What loads must tokenise any bytes so that they come back. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

static void check_round_trip(const tern_tokenizer *tokenizer, const char *bytes, size_t size, unsigned flags) {
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n, n_back;
    if (tern_tokenize(tokenizer, bytes, size, flags, &ids, &n, NULL))
        return; /* a pattern may be too costly for a text */
    if (tern_detokenize(tokenizer, ids, n, false, &back, &n_back, NULL) || n_back != size ||
        memcmp(back, bytes, size) != 0)
        abort();
    free(back);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] =
        "It's 12345 words\r\n  <|eot_id|>abc\xff\xf0\x9f\x98\x80 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    tern_tokenizer *tokenizer = NULL;
    tern_error err;
    if (tern_tokenizer_from_json("fuzz", (const char *)data, size, &tokenizer, &err) == TERN_OK) {
        check_round_trip(tokenizer, text, sizeof text - 1, 0);
        check_round_trip(tokenizer, text, sizeof text - 1, TERN_TOKENIZE_SPECIAL);
        check_round_trip(tokenizer, (const char *)data, size < 2000 ? size : 2000, TERN_TOKENIZE_SPECIAL);
    }
    tern_tokenizer_free(tokenizer);
    return 0;
}
