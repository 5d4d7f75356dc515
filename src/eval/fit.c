#include "eval/fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"

enum { KV_BLOCK = 64 }; /* tokens; tern's cache grows by so many (src/runtime/kv.h) */

const tern_fit_row tern_fit_rows[] = {
    {"published", TERN_FIT_PUBLISHED, TERN_FIT_ALL}, {"BF16", TERN_FIT_PROGRAM, TERN_FIT_ALL},
    {"Q8_0", TERN_FIT_PROGRAM, TERN_FIT_FLOATS},     {"Q4_0", TERN_FIT_PROGRAM, TERN_FIT_FLOATS},
    {"I2_S", TERN_FIT_PROGRAM, TERN_FIT_TERNARY},    {"TQ2_0", TERN_FIT_PROGRAM, TERN_FIT_TERNARY},
    {"TQ1_0", TERN_FIT_PROGRAM, TERN_FIT_TERNARY},   {"t2r16", TERN_FIT_TERN, TERN_FIT_TERNARY},
    {"t5r16", TERN_FIT_TERN, TERN_FIT_TERNARY},      {"b1r16", TERN_FIT_TERN, TERN_FIT_BINARY},
    {"stored", TERN_FIT_TERN, TERN_FIT_FLOATS},      {NULL, TERN_FIT_PROGRAM, TERN_FIT_ALL},
};

bool tern_fit_shows(const tern_shape *shape, const tern_fit_row *row) {
    const bool floats = shape->float_bytes > 0;
    if (row->reader == TERN_FIT_PUBLISHED)
        return tern_fit_is_published(shape);
    switch (row->of) {
    case TERN_FIT_TERNARY:
        return !floats;
    case TERN_FIT_BINARY:
        return shape->binary;
    case TERN_FIT_FLOATS:
        return floats;
    case TERN_FIT_ALL:
        break;
    }
    return true;
}

bool tern_fit_is_published(const tern_shape *shape) {
    tern_shape page;
    return tern_shape_named("2b4t", &page, NULL) == TERN_OK && shape->vocab_size == page.vocab_size &&
           shape->hidden_size == page.hidden_size && shape->ffn_size == page.ffn_size &&
           shape->n_layers == page.n_layers && shape->n_heads == page.n_heads && shape->n_kv_heads == page.n_kv_heads &&
           shape->tied_embedding && !shape->no_sub_norms;
}

static tern_status published(const tern_shape *shape, tern_fit_form *form, tern_error *err) {
    if (!tern_fit_is_published(shape))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "the published figures are those of the shape 2b4t, not of this model");
    *form = (tern_fit_form){.reader = TERN_FIT_PUBLISHED,
                            .kv_type = TERN_KV_F16,
                            .n_params = TERN_FIT_PUBLISHED_PARAMETERS,
                            .weight_bytes = TERN_FIT_PUBLISHED_PARAMETERS * TERN_FIT_PUBLISHED_BITS / 8,
                            .rest_bytes = TERN_FIT_FRAMEWORK_BYTES};
    form->total_bytes = form->step_bytes = form->weight_bytes + form->rest_bytes;
    snprintf(form->name, sizeof form->name, "%s", tern_fit_rows[0].name);
    return TERN_OK;
}

/* The row of that name; the last one, without a name, if there is none. */
static const tern_fit_row *find_row(const char *name) {
    const tern_fit_row *row = tern_fit_rows;
    while (row->name && strcasecmp(row->name, name) != 0)
        row++;
    return row;
}

static bool is_float(const char *name) {
    return strcasecmp(name, "BF16") == 0 || strcasecmp(name, "F16") == 0 || strcasecmp(name, "F32") == 0;
}

tern_status tern_fit_form_of(const tern_shape *shape, const char *name, const char *embedding_type, int kv_type,
                             tern_fit_form *form, tern_error *err) {
    const tern_fit_row *row = find_row(name);
    const bool own = row->reader == TERN_FIT_TERN;
    if (row->reader == TERN_FIT_PUBLISHED)
        return published(shape, form, err);
    name = row->name ? row->name : name; /* as the library spells it */
    const bool floats = row->of == TERN_FIT_FLOATS && own;
    if (floats && !shape->float_bytes)
        return tern_fail(err, TERN_ERR_ARGUMENT, "'%s' is for models whose matrices are floats", name);
    const tern_size_params params = {.weight_type = floats ? "none" : name,
                                     .embedding_type = embedding_type   ? embedding_type
                                                       : is_float(name) ? name
                                                                        : NULL};
    tern_size size;
    tern_status status = tern_size_of(shape, &params, &size, err);
    if (status)
        return status;
    *form = (tern_fit_form){.reader = own ? TERN_FIT_TERN : TERN_FIT_PROGRAM,
                            .kv_type = kv_type >= 0 ? (tern_kv_type)kv_type
                                       : own        ? TERN_KV_Q8
                                                    : TERN_KV_F16,
                            .n_params = (double)size.n_params,
                            .weight_bytes = (double)size.weight_bytes,
                            .embedding_bytes = (double)size.embedding_bytes,
                            .rest_bytes = (double)(size.norm_bytes + size.screen_bytes) +
                                          (own ? TERN_FIT_TERN_BYTES : TERN_FIT_FRAMEWORK_BYTES),
                            .step_bytes = (double)size.bytes_per_token};
    form->total_bytes = form->weight_bytes + form->embedding_bytes + form->rest_bytes;
    snprintf(form->name, sizeof form->name, "%s", name);
    return TERN_OK;
}

tern_fit_need tern_fit_need_of(const tern_shape *shape, const tern_fit_form *form, double n_tokens, double n_streams) {
    double read = n_streams * tern_shape_kv_bytes(shape, form->kv_type, n_tokens), kv = read;
    if (form->reader == TERN_FIT_TERN)
        kv = n_streams * tern_shape_kv_bytes(shape, form->kv_type, ceil(n_tokens / KV_BLOCK) * KV_BLOCK);
    return (tern_fit_need){kv, form->total_bytes + kv, form->step_bytes + read};
}

double tern_fit_usable_bytes(const tern_device *device) { return device->memory * device->usable; }

tern_fit_verdict tern_fit_judge(const tern_device *device, const tern_fit_need *need) {
    double usable = tern_fit_usable_bytes(device);
    return need->total_bytes > usable                          ? TERN_FIT_NO
           : need->total_bytes > usable * TERN_FIT_TIGHT_SHARE ? TERN_FIT_TIGHT
                                                               : TERN_FIT_YES;
}

double tern_fit_rate(const tern_device *device, const tern_fit_need *need, double n_streams) {
    return n_streams * device->bandwidth * device->efficiency / need->read_bytes;
}

bool tern_fit_runs(const tern_device *device, const tern_fit_form *form) {
    return form->reader != TERN_FIT_TERN || strcmp(device->kind, "gpu") != 0;
}

uint32_t tern_fit_longest(const tern_shape *shape, const tern_fit_form *form, const tern_device *device,
                          double n_streams) {
    double room = tern_fit_usable_bytes(device) - form->total_bytes;
    double tokens = room / (n_streams * tern_shape_kv_bytes(shape, form->kv_type, 1));
    if (tokens >= shape->n_ctx)
        return shape->n_ctx;
    return tokens < KV_BLOCK ? 0 : (uint32_t)tokens / KV_BLOCK * KV_BLOCK;
}

/* Alone, a machine with a graphical session has 97% and more, and passes that differ by a tenth. */
const char *tern_fit_disturbance(const tern_meter_quiet *quiet) {
    if (quiet->cpu_share < 0.9)
        return "other programs had the CPUs";
    return quiet->slowest < 0.6 ? "its passes differ much" : NULL;
}
