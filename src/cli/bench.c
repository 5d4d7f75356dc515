/* tern bench: how fast a model runs here, and how near the limits that is. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/nvml.h"
#include "cli/bench.h"
#include "cli/measure.h"
#include "cli/sweep.h"

enum { MAX_THREADS = 1024, MAX_RUNS = 1000, MAX_TOKENS = 1 << 20, MAX_STREAMS = 256 };

typedef struct settings {
    const char *threads, *temporary;
    tern_session_options session;
    tern_string_list sweeps, outputs;
    int64_t prompt, decode, depth, runs, batch;
    const char *packing;
    tern_placement_options placement;
    bool dense_ffn, exact_head;
    int act;
    bool json, all_logits, counters, energy;
    double idle;
    const char *sysfs, *nvml;
} settings;

static const tern_option options[] = {
    {"prompt", 'p', TERN_OPTION_INT, offsetof(settings, prompt), "N",
     "prefill: evaluate a prompt of N tokens in an empty context;\n0: skip", 0, MAX_TOKENS, NULL, NULL},
    {"decode", 'n', TERN_OPTION_INT, offsetof(settings, decode), "N", "decode: evaluate N tokens one by one; 0: skip",
     0, MAX_TOKENS, NULL, NULL},
    {"depth", 'd', TERN_OPTION_INT, offsetof(settings, depth), "N",
     "tokens that are already in the context when decode begins", 1, MAX_TOKENS, NULL, NULL},
    {"runs", 'r', TERN_OPTION_INT, offsetof(settings, runs), "N",
     "measured runs, after one that is not; median and spread", 1, MAX_RUNS, NULL, NULL},
    {"threads", 't', TERN_OPTION_STRING, offsetof(settings, threads), "LIST",
     "numbers of CPU threads to measure with: 1,2,4", 0, 0, NULL, "all CPUs"},
    {"batch", 'b', TERN_OPTION_INT, offsetof(settings, batch), "N",
     "decode N streams together, too, and compare with one", 1, MAX_STREAMS, NULL, NULL},
    {"all-logits", 0, TERN_OPTION_FLAG, offsetof(settings, all_logits), NULL,
     "compute all logits in each step, not only the likeliest\ntoken", 0, 0, NULL, NULL},
    {"counters", 0, TERN_OPTION_FLAG, offsetof(settings, counters), NULL,
     "cycles, instructions, cache and TLB misses, page faults and\ncontext switches per token", 0, 0, NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "one JSON object; units stand in the names", 0, 0,
     NULL, NULL},
    {0},
};

static const tern_option model_options[] = {
    {"packing", 0, TERN_OPTION_STRING, offsetof(settings, packing), "NAME",
     "layout of the weights in memory: t5r16, t2r16 or b1r16; by default\nb1r16 if no weight is zero, else the one "
     "that the "
     "kernels name\nfirst, unless another measures 20% faster",
     0, 0, NULL, "$TERN_PACKING or by the kernels"},
    {"dense-ffn", 0, TERN_OPTION_FLAG, offsetof(settings, dense_ffn), NULL,
     "read the whole FFN for every token, to measure what skipping\nis worth; only packing t5r16 skips, others read "
     "all anyway",
     0, 0, NULL, NULL},
    {"act", 0, TERN_OPTION_ENUM, offsetof(settings, act), "TYPE",
     "round the inputs of the matrices to int8, as models are\ntrained, or to int4 (BitNet a4.8: another, worse "
     "result)",
     0, 0, tern_act_choices, NULL},
    {"exact-head", 0, TERN_OPTION_FLAG, offsetof(settings, exact_head), NULL,
     "read the whole LM head for every token, to measure what\nscreening is worth", 0, 0, NULL, NULL},
    {0},
};

static const tern_option sweep_options[] = {
    {"sweep", 0, TERN_OPTION_LIST, offsetof(settings, sweeps), "AXIS",
     "measure a series: threads, context, batch or shape, with values\nof your own as AXIS=LIST; may be repeated", 0, 0,
     NULL, NULL},
    {"output", 'o', TERN_OPTION_LIST, offsetof(settings, outputs), "FILE",
     "write the series to FILE.svg (a plot), FILE.csv or FILE.json;\nmay be repeated", 0, 0, NULL, NULL},
    {"tmp", 0, TERN_OPTION_FILE, offsetof(settings, temporary), "DIR", "where --sweep shape keeps one model at a time",
     0, 0, NULL, "$TMPDIR or /tmp"},
    {0},
};

static const tern_option energy_options[] = {
    {"energy", 0, TERN_OPTION_FLAG, offsetof(settings, energy), NULL,
     "joules per token: measured where the system lets it be read, and\nan estimate from the number of operations", 0,
     0, NULL, NULL},
    {"idle", 0, TERN_OPTION_FLOAT, offsetof(settings, idle), "SECONDS",
     "measure for so long, before the runs, what the machine takes\nanyway; 0: do not", 0, 600, NULL, NULL},
    {"sysfs", 0, TERN_OPTION_FILE, offsetof(settings, sysfs), "DIR",
     "where the sensors are: in a container, the host's /sys", 0, 0, NULL, NULL},
    {"nvml", 0, TERN_OPTION_FILE, offsetof(settings, nvml), "FILE",
     "the library that knows the energy of NVIDIA's cards; none:\nleave them alone", 0, 0, NULL, NULL},
    {0},
};

static const tern_option session_options[] = {
    {"kv-type", 0, TERN_OPTION_ENUM, offsetof(tern_session_options, kv_type), "TYPE",
     "numbers in the KV cache: f32, f16 or q8 (8 bits)", 0, 0, tern_kv_choices, "$BITNET_KV_CACHE_DTYPE or q8"},
    {"chunk", 0, TERN_OPTION_INT, offsetof(tern_session_options, chunk), "N", "prompt tokens evaluated at once", 1,
     MAX_TOKENS, NULL, "$BITNET_CHUNK_SIZE or automatic"},
    {0},
};

static int bench(const tern_bench_plan *plan, const char *path, const int32_t *threads, size_t n, bool json,
                 tern_bench_result *results) {
    tern_progress progress;
    tern_bench_model model;
    int64_t done = 0, total = (int64_t)n * plan->runs;
    int status = 0;
    tern_progress_start(&progress, "bench", TERN_PROGRESS_RUNS);
    for (size_t i = 0; i < n && !status; i++) {
        status = tern_bench_open(path, threads[i], &plan->load, &model);
        if (!status) {
            status = tern_bench_measure(&model, plan, &progress, &done, total, &results[i]);
            tern_bench_close(&model);
        }
    }
    tern_progress_end(&progress);
    if (status)
        return status;
    return json ? tern_bench_print_json(results, n) : tern_bench_print_table(results, n);
}

static int get_plan(const settings *s, tern_bench_plan *plan) {
    if (s->prompt == 0 && s->decode == 0)
        return tern_cli_usage("bench", "nothing to measure: --prompt and --decode are both 0");
    if (s->outputs.count && !s->sweeps.count)
        return tern_cli_usage("bench", "--output is for --sweep; --json prints the figures of one measurement");
    *plan = (tern_bench_plan){.prompt = s->prompt,
                              .decode = s->decode,
                              .depth = s->depth,
                              .runs = s->runs,
                              .batch = s->batch,
                              .all_logits = s->all_logits,
                              .counters = s->counters,
                              .energy = s->energy,
                              .idle = s->idle,
                              .sysfs = s->sysfs,
                              .nvml = strcmp(s->nvml, "none") == 0 ? NULL : s->nvml,
                              .load = {s->packing, s->dense_ffn, s->exact_head, s->act, s->placement}};
    return tern_cli_session_params(&s->session, &plan->session);
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    const char *path = n_operands ? operands[0] : NULL, *bad;
    tern_bench_plan plan = {0};
    int32_t *threads = NULL;
    size_t n = 0;
    int status = get_plan(s, &plan);
    if (status)
        return status;
    if (!tern_parse_int_list(s->threads, 0, MAX_THREADS, &threads, &n, &bad) || n == 0)
        return tern_cli_usage("bench", "--threads: '%s' is no list like 1,2,4 of numbers up to %d", s->threads,
                              MAX_THREADS);
    if (s->sweeps.count) {
        const tern_sweep_request request = {&s->sweeps, &s->outputs, s->temporary, path, &plan, threads, n, s->json};
        status = tern_sweep(&request);
    } else {
        tern_bench_result *results = tern_calloc_array(n, sizeof *results);
        status = results ? bench(&plan, path, threads, n, s->json, results) : tern_cli_fail("out of memory");
        free(results);
    }
    free(threads);
    return status;
}

static const settings defaults = {.threads = "0",
                                  .session = TERN_SESSION_OPTIONS_DEFAULT,
                                  .prompt = 512,
                                  .decode = 128,
                                  .depth = 16,
                                  .runs = 5,
                                  .batch = 1,
                                  .idle = 2,
                                  .sysfs = "/sys",
                                  .nvml = TERN_NVML_LIBRARY};

const tern_command tern_command_bench = {
    .name = "bench",
    .operands = "[MODEL]",
    .summary = "measure the speed of prefill and decode, and how near the limits it is",
    .example = "tern bench model.gguf\n"
               "tern bench model.gguf -p 512 -n 128 -t 1,2 -r 5 --json\n"
               "tern bench model.gguf -p 0 -d 2048                    # decode in a long context\n"
               "tern bench model.gguf --sweep threads --sweep context=16,512,2048 -o speed.svg -o speed.csv\n"
               "tern bench --sweep shape=0.7b,2b4t,3b -p 128 -n 32 --tmp /var/tmp\n"
               "tern bench model.gguf --energy                        # joules per token\n",
    .notes =
        "Prefill evaluates random tokens (the same in every run) from an empty context; the time to the first\n"
        "token is that of the whole prompt and of choosing the next token. Decode evaluates token by token and\n"
        "chooses the likeliest next one each time. Bytes per token: packed weights and head, and the mean of\n"
        "what is read of the KV cache. The limits are measured with the same threads around each run, since\n"
        "they drift: memory by summing 256 MB or more, arithmetic by the kernels' int8 dot product on registers (a\n"
        "prompt's token counts as one multiply-add for each ternary weight; attention and head are extra).\n"
        "\n"
        "Series: threads (1, 2, 4 up to all CPUs), context (tokens: a prompt of that length, then decode after\n"
        "it), batch (streams), shape (models made by tern synth: 0.7b, 2b4t, 3b, 8b unless named; 13b and 70b\n"
        "take 4 and 21 GB on the disk). What --threads lists is drawn as a line each. Counters are of all\n"
        "threads in user space, waiting included.\n"
        "\n"
        "Energy is read from RAPL, hwmon or a battery that discharges, and is the whole machine's or processor's,\n"
        "whatever runs there. NVIDIA's cards are listed beside it, each as a whole and added to nothing: tern does\n"
        "not compute on them. The estimate beside it is no measurement: it counts additions and multiplications\n"
        "and takes the energy of each from the papers on BitNet. docs/ENERGY.md has both.\n",
    .min_operands = 0,
    .max_operands = 1,
    .groups = {{"Options", options, 0},
               {"Series", sweep_options, 0},
               {"Model", model_options, 0},
               {"Threads and memory", tern_placement_option_table, offsetof(settings, placement)},
               {"Energy", energy_options, 0},
               {"Evaluation", session_options, offsetof(settings, session)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
