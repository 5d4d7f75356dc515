/* The estimate of energy from operations (eval/energy.h), as tern bench and tern fit print it. */
#ifndef TERN_CLI_ESTIMATE_H
#define TERN_CLI_ESTIMATE_H

#include <jansson.h>

#include "eval/energy.h"

/* Of one token. */
typedef struct tern_estimate {
    double context;                   /* tokens that it attends to, itself included */
    bool ternary;                     /* the weights */
    tern_token_operations operations; /* of the model */
    tern_token_operations dense;      /* of one of its shape with 16-bit weights */
} tern_estimate;

/* `head`: the share of tokens whose logits are computed. */
tern_estimate tern_estimate_of(const tern_shape *shape, bool ternary, double context, double head);

/* "operations counted ...", for JSON; the source of the figures is tern_energy_source_text. */
extern const char tern_energy_method_text[];
json_t *tern_estimate_json(const tern_estimate *estimate);

/* Lines on stdout: what all estimates are, once; then a table of each. */
void tern_print_estimate_head(void);
void tern_print_estimate(const char *title, const tern_estimate *estimate);

/* "1.23 mJ". */
const char *tern_format_joules(char text[32], double joules);

#endif
