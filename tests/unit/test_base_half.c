/* 16-bit floats against their definition: every value widened, every rounding
 * boundary narrowed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/rng.h"

/* IEEE 754 binary16 by the book; NaN apart. */
static double f16_value(uint16_t half) {
    int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    double sign = half & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void test_f16_widen(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        float value = tern_f16_to_f32((uint16_t)half);
        if ((half & 0x7fff) > 0x7c00) {
            assert_true(isnan(value));
            assert_true(isnan(tern_f16_to_f32(tern_f32_to_f16(value))));
        } else {
            assert_true((double)value == f16_value((uint16_t)half));
            assert_int_equal(signbit(value) != 0, half >> 15);
            assert_int_equal(tern_f32_to_f16(value), half); /* and back */
        }
        assert_int_equal(tern_bits_from_f32(value) >> 31, half >> 15);
    }
}

/* Between neighbours low and low + 1: below the middle down, above it up, on it to the even one. */
static void test_f16_narrow_every_boundary(void **state) {
    (void)state;
    for (uint32_t low = 0; low < 0x7c00; low++) {
        /* infinity rounds as if it were the next finite value, 65536 */
        double high_value = low + 1 == 0x7c00 ? 65536 : f16_value((uint16_t)(low + 1));
        float middle = (float)((f16_value((uint16_t)low) + high_value) / 2); /* exact: one bit more */
        uint32_t bits = tern_bits_from_f32(middle), even = low & 1 ? low + 1 : low;
        for (uint32_t sign = 0; sign < 2; sign++) {
            uint32_t s32 = sign << 31, s16 = sign << 15;
            assert_int_equal(tern_f32_to_f16(tern_f32_from_bits(s32 | bits)), s16 | even);
            assert_int_equal(tern_f32_to_f16(tern_f32_from_bits(s32 | (bits - 1))), s16 | low);
            assert_int_equal(tern_f32_to_f16(tern_f32_from_bits(s32 | (bits + 1))), s16 | (low + 1));
        }
    }
}

static void test_f16_narrow_random(void **state) {
    (void)state;
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (int i = 0; i < 2000000; i++) {
        uint32_t bits = (uint32_t)tern_rng_u64(&rng);
        if (i % 2) /* half of them near the range that matters */
            bits = (bits & 0x807fffff) | (95 + bits % 50) << 23;
        float value = tern_f32_from_bits(bits);
        uint16_t half = tern_f32_to_f16(value);
        if (isnan(value)) {
            assert_true((half & 0x7fff) > 0x7c00);
            continue;
        }
        assert_int_equal(half >> 15, bits >> 31);
        uint16_t magnitude = half & 0x7fff;
        double x = fabs((double)value), got = magnitude == 0x7c00 ? 65536 : f16_value(magnitude);
        double below = magnitude ? f16_value((uint16_t)(magnitude - 1)) : 0;
        double above = magnitude >= 0x7bff ? 65536 : f16_value((uint16_t)(magnitude + 1));
        if (magnitude == 0x7c00)
            assert_true(x >= 65520);
        else /* no neighbour is nearer */
            assert_true(fabs(x - got) <= fabs(x - above) && fabs(x - got) <= fabs(x - below));
    }
}

static void test_bf16_every_value_and_boundary(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        float value = tern_bf16_to_f32((uint16_t)half);
        assert_int_equal(tern_bits_from_f32(value), half << 16);
        uint32_t magnitude = half & 0x7fff;
        if (magnitude > 0x7f80) {
            uint16_t back = tern_f32_to_bf16(value);
            assert_true((back & 0x7fff) > 0x7f80); /* still NaN */
            assert_int_equal(back >> 15, half >> 15);
            continue;
        }
        assert_int_equal(tern_f32_to_bf16(value), half);
        if (magnitude == 0x7f80)
            continue;
        uint32_t even = half & 1 ? half + 1 : half; /* past the largest comes infinity */
        assert_int_equal(tern_f32_to_bf16(tern_f32_from_bits(half << 16 | 0x7fff)), half);
        assert_int_equal(tern_f32_to_bf16(tern_f32_from_bits(half << 16 | 0x8000)), even);
        assert_int_equal(tern_f32_to_bf16(tern_f32_from_bits(half << 16 | 0x8001)), half + 1);
    }
    /* NaNs whose payload lies only in the bits that go must not become infinity */
    assert_true((tern_f32_to_bf16(tern_f32_from_bits(0x7f800001)) & 0x7fff) > 0x7f80);
    assert_true((tern_f32_to_f16(tern_f32_from_bits(0xff800001)) & 0x7fff) > 0x7c00);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_widen),
        cmocka_unit_test(test_f16_narrow_every_boundary),
        cmocka_unit_test(test_f16_narrow_random),
        cmocka_unit_test(test_bf16_every_value_and_boundary),
    };
    return cmocka_run_group_tests_name("half", tests, NULL, NULL);
}
