/* The base room: reader, memory, strings, errors, random numbers, clock, CPU. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/reader.h"
#include "base/rng.h"
#include "base/str.h"

/* ------------------------------------------------------------------ reader */

static void test_reader_values(void **state) {
    (void)state;
    const uint8_t bytes[] = {0xff, /* odd from here on */
                             0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 0xef, 0xcd, 0xab,
                             0x89, 0x67, 0x45, 0x23, 0x81, 0x00, 0x00, 0x80, 0xbf, /* -1.0f */
                             0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xc0,       /* -2.5 */
                             'e',  'n',  'd'};
    tern_reader reader = {.data = bytes, .size = sizeof bytes};
    assert_int_equal(tern_read_u8(&reader), 0xff);
    assert_int_equal(tern_read_u16(&reader), 0x1234);
    assert_int_equal(tern_read_u32(&reader), 0x12345678);
    assert_true(tern_read_u64(&reader) == 0x8123456789abcdefu);
    assert_true(tern_read_f32(&reader) == -1);
    assert_true(tern_read_f64(&reader) == -2.5);
    assert_int_equal(tern_reader_left(&reader), 3);
    assert_memory_equal(tern_read_bytes(&reader, 3), "end", 3);
    assert_non_null(tern_read_bytes(&reader, 0)); /* nothing fits at the end */
    assert_false(reader.failed);
    assert_int_equal(tern_read_u8(&reader), 0);
    assert_true(reader.failed);
}

typedef enum read_kind { U8, U16, U32, U64, F32, F64, BYTES, N_KINDS } read_kind;

static bool read_is_zero(tern_reader *reader, read_kind kind, uint64_t n_bytes) {
    switch (kind) {
    case U8:
        return tern_read_u8(reader) == 0;
    case U16:
        return tern_read_u16(reader) == 0;
    case U32:
        return tern_read_u32(reader) == 0;
    case U64:
        return tern_read_u64(reader) == 0;
    case F32:
        return tern_read_f32(reader) == 0;
    case F64:
        return tern_read_f64(reader) == 0;
    default:
        return tern_read_bytes(reader, n_bytes) == NULL;
    }
}

/* Every read of every width at every distance from the end; the bytes lie in a
 * block of exactly their size, so that a sanitizer sees one too many. */
static void test_reader_ends(void **state) {
    (void)state;
    static const uint64_t widths[] = {1, 2, 4, 8, 4, 8, 5};
    for (size_t size = 0; size <= 9; size++) {
        uint8_t *bytes = malloc(size ? size : 1);
        assert_non_null(bytes);
        memset(bytes, 0x41, size);
        for (int kind = 0; kind < N_KINDS; kind++)
            for (size_t pos = 0; pos <= size; pos++) {
                tern_reader reader = {.data = bytes, .size = size, .pos = pos};
                bool fits = widths[kind] <= size - pos;
                assert_int_equal(read_is_zero(&reader, (read_kind)kind, widths[kind]), !fits);
                assert_int_equal(reader.failed, !fits);
                assert_int_equal(reader.pos, fits ? pos + widths[kind] : pos);
                if (!fits) /* failed stays failed, even for what would fit */
                    for (int next = 0; next < N_KINDS; next++)
                        assert_true(read_is_zero(&reader, (read_kind)next, 0));
            }
        free(bytes);
    }
}

static void test_reader_huge_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {5, SIZE_MAX, SIZE_MAX - 1, (uint64_t)1 << 63, UINT64_MAX - 3};
    const uint8_t bytes[8] = {0};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        tern_reader reader = {.data = bytes, .size = 8, .pos = 4};
        assert_null(tern_read_bytes(&reader, lengths[i])); /* pos + length would wrap around */
        assert_true(reader.failed);
        assert_int_equal(reader.pos, 4);
    }
}

/* ------------------------------------------------------------------ memory */

static void test_checked_arithmetic(void **state) {
    (void)state;
    size_t size = 7;
    uint64_t wide = 7;
    assert_true(tern_mul_size(SIZE_MAX / 3, 3, &size) && size == SIZE_MAX / 3 * 3);
    assert_true(tern_mul_size(0, SIZE_MAX, &size) && size == 0);
    assert_false(tern_mul_size(SIZE_MAX / 2 + 1, 2, &size));
    assert_true(tern_mul_u64(UINT32_MAX, UINT32_MAX, &wide) && wide == 0xfffffffe00000001u);
    assert_false(tern_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &wide));
    assert_true(tern_add_u64(UINT64_MAX - 1, 1, &wide) && wide == UINT64_MAX);
    assert_false(tern_add_u64(UINT64_MAX, 1, &wide));
}

static void test_allocation(void **state) {
    (void)state;
    assert_null(tern_alloc_array(SIZE_MAX / 2, 3));
    assert_null(tern_aligned_alloc(SIZE_MAX));
    assert_null(tern_aligned_alloc(SIZE_MAX - 100));
    void *empty = tern_alloc_array(0, 8), *zero = tern_calloc_array(0, 0);
    assert_non_null(empty); /* NULL would read as out of memory */
    assert_non_null(zero);
    free(empty);
    free(zero);
    unsigned char *zeros = tern_calloc_array(10, 10);
    assert_non_null(zeros);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeros[i], 0);
    free(zeros);
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, (2 << 20) - 1, 2 << 20, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *memory = tern_aligned_alloc(sizes[i]);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        memset(memory, 0xa5, sizes[i]);
        tern_aligned_free(memory);
    }
    tern_aligned_free(NULL);
}

static void test_grow_array(void **state) {
    (void)state;
    uint32_t *array = NULL;
    size_t capacity = 0, n_moves = 0;
    for (size_t i = 0; i < 100000; i++) {
        size_t before = capacity;
        assert_true(tern_grow_array((void **)&array, &capacity, i + 1, sizeof *array));
        assert_true(capacity > i);
        n_moves += capacity != before;
        array[i] = (uint32_t)i;
    }
    assert_true(n_moves < 20); /* it doubles: appending stays linear */
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(array[i], i);
    uint32_t *old = array;
    size_t old_capacity = capacity;
    assert_true(tern_grow_array((void **)&array, &capacity, 5, sizeof *array)); /* never shrinks */
    assert_int_equal(capacity, old_capacity);
    static const size_t impossible[] = {SIZE_MAX, SIZE_MAX / 2 + 2, SIZE_MAX / 4 + 2};
    for (size_t i = 0; i < 3; i++) {
        assert_false(tern_grow_array((void **)&array, &capacity, impossible[i], sizeof *array));
        assert_ptr_equal(array, old);
        assert_int_equal(capacity, old_capacity);
    }
    free(array);
}

static void test_arena(void **state) {
    (void)state;
    enum { N = 3000 };
    static char *blocks[N];
    static size_t sizes[N];
    tern_arena arena = {0};
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (int i = 0; i < N; i++) { /* some larger than a chunk; each filled with its own byte */
        sizes[i] = tern_rng_u64(&rng) % (i % 100 ? 300 : 200000);
        blocks[i] = tern_arena_alloc(&arena, sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], i & 0xff, sizes[i]);
    }
    for (int i = 0; i < N; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            if ((unsigned char)blocks[i][j] != (i & 0xff))
                fail_msg("block %d was overwritten at byte %zu", i, j);
    assert_null(tern_arena_alloc(&arena, SIZE_MAX));
    assert_null(tern_arena_alloc(&arena, SIZE_MAX / 2 + 1));
    assert_null(tern_arena_copy(&arena, "", SIZE_MAX));
    char *copy = tern_arena_copy(&arena, "ab\0cd-", 5);
    assert_memory_equal(copy, "ab\0cd", 6); /* with its terminator */
    assert_string_equal(tern_arena_copy(&arena, NULL, 0), "");
    tern_arena_free(&arena);
    assert_non_null(tern_arena_alloc(&arena, 1)); /* usable again */
    tern_arena_free(&arena);
    tern_arena_free(&arena);
}

/* ----------------------------------------------------------------- strings */

static void test_views(void **state) {
    (void)state;
    assert_true(tern_view_equal(tern_view_of("abc"), (tern_view){"abcd", 3}));
    assert_false(tern_view_equal(tern_view_of("abc"), tern_view_of("abd")));
    assert_false(tern_view_equal(tern_view_of("abc"), tern_view_of("ab")));
    assert_true(tern_view_equal((tern_view){NULL, 0}, tern_view_of("")));
}

static void test_buffer(void **state) {
    (void)state;
    tern_buffer buffer = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(tern_buffer_printf(&buffer, "%d,", i));
        assert_true(tern_buffer_text(&buffer, "x"));
        assert_true(tern_buffer_append(&buffer, "\0", 1));
        assert_int_equal(buffer.bytes[buffer.size], 0);
    }
    assert_int_equal(buffer.size, 10 * 4 + 90 * 5 + 900 * 6);
    size_t n = 0;
    char *text = tern_buffer_take(&buffer, &n);
    assert_int_equal(n, 10 * 4 + 90 * 5 + 900 * 6);
    assert_memory_equal(text, "0,x\0001,x", 8);
    assert_memory_equal(text + n - 6, "999,x", 6);
    free(text);

    assert_null(buffer.bytes); /* empty again */
    text = tern_buffer_take(&buffer, &n);
    assert_string_equal(text, "");
    assert_int_equal(n, 0);
    free(text);
}

static void test_buffer_failure_sticks(void **state) {
    (void)state;
    tern_buffer buffer = {0};
    assert_true(tern_buffer_text(&buffer, "kept"));
    assert_false(tern_buffer_append(&buffer, "", SIZE_MAX)); /* sizes that wrap around */
    assert_false(tern_buffer_text(&buffer, "x"));
    assert_false(tern_buffer_printf(&buffer, "%d", 1));
    assert_string_equal(buffer.bytes, "kept");
    assert_null(tern_buffer_take(&buffer, NULL));
    assert_true(tern_buffer_text(&buffer, "new")); /* taking starts anew */
    assert_string_equal(buffer.bytes, "new");
    tern_buffer_free(&buffer);
    assert_null(buffer.bytes);
}

/* ------------------------------------------------------------------ errors */

static void test_errors(void **state) {
    (void)state;
    tern_error err;
    assert_int_equal(tern_fail(&err, TERN_ERR_FORMAT, "%s: bad", "a\nb\x1b[31m\x7f\t\xc3\xa9"), TERN_ERR_FORMAT);
    assert_int_equal(err.status, TERN_ERR_FORMAT);
    assert_string_equal(err.message, "a?b?[31m??\xc3\xa9: bad"); /* one harmless line */
    tern_error_prefix(&err, "file\r%d", 7);
    assert_string_equal(err.message, "file?7: a?b?[31m??\xc3\xa9: bad");
    assert_int_equal(err.status, TERN_ERR_FORMAT);

    char longer[2 * TERN_ERROR_SIZE];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    tern_fail(&err, TERN_ERR_IO, "%s", longer);
    assert_int_equal(strlen(err.message), TERN_ERROR_SIZE - 1);
    tern_error_prefix(&err, "p");
    assert_int_equal(strlen(err.message), TERN_ERROR_SIZE - 1);
    assert_memory_equal(err.message, "p: xxx", 6);
    tern_error_prefix(&err, "%s", longer);
    assert_int_equal(strlen(err.message), TERN_ERROR_SIZE - 1);

    /* a prefix that leaves no room for the message is made harmless as well */
    longer[0] = longer[TERN_ERROR_SIZE - 3] = '\x1b';
    tern_error_prefix(&err, "%s", longer);
    assert_int_equal(strlen(err.message), TERN_ERROR_SIZE - 1);
    assert_null(strchr(err.message, '\x1b'));
    /* U+009B starts an escape sequence on its own; U+00A0 and a cut-off lead byte are no controls */
    tern_fail(&err, TERN_ERR_IO,
              "\xc2\x80\xc2\x9b"
              "31m\xc2\x9f\xc2\xa0\xc2");
    assert_string_equal(err.message, "????31m??\xc2\xa0\xc2");

    assert_int_equal(tern_fail(NULL, TERN_ERR_IO, "x"), TERN_ERR_IO); /* err may be NULL */
    assert_int_equal(tern_fail_memory(NULL, "x"), TERN_ERR_MEMORY);
    tern_error_prefix(NULL, "x");
    assert_int_equal(tern_fail_memory(&err, "the thing"), TERN_ERR_MEMORY);
    assert_string_equal(err.message, "out of memory for the thing");
}

/* ---------------------------------------------------------- random numbers */

static void test_rng_vectors(void **state) {
    (void)state;
    /* the generator alone: the authors' C code from the state 1, 2, 3, 4 */
    static const uint64_t outputs[] = {11520,
                                       0,
                                       1509978240,
                                       1215971899390074240u,
                                       1216172134540287360u,
                                       607988272756665600u,
                                       16172922978634559625u,
                                       8476171486693032832u,
                                       10595114339597558777u,
                                       2904607092377533576u};
    tern_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        assert_true(tern_rng_u64(&rng) == outputs[i]);
    /* the seeding alone: splitmix64 from 0 */
    static const uint64_t seeded[] = {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu,
                                      0xf88bb8a8724c81ecu};
    tern_rng_seed(&rng, 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(rng.state[i] == seeded[i]);
}

static void test_rng_uniform(void **state) {
    (void)state;
    enum { N = 100000, BINS = 50 };
    int counts[BINS] = {0};
    tern_rng rng = {{0, (uint64_t)-1, 0, 0}};
    tern_rng_seed(&rng, 5);
    double sum = 0;
    for (int i = 0; i < N; i++) {
        double u = tern_rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        counts[(int)(u * BINS)]++;
        sum += u;
    }
    double chi_square = 0, expected = (double)N / BINS; /* fixed seed: the same value every time */
    for (int i = 0; i < BINS; i++)
        chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    assert_true(fabs(chi_square - (BINS - 1)) < 5 * sqrt(2.0 * (BINS - 1)));
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
}

static void test_rng_normal(void **state) {
    (void)state;
    enum { N = 100000 };
    tern_rng rng;
    tern_rng_seed(&rng, 6);
    double sum = 0, squares = 0, fourth = 0;
    int n_inside = 0;
    for (int i = 0; i < N; i++) {
        double x = tern_rng_normal(&rng);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        n_inside += fabs(x) < 1;
    }
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(fourth / N - 3) < 5 * sqrt(96.0 / N));
    assert_true(fabs((double)n_inside / N - 0.6826894921) < 5 * sqrt(0.2166 / N));
}

/* -------------------------------------------------------------- clock, CPU */

static void test_clock_and_cpu(void **state) {
    (void)state;
    double last = tern_seconds();
    for (int i = 0; i < 1000; i++) {
        double now = tern_seconds();
        assert_true(now >= last);
        last = now;
    }
    unsigned long long before = tern_peak_rss();
    assert_true(before > 100 * 1024);
    enum { BLOCK = 64 << 20 };
    volatile char *block = malloc(BLOCK);
    assert_non_null((void *)block);
    for (size_t i = 0; i < BLOCK; i += 4096)
        block[i] = 1;
    assert_true(tern_peak_rss() >= BLOCK);
    free((void *)block);

    assert_true(tern_cpu_count() >= 1);
    unsigned features = tern_cpu_features();
    assert_int_equal(features, tern_cpu_features());
    if (features & (TERN_CPU_AVXVNNI | TERN_CPU_AVX512VNNI))
        assert_true(features & TERN_CPU_AVX2);
    if (features & TERN_CPU_AVX512VNNI)
        assert_true(features & TERN_CPU_AVX512);
#if defined(__aarch64__)
    assert_true(features & TERN_CPU_NEON);
#elif defined(__x86_64__) && defined(__GNUC__)
    assert_int_equal(!!(features & TERN_CPU_AVX2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_values),
        cmocka_unit_test(test_reader_ends),
        cmocka_unit_test(test_reader_huge_lengths),
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_allocation),
        cmocka_unit_test(test_grow_array),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_buffer_failure_sticks),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_rng_vectors),
        cmocka_unit_test(test_rng_uniform),
        cmocka_unit_test(test_rng_normal),
        cmocka_unit_test(test_clock_and_cpu),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
