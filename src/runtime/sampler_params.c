/* The sampler's parameters: defaults, and what they may be. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/sampler.h"

tern_sampler_params tern_sampler_defaults(void) {
    return (tern_sampler_params){
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .repeat_penalty = 1,
        .penalty_window = 64,
    };
}

typedef struct param_range {
    const char *name, *rule;
    size_t offset;
    double low, high;
    bool low_open;
} param_range;

static const param_range ranges[] = {
    {"temperature", "0 (greedy) or more", offsetof(tern_sampler_params, temperature), 0, FLT_MAX, false},
    {"top-p", "above 0 and at most 1 (off)", offsetof(tern_sampler_params, top_p), 0, 1, true},
    {"min-p", "0 (off) to 1", offsetof(tern_sampler_params, min_p), 0, 1, false},
    {"repeat penalty", "above 0 (1 is off)", offsetof(tern_sampler_params, repeat_penalty), 0, FLT_MAX, true},
    {"frequency penalty", "a finite number (0 is off)", offsetof(tern_sampler_params, frequency_penalty), -FLT_MAX,
     FLT_MAX, false},
    {"presence penalty", "a finite number (0 is off)", offsetof(tern_sampler_params, presence_penalty), -FLT_MAX,
     FLT_MAX, false},
};

tern_status tern_sampler_check(const tern_sampler_params *params, size_t vocab_size, tern_error *err) {
    if (vocab_size == 0 || vocab_size > INT32_MAX)
        return tern_fail(err, TERN_ERR_ARGUMENT, "sampler: a vocabulary of %zu tokens is impossible", vocab_size);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        float value;
        memcpy(&value, (const char *)params + ranges[i].offset, sizeof value);
        if (!(value >= ranges[i].low && value <= ranges[i].high) || (ranges[i].low_open && value == ranges[i].low))
            return tern_fail(err, TERN_ERR_ARGUMENT, "%s %g: must be %s", ranges[i].name, (double)value,
                             ranges[i].rule);
    }
    if (params->top_k < 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "top-k %d: must be 0 (off) or more", (int)params->top_k);
    if (params->penalty_window < -1)
        return tern_fail(err, TERN_ERR_ARGUMENT, "penalty window %d: must be -1 (all tokens), 0 (off) or more",
                         (int)params->penalty_window);
    if (params->n_logit_bias && !params->logit_bias)
        return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias: %zu announced, but the list is NULL",
                         params->n_logit_bias);
    for (size_t i = 0; i < params->n_logit_bias; i++) {
        const tern_logit_bias *bias = &params->logit_bias[i];
        if (bias->id < 0 || (size_t)bias->id >= vocab_size)
            return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias for token %d: the ids are 0 to %zu", (int)bias->id,
                             vocab_size - 1);
        if (isnan(bias->bias) || bias->bias == INFINITY)
            return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias %g for token %d: must be finite, or -inf for a ban",
                             (double)bias->bias, (int)bias->id);
    }
    return TERN_OK;
}
