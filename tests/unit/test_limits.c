/* The yardsticks: every rung has its own, they do what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/limits.h"
#include "tern/tern.h"

static bool runs_here(const tern_kernels *rung) { return (rung->features & ~tern_cpu_features()) == 0; }

static void test_a_rung_gets_what_it_can_run(void **state) {
    (void)state;
    const tern_limits *worst = tern_limits_of(tern_kernels_all()[0]);
    assert_int_equal(worst->features, 0);
    for (const tern_kernels *const *rung = tern_kernels_all() + 1; *rung; rung++) {
        const tern_limits *limits = tern_limits_of(*rung);
        assert_int_equal(limits->features & ~(*rung)->features, 0);
        assert_true(limits != worst); /* every set of instructions has its own */
    }
}

/* Whether the loops are there, or the compiler has folded them: twice the work takes longer. */
static double seconds_of(const tern_limits *limits, uint64_t macs) {
    double best = 1e9;
    for (int i = 0; i < 7; i++) {
        double start = tern_seconds();
        uint64_t done = limits->dot(macs);
        double time = tern_seconds() - start;
        assert_true(done >= macs && done < macs + 10000);
        best = time < best ? time : best;
    }
    return best;
}

static void test_dot_takes_time(void **state) {
    (void)state;
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        if (!runs_here(*rung))
            continue;
        const tern_limits *limits = tern_limits_of(*rung);
        double little = seconds_of(limits, 1 << 22), much = seconds_of(limits, 1 << 26);
        if (much < 4 * little)
            fail_msg("%s: %g s for 4 M multiply-adds, %g s for 64 M", limits->instruction, little, much);
    }
}

static void test_read_reads_everything(void **state) {
    (void)state;
    enum { WORDS = 7 * TERN_READ_UNIT / 8 };
    uint64_t *block = tern_aligned_alloc(WORDS * sizeof *block), sum = 0;
    assert_non_null(block);
    tern_rng rng;
    tern_rng_seed(&rng, 5);
    for (size_t i = 0; i < WORDS; i++)
        sum += block[i] = tern_rng_u64(&rng);
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if (runs_here(*rung))
            assert_true(tern_limits_of(*rung)->read_memory(block, WORDS * sizeof *block) == sum);
    tern_aligned_free(block);
}

static void test_meter(void **state) {
    (void)state;
    tern_error err;
    tern_meter *meter = NULL;
    for (int threads = 1; threads <= 2; threads++) {
        assert_int_equal(tern_meter_create(threads, NULL, &meter, &err), TERN_OK);
        assert_true(tern_meter_bytes(meter) >= (uint64_t)256 << 20);
        assert_true(tern_meter_memory(meter) > 0);
        assert_true(tern_meter_macs(meter) > 0);
        assert_true(*tern_meter_instruction(meter));
        tern_meter_free(meter);
    }
    assert_int_equal(tern_meter_create(1, "ref", &meter, &err), TERN_OK);
    assert_string_equal(tern_meter_instruction(meter), "compiled C");
    tern_meter_free(meter);
    meter = NULL;
    assert_int_equal(tern_meter_create(-1, NULL, &meter, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_meter_create(1, "z80", &meter, &err), TERN_ERR_ARGUMENT);
    assert_null(meter);
    tern_meter_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rung_gets_what_it_can_run),
        cmocka_unit_test(test_dot_takes_time),
        cmocka_unit_test(test_read_reads_everything),
        cmocka_unit_test(test_meter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
