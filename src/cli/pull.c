/* tern pull: models from the Hugging Face hub, into the cache and out of it. */
#include <stdlib.h>
#include <string.h>

#include "cli/hub.h"
#include "cli/measure.h"

typedef struct settings {
    bool list, remove, offline, json;
    int64_t connections, retries, timeout;
} settings;

static const tern_option main_options[] = {
    {"list", 0, TERN_OPTION_FLAG, offsetof(settings, list), NULL, "show what the cache holds", 0, 0, NULL, NULL},
    {"remove", 0, TERN_OPTION_FLAG, offsetof(settings, remove), NULL,
     "remove the repositories from the cache, with all their revisions", 0, 0, NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "with --list: one JSON object", 0, 0, NULL, NULL},
    {"offline", 0, TERN_OPTION_FLAG, offsetof(settings, offline), NULL,
     "ask nobody: print where a model is that was pulled before", 0, 0, NULL, "$HF_HUB_OFFLINE"},
    {"connections", 0, TERN_OPTION_INT, offsetof(settings, connections), "N", "parts of a file fetched at once", 1, 16,
     NULL, NULL},
    {"retries", 0, TERN_OPTION_INT, offsetof(settings, retries), "N",
     "failures in a row after which a download is given up", 0, 1000, NULL, NULL},
    {"timeout", 0, TERN_OPTION_INT, offsetof(settings, timeout), "SECONDS",
     "without a byte, after which a connection has failed", 1, 3600, NULL, NULL},
    {0},
};

/* ------------------------------------------------------------------- --list */

typedef struct summary {
    json_t *array; /* NULL: print lines */
    size_t n;
    uint64_t bytes;
} summary;

static bool list_entry(void *user, const tern_hub_entry *entry) {
    summary *sum = user;
    char text[32];
    sum->n++;
    sum->bytes += entry->bytes;
    if (sum->array) {
        json_t *lines = json_array();
        for (size_t i = 0; i < entry->n_snapshots; i++)
            json_array_append_new(lines, tern_json_text(entry->snapshots[i]));
        return json_array_append_new(sum->array, json_pack("{s:s, s:I, s:I, s:o}", "repository", entry->repo, "bytes",
                                                           (json_int_t)entry->bytes, "unfinished_bytes",
                                                           (json_int_t)entry->unfinished_bytes, "snapshots", lines)) ==
               0;
    }
    printf("%10s  %s\n", tern_format_bytes(text, (double)entry->bytes), entry->repo);
    for (size_t i = 0; i < entry->n_snapshots; i++)
        printf("%12s%s\n", "", entry->snapshots[i]);
    if (entry->unfinished_bytes)
        printf("%12s%s not finished; tern pull goes on with it\n", "",
               tern_format_bytes(text, (double)entry->unfinished_bytes));
    return true;
}

static int list(const settings *s, tern_hub *hub) {
    summary sum = {.array = s->json ? json_array() : NULL};
    tern_error err;
    char text[32];
    if (tern_hub_list(hub, list_entry, &sum, &err)) {
        json_decref(sum.array);
        return tern_cli_error(&err);
    }
    if (s->json)
        return tern_cli_print_json(json_pack("{s:o, s:I, s:o}", "cache", tern_json_text(tern_hub_cache(hub)), "bytes",
                                             (json_int_t)sum.bytes, "repositories", sum.array));
    printf("%10s  in %zu repositor%s of %s\n", tern_format_bytes(text, (double)sum.bytes), sum.n,
           sum.n == 1 ? "y" : "ies", tern_hub_cache(hub));
    return 0;
}

/* ------------------------------------------------------------------- one repository */

static int fail(const tern_error *err) {
    return err->status == TERN_ERR_ARGUMENT ? tern_cli_usage("pull", "%s", err->message) : tern_cli_error(err);
}

static int remove_one(tern_hub *hub, const char *name) {
    tern_error err;
    uint64_t bytes;
    char text[32];
    if (tern_hub_remove(hub, name, &bytes, &err))
        return fail(&err);
    fprintf(stderr, "%s: removed, %s\n", name, tern_format_bytes(text, (double)bytes));
    return 0;
}

static int pull_one(tern_hub *hub, tern_cli_transfer *transfer, bool offline, const char *name) {
    tern_hub_plan *plan = NULL;
    tern_error err;
    char *path = NULL;
    int status = 0;
    if (offline && tern_hub_find(hub, name, &path, &err))
        return fail(&err);
    if (!path && tern_hub_make_plan(hub, name, &plan, &err))
        return fail(&err);
    if (plan)
        status = tern_cli_pull(hub, plan, transfer, &path);
    if (!status)
        puts(path);
    tern_hub_plan_free(plan);
    free(path);
    return status;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_hub_settings how = TERN_HUB_SETTINGS_DEFAULT;
    tern_cli_transfer transfer;
    tern_hub *hub;
    tern_error err;
    if (s->list && (s->remove || n_operands))
        return tern_cli_usage("pull", "--list stands alone");
    if (s->json && !s->list)
        return tern_cli_usage("pull", "--json belongs to --list");
    if (!s->list && !n_operands)
        return tern_cli_usage("pull", "too few arguments, wanted: REPO[@REVISION][:FILE]...");
    tern_cli_watch_hub(&how, &transfer);
    how.offline = s->offline;
    how.connections = (int)s->connections;
    how.retries = (int)s->retries;
    how.timeout = (double)s->timeout;
    if (tern_hub_open(&how, &hub, &err))
        return fail(&err);
    int status = s->list ? list(s, hub) : 0;
    for (size_t i = 0; i < n_operands && !status; i++)
        status =
            s->remove ? remove_one(hub, operands[i]) : pull_one(hub, &transfer, tern_hub_is_offline(hub), operands[i]);
    tern_hub_free(hub);
    return status;
}

static const settings defaults = {.connections = 4, .retries = 5, .timeout = 30};

const tern_command tern_command_pull = {
    .name = "pull",
    .operands = "REPO[@REVISION][:FILE]...",
    .summary = "fetch a model from the Hugging Face hub",
    .example = "tern pull microsoft/bitnet-b1.58-2B-4T-gguf && tern chat microsoft/bitnet-b1.58-2B-4T-gguf\n"
               "tern pull microsoft/bitnet-b1.58-2B-4T@main\n"
               "tern pull microsoft/bitnet-b1.58-2B-4T-gguf:ggml-model-i2_s.gguf\n"
               "tern pull --list\n"
               "tern pull --remove microsoft/bitnet-b1.58-2B-4T\n",
    .notes = "Prints where the model is; wherever MODEL is run or read, REPO[@REVISION][:FILE] stands for it.\n"
             "Without FILE it is the repository's GGUF file, of several the one that tern reads best, else its\n"
             "safetensors with configuration and tokenizer. A part of a name is enough: :i2_s. What broke off goes on\n"
             "with the same command; what came is compared with the hub's digests (SHA-256).\n"
             "\n"
             "The cache is the one of Hugging Face's own tools: HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub.\n"
             "HF_TOKEN opens private and gated models, HF_ENDPOINT is another hub, HF_HUB_OFFLINE=1 asks nobody.\n",
    .max_operands = SIZE_MAX,
    .groups = {{"Options", main_options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
