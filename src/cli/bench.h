/* What `tern bench` measures and how it is printed. */
#ifndef TERN_CLI_BENCH_H
#define TERN_CLI_BENCH_H

#include "cli/command.h"

/* Median and spread of some runs. */
typedef struct tern_spread {
    double median, min, max;
} tern_spread;

/* With one number of threads. */
typedef struct tern_bench_result {
    int threads;
    char kernels[32], packing[32];
    double load_seconds;
    tern_spread prefill, decode;   /* tokens per second; zero if skipped */
    tern_spread first_token;       /* seconds from the prompt to the first token's logits */
    double weight_bytes, kv_bytes; /* that one decode step reads; KV: mean over the steps */
    double loaded_bytes, peak_rss; /* bytes */
    double memory_read;            /* bytes per second; 0: could not be measured */
} tern_bench_result;

/* Everything that is printed. */
typedef struct tern_bench_report {
    char name[96], arch[32], weight_type[16], embedding_type[16], head_type[16];
    uint64_t n_params;
    int64_t prompt, decode, depth, runs; /* tokens, tokens, tokens, runs */
    uint32_t chunk;                      /* tokens; 0: automatic */
    tern_kv_type kv_type;
    const tern_bench_result *results; /* [n_results] one for each number of threads */
    size_t n_results;
} tern_bench_report;

/* As a table or as one JSON object, on stdout; the exit status. */
int tern_bench_print_table(const tern_bench_report *report);
int tern_bench_print_json(const tern_bench_report *report);

#endif
