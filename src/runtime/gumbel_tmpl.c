/*
 * Gumbel noise, -log(-log(u)) of a uniform u, of the rows of one draw. gumbel.c includes this for any processor, and
 * the files of x86/ for vector units that most builds may not assume; each defines TERN_GUMBEL_ROWS, the function's
 * name.
 *
 * A draw over 128k rows asks for as many values, so this is written for compilers to vectorise: single precision, no
 * branches, choices by masks, log() of our own. That has another reason, too: libm's differs between platforms, and
 * only IEEE +, -, * and conversions (without contraction) give the same bits everywhere.
 *
 * What single precision costs: a relative error of about 1e-6 in each row's weight, which is what the rounding of a
 * logit costs. The tails are whole: u and 1 - u are both had with full relative precision down to 2^-63.
 */
#include <string.h>

#include "runtime/gumbel.h"

enum { BLOCK = 256 };

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The finaliser of SplitMix64 (Steele et al. 2014). */
static inline uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* high, low [n]: the halves of 64 random bits of each row */
static void random_rows(uint64_t start, uint32_t first, size_t n, uint32_t *high, uint32_t *low) {
    for (size_t i = 0; i < n; i++) {
        uint64_t z = mix(start + (first + i) * 0x9e3779b97f4a7c15u);
        high[i] = (uint32_t)(z >> 32);
        low[i] = (uint32_t)z;
    }
}

/* The upper 62 of 64 bits, as a fraction, and half a step: in (0, 1], rounded to 24 significant bits. */
static inline float fraction(uint32_t high, uint32_t low) {
    int32_t upper = (int32_t)(high >> 1), lower = (int32_t)((high & 1) << 30 | low >> 2);
    return (float)upper * 0x1p-31f + ((float)lower + 0.5f) * 0x1p-62f;
}

/* x = 2^e m with m in [sqrt(1/2), sqrt(2)): the bits of e, in the exponent's place. */
static inline uint32_t exponent_of(float x) { return (bits_of(x) - 0x3f3504f3u) & 0xff800000u; }

/* log(2^e (1 + r)): r - r^2 / 2 + r^3 P(r), a minimax P fitted over [sqrt(1/2) - 1, sqrt(2) - 1], off by 3e-8 of the
 * value. */
static inline float log_of(uint32_t exponent, float r) {
    float r2 = r * r, r4 = r2 * r2;
    float p01 = 0x1.5556c8p-2f - 0x1.00037ap-2f * r, p23 = 0x1.98dc0cp-3f - 0x1.53854ep-3f * r;
    float p456 = (0x1.3150e0p-3f - 0x1.2413d2p-3f * r) + r2 * 0x1.64cf2cp-4f;
    float p = (p01 + r2 * p23) + r4 * p456;
    return (float)((int32_t)exponent >> 23) * 0x1.62e43p-1f + (r - (0.5f * r2 - r2 * r * p));
}

/* u near 1 has lost its distance from 1, which is what its logarithm is: there r comes from 1 - u. */
static void noise_of(const uint32_t *high, const uint32_t *low, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        float u = fraction(high[i], low[i]), rest = fraction(~high[i], ~low[i]);
        uint32_t e = exponent_of(u), near_1 = (uint32_t) - (int32_t)(e == 0);
        uint32_t r = (bits_of(float_of(bits_of(u) - e) - 1) & ~near_1) | (bits_of(-rest) & near_1);
        float exponential = -log_of(e, float_of(r));
        e = exponent_of(exponential);
        out[i] = -log_of(e, float_of(bits_of(exponential) - e) - 1);
    }
}

void TERN_GUMBEL_ROWS(uint64_t start, uint32_t first, size_t n, float *out) {
    uint32_t high[BLOCK], low[BLOCK];
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t now = n - done < BLOCK ? n - done : BLOCK;
        random_rows(start, first + (uint32_t)done, now, high, low);
        noise_of(high, low, now, out + done);
    }
}
