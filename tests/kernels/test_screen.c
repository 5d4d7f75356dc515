/* The head screen's kernels of every rung that this CPU has, against the reference, bit for bit; and that the norms
 * that packing states are upper bounds of the errors it makes. */
#include "kernels/check.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "kernels/screen.h"

static const size_t widths[] = {128, 256, 384, 640, 2560};
static const size_t token_counts[] = {1, 2, 3, 4, 5, 8, 9};

/* ---- packing ---- */

typedef struct packed {
    output coarse, steps, fine, floats; /* floats: row_steps, coarse_errors, fine_errors, norms */
} packed;

static tern_screen_group group_at(const packed *p, bool ref) {
    float *floats = ref ? p->floats.ref : p->floats.out;
    return (tern_screen_group){ref ? p->coarse.ref : p->coarse.out,
                               ref ? p->steps.ref : p->steps.out,
                               ref ? p->fine.ref : p->fine.out,
                               floats,
                               floats + 16,
                               floats + 32,
                               floats + 48};
}

/* What a code of the group stands for. */
static double value_of(const tern_screen_group *group, size_t row, size_t column, bool with_fine) {
    size_t block = column / 32;
    int h = group->coarse[column / 8 * 64 + 4 * row + column % 4] >> (column % 8 < 4 ? 0 : 4) & 15;
    int l = group->fine[block * 64 + 4 * row + column % 4] >> column % 32 / 4 & 1;
    int u = group->steps[block / 4 * 64 + 4 * row + block % 4];
    assert_in_range(u, 0, 127);
    return (double)group->row_steps[row] * u * (2 * h - 15 + (with_fine ? l - 0.5 : 0));
}

static void check_bound(float bound, double norm, double of_row, bool finite) {
    if (!finite || of_row > 1e15 * (1 + 1e-5)) {
        assert_true(isinf(bound) && bound > 0);
        return;
    }
    assert_true((double)bound >= norm);
    assert_true((double)bound <= norm + of_row * 2e-5 + 1e-18 || (isinf(bound) && of_row > 1e15 * (1 - 1e-5)));
}

static void check_norms(const tern_screen_group *group, const float *rows, const float *centre, size_t n_rows,
                        size_t k_pad) {
    for (size_t r = 0; r < n_rows; r++) {
        double squares[3] = {0};
        bool finite = true;
        for (size_t i = 0; i < k_pad; i++) {
            double d = (double)rows[r * k_pad + i] - (double)centre[i];
            finite &= isfinite(d);
            double coarse = d - value_of(group, r, i, false), fine = d - value_of(group, r, i, true);
            squares[0] += coarse * coarse;
            squares[1] += fine * fine;
            squares[2] += d * d;
        }
        check_bound(group->coarse_errors[r], sqrt(squares[0]), sqrt(squares[2]), finite);
        check_bound(group->fine_errors[r], sqrt(squares[1]), sqrt(squares[2]), finite);
        check_bound(group->norms[r], sqrt(squares[2]), sqrt(squares[2]), finite);
        if (finite && squares[2] > 1e-30 &&
            squares[2] < 0.9e30) /* 4 and 5 bits of a Gaussian row lose about 8% and 4% */
            assert_true(squares[0] < squares[2] && squares[1] < squares[2]);
    }
}

static void pack_once(const tern_screen_kernels *ref, const tern_screen_kernels *kernels, const char *name,
                      const float *rows, const float *centre, size_t n_rows, size_t k_pad) {
    packed p = {output_new(tern_screen_coarse_bytes(k_pad)), output_new(tern_screen_step_bytes(k_pad)),
                output_new(tern_screen_fine_bytes(k_pad)), output_new(64 * sizeof(float))};
    void *scratch = tern_aligned_alloc(tern_screen_scratch_bytes(k_pad));
    assert_non_null(scratch);
    tern_screen_group a = group_at(&p, true), b = group_at(&p, false);
    ref->pack_group(rows, n_rows, k_pad, centre, a, scratch);
    kernels->pack_group(rows, n_rows, k_pad, centre, b, scratch);
    check_norms(&a, rows, centre, n_rows, k_pad);
    check_norms(&b, rows, centre, n_rows, k_pad);
    for (size_t r = n_rows; r < 16; r++)
        assert_true(b.row_steps[r] == 0 && b.coarse_errors[r] == 0 && b.fine_errors[r] == 0 && b.norms[r] == 0);
    memcpy(b.coarse_errors, a.coarse_errors, 48 * sizeof(float)); /* not defined to the last bit */
    tern_aligned_free(scratch);
    CHECK_BYTES(p.coarse, "%s pack coarse k_pad=%zu", name, k_pad);
    CHECK_BYTES(p.steps, "%s pack steps k_pad=%zu", name, k_pad);
    CHECK_BYTES(p.fine, "%s pack fine k_pad=%zu", name, k_pad);
    CHECK_FLOATS(p.floats, "%s pack floats k_pad=%zu", name, k_pad);
}

static void check_pack(const tern_screen_kernels *ref, const tern_screen_kernels *kernels, const char *name) {
    for (size_t w = 0; w < COUNT(widths); w++)
        for (size_t n_rows = 1; n_rows <= 16; n_rows += 5)
            for (int k = 0; k < N_KINDS; k++) {
                float *rows = random_floats(0, n_rows * widths[w], (kind)k);
                float *centre = random_floats(1, widths[w], k == HUGE_ ? HUGE_ : PLAIN);
                pack_once(ref, kernels, name, rows, centre, n_rows, widths[w]);
                memset(centre, 0, widths[w] * sizeof *centre);
                pack_once(ref, kernels, name, rows, centre, n_rows, widths[w]);
            }
}

/* ---- the two planes ---- */

/* A random state as prepared ones are: digits of |2 Y| <= 2 * X_MAX, their sums, |Z| <= 127. */
static tern_screen_x random_state_of(size_t k_pad, int8_t *digits, int32_t *sums, int8_t *fine, bool extreme) {
    int32_t *fine_sums = sums + k_pad / 32, *both_sums = fine_sums + k_pad / 32;
    for (size_t i = 0; i < k_pad; i++) {
        int y = (int)random_below(2 * TERN_SCREEN_X_MAX + 1) - TERN_SCREEN_X_MAX, z = (int)random_below(255) - 127;
        if (extreme) {
            y = random_below(2) ? TERN_SCREEN_X_MAX : -TERN_SCREEN_X_MAX;
            z = y > 0 ? 127 : -127;
        }
        int low = ((2 * y + 128) & 255) - 128;
        int8_t *at = digits + i / 8 * 16 + i % 8 / 4 * 8 + i % 4;
        at[0] = (int8_t)((2 * y - low) / 256);
        at[4] = (int8_t)low;
        if (i % 32 == 0)
            sums[i / 32] = fine_sums[i / 32] = both_sums[i / 32] = 0;
        sums[i / 32] -= 15 * y;
        fine_sums[i / 32] -= z;
        both_sums[i / 32] -= 62 * y;
        fine[i] = (int8_t)z;
    }
    return (tern_screen_x){
        digits, sums, both_sums, fine, fine_sums, random_float(PLAIN), random_float(PLAIN), random_float(PLAIN)};
}

static uint8_t *random_plane(int slot, size_t n, unsigned mask, bool extreme) {
    uint8_t *bytes = input(slot, n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)((extreme ? 255 : random_below(256)) & mask);
    return bytes;
}

static void planes_once(const tern_screen_kernels *ref, const tern_screen_kernels *kernels, const char *name,
                        size_t k_pad, size_t n_groups, size_t n_tokens, bool extreme) {
    tern_screen_x x[9];
    int8_t *digits = input(0, n_tokens * 2 * k_pad), *z = input(1, n_tokens * k_pad);
    int32_t *sums = input(2, n_tokens * k_pad / 32 * 3 * sizeof *sums);
    for (size_t t = 0; t < n_tokens; t++)
        x[t] = random_state_of(k_pad, digits + t * 2 * k_pad, sums + t * 3 * (k_pad / 32), z + t * k_pad, extreme);
    uint8_t *coarse = random_plane(3, n_groups * tern_screen_coarse_bytes(k_pad), 255, extreme);
    uint8_t *steps = random_plane(4, n_groups * tern_screen_step_bytes(k_pad), 127, extreme);
    uint8_t *fine = random_plane(5, n_groups * tern_screen_fine_bytes(k_pad), 255, extreme);
    float *row_steps = random_floats(6, n_groups * 16, extreme ? WILD : PLAIN);
    size_t ld = n_groups * 16 + 3;
    output y = output_new(n_tokens * ld * sizeof(float));
    ref->coarse(coarse, steps, row_steps, k_pad, n_groups, x, n_tokens, y.ref, ld);
    kernels->coarse(coarse, steps, row_steps, k_pad, n_groups, x, n_tokens, y.out, ld);
    CHECK_FLOATS(y, "%s coarse k_pad=%zu groups=%zu tokens=%zu", name, k_pad, n_groups, n_tokens);
    y = output_new(n_tokens * ld * sizeof(float));
    ref->both(coarse, fine, steps, row_steps, k_pad, n_groups, x, n_tokens, y.ref, ld);
    kernels->both(coarse, fine, steps, row_steps, k_pad, n_groups, x, n_tokens, y.out, ld);
    CHECK_FLOATS(y, "%s both k_pad=%zu groups=%zu tokens=%zu", name, k_pad, n_groups, n_tokens);
    float *values = random_floats(7, n_tokens * 16, extreme ? WILD : PLAIN), *ref_at[9], *at[9];
    output f = output_copy(values, n_tokens * 16 * sizeof(float));
    for (size_t t = 0; t < n_tokens; t++) {
        ref_at[t] = (float *)f.ref + 16 * t;
        at[t] = (float *)f.out + 16 * t;
    }
    ref->fine(fine, steps, row_steps, k_pad, x, n_tokens, ref_at);
    kernels->fine(fine, steps, row_steps, k_pad, x, n_tokens, at);
    CHECK_FLOATS(f, "%s fine k_pad=%zu tokens=%zu", name, k_pad, n_tokens);
}

static void check_planes(const tern_screen_kernels *ref, const tern_screen_kernels *kernels, const char *name) {
    for (size_t w = 0; w < COUNT(widths); w++)
        for (size_t t = 0; t < COUNT(token_counts); t++)
            for (int extreme = 0; extreme < 2; extreme++)
                planes_once(ref, kernels, name, widths[w], 1 + random_below(3), token_counts[t], extreme);
}

/* ---- choosing ---- */

static void check_choice(const tern_screen_kernels *ref, const tern_screen_kernels *kernels, const char *name) {
    for (int round = 0; round < 400; round++) {
        size_t groups = 1 + random_below(5), n = 16 * groups;
        kind k = (kind)(round % N_KINDS);
        float *y = random_floats(0, n, k), *bonus = round % 2 ? random_floats(1, n, k == WILD ? WILD : PLAIN) : NULL;
        float *errors[3];
        for (int i = 0; i < 3; i++) {
            errors[i] = random_floats(2 + i, n, k);
            for (size_t j = 0; j < n; j++)
                errors[i][j] = fabsf(errors[i][j]);
        }
        const float c[] = {fabsf(random_float(PLAIN)), fabsf(random_float(PLAIN)), fabsf(random_float(PLAIN)), 0.01f};
        output masks = output_new(groups * sizeof(uint16_t)), peaks = output_new(groups * sizeof(float));
        float least = random_below(4) ? random_float(k) : y[random_below(n)];
        ref->keep(y, bonus, errors[0], errors[1], errors[2], c, least, groups, masks.ref);
        kernels->keep(y, bonus, errors[0], errors[1], errors[2], c, least, groups, masks.out);
        ref->peaks(y, bonus, groups, peaks.ref);
        kernels->peaks(y, bonus, groups, peaks.out);
        CHECK_BYTES(masks, "%s keep", name);
        for (size_t g = 0; g < groups; g++) /* -0 and +0 are alike as a maximum */
            assert_true(((float *)peaks.ref)[g] == ((float *)peaks.out)[g]);
        output_free(&peaks);
    }
}

typedef void check_fn(const tern_screen_kernels *ref, const tern_screen_kernels *kernels, const char *name);

static void for_rungs(check_fn *check) {
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if ((*rung)->screen && ((*rung)->features & ~tern_cpu_features()) == 0)
            check(tern_kernels_all()[0]->screen, (*rung)->screen, (*rung)->name);
}

#define TEST(name)                                                                                                     \
    static void test_##name(void **state) {                                                                            \
        (void)state;                                                                                                   \
        for_rungs(check_##name);                                                                                       \
    }
TEST(pack)
TEST(planes)
TEST(choice)

int main(void) {
    tern_rng_seed(&random_state, 77);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_planes),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
