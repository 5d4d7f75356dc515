/* tern fit: what a model needs in memory, which devices have it, and how fast it would be there. */
#include "cli/fit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"

enum { MAX_CONTEXT = 1 << 24, MAX_STREAMS = 100000, MAX_THREADS = 1024 };

typedef struct settings {
    const char *contexts, *types, *embedding_type, *devices_file;
    tern_string_list devices;
    int kv_type;
    int64_t batch, threads;
    bool list, here, json;
} settings;

static const tern_option options[] = {
    {"context", 'c', TERN_OPTION_STRING, offsetof(settings, contexts), "LIST", "lengths of context in tokens: 512,4096",
     0, 0, NULL, "half and all of the model's"},
    {"type", 0, TERN_OPTION_STRING, offsetof(settings, types), "LIST",
     "forms of the weights: published, BF16, Q8_0, Q4_0, I2_S, TQ2_0,\nTQ1_0, t2r16, t5r16, b1r16, stored, F16, F32", 0,
     0, NULL, "those that go with MODEL"},
    {"embedding-type", 0, TERN_OPTION_STRING, offsetof(settings, embedding_type), "TYPE",
     "of embedding and LM head: F16, BF16, F32, Q8_0, Q6_K or Q4_0", 0, 0, NULL, "the model's"},
    {"kv-type", 0, TERN_OPTION_ENUM, offsetof(settings, kv_type), "TYPE",
     "numbers in the KV cache: f32, f16 or q8 (8 bits)", 0, 0, tern_kv_choices, "q8 for tern, f16 for others"},
    {"batch", 'b', TERN_OPTION_INT, offsetof(settings, batch), "N", "streams that are decoded together", 1, MAX_STREAMS,
     NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "one JSON object; units stand in the names", 0, 0,
     NULL, NULL},
    {0},
};

static const tern_option device_options[] = {
    {"list", 0, TERN_OPTION_FLAG, offsetof(settings, list), NULL, "all devices of the table", 0, 0, NULL, NULL},
    {"device", 'd', TERN_OPTION_LIST, offsetof(settings, devices), "NAME",
     "one device, by its name or any part of it that no other has;\nmay be repeated", 0, 0, NULL, NULL},
    {"here", 0, TERN_OPTION_FLAG, offsetof(settings, here), NULL,
     "this machine, whose memory is measured: its size, and how fast it\nis read", 0, 0, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, offsetof(settings, threads), "N", "CPU threads to measure with; 0: all CPUs", 0,
     MAX_THREADS, NULL, NULL},
    {"devices", 0, TERN_OPTION_FILE, offsetof(settings, devices_file), "FILE",
     "devices of your own, in the JSON of data/devices.json", 0, 0, NULL, NULL},
    {0},
};

/* ---------------------------------------------------------------- what is asked */

/* A file or folder of that name, or else a shape. */
static int get_shape(const char *model, tern_fit_request *request) {
    tern_error err, no_shape;
    tern_status status;
    bool named = model && strcmp(model, "demo") != 0 && !tern_file_exists(model);
    if (!model || named) {
        status = tern_shape_named(model ? model : "2b4t", &request->shape, &no_shape);
        if (!status)
            return 0;
        if (model && !strchr(model, '/') && !strchr(model, '.'))
            return tern_cli_fail("%s: no such file; as a shape: %s", model, no_shape.message);
    }
    request->from_file = true;
    char *path;
    int failed = tern_cli_find_model(model, &path);
    if (failed)
        return failed;
    status = tern_shape_of(path, &request->shape, &err);
    free(path);
    return status ? tern_cli_error(&err) : 0;
}

static int get_contexts(const char *list, tern_fit_request *request) {
    const uint32_t n_ctx = request->shape.n_ctx;
    const char *bad;
    int32_t *values;
    size_t n;
    if (!list) {
        const int32_t half = (int32_t)(n_ctx / 2);
        request->n_contexts = half ? 2 : 1;
        request->contexts[0] = half ? half : (int32_t)n_ctx;
        request->contexts[1] = (int32_t)n_ctx;
        return 0;
    }
    if (!tern_parse_int_list(list, 1, MAX_CONTEXT, &values, &n, &bad) || n == 0 || n > TERN_FIT_MAX_CONTEXTS)
        return tern_cli_usage("fit", "--context: '%s' is no list like 512,4096 of 1 to %d lengths in tokens", list,
                              TERN_FIT_MAX_CONTEXTS);
    int status = 0;
    for (size_t i = 0; i < n && !status; i++) {
        if ((uint32_t)values[i] > n_ctx)
            status = tern_cli_usage("fit", "--context: %d tokens, but the model's context is %u", values[i], n_ctx);
        request->contexts[i] = values[i];
    }
    request->n_contexts = n;
    free(values);
    return status;
}

static int add_form(const settings *s, const char *name, tern_fit_request *request, tern_error *err) {
    if (request->n_forms == TERN_FIT_MAX_FORMS)
        return tern_cli_usage("fit", "--type: more than %d of them", TERN_FIT_MAX_FORMS);
    if (request->from_file && !request->shape.binary && strcasecmp(name, "b1r16") == 0) {
        tern_fail(err, TERN_ERR_ARGUMENT, "b1r16 has one bit a weight, and this model's weights are not all -1 or 1");
        return TERN_EXIT_FAILURE;
    }
    tern_status status =
        tern_fit_form_of(&request->shape, name, s->embedding_type, s->kv_type, &request->forms[request->n_forms], err);
    if (!status)
        request->n_forms++;
    return status ? TERN_EXIT_FAILURE : 0;
}

static bool has_form(const tern_fit_request *request, const char *name) {
    for (size_t i = 0; i < request->n_forms; i++)
        if (strcmp(request->forms[i].name, name) == 0)
            return true;
    return false;
}

/* All forms that there are of this shape; those that its rows do not allow are left out. */
static void get_all_forms(const settings *s, tern_fit_request *request) {
    tern_error err;
    for (const tern_fit_row *row = tern_fit_rows; row->name; row++) {
        size_t used = strlen(request->left_out);
        if (tern_fit_shows(&request->shape, row) && add_form(s, row->name, request, &err))
            snprintf(request->left_out + used, sizeof request->left_out - used, "%s%s", used ? ", " : "", row->name);
    }
    if (!has_form(request, request->shape.weight_type) && request->n_forms < TERN_FIT_MAX_FORMS)
        add_form(s, request->shape.weight_type, request, &err);
}

static int get_forms(const settings *s, tern_fit_request *request) {
    tern_error err;
    tern_size size;
    const tern_size_params params = {.embedding_type = s->embedding_type};
    if (tern_size_of(&request->shape, &params, &size, &err))
        return s->embedding_type ? tern_cli_usage("fit", "%s", err.message) : tern_cli_error(&err);
    if (!s->types) {
        get_all_forms(s, request);
        return 0;
    }
    request->chosen = true;
    for (const char *at = s->types;;) {
        size_t n = strcspn(at, ",");
        char name[24];
        if (n == 0 || n >= sizeof name)
            return tern_cli_usage("fit", "--type: '%s' is no list like I2_S,t5r16", s->types);
        memcpy(name, at, n);
        name[n] = 0;
        err.message[0] = 0;
        int status = add_form(s, name, request, &err);
        if (status)
            return status == TERN_EXIT_USAGE ? status : tern_cli_usage("fit", "--type: %s", err.message);
        if (!at[n])
            return 0;
        at += n + 1;
    }
}

/* ---------------------------------------------------------------------- devices */

/* Of the machine, or what the container may use of it (cgroup v2); 0: not known. */
static double memory_bytes(void) {
    long n_pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    double bytes = n_pages > 0 && page > 0 ? (double)n_pages * (double)page : 0, limit = 0;
    char line[64];
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (file && fgets(line, sizeof line, file))
        limit = strtod(line, NULL); /* "max": 0 */
    if (file)
        fclose(file);
    return limit > 0 && limit < bytes ? limit : bytes;
}

static int measure(int threads, tern_fit_request *request) {
    tern_error err;
    tern_meter *meter;
    const tern_device_class *group = tern_devices_class(&request->table, "measured");
    const tern_device_kind *kind = tern_devices_kind(&request->table, "cpu");
    double memory = memory_bytes();
    if (memory <= 0)
        return tern_cli_fail("the system does not tell how much memory there is");
    tern_status status = tern_meter_create(threads, NULL, &meter, &err);
    if (status)
        return tern_cli_error(&err);
    request->here = (tern_device){.name = "this machine",
                                  .kind = "cpu",
                                  .class_name = "measured",
                                  .memory = memory,
                                  .bandwidth = tern_meter_memory(meter),
                                  .efficiency = group->efficiency,
                                  .usable = kind->usable};
    request->quiet = tern_meter_how_quiet(meter);
    const char *disturbance = tern_fit_disturbance(&request->quiet);
    snprintf(request->here.source, sizeof request->here.source,
             "measured now: the best of some passes over %llu MB, as tern bench does%s",
             (unsigned long long)(tern_meter_bytes(meter) / 1000000), disturbance ? "; this machine was busy" : "");
    tern_meter_free(meter);
    if (disturbance)
        tern_cli_warn("this machine is busy: %s (%.0f%% of the time was ours, the slowest pass had %.0f%% of the "
                      "best one's rate); alone it is faster than this says",
                      disturbance, 100 * request->quiet.cpu_share, 100 * request->quiet.slowest);
    request->devices[request->n_devices++] = &request->here;
    return 0;
}

static int get_devices(const settings *s, tern_fit_request *request) {
    tern_error err;
    tern_status status = tern_devices_builtin(&request->table, &err);
    if (!status && s->devices_file)
        status = tern_devices_add_file(&request->table, s->devices_file, &err);
    if (status)
        return tern_cli_error(&err);
    int bad = s->here ? measure((int)s->threads, request) : 0;
    for (size_t i = 0; i < s->devices.count && !bad; i++)
        if (tern_devices_find(&request->table, s->devices.items[i], &request->devices[request->n_devices], &err))
            bad = tern_cli_usage("fit", "--device: %s", err.message);
        else
            request->n_devices++;
    request->list = s->list;
    return bad;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_fit_request *request = calloc(1, sizeof *request);
    if (!request)
        return tern_cli_fail("out of memory");
    request->streams = (double)s->batch;
    int status = get_shape(n_operands ? operands[0] : NULL, request);
    if (!status)
        status = get_contexts(s->contexts, request);
    if (!status)
        status = get_forms(s, request);
    if (!status)
        status = get_devices(s, request);
    if (!status)
        status = s->json ? tern_fit_print_json(request) : tern_fit_print(request);
    tern_devices_free(&request->table);
    free(request);
    return status;
}

static const settings defaults = {.kv_type = -1, .batch = 1};

const tern_command tern_command_fit = {
    .name = "fit",
    .operands = "[MODEL]",
    .summary = "what a model needs in memory, where it fits and how fast it would be",
    .example = "tern fit --list                                       # BitNet b1.58 2B4T on all devices\n"
               "tern fit model.gguf --here                            # on this machine\n"
               "tern fit 8b --device 4090 --device \"m4 max\" --context 2048,8192\n"
               "tern fit --device h100 --batch 32 --kv-type q8 --json\n"
               "tern fit --devices mine.json --device \"my laptop\"\n",
    .notes =
        "MODEL is a file or folder, of which little but the head is read, or the name of a shape (tern synth\n"
        "--help); without it, the shape of BitNet b1.58 2B4T.\n"
        "\n"
        "Tokens a second are bandwidth x efficiency / bytes read per token, with the context full: an estimate\n"
        "for decoding where memory is the limit, not a measurement; tern bench measures. Efficiency goes by the\n"
        "vendor. published counts as the published page of 2B4T does; BF16, I2_S, TQ2_0 and TQ1_0 are what\n"
        "programs read that take these types as they are, t2r16 (any CPU) and t5r16 (AVX-512 VBMI) what tern\n"
        "reads of any of these files, at most: it skips what a sparse FFN does not need; b1r16 of a model without\n"
        "zeros. A LLaMA model whose matrices are floats has BF16, Q8_0, Q4_0 and stored: its floats as they are,\n"
        "with tern; ternary forms of it are asked for by name (tern quantize). docs/FIT.md has the formulas, the\n"
        "sources of the table and the form of --devices.\n",
    .min_operands = 0,
    .max_operands = 1,
    .groups = {{"Options", options, 0}, {"Devices", device_options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
