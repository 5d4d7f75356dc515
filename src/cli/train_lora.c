/* tern train lora: adapters. */
#include "cli/train_tune.h"
#include "train/lora.h"

typedef struct settings {
    tern_tune_options tune;
    int64_t rank;
    double alpha, beta;
    const char *targets, *adapter;
    bool merge;
} settings;

static const tern_option options[] = {
    {"rank", 'r', TERN_OPTION_INT, offsetof(settings, rank), "N", "of the adapters: more learns more and costs more", 1,
     4096, NULL, "16"},
    {"alpha", 0, TERN_OPTION_FLOAT, offsetof(settings, alpha), "X", "alpha / rank multiplies what they add", 1e-6, 1e6,
     NULL, "twice the rank"},
    {"targets", 0, TERN_OPTION_STRING, offsetof(settings, targets), "LIST", "adapted matrices, of q,k,v,o,gate,up,down",
     0, 0, NULL, "all"},
    {"from", 0, TERN_OPTION_FILE, offsetof(settings, adapter), "FOLDER",
     "begin with this adapter, which has its own rank, alpha and targets", 0, 0, NULL, "a fresh one"},
    {"merge", 0, TERN_OPTION_FLAG, offsetof(settings, merge), NULL,
     "train the adapters of float master weights as part of what is\nternarised, and write the merged model", 0, 0,
     NULL, NULL},
    {"beta", 0, TERN_OPTION_FLOAT, offsetof(settings, beta), "X", "of preference pairs: as for tern train dpo", 1e-4,
     100, NULL, NULL},
    {0},
};

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_tune_params params = {.kind = s->merge ? TERN_TUNE_MERGE : TERN_TUNE_LORA,
                               .beta = s->beta,
                               .rank = (uint32_t)s->rank,
                               .alpha = (float)s->alpha,
                               .adapter = s->adapter};
    tern_error err;
    if (s->adapter && (s->rank || s->alpha > 0 || s->targets))
        return tern_cli_usage("train lora", "--from brings its own --rank, --alpha and --targets: leave these out");
    if (s->targets && tern_lora_targets(s->targets, &params.targets, &err))
        return tern_cli_usage("train lora", "--targets: %s", err.message);
    return tern_cli_tune(&s->tune, "train lora", operands, n_operands, &params);
}

static const settings defaults = {.tune = TERN_TUNE_OPTIONS_DEFAULT, .beta = 0.1};

const tern_command tern_command_train_lora = {
    .name = "train lora",
    .operands = "MODEL SHARD... -o FOLDER",
    .summary = "train a small adapter beside a model",
    .example = "tern train lora model.gguf chat.shard -o adapter\n"
               "tern run model.gguf --lora adapter --chat -p \"Hello\"\n"
               "tern train lora bitnet-2b4t-bf16/ chat.shard -o merged --merge\n",
    .notes =
        "MODEL is any model that tern runs; it stays as it is, ternary, and only the adapters (Hu et al. 2021) need\n"
        "gradients, so memory is little more than its own. FOLDER gets the adapter in the form of Hugging Face's\n"
        "PEFT. SHARD holds conversations, text or preference pairs. With --merge MODEL is as for tern train sft,\n"
        "and FOLDER gets model.gguf, master/ and packed/, too. Defaults: 3 epochs, learning rate 2e-4, 32 rows; of\n"
        "preference pairs 2 epochs, for which the rate should be lower: --lr 5e-5 or less. That SHARD was made with\n"
        "MODEL's tokenizer is checked where MODEL is a folder that has it, or --tokenizer names it.\n",
    .min_operands = 2,
    .max_operands = SIZE_MAX,
    .groups = {{"Adapter", options, 0},
               {"Run", tern_tune_run_option_table, offsetof(settings, tune)},
               {"Training", tern_tune_option_table, offsetof(settings, tune)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
