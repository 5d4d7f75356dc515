/*
 * What the kernel tests share: memory in which every stray access shows, and values that lean on the edges.
 *
 * Inputs stand right before an inaccessible page, so reading one byte too many crashes; outputs stand between guard
 * bytes that are compared along with the result.
 */
#ifndef TERN_TESTS_KERNELS_CHECK_H
#define TERN_TESTS_KERNELS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { GUARD = 64, N_INPUTS = 8 };
#define INPUT_CAPACITY ((size_t)8 << 20)

static tern_rng random_state;

static inline uint64_t random_below(uint64_t n) { return tern_rng_u64(&random_state) % n; }

/* Slot `slot` of the input memory, `bytes` long, its end at the edge of an inaccessible page. Slots are reused. */
static inline void *input(int slot, size_t bytes) {
    static uint8_t *memory[N_INPUTS];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert_true(bytes <= INPUT_CAPACITY);
    if (!memory[slot]) {
        memory[slot] = mmap(NULL, INPUT_CAPACITY + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(memory[slot] != MAP_FAILED);
        assert_int_equal(mprotect(memory[slot] + INPUT_CAPACITY, page, PROT_NONE), 0);
    }
    return memory[slot] + INPUT_CAPACITY - bytes;
}

/* Two outputs, for the reference and for the rung under test, with the same bytes in and around them. */
typedef struct output {
    uint8_t *memory[2];
    void *ref, *out; /* [bytes] */
    size_t bytes;
} output;

static inline output output_new(size_t bytes) {
    output o = {.bytes = bytes};
    for (int i = 0; i < 2; i++) {
        o.memory[i] = malloc(bytes + 2 * GUARD);
        assert_non_null(o.memory[i]);
        memset(o.memory[i], 0xa5, bytes + 2 * GUARD);
    }
    o.ref = o.memory[0] + GUARD;
    o.out = o.memory[1] + GUARD;
    return o;
}

/* An output that the kernel changes in place: both start as `from`. */
static inline output output_copy(const void *from, size_t bytes) {
    output o = output_new(bytes);
    memcpy(o.ref, from, bytes);
    memcpy(o.out, from, bytes);
    return o;
}

static inline void output_free(output *o) {
    free(o->memory[0]);
    free(o->memory[1]);
}

/* Every byte alike, guards and gaps included. */
#define CHECK_BYTES(o, ...)                                                                                            \
    do {                                                                                                               \
        if (memcmp((o).memory[0], (o).memory[1], (o).bytes + 2 * GUARD) != 0)                                          \
            fail_msg(__VA_ARGS__);                                                                                     \
        output_free(&(o));                                                                                             \
    } while (0)

/* The same for floats, where two NaNs are alike whatever their payloads. */
static inline int same_floats(const output *o) {
    size_t n = (o->bytes + 2 * GUARD) / sizeof(float);
    for (size_t i = 0; i < n; i++) {
        float a, b;
        memcpy(&a, o->memory[0] + i * sizeof a, sizeof a);
        memcpy(&b, o->memory[1] + i * sizeof b, sizeof b);
        if (tern_bits_from_f32(a) != tern_bits_from_f32(b) && !(isnan(a) && isnan(b))) {
            fprintf(stderr, "float %td: reference %a, here %a\n", (ptrdiff_t)i - GUARD / 4, (double)a, (double)b);
            return 0;
        }
    }
    return 1;
}
#define CHECK_FLOATS(o, ...)                                                                                           \
    do {                                                                                                               \
        if (!same_floats(&(o)))                                                                                        \
            fail_msg(__VA_ARGS__);                                                                                     \
        output_free(&(o));                                                                                             \
    } while (0)

static inline int same_float(float a, float b) {
    return tern_bits_from_f32(a) == tern_bits_from_f32(b) || (isnan(a) && isnan(b));
}

/* ---- values ---- */

typedef enum kind {
    PLAIN, /* normal distribution */
    TINY,  /* around 1e-34 and denormals: products vanish */
    HUGE_, /* products overflow */
    WILD,  /* all of these with zeros of both signs, infinities and NaN */
    N_KINDS
} kind;

static inline float random_float(kind k) {
    static const float wild[] = {0.0f,    -0.0f,   INFINITY, -INFINITY, NAN,   1e-45f,
                                 -1e-40f, 3.4e38f, -3.4e38f, 1.0f,      1e-34f};
    float x = (float)tern_rng_normal(&random_state);
    switch (k) {
    case TINY:
        return x * (random_below(2) ? 1e-34f : 1e-42f);
    case HUGE_:
        return x * 1e30f;
    case WILD:
        return random_below(3) ? random_float((kind)random_below(3)) : wild[random_below(COUNT(wild))];
    default:
        return x;
    }
}

static inline float *random_floats(int slot, size_t n, kind k) {
    float *x = input(slot, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(k);
    return x;
}

static inline uint16_t *random_halves(int slot, size_t n, kind k) {
    uint16_t *x = input(slot, n * sizeof *x);
    for (size_t i = 0; i < n; i++) /* any bits for WILD: NaN, infinity and subnormals included */
        x[i] = k == WILD ? (uint16_t)random_below(65536) : tern_f32_to_f16(random_float(k));
    return x;
}

static inline int8_t *random_bytes(int slot, size_t n) {
    int8_t *x = input(slot, n);
    for (size_t i = 0; i < n; i++)
        x[i] = (int8_t)random_below(256);
    return x;
}

#endif
