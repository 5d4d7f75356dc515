/* What the files of tern prune share. */
#ifndef TERN_CLI_PRUNE_H
#define TERN_CLI_PRUNE_H

#include "cli/command.h"
#include "prune/prune.h"

enum { TERN_PRUNE_SHARES = 16 };

typedef struct tern_prune_settings {
    const char *out, *text, *eval, *heads, *ffn, *sweep;
    tern_prune_choice choice; /* shares, score, unit, seed, multiple */
    int score, unit, only;
    int64_t multiple, seed, tokens, threads;
    bool json, force;
    double shares[TERN_PRUNE_SHARES]; /* [n_shares] of --sweep */
    size_t n_shares;
} tern_prune_settings;

/* What --only leaves of the model to a sweep. */
enum { TERN_PRUNE_BOTH, TERN_PRUNE_ONLY_HEADS, TERN_PRUNE_ONLY_FFN };

extern const tern_choice tern_prune_scores[];

typedef struct tern_prune_text {
    const char *bytes;
    size_t n;
} tern_prune_text;

/* Load a model and its perplexity on a text. An exit status; an error line was printed if it is not 0. */
int tern_prune_perplexity(const tern_prune_settings *s, const char *path, tern_prune_text text, double *perplexity);

/* How much faster `model` is than `base`: tokens a second of decoding and of prefill over base's, each the best of some
 * rounds that are run in turn. */
typedef struct tern_prune_speed {
    double decode, prefill;           /* ratios */
    double decode_rate, prefill_rate; /* tokens a second of `model` */
} tern_prune_speed;
int tern_prune_compare_speed(tern_model *base, tern_model *model, tern_prune_speed *speed);

/* The table of --sweep: of shares and scores, on a text that was not calibrated with. */
int tern_prune_sweep(const tern_prune_settings *s, const char *path, tern_pruner *pruner, tern_prune_text held_out);

#endif
