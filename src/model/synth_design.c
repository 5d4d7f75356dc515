/* The numbers behind a random model's activations (synth_parts.h says which and why). */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/synth_parts.h"

enum { TRIAL_LAYERS = 8, TRIAL_TOKENS = 4 };

/* Normal draws, made once, so that the share of zeros is a smooth, repeatable function of the design. */
typedef struct trial {
    size_t n;                  /* FFN size */
    float *gains, *gates, *up; /* [TRIAL_LAYERS][n], [TRIAL_LAYERS * TRIAL_TOKENS][n] twice */
    float *factors, *values;   /* [n] scratch */
} trial;

/* Share of the int8 values before `down` that are 0: relu(gate)^2 * up * gain, absmax-rounded. The norm's division
 * does not matter: the int8 step is relative to the largest. */
static double zero_share(const trial *t, double gate_bias, double gain_spread) {
    size_t zeros = 0;
    for (size_t layer = 0; layer < TRIAL_LAYERS; layer++) {
        for (size_t i = 0; i < t->n; i++)
            t->factors[i] = expf((float)gain_spread * t->gains[layer * t->n + i]);
        for (size_t token = 0; token < TRIAL_TOKENS; token++) {
            const float *gates = t->gates + (layer * TRIAL_TOKENS + token) * t->n;
            const float *up = t->up + (layer * TRIAL_TOKENS + token) * t->n;
            float largest = 0;
            for (size_t i = 0; i < t->n; i++) {
                float gate = fmaxf(gates[i] - (float)gate_bias, 0);
                t->values[i] = fabsf(gate * gate * up[i]) * t->factors[i];
                largest = fmaxf(largest, t->values[i]);
            }
            for (size_t i = 0; i < t->n; i++)
                zeros += t->values[i] * 127 <= largest * 0.5f;
        }
    }
    return (double)zeros / (double)(t->n * TRIAL_LAYERS * TRIAL_TOKENS);
}

/* x of a rising function in [low, high] where it reaches `wanted`. */
static double solve_bias(const trial *t, double low, double high, double wanted) {
    for (int i = 0; i < 20; i++) {
        double middle = (low + high) / 2;
        *(zero_share(t, middle, 0) < wanted ? &low : &high) = middle;
    }
    return (low + high) / 2;
}

static double solve_spread(const trial *t, double gate_bias, double high, double wanted) {
    double low = 0;
    for (int i = 0; i < 20; i++) {
        double middle = (low + high) / 2;
        *(zero_share(t, gate_bias, middle) < wanted ? &low : &high) = middle;
    }
    return (low + high) / 2;
}

/* The bias that makes this share of normal gates negative. */
static double bias_of_share(double share) {
    double low = -4, high = 4;
    for (int i = 0; i < 50; i++) {
        double middle = (low + high) / 2;
        *(0.5 * erfc(-middle * M_SQRT1_2) < share ? &low : &high) = middle;
    }
    return (low + high) / 2;
}

static tern_status solve_sparsity(const tern_synth_params *params, tern_synth_design *design, tern_error *err) {
    size_t n = params->ffn_size, vectors = TRIAL_LAYERS + 2 * TRIAL_LAYERS * TRIAL_TOKENS + 2;
    float *memory = tern_alloc_array(n, vectors * sizeof *memory);
    if (!memory)
        return tern_fail_memory(err, "the trial of the FFN sparsity");
    tern_rng rng;
    tern_rng_seed(&rng, 20240227); /* fixed: the design does not depend on the model's seed */
    for (size_t i = 0; i < n * (vectors - 2); i++)
        memory[i] = (float)tern_rng_normal(&rng);
    trial t = {.n = n, .gains = memory};
    t.gates = t.gains + TRIAL_LAYERS * n;
    t.up = t.gates + TRIAL_LAYERS * TRIAL_TOKENS * n;
    t.factors = t.up + TRIAL_LAYERS * TRIAL_TOKENS * n;
    t.values = t.factors + n;

    /* Trained models have 81% zeros with 64% of the gates shut; keep about that proportion and let the gains'
     * spread do the rest. Where the gates alone give more than is wanted, open them. */
    double wanted = (double)params->ffn_sparsity, share = fmin(0.75 * wanted, 0.65), widest = 3;
    design->gate_bias = bias_of_share(share);
    design->gain_spread = 0;
    tern_status status = TERN_OK;
    if (zero_share(&t, design->gate_bias, 0) > wanted)
        design->gate_bias = solve_bias(&t, -4, design->gate_bias, wanted);
    else if (zero_share(&t, design->gate_bias, widest) < wanted)
        status = tern_fail(err, TERN_ERR_ARGUMENT, "FFN sparsity %g cannot be reached with an FFN of %zu; take less",
                           wanted, n);
    else
        design->gain_spread = solve_spread(&t, design->gate_bias, widest, wanted);
    free(memory);
    return status;
}

tern_status tern_synth_solve(const tern_synth_params *params, tern_synth_design *design, tern_error *err) {
    *design = (tern_synth_design){0};
    /* variance of the stream at the end: own part 1, shared part 1, the blocks' rest up to hidden / 9 */
    double rest = fmax((double)params->hidden_size / 9 - 2, 2);
    design->block_gain = sqrt(rest / (2.0 * params->n_layers));
    return params->ffn_sparsity > 0 ? solve_sparsity(params, design, err) : TERN_OK;
}

double tern_synth_gate_lean(const tern_synth_params *params, const tern_synth_design *design, uint32_t layer) {
    /* Shared part of the FFN norm's output, per channel: 1 of a stream that has grown by 2 * layer + 1 additions. */
    double added = (2.0 * layer + 1) * design->block_gain * design->block_gain;
    double shared = 1 / sqrt(2 + added);
    /* A lean of k chances of 256 gives E[trit] = -2k/256 * pattern, so the gate's mean is -in * shared * 2k/256 and
     * its standard deviation sqrt(in * 176/256); their quotient shall be gate_bias. */
    double in = params->hidden_size, nonzero = params->binary ? 1 : 2.0 * TERN_SYNTH_SIGN_CHANCES / 256;
    double lean = design->gate_bias * sqrt(nonzero / in) / shared * 128;
    return fmax(fmin(lean, TERN_SYNTH_SIGN_CHANCES), -TERN_SYNTH_SIGN_CHANCES);
}
