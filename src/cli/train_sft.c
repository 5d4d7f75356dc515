/* tern train sft: supervised fine-tuning. */
#include "cli/train_tune.h"

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    tern_tune_params params = {.kind = TERN_TUNE_SFT};
    return tern_cli_tune(parsed, "train sft", operands, n_operands, &params);
}

static const tern_tune_options defaults = TERN_TUNE_OPTIONS_DEFAULT;

const tern_command tern_command_train_sft = {
    .name = "train sft",
    .operands = "MODEL SHARD... -o FOLDER",
    .summary = "fine-tune a model on conversations",
    .example = "tern train sft run/ chat.shard -o run-sft --lr 5e-4      # run/: of tern train pretrain\n"
               "tern train sft bitnet-2b4t-bf16/ chat.shard -o run-sft   # from float master weights\n",
    .notes =
        "MODEL is the folder of a run, of which the last state is taken, or float master weights (a Hugging Face\n"
        "folder or a GGUF). SHARD holds conversations (tern train data --kind chat); only answers are learnt. Losses\n"
        "are summed over tokens and divided by those of an average batch, so that every token counts equally.\n"
        "Defaults: 3 epochs, learning rate 1e-4, 32 rows. At the end FOLDER holds model.gguf,\n"
        "master/ and packed/.\n",
    .min_operands = 2,
    .max_operands = SIZE_MAX,
    .groups = {{"Run", tern_tune_run_option_table, 0}, {"Training", tern_tune_option_table, 0}},
    .options_size = sizeof(tern_tune_options),
    .defaults = &defaults,
    .run = run,
};
