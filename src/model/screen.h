/*
 * The head screen: a copy of the LM head at 4 + 1 bits a weight that tells which rows cannot have a logit that matters,
 * so that decoding reads a third of the head. What it lets through is computed from the stored rows: answers are exact.
 *
 * Why exact. Row w (the floats that the head kernel multiplies with), centre m, residual d = w - m; the planes stand
 * for d4 and d5 (kernels/screen.h). Hidden state x is read as x^ = step * Y by the coarse and z^ = fine_step * Z by the
 * fine kernel. In real numbers, by Cauchy and Schwarz,
 *
 *     w.x - (m.x + d4.x^)                  = (d - d4).x^ + d.(x - x^)
 *                                         <= |d - d4| |x^| + |d| |x - x^|
 *     w.x - (m.x + d4.x^ + (d5 - d4).z^)   = (d - d5).x^ + d.(x - x^) + (d5 - d4).(x^ - z^)
 *                                         <= |d - d5| |x^| + |d| |x - x^| + (|d - d4| + |d - d5|) |x^ - z^|
 *
 * and for both planes at once, which are read as x^, the first line with d5 for d4.
 *
 * All norms are computed in doubles from the exact floats, and rounded up. What kernels compute in floats differs from
 * the real numbers by rounding, u = 2^-24 relative each time; n roundings in a row make at most
 * gamma(n) = n u / (1 - n u) of the sum of magnitudes (Higham 2002, section 3.1):
 *
 *   - the head kernel's own logit: k / 16 fma's a lane and 4 additions, gamma(k / 16 + 5) |w| |x|,
 *     |w| <= |d| + |m|;
 *   - the coarse value: integers are exact in floats, a chain of one fma a block, gamma(blocks) (|d| + |d - d4|) |x^|;
 *     a product, the last fma and the rounded m.x, 3 u of that and of |m.x|;
 *   - the value of both planes: the same with d5 for d4, and one u more, because its integers are rounded;
 *   - the fine value: the rounded integer, a product and a fma, 3 u (|d - d4| + |d - d5|) |z^| and one u of the result.
 *
 * Underflow adds less than 1e-36, overflow cannot happen: rows above 1e15 have infinite bounds (and are never screened
 * out), hidden states above 1e15 or all below 1e-30 are not screened at all.
 */
#ifndef TERN_MODEL_SCREEN_H
#define TERN_MODEL_SCREEN_H

#include "base/pool.h"
#include "format/checkpoint.h"
#include "kernels/screen.h"

/* The planes are plain arrays as kernels/screen.h lays them out, without pointers: a file may hold them. */
typedef struct tern_screen {
    uint32_t n_rows, k; /* of the head; n_rows 0: there is no screen */
    uint32_t k_pad, n_groups;
    const uint8_t *coarse, *steps, *fine;
    const float *row_steps, *coarse_errors, *fine_errors, *norms; /* [n_groups * 16] */
    const float *centre;                                          /* [k_pad] */
    double centre_norm;                                           /* an upper bound */
    const tern_checkpoint *checkpoint;                            /* exact rows are read from here */
    const tern_tensor *head;
    size_t row_bytes;
    void *memory; /* the one block that all arrays lie in */
    size_t bytes; /* of it */
} tern_screen;

/* Whether a head is to be screened: small ones are faster whole, and the kernels' integers have room for so many
 * columns. */
bool tern_screen_pays(const tern_tensor *head);
/* screen->bytes of one with these n_groups and k_pad; false if that overflows. */
bool tern_screen_measure(tern_screen *screen);

/* Build the screen of `head` [rows, cols] on the pool's threads. File pages are dropped as they are read. The
 * checkpoint must outlive the screen. */
tern_status tern_screen_build(const tern_checkpoint *checkpoint, const tern_tensor *head,
                              const tern_screen_kernels *kernels, tern_pool *pool, tern_screen *screen,
                              tern_error *err);
void tern_screen_free(tern_screen *screen);

/* ---- in files of tern's own layout (screen_file.c) ---- */

/* One of the arrays: its tensor's name and shape, and where the screen points to it. */
typedef struct tern_screen_array {
    const char *name;
    uint64_t rows, cols; /* rows 1: a vector */
    union {
        const uint8_t **bytes;
        const float **floats;
    } at;
    bool is_float;     /* F32, else I8 */
    float least, most; /* what values may be, no NaN; bytes count from 0 to 255 */
    uint64_t n_used;   /* values; those behind are padding and 0. Bytes: all, what pads them has no effect */
} tern_screen_array;

enum { TERN_SCREEN_ARRAYS = 8 };
/* Within these, and with steps up to 127, no value of a screened state overflows. Built screens keep to them. */
#define TERN_SCREEN_MAX_ROW_STEP 1e12f
#define TERN_SCREEN_MAX_CENTRE 1e10f
void tern_screen_arrays(tern_screen *screen, tern_screen_array arrays[static TERN_SCREEN_ARRAYS]);

/* The screen in the checkpoint, used where it is mapped, its values checked; *found false: there is none. */
tern_status tern_screen_from_file(const tern_checkpoint *checkpoint, const tern_tensor *head, tern_screen *screen,
                                  bool *found, tern_error *err);

/* A screen of that head with its sizes, but no arrays. */
tern_screen tern_screen_of(const tern_checkpoint *checkpoint, const tern_tensor *head);
/* The Euclidean norm of x [n], rounded up. */
double tern_screen_norm(const float *x, size_t n);
/* Bytes of it that every token reads: the coarse plane and its bounds. */
size_t tern_screen_read_bytes(const tern_screen *screen);

/* A hidden state made ready: what the kernels read, and the coefficients of keep() for what they give. */
typedef struct tern_screen_state {
    tern_screen_x x;
    float coarse[4], fine[4], both[4];
    int8_t *memory; /* tern_screen_state_bytes(), the caller's; x points into it */
} tern_screen_state;

size_t tern_screen_state_bytes(const tern_screen *screen);
/* x [k]. False: x cannot be screened (something not finite, too large or too small). */
bool tern_screen_prepare(const tern_screen *screen, const float *x, tern_screen_state *state);

#endif
