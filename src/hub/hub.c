#include "hub/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "hub/cache.h"
#include "hub/client.h"

#define ENDPOINT "https://huggingface.co"

/* ------------------------------------------------------------------- the handle */

static tern_status set_endpoint(tern_hub *hub, tern_error *err) {
    const char *endpoint = getenv("HF_ENDPOINT");
    if (!endpoint || !*endpoint)
        endpoint = ENDPOINT;
    if ((strncasecmp(endpoint, "https://", 8) != 0 && strncasecmp(endpoint, "http://", 7) != 0) ||
        strpbrk(endpoint, " @?#\r\n\t") || strlen(endpoint) > 256)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "HF_ENDPOINT is '%.100s', but must be the address of a hub, as in " ENDPOINT, endpoint);
    if (!(hub->endpoint = strdup(endpoint)))
        return tern_fail_memory(err, "the hub's address");
    for (size_t n = strlen(hub->endpoint); n && hub->endpoint[n - 1] == '/'; n--)
        hub->endpoint[n - 1] = 0;
    return TERN_OK;
}

tern_status tern_hub_open(const tern_hub_settings *settings, tern_hub **out, tern_error *err) {
    tern_hub *hub = calloc(1, sizeof *hub);
    *out = NULL;
    if (!hub)
        return tern_fail_memory(err, "the hub");
    hub->settings = *settings;
    hub->offline = settings->offline || tern_cache_is_on("HF_HUB_OFFLINE") || tern_cache_is_on("TRANSFORMERS_OFFLINE");
    tern_status status = set_endpoint(hub, err);
    if (!status && !(hub->cache = tern_cache_default()))
        status = tern_fail(err, TERN_ERR_ARGUMENT, "where is the cache? Neither HF_HUB_CACHE, HF_HOME nor HOME is set");
    if (!status && !hub->offline)
        status = tern_cache_token(&hub->token, err);
    if (status) {
        tern_hub_free(hub);
        return status;
    }
    *out = hub;
    return TERN_OK;
}

void tern_hub_free(tern_hub *hub) {
    if (!hub)
        return;
    if (hub->client)
        hub->http->close(hub->client);
    free(hub->endpoint);
    free(hub->cache);
    free(hub->token);
    free(hub);
}

const char *tern_hub_cache(const tern_hub *hub) { return hub->cache; }

bool tern_hub_is_offline(const tern_hub *hub) { return hub->offline; }

/* ------------------------------------------------------------------- the plan */

void tern_hub_plan_free(tern_hub_plan *plan) {
    if (!plan)
        return;
    tern_hub_listing_free(&plan->listing);
    free(plan->chosen);
    free(plan);
}

static bool has_blob(const tern_hub *hub, const tern_hub_plan *plan, const tern_hub_file *file) {
    struct stat info;
    char *path = file->digest[0] ? tern_cache_path(hub->cache, plan->name.repo, "blobs/%s", file->digest) : NULL;
    bool there = path && stat(path, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size == file->size;
    free(path);
    return there;
}

static tern_status ask_listing(tern_hub *hub, tern_hub_plan *plan, tern_error *err) {
    tern_hub_answer answer = {0};
    char what[300];
    char *revision = tern_hub_escape(plan->name.revision, false);
    char *url = revision ? tern_hub_url(hub, "/api/models/%s/revision/%s?blobs=true", plan->name.repo, revision) : NULL;
    bool is_main = strcmp(plan->name.revision, "main") == 0;
    snprintf(what, sizeof what, "%s%s%s", plan->name.repo, is_main ? "" : "@", is_main ? "" : plan->name.revision);
    tern_status status = url ? tern_hub_ask(hub, url, false, what, &answer, err) : tern_fail_memory(err, what);
    if (!status) {
        status =
            tern_hub_read_listing(answer.body.bytes ? answer.body.bytes : "", answer.body.size, &plan->listing, err);
        if (status)
            tern_error_prefix(err, "%s: ", what);
    }
    tern_buffer_free(&answer.body);
    free(answer.where);
    free(url);
    free(revision);
    return status;
}

/* Whether the bytes are those that the list says the file has. */
static bool is_contents(const tern_hub_file *file, const tern_buffer *bytes) {
    tern_digest digest;
    char hex[TERN_DIGEST_HEX], head[32];
    if (!file->digest[0])
        return file->size == UINT64_MAX || file->size == bytes->size;
    bool is_blob = strlen(file->digest) == 40; /* of git: behind a head */
    tern_digest_start(&digest, is_blob ? TERN_SHA1 : TERN_SHA256);
    if (is_blob)
        tern_digest_add(&digest, head, (size_t)snprintf(head, sizeof head, "blob %zu", bytes->size) + 1);
    tern_digest_add(&digest, bytes->bytes, bytes->size);
    tern_digest_end(&digest, hex);
    return strcmp(hex, file->digest) == 0;
}

/* A small file into memory, for the plan: nothing is put into the cache before it has been agreed to. */
static tern_status ask_contents(tern_hub *hub, const tern_hub_plan *plan, const tern_hub_file *file,
                                tern_buffer *contents, tern_error *err) {
    tern_hub_answer answer = {0};
    char what[600];
    char *path = tern_hub_escape(file->path, true);
    char *url = path ? tern_hub_url(hub, "/%s/resolve/%s/%s", plan->name.repo, plan->listing.commit, path) : NULL;
    snprintf(what, sizeof what, "%s:%s", plan->name.repo, file->path);
    tern_status status = url ? tern_hub_ask(hub, url, false, what, &answer, err) : tern_fail_memory(err, what);
    if (!status && !is_contents(file, &answer.body))
        status =
            tern_fail(err, TERN_ERR_FORMAT,
                      "%s: what came is not what the hub's list says (its digest differs): pull again, and if that "
                      "does not help the repository is damaged",
                      what);
    if (status)
        tern_buffer_free(&answer.body);
    else
        *contents = answer.body;
    free(answer.where);
    free(url);
    free(path);
    return status;
}

static tern_status choose(tern_hub *hub, tern_hub_plan *plan, tern_error *err) {
    const tern_hub_file *index = tern_hub_index_of(&plan->listing, &plan->name);
    tern_buffer text = {0};
    tern_status status = index ? ask_contents(hub, plan, index, &text, err) : TERN_OK;
    tern_view view = {index && !text.bytes ? "" : text.bytes, text.size};
    if (!status)
        status = tern_hub_choose(&plan->listing, &plan->name, view, &plan->chosen, &plan->n_chosen, &plan->folder, err);
    tern_buffer_free(&text);
    return status;
}

static tern_status sum_up(const tern_hub *hub, tern_hub_plan *plan, tern_error *err) {
    uint64_t total = 0;
    for (size_t i = 0; i < plan->n_chosen; i++) {
        const tern_hub_file *file = &plan->listing.files[plan->chosen[i]];
        if (file->size == UINT64_MAX)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the hub does not say the size of %s", plan->name.repo,
                             file->path);
        if (!tern_add_u64(total, file->size, &total))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: impossible sizes", plan->name.repo);
        if (!has_blob(hub, plan, file))
            plan->missing_bytes += file->size;
    }
    return TERN_OK;
}

tern_status tern_hub_make_plan(tern_hub *hub, const char *name, tern_hub_plan **out, tern_error *err) {
    tern_hub_plan *plan = calloc(1, sizeof *plan);
    *out = NULL;
    if (!plan)
        return tern_fail_memory(err, name);
    tern_status status = tern_hub_parse_name(name, &plan->name, err);
    if (!status && hub->offline)
        status =
            tern_fail(err, TERN_ERR_UNSUPPORTED,
                      "%s: not in the cache (%s), and the hub is not asked: without --offline and HF_HUB_OFFLINE it "
                      "would be",
                      name, hub->cache);
    if (!status)
        status = tern_hub_connect(hub, err);
    if (!status)
        status = ask_listing(hub, plan, err);
    if (!status)
        status = choose(hub, plan, err);
    if (!status)
        status = sum_up(hub, plan, err);
    if (status) {
        tern_hub_plan_free(plan);
        return status;
    }
    *out = plan;
    return TERN_OK;
}

void tern_hub_plan_get_info(const tern_hub_plan *plan, tern_hub_plan_info *info) {
    *info = (tern_hub_plan_info){.repo = plan->name.repo,
                                 .revision = plan->name.revision,
                                 .commit = plan->listing.commit,
                                 .n_files = plan->n_chosen,
                                 .missing_bytes = plan->missing_bytes};
    for (size_t i = 0; i < plan->n_chosen; i++)
        info->total_bytes += plan->listing.files[plan->chosen[i]].size;
}

tern_status tern_hub_pull(tern_hub *hub, tern_hub_plan *plan, char **path, tern_error *err) {
    const char *repo = plan->name.repo, *commit = plan->listing.commit;
    tern_status status = TERN_OK;
    *path = NULL;
    hub->fetching = true;
    for (size_t i = 0; i < plan->n_chosen && !status; i++) {
        tern_hub_file *file = &plan->listing.files[plan->chosen[i]];
        if (!has_blob(hub, plan, file))
            status = tern_hub_fetch(hub, plan, file, err);
        if (!status)
            status = tern_cache_link(hub->cache, repo, commit, file->path, file->digest, err);
    }
    if (!status)
        status = tern_cache_write_ref(hub->cache, repo, plan->name.revision, commit, err);
    if (status)
        return status;
    *path = plan->folder ? tern_cache_path(hub->cache, repo, "snapshots/%s", commit)
                         : tern_cache_path(hub->cache, repo, "snapshots/%s/%s", commit,
                                           plan->listing.files[plan->chosen[0]].path);
    return *path ? TERN_OK : tern_fail_memory(err, repo);
}

/* ------------------------------------------------------------------- what is there */

tern_status tern_hub_find(tern_hub *hub, const char *text, char **path, tern_error *err) {
    tern_hub_name name;
    tern_hub_listing listing;
    char commit[41];
    size_t *chosen, n;
    bool folder;
    *path = NULL;
    tern_status status = tern_hub_parse_name(text, &name, err);
    if (status || !tern_cache_read_ref(hub->cache, name.repo, name.revision, commit))
        return status;
    char *snapshot = tern_cache_path(hub->cache, name.repo, "snapshots/%s", commit);
    if (!snapshot)
        return tern_fail_memory(err, text);
    status = tern_hub_read_folder(snapshot, &listing, err);
    if (!status && listing.n &&
        tern_hub_choose(&listing, &name, (tern_view){0}, &chosen, &n, &folder, err) == TERN_OK) {
        if (folder && tern_hub_index_is_whole(snapshot)) /* another tool may be at work on it */
            *path = strdup(snapshot);
        else if (!folder)
            *path = tern_cache_path(hub->cache, name.repo, "snapshots/%s/%s", commit, listing.files[chosen[0]].path);
        free(chosen);
    }
    if (!status)
        tern_hub_listing_free(&listing);
    free(snapshot);
    return status;
}
