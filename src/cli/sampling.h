/* The options of sampling and speculation that run and chat share. */
#ifndef TERN_CLI_SAMPLING_H
#define TERN_CLI_SAMPLING_H

#include "cli/command.h"

typedef struct tern_sampling_options {
    double temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty;
    int64_t top_k, penalty_window, seed; /* seed -1: a new one each time */
    int64_t draft;                       /* -1: the library's choice */
    bool no_speculate;
    tern_string_list logit_bias, stop;
    const char *grammar, *json_schema; /* files */
} tern_sampling_options;

#define TERN_SAMPLING_OPTIONS_DEFAULT                                                                                  \
    {                                                                                                                  \
        .temperature = 0.8, .top_p = 0.95, .min_p = 0.05, .repeat_penalty = 1, .top_k = 40, .penalty_window = 64,      \
        .seed = -1, .draft = -1                                                                                        \
    }

extern const tern_option tern_sampling_option_table[];

/* Into params, whose logit_bias then points into `bias` (caller's memory) and
 * whose stop strings point into `options`. 0 or an exit status after an error line. */
int tern_cli_sampling(const tern_sampling_options *options, const char *command,
                      tern_logit_bias bias[TERN_STRING_LIST_MAX], tern_generate_params *params);

/* Once the model is there: are the ids of --logit-bias in its vocabulary? */
int tern_cli_check_bias(const char *command, const tern_model *model, const tern_sampler_params *sampler);

/* And the grammar of --grammar or --json-schema, compiled for the model's tokenizer: into *grammar (NULL without one),
 * to be freed behind the last use of `sampler`, which it is put into. 0 or an exit status after an error line. */
int tern_cli_grammar(const tern_sampling_options *options, const char *command, const tern_model *model,
                     tern_sampler_params *sampler, tern_grammar **grammar);

#endif
