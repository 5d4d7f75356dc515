/* tern fit --json: units stand in the names. */
#include "cli/estimate.h"
#include "cli/fit.h"
#include "cli/measure.h"

static void append(json_t *list, json_t *object) {
    if (list && object)
        json_array_append_new(list, object);
    else
        json_decref(object);
}

static json_t *shape_json(const tern_fit_request *r) {
    const tern_shape *s = &r->shape;
    json_t *columns = json_array();
    for (size_t i = 0; i < sizeof s->scale_columns / sizeof *s->scale_columns; i++)
        append(columns, json_integer(s->scale_columns[i]));
    return json_pack("{s:o, s:b, s:s, s:b, s:b, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:o}", "name",
                     tern_json_text(s->name), "from_file", r->from_file, "layout", s->no_sub_norms ? "llama" : "bitnet",
                     "floats", s->float_bytes > 0, "binary", s->binary, "weight_type", s->weight_type, "embedding_type",
                     s->embedding_type, "head_type", s->head_type, "vocab_size", (int)s->vocab_size, "context_tokens",
                     (int)s->n_ctx, "hidden_size", (int)s->hidden_size, "ffn_size", (int)s->ffn_size, "n_layers",
                     (int)s->n_layers, "n_heads", (int)s->n_heads, "n_kv_heads", (int)s->n_kv_heads, "tied_embedding",
                     s->tied_embedding, "scale_columns", columns);
}

static json_t *need_json(const tern_fit_request *r, const tern_fit_form *form, int32_t tokens) {
    tern_fit_need need = tern_fit_need_of(&r->shape, form, tokens, r->streams);
    return json_pack("{s:i, s:I, s:I, s:I}", "context_tokens", tokens, "kv_bytes", (json_int_t)need.kv_bytes,
                     "total_bytes", (json_int_t)need.total_bytes, "read_bytes_per_step", (json_int_t)need.read_bytes);
}

static json_t *form_json(const tern_fit_request *r, const tern_fit_form *form) {
    static const char *const readers[] = {
        [TERN_FIT_PUBLISHED] = "published page", [TERN_FIT_PROGRAM] = "programs", [TERN_FIT_TERN] = "tern"};
    json_t *needs = json_array();
    for (size_t i = 0; i < r->n_contexts; i++)
        append(needs, need_json(r, form, r->contexts[i]));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:o}", "type", form->name, "reader",
                     readers[form->reader], "parameters", (json_int_t)form->n_params, "matrix_bytes",
                     (json_int_t)form->weight_bytes, "embedding_bytes", (json_int_t)form->embedding_bytes, "rest_bytes",
                     (json_int_t)form->rest_bytes, "weight_bytes_per_step", (json_int_t)form->step_bytes, "kv_type",
                     tern_kv_type_name(form->kv_type), "kv_bytes_per_token",
                     tern_shape_kv_bytes(&r->shape, form->kv_type, 1), "contexts", needs);
}

static json_t *estimate_json(const tern_fit_request *r, const tern_device *device, const tern_fit_form *form,
                             int32_t tokens) {
    char reason[240];
    tern_fit_need need = tern_fit_need_of(&r->shape, form, tokens, r->streams);
    tern_fit_verdict verdict = tern_fit_judge(device, &need);
    bool runs = tern_fit_runs(device, form);
    json_t *object = json_pack("{s:s, s:i, s:s, s:b}", "type", form->name, "context_tokens", tokens, "verdict",
                               tern_fit_verdict_name(verdict), "runs", runs);
    if (runs && verdict != TERN_FIT_NO)
        json_object_set_new(object, "tokens_per_second", json_real(tern_fit_rate(device, &need, r->streams)));
    if (runs && *tern_fit_reason(r, device, form, tokens, reason))
        json_object_set_new(object, "reason", json_string(reason));
    return object;
}

static json_t *device_json(const tern_fit_request *r, const tern_device *device) {
    json_t *estimates = json_array();
    for (size_t f = 0; f < r->n_forms; f++)
        for (size_t i = 0; i < r->n_contexts; i++)
            append(estimates, estimate_json(r, device, &r->forms[f], r->contexts[i]));
    json_t *object =
        json_pack("{s:o, s:s, s:s, s:f, s:f, s:f, s:f, s:o, s:o}", "name", tern_json_text(device->name), "kind",
                  device->kind, "class", device->class_name, "memory_bytes", device->memory, "usable_bytes",
                  tern_fit_usable_bytes(device), "bandwidth_bytes_per_second", device->bandwidth, "efficiency",
                  device->efficiency, "source", tern_json_text(device->source), "estimates", estimates);
    if (object && device->origin != TERN_SOURCE_NOT_SAID)
        json_object_set_new(object, "first_hand", json_boolean(device->origin == TERN_SOURCE_FIRST_HAND));
    if (object && device == &r->here) {
        json_object_set_new(object, "busy", json_boolean(tern_fit_disturbance(&r->quiet) != NULL));
        json_object_set_new(object, "cpu_share", json_real(r->quiet.cpu_share));
        json_object_set_new(object, "slowest_pass_share", json_real(r->quiet.slowest));
    }
    return object;
}

int tern_fit_print_json(const tern_fit_request *r) {
    json_t *forms = json_array(), *devices = json_array();
    for (size_t i = 0; i < r->n_forms; i++)
        append(forms, form_json(r, &r->forms[i]));
    for (size_t i = 0; i < r->n_devices; i++)
        append(devices, device_json(r, r->devices[i]));
    for (size_t i = 0; r->list && i < r->table.n_devices; i++)
        append(devices, device_json(r, &r->table.devices[i]));
    json_t *energy = json_pack("{s:s, s:s}", "method", tern_energy_method_text, "source", tern_energy_source_text);
    json_t *tokens = json_array();
    for (size_t i = 0; i < r->n_contexts; i++) {
        const tern_estimate made = tern_estimate_of(&r->shape, !r->shape.float_bytes, r->contexts[i], 1);
        append(tokens, tern_estimate_json(&made));
    }
    json_object_set_new(energy, "contexts", tokens);
    return tern_cli_print_json(json_pack("{s:o, s:f, s:o, s:o, s:o}", "model", shape_json(r), "streams", r->streams,
                                         "forms", forms, "devices", devices, "energy_estimated", energy));
}
