/* The parts of tern_synth(): what numbers a random model needs so that it
 * behaves like a trained one, the tensors that follow, and their vocabulary.
 * Not used outside model/synth*.c and their test. */
#ifndef TERN_MODEL_SYNTH_PARTS_H
#define TERN_MODEL_SYNTH_PARTS_H

#include "base/pool.h"
#include "format/codec.h"
#include "format/gguf_write.h"

/*
 * The design, all in units where the embedding has unit variance per channel.
 *
 * Trits are -1, 0, 1 with 88, 80 and 88 chances in 256 (31% zeros, as in trained
 * models). A weight scale of gain / sqrt(in * 176/256) turns an input of unit rms into
 * an output of standard deviation `gain`.
 *
 * - Every block adds the same variance to the residual stream, so that it ends
 *   hidden/9 times above the embedding's own part: then the logit of the token
 *   just read stands out by one to three standard deviations and not by
 *   sqrt(hidden), and the model does not repeat one token for ever.
 * - Queries and keys give scores of standard deviation 2.5: attention picks a few
 *   positions. With flat attention all positions would carry the same average.
 * - The embedding has, besides its random part, a part that all tokens share:
 *   +-1 per channel. Gate rows lean against that pattern, which makes the mean of the
 *   gates -gate_bias standard deviations, in every layer.
 * - The gains of ffn_sub_norm are log-normal with spread gain_spread; the larger
 *   it is, the more of the int8 values before `down` round to 0.
 */
enum { TERN_SYNTH_ZERO_CHANCES = 80, TERN_SYNTH_SIGN_CHANCES = 88 }; /* of 256; twice the latter */

typedef struct tern_synth_design {
    double block_gain;  /* standard deviation of what o_proj and down_proj add */
    double gate_bias;   /* mean of the gates, negated, in their standard deviations */
    double gain_spread; /* sigma of the logarithm of ffn_sub_norm's gains */
} tern_synth_design;

/* Solve for the wanted share of zeros before `down`; sparsity 0: gate_bias and gain_spread 0. */
tern_status tern_synth_solve(const tern_synth_params *params, tern_synth_design *design, tern_error *err);

/* Chances (of 256) by which gate rows of `layer` lean against the shared pattern; may be fractional. */
double tern_synth_gate_lean(const tern_synth_params *params, const tern_synth_design *design, uint32_t layer);

/* +1 or -1: the sign of the embedding's shared part in this channel. */
int tern_synth_pattern(uint64_t seed, uint64_t channel);

typedef enum tern_synth_fill {
    TERN_SYNTH_TRITS,     /* ternary or float master weights of this scale */
    TERN_SYNTH_EMBEDDING, /* normal plus the shared pattern */
    TERN_SYNTH_HEAD,      /* normal */
    TERN_SYNTH_GAINS,     /* norm gains: uniform in scale * [0.8, 1.2] */
    TERN_SYNTH_SPREAD,    /* norm gains: log-normal, rms 1, spread = scale */
} tern_synth_fill;

typedef struct tern_synth_tensor {
    char name[48];
    const tern_codec *codec;
    uint64_t rows, cols, bytes; /* a norm is [1, n] */
    tern_synth_fill fill;
    float scale;
    bool binary;     /* TRITS: no zeros among them */
    double lean;     /* TRITS: see tern_synth_gate_lean */
    uint64_t stream; /* its own random stream: the number of the tensor */
} tern_synth_tensor;

/* All tensors in file order -> *tensors [*n_tensors], freed with free(). */
tern_status tern_synth_plan(const tern_synth_params *params, const tern_synth_design *design,
                            tern_synth_tensor **tensors, size_t *n_tensors, tern_error *err);

typedef struct tern_synth_progress {
    tern_progress_fn fn; /* may be NULL */
    void *user;
    uint64_t done, total; /* bytes */
} tern_synth_progress;

/* Make a tensor's data in slabs on the pool's threads and write it. The bytes depend on seed and
 * tensor only. */
tern_status tern_synth_write_tensor(const tern_synth_tensor *tensor, uint64_t seed, tern_pool *pool,
                                    tern_gguf_writer *writer, tern_synth_progress *progress, tern_error *err);

/* The tokenizer keys: the vocabulary of the file params->tokenizer or a made-up one. */
tern_status tern_synth_put_vocab(const tern_synth_params *params, tern_gguf_writer *writer, tern_error *err);

#endif
