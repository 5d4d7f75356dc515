/* dot_rows of every rung that this CPU has, against the reference: exact, and no byte read behind the vectors. */
#include "kernels/check.h"

#include "base/cpu.h"

static const size_t widths[] = {64, 128, 256, 320, 2560, TERN_DOT_MAX};
static const size_t row_counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 13, 61};

/* -127 .. 127, or only the two ends of it */
static int8_t *vectors(int slot, size_t n, bool extreme, int sign) {
    int8_t *bytes = input(slot, n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (int8_t)(extreme ? sign ? sign * 127 : random_below(2) ? 127 : -127 : (int)random_below(255) - 127);
    return bytes;
}

static void once(const tern_kernels *ref, const tern_kernels *kernels, size_t k, size_t n_rows, bool extreme,
                 int sign) {
    int8_t *rows = vectors(0, n_rows * k, extreme, sign), *q = vectors(1, k, extreme, sign ? -sign : 0);
    output dots = output_new(n_rows * sizeof(int32_t));
    ref->dot_rows(rows, k, n_rows, q, dots.ref);
    kernels->dot_rows(rows, k, n_rows, q, dots.out);
    if (sign && n_rows) {
        int32_t first;
        memcpy(&first, dots.ref, sizeof first);
        assert_int_equal(first, -127 * 127 * (int64_t)k);
    }
    CHECK_BYTES(dots, "%s k=%zu rows=%zu", kernels->name, k, n_rows);
}

static void test_dot_rows(void **state) {
    (void)state;
    const tern_kernels *const *all = tern_kernels_all(), *ref = all[0];
    tern_rng_seed(&random_state, 7);
    for (size_t i = 0; all[i]; i++) {
        if (all[i]->features & ~tern_cpu_features()) {
            printf("%s: not on this CPU\n", all[i]->name);
            continue;
        }
        assert_non_null(all[i]->dot_rows);
        for (size_t w = 0; w < COUNT(widths); w++)
            for (size_t r = 0; r < COUNT(row_counts); r++) {
                if (widths[w] * row_counts[r] > 1 << 20)
                    continue;
                once(ref, all[i], widths[w], row_counts[r], false, 0);
                once(ref, all[i], widths[w], row_counts[r], true, 0);
                once(ref, all[i], widths[w], row_counts[r], true, 1);
                once(ref, all[i], widths[w], row_counts[r], true, -1);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dot_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
