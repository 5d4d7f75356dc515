/* Models of the Hugging Face hub: found in the cache, downloaded into it, listed, removed.
 *
 *     tern_hub *hub;
 *     tern_hub_plan *plan;
 *     char *path;
 *     if (tern_hub_open(&settings, &hub, &err) ||
 *         tern_hub_make_plan(hub, "microsoft/bitnet-b1.58-2B-4T-gguf", &plan, &err) ||
 *         tern_hub_pull(hub, plan, &path, &err))
 *         ... err.message, one line ...
 *
 * What is asked of the hub and what comes when something goes wrong: docs/PULL.md. One thread at a time. */
#ifndef TERN_HUB_HUB_H
#define TERN_HUB_HUB_H

#include "base/status.h"
#include "hub/name.h"

typedef struct tern_hub tern_hub;
typedef struct tern_hub_plan tern_hub_plan;

typedef enum tern_hub_phase {
    TERN_HUB_FETCHING,
    TERN_HUB_CHECKING, /* the digest of what has come */
    TERN_HUB_WAITING,  /* another process fetches the same; done and total are 0 */
} tern_hub_phase;

typedef struct tern_hub_settings {
    bool offline;    /* ask nobody; also if $HF_HUB_OFFLINE says so */
    int connections; /* at once, for one file; 1 to 16 */
    bool at_once;    /* where nobody can be asked at all, as without a network, give up at the first attempt */
    int retries;     /* after so many failures in a row without any progress a download is given up */
    double timeout;  /* seconds without a byte after which a connection has failed */
    /* Ten times a second at least while something is under way, in bytes of `file`; false cancels. May be NULL. */
    bool (*progress)(void *user, const char *file, tern_hub_phase phase, uint64_t done, uint64_t total);
    /* One line about something that went wrong and is tried again. May be NULL. */
    void (*note)(void *user, const char *text);
    void *user;
} tern_hub_settings;

#define TERN_HUB_SETTINGS_DEFAULT                                                                                      \
    { .connections = 4, .retries = 5, .timeout = 30 }

/* Reads the environment: HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HOME, HF_HUB_OFFLINE. Asks nobody yet. */
tern_status tern_hub_open(const tern_hub_settings *settings, tern_hub **hub, tern_error *err);
void tern_hub_free(tern_hub *hub);
const char *tern_hub_cache(const tern_hub *hub); /* the folder */
bool tern_hub_is_offline(const tern_hub *hub);   /* as asked for or by the environment */

/* The path of a model in the cache, REPO[@REVISION][:FILE], to be freed: a GGUF file or a folder; *path is NULL if it
 * is not there, or not whole. */
tern_status tern_hub_find(tern_hub *hub, const char *name, char **path, tern_error *err);

/* Ask the hub what a name stands for, and choose its files. */
tern_status tern_hub_make_plan(tern_hub *hub, const char *name, tern_hub_plan **plan, tern_error *err);
void tern_hub_plan_free(tern_hub_plan *plan);

typedef struct tern_hub_plan_info {
    const char *repo, *revision, *commit; /* the plan's */
    size_t n_files;
    uint64_t total_bytes, missing_bytes; /* of all files; of those that are not yet in the cache */
} tern_hub_plan_info;
void tern_hub_plan_get_info(const tern_hub_plan *plan, tern_hub_plan_info *info);

/* Fetch what is missing; -> *path as tern_hub_find() has it. TERN_ERR_CANCELLED when progress() said so; what has come
 * stays for the next time, as after most errors. */
tern_status tern_hub_pull(tern_hub *hub, tern_hub_plan *plan, char **path, tern_error *err);

/* One repository of the cache. */
typedef struct tern_hub_entry {
    const char *repo;
    uint64_t bytes, unfinished_bytes; /* on the disk; of these in downloads that are not finished */
    size_t n_snapshots;
    const char *const *snapshots; /* [n_snapshots] "main 3ca0e2f ggml-model-i2_s.gguf": revisions, commit, model */
} tern_hub_entry;
/* Those that hold something, by name; `visit` returns false to end. */
tern_status tern_hub_list(tern_hub *hub, bool (*visit)(void *user, const tern_hub_entry *entry), void *user,
                          tern_error *err);

/* Remove REPO with all its revisions and files. It is an error if the cache has no such repository. */
tern_status tern_hub_remove(tern_hub *hub, const char *repo, uint64_t *bytes, tern_error *err);

#endif
