/* What a token's arithmetic would take in energy, by counting its operations as the papers on BitNet do: an estimate of
 * adders and multipliers alone, never a measurement (base/energy.h measures). docs/ENERGY.md has an example worked out
 * by hand.
 *
 * A product of a matrix [rows, cols] with a vector takes rows (cols - 1) additions and rows cols multiplications
 * (BitNet, arXiv 2310.11453, section 2.3, equations 16 and 17 for one token). With ternary or binary weights the
 * additions are of 8-bit integers, and there are only the rows + cols multiplications of the scales (equation 18).
 * Attention and the LM head are 16-bit floating point, as in the papers. Nothing else is counted: norms, softmax, RoPE
 * and the activation are a few operations for each number, and memory is not arithmetic.
 *
 * The published 0.028 J of BitNet b1.58 2B4T (arXiv 2504.12285, table 1) is what this comes to for 512 tokens that each
 * attend to all 512, without the LM head; 0.258 J of LLaMA 3.2 1B likewise. */
#ifndef TERN_EVAL_ENERGY_H
#define TERN_EVAL_ENERGY_H

#include "tern/tern.h"

typedef struct tern_operations {
    double int8_adds, float_adds, float_muls;
} tern_operations;

/* Of one token. */
typedef struct tern_token_operations {
    tern_operations matrices; /* the seven of each layer */
    tern_operations attention;
    tern_operations head;
} tern_token_operations;

/* `context`: the tokens that this one attends to, itself included; a mean over several tokens gives their mean.
 * `ternary`: false for a model of that shape with 16-bit weights. */
tern_token_operations tern_count_operations(const tern_shape *shape, bool ternary, double context);

/* Energy of one operation in picojoules: BitNet, arXiv 2310.11453, table 2, after Horowitz (ISSCC 2014) for 45 nm and
 * Zhang et al. (PokeBNN, CVPR 2022) for 7 nm. */
typedef struct tern_energy_node {
    const char *name; /* "45 nm" */
    const char *key;  /* "45nm" */
    double int8_add, int8_mul, fp16_add, fp16_mul, fp32_add, fp32_mul;
} tern_energy_node;
enum { TERN_ENERGY_N_NODES = 2 };
extern const tern_energy_node tern_energy_nodes[TERN_ENERGY_N_NODES];
/* Where the figures are from, half a line. */
extern const char tern_energy_source_text[];

/* Joules. */
double tern_operations_joules(const tern_operations *operations, const tern_energy_node *node);
double tern_token_joules(const tern_token_operations *operations, const tern_energy_node *node);

#endif
