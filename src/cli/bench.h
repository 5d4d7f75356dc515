/* What `tern bench` measures and how it is printed. bench.c is the command, bench_run.c measures, bench_report.c
 * prints, bench_energy.c does both for energy, sweep.c measures a series and draws it. */
#ifndef TERN_CLI_BENCH_H
#define TERN_CLI_BENCH_H

#include <jansson.h>

#include "base/energy.h"
#include "cli/command.h"
#include "cli/counters.h"
#include "cli/progress.h"

/* Median and spread of some runs. All zero: not measured. */
typedef struct tern_spread {
    double median, min, max;
} tern_spread;

/* Sorts values [n > 0]. */
tern_spread tern_spread_of(double *values, size_t n);

/* How the model is loaded. */
typedef struct tern_bench_load {
    const char *packing;        /* NULL: the library's choice */
    bool dense_ffn, exact_head; /* as in tern_model_params */
    int act;                    /* tern_act_type */
    tern_placement_options placement;
} tern_bench_load;

/* What to measure, in tokens and runs. */
typedef struct tern_bench_plan {
    int64_t prompt, decode, depth, runs; /* prompt, decode 0: skip */
    int64_t batch;                       /* streams that are decoded together; 0 or 1: only one stream */
    bool all_logits;                     /* each step computes all logits, not only the likeliest token */
    bool counters;
    bool energy;
    double idle;       /* seconds to measure the power of the machine without tern's work; 0: none */
    const char *sysfs; /* where the system shows its sensors of energy, "/sys" */
    const char *nvml;  /* the library that knows NVIDIA's cards; NULL: do not look for any */
    tern_bench_load load;
    tern_session_params session;
} tern_bench_plan;

typedef enum tern_energy_part {
    TERN_ENERGY_IDLE = 0,
    TERN_ENERGY_PREFILL,
    TERN_ENERGY_DECODE,
    TERN_ENERGY_BATCH,
    TERN_ENERGY_N_PARTS
} tern_energy_part;

/* Energy of a part of the measured runs together; idle: no tokens. */
typedef struct tern_energy_span {
    double seconds, tokens;
    double joules[TERN_ENERGY_MAX_SOURCES]; /* negative: it could not be read all the while */
    double sum;                             /* of the sources of `method`; negative: none */
} tern_energy_span;

typedef struct tern_bench_energy {
    size_t n;
    tern_energy_source sources[TERN_ENERGY_MAX_SOURCES];
    tern_energy_span parts[TERN_ENERGY_N_PARTS]; /* without seconds: was not to be measured */
    tern_energy_method method;                   /* of the sums */
    char missing[600];
} tern_bench_energy;

typedef struct tern_bench_result {
    char name[96], arch[32], weight_type[16], embedding_type[16], head_type[16], kernels[32], packing[32];
    char instruction[24]; /* whose peak prefill is held against */
    tern_bench_plan plan;
    int threads;
    uint64_t n_params, n_ternary;
    double load_seconds;

    tern_spread prefill, decode;    /* tokens per second */
    tern_spread first_token;        /* seconds from the prompt to the first token */
    tern_spread memory_read, macs;  /* limits: bytes per second; int8 multiply-adds per second */
    tern_spread decode_share;       /* of memory_read around each run */
    tern_spread prefill_share;      /* of macs around each run */
    tern_spread batch, batch_ratio; /* tokens per second of all streams; that against one stream's */

    double weight_bytes, kv_bytes;                /* that one decode step reads; KV: mean over the steps */
    double ffn_up_share, ffn_down_share;          /* of the FFN's rows and columns that decode really read, 0 to 1 */
    double loaded_bytes, peak_rss, private_bytes; /* bytes */
    tern_counts prefill_counts, decode_counts;    /* per token */
    char no_counters[200];                        /* why some are missing */
    tern_bench_energy energy;                     /* if the plan has it */
    tern_shape shape;                             /* sizes only */
} tern_bench_result;

double tern_bench_bytes_per_token(const tern_bench_result *r);
double tern_bench_bytes_per_second(const tern_bench_result *r); /* that decode reads; 0: not measured */
double tern_bench_macs_per_second(const tern_bench_result *r);  /* of prefill, likewise */

/* ---------------------------------------------------------------- measuring */

/* A model that is loaded to be measured, with its yardsticks. */
typedef struct tern_bench_model {
    tern_model *model;
    tern_meter *meter; /* NULL: there was no memory for it, as a warning said */
    tern_counters counters;
    tern_model_info info;
    double load_seconds;
} tern_bench_model;

/* threads 0: all. 0, or the exit status after an error line; then there is nothing to close. */
int tern_bench_open(const char *path, int threads, const tern_bench_load *load, tern_bench_model *bench);
void tern_bench_close(tern_bench_model *bench);

/* Fills *result; updates the progress by one for each run. 0, or the exit status after an error line. */
int tern_bench_measure(const tern_bench_model *bench, const tern_bench_plan *plan, tern_progress *progress,
                       int64_t *done, int64_t total, tern_bench_result *result);

/* Reads nothing and does nothing where energy is NULL. _end adds what was taken since _begin to a part. */
void tern_bench_energy_begin(tern_energy *energy, tern_energy_reading *before);
void tern_bench_energy_end(tern_energy *energy, const tern_energy_reading *before, tern_energy_part part, double tokens,
                           tern_bench_energy *measured);
/* Look for sources, and take the power of the idle machine for so long. NULL: there are none, as `measured` says. */
tern_energy *tern_bench_energy_open(const tern_bench_plan *plan, tern_bench_energy *measured);
/* Forget the parts but the idle one: a run that does not count is over. */
void tern_bench_energy_reset(tern_bench_energy *measured);
/* Fill in the sums. */
void tern_bench_energy_summarise(const tern_energy *energy, tern_bench_energy *measured);

/* ----------------------------------------------------------------- printing */

/* As a table or as one JSON object, on stdout; results [n] are of one model and plan. The exit status. */
int tern_bench_print_table(const tern_bench_result *results, size_t n);
int tern_bench_print_json(const tern_bench_result *results, size_t n);
/* What is measured and what came out; NULL: no memory. */
json_t *tern_bench_plan_json(const tern_bench_result *result);
json_t *tern_bench_result_json(const tern_bench_result *result);
/* What was measured by result, then what is estimated, which is the same for all; lines on stdout. */
void tern_bench_print_energy(const tern_bench_result *results, size_t n);
/* energy_measured, energy_unavailable and energy_estimated, into `object`. */
void tern_bench_add_energy(const tern_bench_result *result, json_t *object);

#endif
