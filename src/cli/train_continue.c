/* tern train continue: pre-training goes on from master weights. */
#include "cli/train_tune.h"

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    tern_tune_params params = {.kind = TERN_TUNE_CONTINUE};
    return tern_cli_tune(parsed, "train continue", operands, n_operands, &params);
}

static const tern_tune_options defaults = TERN_TUNE_OPTIONS_DEFAULT;

const tern_command tern_command_train_continue = {
    .name = "train continue",
    .operands = "MODEL SHARD... -o FOLDER",
    .summary = "go on with the pre-training of a model",
    .example = "tern train continue bitnet-2b4t-bf16/ text.shard -o run --plan   # what memory would it take?\n"
               "tern train continue bitnet-2b4t-bf16/ text.shard -o run --lr 1e-4\n",
    .notes =
        "MODEL as for tern train sft: usually the published master weights; SHARD holds text. The memory plan is\n"
        "printed first, and a run that does not fit is not begun. Defaults: 1 epoch, learning rate 1e-4, 32 rows.\n"
        "(A pre-training that was stopped goes on with tern train pretrain.)\n",
    .min_operands = 2,
    .max_operands = SIZE_MAX,
    .groups = {{"Run", tern_tune_run_option_table, 0}, {"Training", tern_tune_option_table, 0}},
    .options_size = sizeof(tern_tune_options),
    .defaults = &defaults,
    .run = run,
};
