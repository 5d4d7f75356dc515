/* What the tests of the network share: the model and the batch of tools/make_train_golden.py, made from a seed. Include
 * once per program. */
#ifndef TERN_TESTS_TRAIN_FIXTURE_H
#define TERN_TESTS_TRAIN_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/net.h"

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        tern_error must_err = {0};                                                                                     \
        tern_error *err = &must_err;                                                                                   \
        if ((call) != TERN_OK)                                                                                         \
            fail_msg("%s: %s", #call, must_err.message);                                                               \
    } while (0)

static const uint32_t sequence_lengths[] = {7, 1, 12, 4};
enum { N_SEQUENCES = 4, N_TOKENS = 24, STREAM_BATCH = 1000 };

/* Uniform in [-0.5, 0.5), multiples of 2^-16: element i of stream `stream`. */
static double draw(uint64_t seed, uint64_t stream, uint64_t i) {
    uint64_t z = seed * 0x9e3779b97f4a7c15u + (stream << 32);
    z = (z + i) * 0xbf58476d1ce4e5b9u + 0x94d049bb133111ebu;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 48) / 65536 - 0.5;
}

static inline tern_dims golden_dims(void) {
    return (tern_dims){.vocab_size = 61,
                       .n_ctx = 16,
                       .hidden_size = 32,
                       .ffn_size = 80,
                       .n_layers = 2,
                       .n_heads = 4,
                       .n_kv_heads = 2,
                       .head_dim = 8,
                       .rms_eps = 1e-5f,
                       .rope_theta = 10000};
}

/* Matrices uniform in +-1/16, embedding in +-1/2, gains in 3/4 .. 5/4. */
static inline void fill_params(tern_params *params, uint64_t seed) {
    for (size_t i = 0; i < params->n; i++) {
        const tern_param *param = &params->list[i];
        for (size_t j = 0; j < (size_t)param->rows * param->cols; j++) {
            double x = draw(seed, i, j);
            params->values[param->offset + j] = (float)(param->rows == 1 ? 1 + x / 2 : param->ternary ? x / 8 : x);
        }
    }
}

typedef struct test_batch {
    int32_t inputs[N_TOKENS], targets[N_TOKENS];
    float weights[N_TOKENS];
    uint32_t starts[N_SEQUENCES + 1];
    tern_batch batch;
} test_batch;

static inline void make_batch(test_batch *b, uint32_t vocab_size, uint64_t seed) {
    b->starts[0] = 0;
    for (int i = 0; i < N_SEQUENCES; i++)
        b->starts[i + 1] = b->starts[i] + sequence_lengths[i];
    for (uint64_t t = 0; t < N_TOKENS; t++) {
        b->inputs[t] = (int32_t)((draw(seed, STREAM_BATCH, t) + 0.5) * vocab_size);
        b->targets[t] = (int32_t)((draw(seed, STREAM_BATCH + 1, t) + 0.5) * vocab_size);
        if (draw(seed, STREAM_BATCH + 2, t) > 0.375)
            b->targets[t] = -1;
        b->weights[t] = (float)(draw(seed, STREAM_BATCH + 3, t) + 0.25);
        if (draw(seed, STREAM_BATCH + 4, t) > 0.375)
            b->weights[t] = 0;
    }
    b->batch = (tern_batch){N_TOKENS, b->inputs, b->targets, {b->starts, N_SEQUENCES}};
}

#endif
