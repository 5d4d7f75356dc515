#include "cli/sampling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/file.h"

#define FIELD(name) offsetof(tern_sampling_options, name)

const tern_option tern_sampling_option_table[] = {
    {"temp", 0, TERN_OPTION_FLOAT, FIELD(temperature), "T",
     "temperature; 0 takes the likeliest token and is\nreproducible", 0, 100, NULL, NULL},
    {"top-k", 0, TERN_OPTION_INT, FIELD(top_k), "K", "only the K likeliest tokens; 0: off", 0, INT32_MAX, NULL, NULL},
    {"top-p", 0, TERN_OPTION_FLOAT, FIELD(top_p), "P",
     "only the likeliest tokens that together reach\nprobability P; 1: off. Without --top-k every token\nneeds the "
     "whole LM head",
     1e-6, 1, NULL, NULL},
    {"min-p", 0, TERN_OPTION_FLOAT, FIELD(min_p), "P",
     "only tokens at least P times as likely as the\nlikeliest; 0: off", 0, 1, NULL, NULL},
    {"repeat-penalty", 0, TERN_OPTION_FLOAT, FIELD(repeat_penalty), "X",
     "make tokens of the window less likely by this\nfactor; 1: off", 0.01, 100, NULL, NULL},
    {"frequency-penalty", 0, TERN_OPTION_FLOAT, FIELD(frequency_penalty), "X",
     "lower a logit by X for each time the token\nstands in the window; 0: off", -100, 100, NULL, NULL},
    {"presence-penalty", 0, TERN_OPTION_FLOAT, FIELD(presence_penalty), "X",
     "lower a logit by X if the token stands in the\nwindow; 0: off", -100, 100, NULL, NULL},
    {"penalty-window", 0, TERN_OPTION_INT, FIELD(penalty_window), "N", "last tokens the penalties look at; -1: all", -1,
     INT32_MAX, NULL, NULL},
    {"logit-bias", 0, TERN_OPTION_LIST, FIELD(logit_bias), "ID=X",
     "add X to the logit of token ID, -inf forbids it; may\nbe repeated", 0, 0, NULL, NULL},
    {"stop", 0, TERN_OPTION_LIST, FIELD(stop), "TEXT", "end before this text; may be repeated", 0, 0, NULL, NULL},
    {"grammar", 0, TERN_OPTION_FILE, FIELD(grammar), "FILE", "only text that the grammar in FILE allows (GBNF)", 0, 0,
     NULL, NULL},
    {"json-schema", 0, TERN_OPTION_FILE, FIELD(json_schema), "FILE", "only JSON that the schema in FILE allows", 0, 0,
     NULL, NULL},
    {"seed", 0, TERN_OPTION_INT, FIELD(seed), "S", "seed of the random numbers", 0, 9e18, NULL,
     "new each time, see --stats"},
    {"draft", 0, TERN_OPTION_INT, FIELD(draft), "N",
     "guess at most N tokens at once from repetitions in\nthe text; the text stays the same; 0: none", 0, 64, NULL,
     "as many as pay"},
    {"no-speculate", 0, TERN_OPTION_FLAG, FIELD(no_speculate), NULL, "the same as --draft 0", 0, 0, NULL, NULL},
    {0},
};

/* "ID=X" */
static int parse_bias(const char *text, const char *command, tern_logit_bias *bias) {
    char id_text[24];
    int64_t id;
    double value;
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : 0;
    if (!equals || length == 0 || length >= sizeof id_text)
        return tern_cli_usage(command, "--logit-bias: '%s' is not ID=X, such as 42=-100", text);
    memcpy(id_text, text, length);
    id_text[length] = 0;
    if (strcmp(equals + 1, "-inf") == 0)
        value = -INFINITY;
    else if (!tern_parse_float(equals + 1, &value) || value < -1e6 || value > 1e6)
        return tern_cli_usage(command, "--logit-bias: '%s': X must be a number from -1e6 to 1e6, or -inf", text);
    if (!tern_parse_int(id_text, &id) || id < 0 || id > INT32_MAX)
        return tern_cli_usage(command, "--logit-bias: '%s': ID must be a token's id", text);
    *bias = (tern_logit_bias){.id = (int32_t)id, .bias = (float)value};
    return 0;
}

static uint64_t fresh_seed(void) {
    uint32_t seed; /* 32 bits: short enough to type again */
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint32_t)time(NULL);
    return seed;
}

int tern_cli_sampling(const tern_sampling_options *options, const char *command,
                      tern_logit_bias bias[TERN_STRING_LIST_MAX], tern_generate_params *params) {
    tern_sampler_params *sampler = &params->sampler;
    for (size_t i = 0; i < options->logit_bias.count; i++)
        if (parse_bias(options->logit_bias.items[i], command, &bias[i]))
            return TERN_EXIT_USAGE;
    for (size_t i = 0; i < options->stop.count; i++)
        if (!*options->stop.items[i])
            return tern_cli_usage(command, "--stop: the text is empty");
    sampler->temperature = (float)options->temperature;
    sampler->top_k = (int32_t)options->top_k;
    sampler->top_p = (float)options->top_p;
    sampler->min_p = (float)options->min_p;
    sampler->repeat_penalty = (float)options->repeat_penalty;
    sampler->frequency_penalty = (float)options->frequency_penalty;
    sampler->presence_penalty = (float)options->presence_penalty;
    sampler->penalty_window = (int32_t)options->penalty_window;
    sampler->seed = options->seed < 0 ? fresh_seed() : (uint64_t)options->seed;
    sampler->logit_bias = bias;
    sampler->n_logit_bias = options->logit_bias.count;
    params->draft = options->no_speculate ? 0 : (int32_t)options->draft;
    params->stop = options->stop.items;
    params->n_stop = options->stop.count;
    return 0;
}

int tern_cli_check_bias(const char *command, const tern_model *model, const tern_sampler_params *sampler) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    for (size_t i = 0; i < sampler->n_logit_bias; i++)
        if ((uint32_t)sampler->logit_bias[i].id >= info.vocab_size)
            return tern_cli_usage(command, "--logit-bias: token %d is not in the vocabulary of %u tokens",
                                  (int)sampler->logit_bias[i].id, (unsigned)info.vocab_size);
    return 0;
}

enum { MAX_GRAMMAR_BYTES = 1 << 20 };

int tern_cli_grammar(const tern_sampling_options *options, const char *command, const tern_model *model,
                     tern_sampler_params *sampler, tern_grammar **grammar) {
    const char *path = options->grammar ? options->grammar : options->json_schema;
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    char *text = NULL;
    size_t n_bytes;
    tern_error err;
    *grammar = NULL;
    if (options->grammar && options->json_schema)
        return tern_cli_usage(command, "give either --grammar or --json-schema, not both");
    if (!path)
        return 0;
    if (tern_read_file(path, MAX_GRAMMAR_BYTES, &text, &n_bytes, &err))
        return tern_cli_error(&err);
    tern_status status = TERN_OK;
    if (strlen(text) != n_bytes)
        status = tern_fail(&err, TERN_ERR_FORMAT, "there is a zero byte in it: it is no text");
    else if (options->grammar)
        status = tern_grammar_parse(tokenizer, text, grammar, &err);
    else
        status = tern_grammar_from_schema(tokenizer, text, grammar, &err);
    free(text);
    if (status)
        tern_error_prefix(&err, "%s", path);
    sampler->grammar = *grammar;
    return status ? tern_cli_error(&err) : 0;
}
