/* SHA-256 and SHA-1 against the examples of FIPS 180-4 and NIST's CAVP, however the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hub/digest.h"

typedef struct vector {
    const char *text;
    size_t repeated;
    const char *sha256, *sha1;
} vector;

/* https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values: "", "abc", two blocks, a
 * million */
static const vector vectors[] = {
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
     "a9993e364706816aba3e25717850c26c9cd0d89d"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
     1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1", "a49b2446a02c645bf419f995b67091253a04a259"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
     "34aa973cd4c4daa4f61eeb2bdbad27316534016f"},
};

static void examples(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        tern_digest digests[2];
        char hex[TERN_DIGEST_HEX];
        tern_digest_start(&digests[0], TERN_SHA256);
        tern_digest_start(&digests[1], TERN_SHA1);
        for (size_t n = 0; n < vectors[i].repeated; n++)
            for (int kind = 0; kind < 2; kind++)
                tern_digest_add(&digests[kind], vectors[i].text, strlen(vectors[i].text));
        tern_digest_end(&digests[0], hex);
        assert_string_equal(hex, vectors[i].sha256);
        tern_digest_end(&digests[1], hex);
        assert_string_equal(hex, vectors[i].sha1);
    }
}

/* Lengths around the block, each in pieces of every size: the same as in one. */
static void pieces(void **state) {
    uint8_t bytes[200];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 1);
    for (size_t length = 0; length <= sizeof bytes; length++) {
        char want[TERN_DIGEST_HEX], got[TERN_DIGEST_HEX];
        tern_digest digest;
        tern_digest_start(&digest, TERN_SHA256);
        tern_digest_add(&digest, bytes, length);
        tern_digest_end(&digest, want);
        for (size_t piece = 1; piece <= 130; piece += 3) {
            tern_digest_start(&digest, TERN_SHA256);
            for (size_t at = 0; at < length; at += piece)
                tern_digest_add(&digest, bytes + at, length - at < piece ? length - at : piece);
            tern_digest_end(&digest, got);
            assert_string_equal(got, want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples), cmocka_unit_test(pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
