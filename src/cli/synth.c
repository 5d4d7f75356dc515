/* tern synth: write a random model. */
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/measure.h"
#include "cli/progress.h"

typedef struct settings {
    const char *shape, *type, *embedding_type, *tokenizer;
    int64_t seed, layers, hidden, ffn, heads, kv_heads, vocab, ctx;
    double sparsity;
    int head; /* 0: the shape's, 1 tied, 2 untied */
    int weights, layout;
    bool force;
} settings;

enum { TERNARY, BINARY };
static const tern_choice weight_choices[] = {{"ternary", TERNARY, false}, {"binary", BINARY, false}, {NULL, 0, false}};
enum { BITNET, LLAMA };
static const tern_choice layout_choices[] = {{"bitnet", BITNET, false}, {"llama", LLAMA, false}, {NULL, 0, false}};
static const tern_choice head_choices[] = {{"tied", 1, false}, {"untied", 2, false}, {NULL, 0, false}};

#define SIZE_OPTION(name, field, help, most)                                                                           \
    { name, 0, TERN_OPTION_INT, offsetof(settings, field), "N", help, 1, most, NULL, "the shape's" }

static const tern_option main_options[] = {
    {"shape", 0, TERN_OPTION_STRING, offsetof(settings, shape), "NAME", "see the list below", 0, 0, NULL, NULL},
    {"type", 0, TERN_OPTION_STRING, offsetof(settings, type), "TYPE",
     "of the linear layers: i2_s, tq1_0, tq2_0, f16, bf16, f32", 0, 0, NULL, "i2_s; of layout llama f16"},
    {"layout", 0, TERN_OPTION_ENUM, offsetof(settings, layout), "NAME",
     "bitnet, or llama: no sub norms, SiLU, and matrices of floats\nstay what they are when the model is loaded", 0, 0,
     layout_choices, NULL},
    {"weights", 0, TERN_OPTION_ENUM, offsetof(settings, weights), "KIND",
     "ternary, or binary: -1 and 1 only, which tern computes with\none bit each", 0, 0, weight_choices, NULL},
    {"embedding-type", 0, TERN_OPTION_STRING, offsetof(settings, embedding_type), "TYPE",
     "of embedding and head: f16, bf16, f32, q8_0, q6_k, q4_0", 0, 0, NULL, NULL},
    {"ffn-sparsity", 0, TERN_OPTION_FLOAT, offsetof(settings, sparsity), "SHARE",
     "wanted share of zeros among the int8 values before the\ndown projection, 0.4 to 0.95 (trained models: about "
     "0.8);\n"
     "0: as it falls, about 0.67",
     0, 0.95, NULL, NULL},
    {"tokenizer", 0, TERN_OPTION_FILE, offsetof(settings, tokenizer), "FILE",
     "take the vocabulary of this .gguf, folder, tokenizer.json or\ntokenizer.model; its size must be the model's", 0,
     0, NULL, "made up"},
    {"seed", 0, TERN_OPTION_INT, offsetof(settings, seed), "N", "the same seed gives the same bytes", 0, 9e15, NULL,
     NULL},
    {"force", 0, TERN_OPTION_FLAG, offsetof(settings, force), NULL, "replace OUT.gguf if it exists", 0, 0, NULL, NULL},
    {0},
};

static const tern_option size_options[] = {
    SIZE_OPTION("layers", layers, "blocks", 4096),
    SIZE_OPTION("hidden", hidden, "hidden size: a multiple of 128 (tq1_0, tq2_0: 256)", 1 << 18),
    SIZE_OPTION("ffn", ffn, "FFN size: likewise", 1 << 18),
    SIZE_OPTION("heads", heads, "query heads", 1 << 14),
    SIZE_OPTION("kv-heads", kv_heads, "key/value heads", 1 << 14),
    SIZE_OPTION("vocab", vocab, "tokens in the vocabulary", 1 << 24),
    SIZE_OPTION("ctx", ctx, "context length, tokens", 1 << 24),
    {"head", 0, TERN_OPTION_ENUM, offsetof(settings, head), "KIND", "tied (the embedding is the head) or untied", 0, 0,
     head_choices, "the shape's"},
    {0},
};

static int get_params(const settings *s, tern_synth_params *params) {
    tern_error err;
    if (tern_synth_shape(s->shape, params, &err))
        return tern_cli_usage("synth", "--shape: %s", err.message);
    const struct {
        int64_t value;
        uint32_t *field;
    } sizes[] = {
        {s->layers, &params->n_layers}, {s->hidden, &params->hidden_size},  {s->ffn, &params->ffn_size},
        {s->heads, &params->n_heads},   {s->kv_heads, &params->n_kv_heads}, {s->vocab, &params->vocab_size},
        {s->ctx, &params->n_ctx},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value)
            *sizes[i].field = (uint32_t)sizes[i].value;
    if (s->head)
        params->tied_embedding = s->head == 1;
    params->llama = s->layout == LLAMA;
    params->weight_type = s->type ? s->type : params->llama ? "f16" : "i2_s";
    params->embedding_type = s->embedding_type;
    params->seed = (uint64_t)s->seed;
    params->ffn_sparsity = (float)s->sparsity;
    params->tokenizer = s->tokenizer;
    params->binary = s->weights == BINARY;
    return 0;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    const char *path = operands[0];
    tern_error err;
    tern_synth_params params;
    tern_progress progress;
    (void)n_operands;
    int status = get_params(s, &params);
    if (status)
        return status;
    if (tern_is_directory(path))
        return tern_cli_fail("%s: is a directory; name a file", path);
    if (!s->force && tern_file_exists(path))
        return tern_cli_fail("%s: exists already; --force replaces it", path);
    tern_interrupt_watch(NULL); /* Ctrl-C comes through the progress function: no half file stays behind */
    double start = tern_seconds();
    tern_progress_start(&progress, "writing", TERN_PROGRESS_BYTES);
    params.progress = tern_progress_update;
    params.progress_user = &progress;
    tern_status failed = tern_synth(path, &params, &err);
    tern_progress_end(&progress);
    if (failed == TERN_ERR_ARGUMENT)
        return tern_cli_usage("synth", "%s", err.message);
    if (failed)
        return tern_cli_error(&err);
    char time[32];
    fprintf(stderr, "%s: %u layers, hidden %u, FFN %u, vocabulary %u, %s%s weights, %s embedding, seed %lld, %s\n",
            path, params.n_layers, params.hidden_size, params.ffn_size, params.vocab_size,
            params.binary ? "binary " : "", params.weight_type, params.embedding_type, (long long)s->seed,
            tern_format_seconds(time, tern_seconds() - start));
    return 0;
}

static const settings defaults = {.shape = "2b4t", .embedding_type = "f16", .seed = 1};

const tern_command tern_command_synth = {
    .name = "synth",
    .operands = "OUT.gguf",
    .summary = "write a random model of a given shape, for speed work",
    .example = "tern synth 2b4t.gguf                                  # the shape of BitNet b1.58 2B4T, 1.2 GB\n"
               "tern synth sparse.gguf --ffn-sparsity 0.8 --embedding-type q6_k\n"
               "tern synth small.gguf --shape tiny --layers 2 --type tq2_0\n"
               "tern synth llama.gguf --shape tiny --layout llama     # floats, to quantize for example\n",
    .notes = "Shapes     hidden    FFN  layers  heads/KV  vocabulary  context  head\n"
             "  tiny        256    768       4       4/2        1024      512  tied\n"
             "  0.7b       1536   4096      24     12/12       32256     2048  tied\n"
             "  2b4t, 2b   2560   6912      30      20/5      128256     4096  tied\n"
             "  3b         3072   8192      28      24/8      128256     4096  tied\n"
             "  8b         4096  14336      32      32/8      128256     8192  untied\n"
             "  13b        5120  13824      40     40/40       32256     4096  untied\n"
             "  70b        8192  28672      80      64/8      128256     8192  untied\n\n"
             "The text such a model makes means nothing, but its numbers behave like a trained model's: the residual\n"
             "stream grows slowly, attention picks a few positions, logits spread by about 3.\n",
    .min_operands = 1,
    .max_operands = 1,
    .groups = {{"Options", main_options, 0}, {"Sizes, instead of the shape's", size_options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
