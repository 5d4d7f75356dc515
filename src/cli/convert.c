/* tern convert: a model into another layout. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/measure.h"
#include "cli/progress.h"

typedef struct settings {
    const char *type, *embedding_type, *dtype, *packing, *name;
    tern_model_options model;
    bool no_screen, force, binarize;
} settings;

static const tern_option main_options[] = {
    {"type", 0, TERN_OPTION_STRING, offsetof(settings, type), "TYPE",
     "tern: tern's own layout, which loads in no time and whose\npages processes share; b1: the same, one bit a "
     "weight, for\n"
     "models without zeros among them; i2_s, tq1_0, tq2_0, f16,\n"
     "bf16 or f32: a GGUF with matrices of that type, for other\n"
     "programs too; hf-packed: a Hugging Face folder, four weights\nto a byte, as transformers loads it",
     0, 0, NULL, NULL},
    {"embedding-type", 0, TERN_OPTION_STRING, offsetof(settings, embedding_type), "TYPE",
     "of embedding and head: f16, bf16, f32, q8_0, q6_k, q4_0", 0, 0, NULL, "as it is"},
    {"dtype", 0, TERN_OPTION_STRING, offsetof(settings, dtype), "TYPE",
     "with hf-packed, of embedding, norms and scales: bf16, as the\npublished folder has them, to which they are "
     "rounded; f32",
     0, 0, NULL, "bf16 if that holds all of them, else f32"},
    {"packing", 0, TERN_OPTION_STRING, offsetof(settings, packing), "NAME",
     "of the weights: t5r16 (5/3 bits a weight), t2r16 (2 bits),\nb1r16 (1 bit, no zeros)", 0, 0, NULL,
     "what this CPU reads best"},
    {"binarize", 0, TERN_OPTION_FLAG, offsetof(settings, binarize), NULL,
     "of master weights, make binary ones: sign(W - mean W), scale\nmean |W| (BitNet v1); another model than the "
     "file's",
     0, 0, NULL, NULL},
    {"name", 0, TERN_OPTION_STRING, offsetof(settings, name), "TEXT", "the model's name, general.name in the file", 0,
     0, NULL, "as it is"},
    {"no-screen", 0, TERN_OPTION_FLAG, offsetof(settings, no_screen), NULL,
     "leave out the screen of the LM head; it is then built\nwhenever the model is loaded", 0, 0, NULL, NULL},
    {"force", 0, TERN_OPTION_FLAG, offsetof(settings, force), NULL,
     "replace OUT if it exists; a folder only if it holds nothing\nbut a model", 0, 0, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, offsetof(settings, model.threads), "N", "threads; 0: all CPUs", 0, 4096, NULL,
     NULL},
    {0},
};

static bool is_regular(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    const char *path = operands[1];
    tern_error err;
    tern_progress progress;
    tern_inspection *inspection;
    (void)n_operands;
    bool folder = strcasecmp(s->type, "hf-packed") == 0;
    if (!folder && tern_is_directory(path))
        return tern_cli_fail("%s: is a directory; name a file", path);
    if (!s->force && tern_file_exists(path))
        return tern_cli_fail("%s: exists already; --force replaces it", path);
    char *model;
    int status = tern_cli_find_model(operands[0], &model);
    if (status)
        return status;
    tern_interrupt_watch(NULL); /* Ctrl-C comes through the progress function: no half file stays behind */
    double start = tern_seconds();
    tern_progress_start(&progress, "converting", TERN_PROGRESS_BYTES);
    bool screen_missing = false, only_tern = false;
    const tern_convert_params params = {.type = s->type,
                                        .embedding_type = s->embedding_type,
                                        .packing = s->packing,
                                        .name = s->name,
                                        .no_screen = s->no_screen,
                                        .screen_missing = &screen_missing,
                                        .binarize = s->binarize,
                                        .dtype = s->dtype,
                                        .only_tern = &only_tern,
                                        .n_threads = (int)s->model.threads,
                                        .progress = tern_progress_update,
                                        .progress_user = &progress};
    tern_status failed = tern_convert(model, path, &params, &err);
    tern_progress_end(&progress);
    free(model);
    if (failed == TERN_ERR_ARGUMENT)
        return tern_cli_usage("convert", "%s", err.message);
    char time[32], size[32];
    if (!failed && !folder && !is_regular(path)) { /* a pipe or a device cannot be read again */
        fprintf(stderr, "%s: written in %s\n", path, tern_format_seconds(time, tern_seconds() - start));
        return 0;
    }
    if (failed || tern_inspect(path, &inspection, &err))
        return tern_cli_error(&err);
    fprintf(stderr, "%s: %s, %s, %s\n", path, tern_inspection_format(inspection),
            tern_format_bytes(size, (double)tern_inspection_file_bytes(inspection)),
            tern_format_seconds(time, tern_seconds() - start));
    if (screen_missing)
        fprintf(stderr,
                "tern: %s: without a screen of the LM head, which this CPU's kernels cannot make; convert on "
                "x86-64 for one\n",
                path);
    if (only_tern)
        tern_cli_warn(
            "%s: its heads do not make its hidden size, as after pruning: tern runs it; llama.cpp and transformers "
            "expect that of this architecture",
            path);
    tern_inspection_free(inspection);
    return 0;
}

static const settings defaults = {.type = "tern"};

const tern_command tern_command_convert = {
    .name = "convert",
    .operands = "MODEL OUT",
    .summary = "write a model in tern's own layout, as another GGUF or folder",
    .example = "tern convert model.gguf model-tern.gguf\n"
               "tern convert folder/ model-i2_s.gguf --type i2_s\n"
               "tern convert binary.gguf binary-b1.gguf --type b1\n"
               "tern convert folder/ small.gguf --type tq1_0 --embedding-type q6_k\n"
               "tern convert model.gguf folder/ --type hf-packed --dtype bf16\n",
    .notes =
        "tern's own layout holds the weights as the kernels read them, so that loading it takes no work and no\n"
        "memory of the process's own. It runs on every CPU; where the kernels read another packing it is packed\n"
        "again while loading, as other files are. The new file computes the same, bit by bit.\n"
        "\n"
        "In the other types the ternary values stay what they are. I2_S and F32 keep a matrix's scale, too;\n"
        "TQ1_0, TQ2_0, F16 and BF16 round it to 16 bits. Another embedding type rounds embedding and head.\n"
        "\n"
        "A folder (hf-packed) rounds nothing: if bf16 does not hold embedding, norms and scales, they are all F32 "
        "and its torch_dtype is\n"
        "float32. --dtype bf16 rounds them: from the masters comes what is published as packed weights. Models of\n"
        "BitNet's layout can be made into one.\n",
    .min_operands = 2,
    .max_operands = 2,
    .groups = {{"Options", main_options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
