/* Loading a model and setting up a session, the same for every command. */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/progress.h"

#define MAX_THREADS 1024
#define MAX_CONTEXT (1 << 24)
#define MAX_CHUNK 4096 /* the library's limit */

const tern_choice tern_act_choices[] = {
    {"int8", TERN_ACT_INT8, false},
    {"int4", TERN_ACT_INT4, false},
    {NULL, 0, false},
};

const tern_option tern_model_option_table[] = {
    {"threads", 't', TERN_OPTION_INT, offsetof(tern_model_options, threads), "N", "CPU threads; 0: all", 0, MAX_THREADS,
     NULL, NULL},
    {"packing", 0, TERN_OPTION_STRING, offsetof(tern_model_options, packing), "NAME",
     "layout of the weights in memory: t5r16, t2r16 or b1r16; by default\nb1r16 if no weight is zero, else the one "
     "that the "
     "kernels name\nfirst, unless another measures 20% faster",
     0, 0, NULL, "$TERN_PACKING or by the kernels"},
    {"dense-ffn", 0, TERN_OPTION_FLAG, offsetof(tern_model_options, dense_ffn), NULL,
     "read the whole FFN for every token, to measure what skipping\nis worth; only packing t5r16 skips, others read "
     "all anyway",
     0, 0, NULL, NULL},
    {"lora", 0, TERN_OPTION_FILE, offsetof(tern_model_options, lora), "FOLDER",
     "add a LoRA adapter to the model: a folder as Hugging Face's\nPEFT or tern train lora writes it", 0, 0, NULL,
     NULL},
    {"act", 0, TERN_OPTION_ENUM, offsetof(tern_model_options, act), "TYPE",
     "round the inputs of the matrices to int8, as models are\ntrained, or to int4 (BitNet a4.8: another, worse "
     "result)",
     0, 0, tern_act_choices, NULL},
    {0},
};

static const tern_choice numa_choices[] = {
    {"none", TERN_NUMA_NONE, false},
    {"interleave", TERN_NUMA_INTERLEAVE, false},
    {"local", TERN_NUMA_LOCAL, false},
    {NULL, 0, false},
};

const tern_option tern_placement_option_table[] = {
    {"pin", 0, TERN_OPTION_FLAG, offsetof(tern_placement_options, pin), NULL,
     "keep each thread on a CPU of its own, physical cores first", 0, 0, NULL, NULL},
    {"numa", 0, TERN_OPTION_ENUM, offsetof(tern_placement_options, numa), "PLACE",
     "on a machine with several memory nodes, put the packed\nweights on all in turn (interleave), or each thread's\n"
     "share on its own (local, with --pin)",
     0, 0, numa_choices, NULL},
    {"huge-pages", 0, TERN_OPTION_FLAG, offsetof(tern_placement_options, huge_pages), NULL,
     "packed weights in reserved huge pages (hugetlbfs); if there\nare too few, a message says how to reserve them", 0,
     0, NULL, NULL},
    {"mlock", 0, TERN_OPTION_FLAG, offsetof(tern_placement_options, mlock), NULL,
     "keep the model in memory, never swapped out or dropped", 0, 0, NULL, NULL},
    {"low-memory", 0, TERN_OPTION_FLAG, offsetof(tern_placement_options, low_memory), NULL,
     "as little memory of its own as possible: no screen of the LM\nhead is made, prefill takes small steps (--chunk "
     "32)",
     0, 0, NULL, NULL},
    {"warm-up", 0, TERN_OPTION_FLAG, offsetof(tern_placement_options, warm_up), NULL,
     "touch the whole model and run a throw-away pass before the\nfirst prompt", 0, 0, NULL, NULL},
    {0},
};

void tern_cli_place(const tern_placement_options *options, tern_model_params *params) {
    params->pin = options->pin;
    params->numa = (tern_numa)options->numa;
    params->huge_pages = options->huge_pages;
    params->mlock = options->mlock;
    params->warm_up = options->warm_up;
    params->low_memory = options->low_memory;
}

void tern_cli_warn_placement(const tern_placement_options *options, const tern_model *model) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    if (options->numa != TERN_NUMA_NONE && info.n_memory_nodes == 1)
        tern_cli_warn("--numa: this machine has one memory node, so where the weights lie changes nothing");
}

const tern_choice tern_kv_choices[] = {
    {"f32", TERN_KV_F32, false},    {"f16", TERN_KV_F16, false}, {"q8", TERN_KV_Q8, false},
    {"float32", TERN_KV_F32, true}, {"fp16", TERN_KV_F16, true}, {"float16", TERN_KV_F16, true},
    {"int8", TERN_KV_Q8, true},     {"fp32", TERN_KV_F32, true}, {NULL, 0, false},
};

const tern_option tern_session_option_table[] = {
    {"ctx", 'c', TERN_OPTION_INT, offsetof(tern_session_options, n_ctx), "N", "context size in tokens", 0, MAX_CONTEXT,
     NULL, "the model's"},
    {"kv-type", 0, TERN_OPTION_ENUM, offsetof(tern_session_options, kv_type), "TYPE",
     "numbers in the KV cache: f32, f16 or q8 (8 bits)", 0, 0, tern_kv_choices, "$BITNET_KV_CACHE_DTYPE or q8"},
    {"chunk", 0, TERN_OPTION_INT, offsetof(tern_session_options, chunk), "N", "prompt tokens evaluated at once", 1,
     MAX_CHUNK, NULL, "$BITNET_CHUNK_SIZE or automatic"},
    {0},
};

int tern_cli_load_model(const char *path, const tern_model_options *options, tern_model **model) {
    tern_error err;
    tern_progress progress;
    tern_model_params params = tern_model_defaults();
    char *found;
    int failed = tern_cli_find_model(path, &found);
    if (failed)
        return failed;
    params.n_threads = options ? (int)options->threads : 0;
    params.packing = options ? options->packing : NULL;
    params.dense_ffn = options && options->dense_ffn;
    params.lora = options ? options->lora : NULL;
    params.act = options ? (tern_act_type)options->act : TERN_ACT_INT8;
    if (options)
        tern_cli_place(&options->placement, &params);
    params.progress = tern_progress_update;
    params.progress_user = &progress;
    tern_progress_start(&progress, "loading", TERN_PROGRESS_BYTES);
    tern_status status = tern_model_load(found, &params, model, &err);
    tern_progress_end(&progress);
    free(found);
    if (!status && options)
        tern_cli_warn_placement(&options->placement, *model);
    return status ? tern_cli_error(&err) : 0;
}

static int kv_type_from_environment(tern_kv_type *type) {
    const char *value = getenv("BITNET_KV_CACHE_DTYPE");
    if (!value || !*value)
        return 0;
    for (const tern_choice *choice = tern_kv_choices; choice->name; choice++)
        if (strcmp(choice->name, value) == 0) {
            *type = (tern_kv_type)choice->value;
            return 0;
        }
    tern_cli_fail("BITNET_KV_CACHE_DTYPE is '%s', but must be f32, f16 or q8 (or float32, fp16, float16, int8)", value);
    return TERN_EXIT_USAGE;
}

static int chunk_from_environment(uint32_t *chunk) {
    const char *value = getenv("BITNET_CHUNK_SIZE");
    int64_t parsed;
    if (!value || !*value)
        return 0;
    if (!tern_parse_int(value, &parsed) || parsed < 1 || parsed > MAX_CHUNK) {
        tern_cli_fail("BITNET_CHUNK_SIZE is '%s', but must be a number of tokens from 1 to %d", value, MAX_CHUNK);
        return TERN_EXIT_USAGE;
    }
    *chunk = (uint32_t)parsed;
    return 0;
}

int tern_cli_session_params(const tern_session_options *options, tern_session_params *params) {
    *params = tern_session_defaults();
    params->n_ctx = (uint32_t)options->n_ctx;
    if (options->kv_type >= 0)
        params->kv_type = (tern_kv_type)options->kv_type;
    else if (kv_type_from_environment(&params->kv_type))
        return TERN_EXIT_USAGE;
    if (options->chunk)
        params->chunk = (uint32_t)options->chunk;
    else if (chunk_from_environment(&params->chunk))
        return TERN_EXIT_USAGE;
    return 0;
}
