/*
 * The line kernels of every packing that has them against the reference, and the layout itself. Exact integers. Lines
 * lie between inaccessible pages, once close to the one before and once to the one behind.
 */
#include "check.h"

#include "base/cpu.h"
#include "kernels/lines.h"

#define LINES_CAPACITY ((size_t)4 << 20)

/* bytes of memory between two inaccessible pages, at the first or the last byte. */
static uint8_t *fenced(size_t bytes, bool at_end) {
    static uint8_t *memory;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert_true(bytes <= LINES_CAPACITY);
    if (!memory) {
        memory = mmap(NULL, LINES_CAPACITY + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(memory != MAP_FAILED);
        memory += page;
        assert_int_equal(mprotect(memory, LINES_CAPACITY, PROT_READ | PROT_WRITE), 0);
    }
    return at_end ? memory + LINES_CAPACITY - bytes : memory;
}

static void pack_line(uint8_t *line, const int8_t *trits, size_t n) {
    for (size_t at = 0; at < n; at += TERN_LINE_BLOCK)
        tern_line_pack_block(line + at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, trits + at, 1,
                             n - at < TERN_LINE_BLOCK ? n - at : TERN_LINE_BLOCK);
}

typedef enum values { RANDOM, ALL_HIGH, ALL_LOW, ALL_ZERO, N_VALUES } values;

static int8_t random_trit(values v) {
    return v == ALL_HIGH ? 1 : v == ALL_LOW ? -1 : (int8_t)((int)random_below(3) - 1);
}

static int8_t random_q(values v) {
    static const int8_t fixed[] = {0, 127, -127, 0};
    return v == RANDOM ? (int8_t)((int)random_below(255) - 127) : fixed[v];
}

static uint8_t *random_lines(size_t n, size_t n_lines, values v) {
    uint8_t *lines = fenced(n_lines * tern_line_bytes(n), random_below(2));
    int8_t *trits = malloc(n);
    assert_non_null(trits);
    for (size_t i = 0; i < n_lines; i++) {
        for (size_t k = 0; k < n; k++)
            trits[k] = random_trit(v);
        pack_line(lines + i * tern_line_bytes(n), trits, n);
    }
    free(trits);
    return lines;
}

/* n_tokens rows of n activations, padded, and their sums. */
static int8_t *random_rows(int slot, size_t n_tokens, size_t n, size_t ld, values v, int32_t *q_sum) {
    int8_t *q = input(slot, (n_tokens - 1) * ld + tern_q_pad(n));
    for (size_t t = 0; t < n_tokens; t++) {
        memset(q + t * ld, 0, tern_q_pad(n));
        q_sum[t] = 0;
        for (size_t k = 0; k < n; k++)
            q_sum[t] += q[t * ld + k] = random_q(v);
    }
    return q;
}

/* ---- the layout ---- */

static void test_layout(void **state) {
    (void)state;
    /* 7 trits: m = 3 codes of trits (i, 3 + i, 6 + i) */
    static const int8_t seven[] = {-1, 0, 1, 1, 0, -1, 1};
    uint8_t line[2] = {0xff, 0xff};
    unsigned codes[] = {0 + 3 * 2 + 9 * 2, 1 + 3 * 1 + 9 * 1, 2 + 3 * 0 + 9 * 1};
    unsigned bits = codes[0] | codes[1] << 5 | codes[2] << 10;
    assert_int_equal(tern_line_bytes(7), 2);
    pack_line(line, seven, 7);
    assert_int_equal(line[0], bits & 255);
    assert_int_equal(line[1], bits >> 8);
    assert_int_equal(tern_line_bytes(192), 40);
    assert_int_equal(tern_line_bytes(2560), 13 * 40 + 14);
    assert_int_equal(tern_line_bytes(6912), 36 * 40);
}

static void test_pack_unpack(void **state) {
    (void)state;
    int8_t trits[1000], strided[3 * 192], back[1000];
    for (size_t n = 1; n <= 1000; n += n < 400 ? 1 : 37) {
        uint8_t *line = random_lines(n, 1, ALL_ZERO);
        for (size_t k = 0; k < n; k++)
            trits[k] = random_trit(RANDOM);
        pack_line(line, trits, n);
        tern_line_unpack(line, n, back);
        assert_memory_equal(trits, back, n);
        if (n > 192)
            continue;
        for (size_t k = 0; k < n; k++)
            strided[3 * k] = trits[k];
        uint8_t block[TERN_LINE_BLOCK_BYTES];
        tern_line_pack_block(block, strided, 3, n);
        assert_memory_equal(block, line, tern_line_bytes(n));
    }
}

static void test_pack_columns(void **state) {
    (void)state;
    for (size_t n_rows = 1; n_rows <= TERN_LINE_BLOCK; n_rows++) {
        size_t n_cols = 1 + random_below(150), ld = n_cols + random_below(3), line_bytes = 40 + random_below(30);
        int8_t *trits = input(0, (n_rows - 1) * ld + n_cols);
        for (size_t i = 0; i < (n_rows - 1) * ld + n_cols; i++)
            trits[i] = random_trit(RANDOM);
        output lines = output_new(n_cols * line_bytes);
        for (size_t c = 0; c < n_cols; c++)
            tern_line_pack_block((uint8_t *)lines.ref + c * line_bytes, trits + c, ld, n_rows);
        tern_line_pack_columns(lines.out, line_bytes, trits, ld, n_rows, n_cols);
        CHECK_BYTES(lines, "pack_columns rows=%zu cols=%zu", n_rows, n_cols);
    }
}

/* ---- kernels ---- */

static const char *name; /* of the rung under test */
static const tern_line_kernels *kernels;

/* Numbers below n in ascending order, each with probability percent / 100. */
static size_t random_list(uint32_t *which, size_t n, size_t percent) {
    size_t n_which = 0;
    for (size_t i = 0; i < n; i++)
        if (random_below(100) < percent)
            which[n_which++] = (uint32_t)i;
    return n_which;
}

static void list_once(size_t n, size_t n_lines, size_t percent, values v) {
    uint8_t *lines = random_lines(n, n_lines, v);
    uint32_t *which = malloc(n_lines * sizeof *which);
    assert_non_null(which);
    size_t n_which = random_list(which, n_lines, percent);
    if (percent == 1 && n_which == 0)
        which[n_which++] = (uint32_t)n_lines - 1;
    uint32_t *list = input(1, n_which * sizeof *list); /* its end at the edge of a page */
    memcpy(list, which, n_which * sizeof *list);
    free(which);

    int32_t q_sum;
    int8_t *q = random_rows(2, 1, n, 0, v, &q_sum);
    output acc = output_new(n_which * sizeof(int32_t));
    tern_lines_ref.dots(lines, n, list, n_which, q, q_sum, acc.ref);
    kernels->dots(lines, n, list, n_which, q, q_sum, acc.out);
    CHECK_BYTES(acc, "%s dots n=%zu lines=%zu of %zu values=%d", name, n, n_which, n_lines, v);

    int8_t *factors = input(3, n_which);
    for (size_t i = 0; i < n_which; i++)
        factors[i] = random_q(v);
    int32_t *start = input(4, n * sizeof *start);
    for (size_t i = 0; i < n; i++)
        start[i] = (int32_t)random_below(1000) - 500;
    acc = output_copy(start, n * sizeof *start);
    tern_lines_ref.sums(lines, n, list, n_which, factors, acc.ref);
    kernels->sums(lines, n, list, n_which, factors, acc.out);
    CHECK_BYTES(acc, "%s sums n=%zu lines=%zu of %zu values=%d", name, n, n_which, n_lines, v);
}

static void *scratch_new(void) {
    void *scratch = aligned_alloc(64, (kernels->scratch_bytes + 63) / 64 * 64 + 64);
    assert_non_null(scratch);
    memset(scratch, 0x5a, kernels->scratch_bytes + 64);
    return scratch;
}

static void scratch_free(void *scratch) {
    for (int i = 0; i < 64; i++)
        assert_int_equal(((uint8_t *)scratch)[kernels->scratch_bytes + (size_t)i], 0x5a);
    free(scratch);
}

/* ld_q odd or not, rows of acc with gaps */
static void matmul_once(size_t n, size_t n_lines, size_t n_tokens, values v) {
    uint8_t *lines = random_lines(n, n_lines, v);
    void *scratch = scratch_new();
    int32_t *q_sum = input(1, n_tokens * sizeof *q_sum);
    size_t ld_q = tern_q_pad(n) + random_below(5), ld = n_lines + random_below(3);
    int8_t *q = random_rows(2, n_tokens, n, ld_q, v, q_sum);
    output acc = output_new(n_tokens * ld * sizeof(int32_t));
    tern_lines_ref.matmul_rows(lines, n, n_lines, q, ld_q, q_sum, n_tokens, acc.ref, ld, scratch);
    kernels->matmul_rows(lines, n, n_lines, q, ld_q, q_sum, n_tokens, acc.out, ld, scratch);
    CHECK_BYTES(acc, "%s matmul_rows n=%zu lines=%zu tokens=%zu values=%d", name, n, n_lines, n_tokens, v);

    size_t n_blocks = (n + TERN_LINE_ROWS - 1) / TERN_LINE_ROWS, first = random_below(n_blocks);
    size_t last = first + random_below(n_blocks - first) + 1;
    size_t n_rows = (last == n_blocks ? n : last * TERN_LINE_ROWS) - first * TERN_LINE_ROWS;
    first *= TERN_LINE_ROWS;
    ld_q = tern_q_pad(n_lines) + random_below(5), ld = n_rows + random_below(3);
    q = random_rows(2, n_tokens, n_lines, ld_q, v, q_sum);
    acc = output_new(n_tokens * ld * sizeof(int32_t));
    tern_lines_ref.matmul_columns(lines, n, n_lines, first, n_rows, q, ld_q, q_sum, n_tokens, acc.ref, ld, scratch);
    kernels->matmul_columns(lines, n, n_lines, first, n_rows, q, ld_q, q_sum, n_tokens, acc.out, ld, scratch);
    CHECK_BYTES(acc, "%s matmul_columns n=%zu lines=%zu rows=%zu+%zu tokens=%zu values=%d", name, n, n_lines, first,
                n_rows, n_tokens, v);
    scratch_free(scratch);
}

static void check_lists(void) {
    static const size_t percents[] = {0, 1, 20, 40, 80, 100}, long_lines[] = {2560, 6912, 3072, 777};
    for (size_t n = 1; n <= 600; n += n < 400 ? 1 : 17)
        list_once(n, 1 + random_below(40), percents[n % COUNT(percents)], (values)(n % 7 < N_VALUES ? n % 7 : RANDOM));
    for (size_t i = 0; i < COUNT(long_lines); i++)
        for (size_t p = 0; p < COUNT(percents); p++)
            for (int v = 0; v < N_VALUES; v++)
                list_once(long_lines[i], 1 + random_below(200), percents[p], (values)v);
    for (size_t n_lines = 1; n_lines <= 40; n_lines++)
        list_once(200, n_lines, 100, ALL_HIGH);
}

static void check_matmul(void) {
    for (size_t n = 1; n <= 600; n += n < 400 ? 1 : 17)
        matmul_once(n, 1 + random_below(70), 1 + random_below(6), (values)(n % 7 < N_VALUES ? n % 7 : RANDOM));
    for (size_t n_tokens = 1; n_tokens <= 30; n_tokens++)
        matmul_once(100 + 40 * random_below(10), 1 + random_below(100), n_tokens, RANDOM);
    for (size_t n_tokens = 31; n_tokens <= 64; n_tokens++)
        matmul_once(100 + 40 * random_below(10), 1 + random_below(40), n_tokens, RANDOM);
    for (size_t n_tokens = 1; n_tokens <= 9; n_tokens++) /* few tokens, and more lines than are taken at a time */
        for (size_t n = 1; n <= 1200; n += n < 20 ? 1 : 47)
            matmul_once(n, 129 + random_below(200), n_tokens, (values)(n % 7 < N_VALUES ? n % 7 : RANDOM));
    for (size_t n_lines = 1; n_lines <= 100; n_lines++)
        matmul_once(150 + n_lines, n_lines, 1 + n_lines % 9, RANDOM);
    for (int v = 0; v < N_VALUES; v++) {
        matmul_once(2560, 67, 128, (values)v);
        matmul_once(777, 1300, 11, (values)v); /* several chunks of columns */
        matmul_once(192, 6912, 3, (values)v);
    }
}

/* Each set of line kernels once, though several rungs may share it. */
static void for_kernels(void (*check)(void)) {
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        for (const tern_ternary *const *ternary = (*rung)->ternary; *ternary; ternary++)
            if (((*rung)->features & ~tern_cpu_features()) == 0 && (*ternary)->lines) {
                name = (*rung)->name;
                kernels = (*ternary)->lines;
                check();
            }
}

static void test_lists(void **state) {
    (void)state;
    for_kernels(check_lists);
}

static void test_matmul(void **state) {
    (void)state;
    for_kernels(check_matmul);
}

static void say(void) { printf(" %s", name); }

int main(void) {
    tern_rng_seed(&random_state, 2025);
    printf("line kernels checked:");
    for_kernels(say);
    printf("\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout), cmocka_unit_test(test_pack_unpack), cmocka_unit_test(test_pack_columns),
        cmocka_unit_test(test_lists),  cmocka_unit_test(test_matmul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
