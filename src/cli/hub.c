/* A model of the hub in the place of a file: found in the cache, or asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/hub.h"

static void end_bar(tern_cli_transfer *transfer) {
    if (transfer->file)
        tern_progress_end(&transfer->bar);
    transfer->file = NULL;
}

static bool on_progress(void *user, const char *file, tern_hub_phase phase, uint64_t done, uint64_t total) {
    tern_cli_transfer *transfer = user;
    if (tern_interrupted())
        return false;
    if (!file || phase == TERN_HUB_WAITING)
        return true;
    if (file != transfer->file || phase != transfer->phase) {
        const char *slash = strrchr(file, '/');
        end_bar(transfer);
        snprintf(transfer->label, sizeof transfer->label, "%s%.32s", phase == TERN_HUB_CHECKING ? "checking " : "",
                 slash ? slash + 1 : file);
        tern_progress_start(&transfer->bar, transfer->label, TERN_PROGRESS_BYTES);
        transfer->bar.begun = done;
        transfer->file = file;
        transfer->phase = phase;
    }
    return tern_progress_update(&transfer->bar, done, total);
}

static void on_note(void *user, const char *text) {
    end_bar(user);
    fprintf(stderr, "tern: %s\n", text);
}

void tern_cli_watch_hub(tern_hub_settings *settings, tern_cli_transfer *transfer) {
    *transfer = (tern_cli_transfer){0};
    settings->progress = on_progress;
    settings->note = on_note;
    settings->user = transfer;
}

int tern_cli_pull(tern_hub *hub, tern_hub_plan *plan, tern_cli_transfer *transfer, char **path) {
    tern_hub_plan_info info;
    tern_error err;
    char total[32], missing[32], time[32];
    double start = tern_seconds();
    tern_hub_plan_get_info(plan, &info);
    tern_interrupt_watch(NULL);
    tern_status status = tern_hub_pull(hub, plan, path, &err);
    end_bar(transfer);
    int result = status ? tern_cli_error(&err) : 0;
    tern_interrupt_unwatch();
    if (status == TERN_ERR_CANCELLED)
        fprintf(stderr, "tern: %s: stopped; the same command goes on with it\n", info.repo);
    if (status)
        return result;
    tern_format_bytes(total, (double)info.total_bytes);
    if (info.missing_bytes)
        fprintf(stderr, "%s: %zu file%s, %s, of which %s came in %s; the digests are the hub's\n", info.repo,
                info.n_files, info.n_files == 1 ? "" : "s", total,
                tern_format_bytes(missing, (double)info.missing_bytes),
                tern_format_seconds(time, tern_seconds() - start));
    else
        fprintf(stderr, "%s: %zu file%s, %s, all in the cache\n", info.repo, info.n_files, info.n_files == 1 ? "" : "s",
                total);
    return 0;
}

/* "y", "yes" or nothing but the Enter key. */
static bool asked_yes(void) {
    char line[64];
    if (!fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\r\n")] = 0;
    return !*line || strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}

/* Somebody sits at the terminal: ask, then pull. */
static int offer(tern_hub *hub, const char *name, tern_cli_transfer *transfer, char **path) {
    tern_hub_plan *plan;
    tern_hub_plan_info info;
    tern_error err;
    char bytes[32];
    if (tern_hub_make_plan(hub, name, &plan, &err))
        return err.status == TERN_ERR_CANCELLED
                   ? tern_cli_error(&err)
                   : tern_cli_fail("%s (%s is no file, nor in the cache)", err.message, name);
    tern_hub_plan_get_info(plan, &info);
    int status = 0;
    if (info.missing_bytes) { /* else only the links were missing */
        fprintf(stderr, "%s is not here yet. Pull %s into %s? [Y/n] ", name,
                tern_format_bytes(bytes, (double)info.missing_bytes), tern_hub_cache(hub));
        fflush(stderr);
        if (!asked_yes())
            status = tern_cli_fail("%s: not pulled", name);
    }
    if (!status)
        status = tern_cli_pull(hub, plan, transfer, path);
    tern_hub_plan_free(plan);
    return status;
}

/* It ends like a file, so it was to be one. */
static bool is_file_name(const char *name) {
    static const char *const endings[] = {".gguf", ".json", ".safetensors", ".model"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (!strchr(name, ':') && n > strlen(endings[i]) && strcmp(name + n - strlen(endings[i]), endings[i]) == 0)
            return true;
    return false;
}

int tern_cli_find_model(const char *name, char **path) {
    tern_hub_settings settings = TERN_HUB_SETTINGS_DEFAULT;
    tern_cli_transfer transfer;
    tern_hub *hub;
    tern_error err;
    int status = 0;
    *path = NULL;
    if (!name)
        return 0;
    if (tern_file_exists(name) || is_file_name(name) || !tern_hub_looks_like_name(name)) {
        *path = strdup(name);
        return *path ? 0 : tern_cli_fail("out of memory for the model's name");
    }
    tern_cli_watch_hub(&settings, &transfer);
    settings.at_once = true; /* somebody who has no network wants to know that, and not to wait */
    if (tern_hub_open(&settings, &hub, &err))
        return tern_cli_fail("%s: no such file; as a model of the hub: %s", name, err.message);
    if (tern_hub_find(hub, name, path, &err))
        status = tern_cli_error(&err);
    else if (!*path && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
        status = offer(hub, name, &transfer, path);
    else if (!*path)
        status = tern_cli_fail("%s: no such file, and not in the cache of the hub's models; to fetch it: tern pull %s",
                               name, name);
    tern_hub_free(hub);
    return status;
}
