/* tern train dpo: direct preference optimisation. */
#include "cli/train_tune.h"

typedef struct settings {
    tern_tune_options tune;
    double beta;
} settings;

static const tern_option options[] = {
    {"beta", 0, TERN_OPTION_FLOAT, offsetof(settings, beta), "X",
     "how closely the model is to stay with the one it begins as", 1e-4, 100, NULL, NULL},
    {0},
};

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_tune_params params = {.kind = TERN_TUNE_DPO, .beta = s->beta};
    return tern_cli_tune(&s->tune, "train dpo", operands, n_operands, &params);
}

static const settings defaults = {.tune = TERN_TUNE_OPTIONS_DEFAULT, .beta = 0.1};

const tern_command tern_command_train_dpo = {
    .name = "train dpo",
    .operands = "MODEL SHARD... -o FOLDER",
    .summary = "teach a model which of two answers is preferred",
    .example = "tern train dpo run-sft/ pairs.shard -o run-dpo --lr 5e-6\n",
    .notes =
        "MODEL as for tern train sft; SHARD holds preference pairs (tern train data --kind pairs). The "
        "log-probabilities\n"
        "of the model as it begins are computed once and kept. The log tells, per step, the share of pairs in\n"
        "which the preferred answer has gained on the other one (accuracy), by how much (margin, nats), and log p\n"
        "of both. Defaults: 2 epochs, learning rate 2e-7 (small models want 1e-6 to 1e-5), 64 rows: 32 pairs.\n",
    .min_operands = 2,
    .max_operands = SIZE_MAX,
    .groups = {{"Preferences", options, 0},
               {"Run", tern_tune_run_option_table, offsetof(settings, tune)},
               {"Training", tern_tune_option_table, offsetof(settings, tune)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
