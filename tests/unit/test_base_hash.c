/* The checksum, against values of the reference program (xxhsum 0.8, XXH64, seed 0). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"

static const struct {
    size_t n_bytes;
    uint64_t value;
} wanted[] = {
    {0, 0xef46db3751d8e999},   {1, 0x8a4127811b21e730},    {3, 0xb7539f641e85bd3e},  {4, 0xf3aee04bb871f546},
    {7, 0x632cfa84d0adfb57},   {8, 0x54ef376ae5a9899a},    {31, 0x102f84529b518a71}, {32, 0x2bcbae78024c9961},
    {33, 0xe0c96bb34f6a125a},  {63, 0xc2f526b3be2c3ef1},   {64, 0xc952d1a584fb9cdb}, {100, 0x437b325d7722f16d},
    {999, 0xead913bd2eb4c487}, {1000, 0xaa126ee8718cd38e},
};

static uint8_t data[1000];

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_true(tern_hash_bytes(data, wanted[i].n_bytes) == wanted[i].value);
}

static void test_pieces(void **state) {
    (void)state;
    for (size_t step = 1; step < 130; step++) {
        tern_hash hash;
        tern_hash_start(&hash);
        for (size_t at = 0; at < sizeof data; at += step)
            tern_hash_add(&hash, data + at, sizeof data - at < step ? sizeof data - at : step);
        assert_true(tern_hash_value(&hash) == wanted[sizeof wanted / sizeof *wanted - 1].value);
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i * 7 + i * 3 + 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
