/* tern rag add: folders into the database, or the database up to date. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/rag.h"

typedef struct add_options {
    tern_rag_options rag;
    const char *extensions;
    int64_t max_file_size, chunk_tokens, overlap;
    bool verbose;
    tern_model_options model;
} add_options;

#define FIELD(name) offsetof(add_options, name)

static const tern_option file_table[] = {
    {"ext", 0, TERN_OPTION_STRING, FIELD(extensions), "LIST",
     "files whose names end so: md,txt,html; a file that is named\nitself is always taken", 0, 0, NULL,
     "texts and sources of many kinds"},
    {"max-file-size", 0, TERN_OPTION_INT, FIELD(max_file_size), "BYTES", "larger files are skipped", 1, 256 << 20, NULL,
     NULL},
    {"chunk-tokens", 0, TERN_OPTION_INT, FIELD(chunk_tokens), "N", "tokens of a chunk at most, of a new database",
     TERN_RAG_MIN_CHUNK, TERN_RAG_MAX_CHUNK, NULL, "160, or an eighth of a small context"},
    {"overlap", 0, TERN_OPTION_INT, FIELD(overlap), "N", "tokens that a chunk repeats of the one before", 0,
     TERN_RAG_MAX_CHUNK, NULL, "a fifth of a chunk"},
    {"verbose", 'v', TERN_OPTION_FLAG, FIELD(verbose), NULL, "name every file that is new, changed or gone", 0, 0, NULL,
     NULL},
    {0},
};

static const add_options defaults = {.max_file_size = 4 << 20, .overlap = -1};

typedef struct progress {
    const add_options *options;
    tern_rag_counts counts; /* for the line */
    json_t *skipped;        /* NULL without --json */
    double started, drawn;
    bool on_terminal, open; /* open: a line stands on the terminal */
} progress;

static void clear_line(progress *p) {
    if (p->open)
        fputs("\r\033[K", stderr);
    p->open = false;
}

static void draw(progress *p, const char *path) {
    double now = tern_seconds();
    if (!p->on_terminal || now - p->started < 1 || now - p->drawn < 0.1)
        return;
    const char *slash = strrchr(path, '/');
    uint64_t n_files = p->counts.n[TERN_RAG_ADDED];
    n_files += p->counts.n[TERN_RAG_CHANGED];
    fprintf(stderr, "\r%llu files, %llu chunks, %.1f chunks/s  ", (unsigned long long)n_files,
            (unsigned long long)p->counts.n[TERN_RAG_CHUNK], (double)p->counts.n[TERN_RAG_CHUNK] / (now - p->started));
    tern_cli_print_text(stderr, slash ? slash + 1 : path);
    fputs("\033[K", stderr);
    fflush(stderr);
    p->drawn = now;
    p->open = true;
}

static void tell_file(progress *p, const char *what, const char *path) {
    clear_line(p);
    fprintf(stderr, "%s ", what);
    tern_cli_print_text(stderr, path);
    fputc('\n', stderr);
}

static bool on_event(void *user, tern_rag_event event, const char *path, const char *why) {
    static const char *const words[TERN_RAG_N_EVENTS] = {
        [TERN_RAG_ADDED] = "added", [TERN_RAG_CHANGED] = "changed", [TERN_RAG_REMOVED] = "removed"};
    progress *p = user;
    p->counts.n[event]++;
    if (event == TERN_RAG_SKIPPED) {
        clear_line(p);
        tern_cli_warn("%s: skipped: %s", path, why);
        if (p->skipped)
            json_array_append_new(p->skipped,
                                  json_pack("{s:o, s:o}", "path", tern_json_text(path), "why", tern_json_text(why)));
    } else if (p->options->verbose && words[event]) {
        tell_file(p, words[event], path);
    }
    draw(p, path);
    return !tern_interrupted();
}

/* ---- which folders ---- */

typedef struct path_list {
    char **paths; /* [n] */
    size_t n, capacity;
    bool failed, remembered; /* remembered: the database's own */
} path_list;

static bool add_path(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    path_list *list = user;
    (void)n_files, (void)n_chunks;
    char *copy = strdup(path);
    if (copy && tern_grow_array((void **)&list->paths, &list->capacity, list->n + 1, sizeof *list->paths))
        list->paths[list->n++] = copy;
    else
        list->failed = true, free(copy);
    return !list->failed;
}

/* The operands, or, without any, all folders of the database. */
static int gather(tern_rag *rag, const char *const *operands, size_t n_operands, path_list *list) {
    tern_error err;
    list->remembered = n_operands == 0;
    for (size_t i = 0; i < n_operands; i++)
        add_path(list, operands[i], 0, 0);
    if (n_operands == 0 && tern_rag_folders(rag, add_path, list, &err))
        return tern_cli_error(&err);
    if (list->failed)
        return tern_cli_fail("out of memory for the list of folders");
    return list->n ? 0 : tern_cli_usage("rag add", "the database has no folders yet: name one");
}

static void print_counts(const tern_rag_counts *counts, const tern_rag_info *info) {
    const uint64_t *n = counts->n;
    printf("%llu files added, %llu changed, %llu unchanged, %llu removed, %llu skipped, %llu of other kinds\n",
           (unsigned long long)n[TERN_RAG_ADDED], (unsigned long long)n[TERN_RAG_CHANGED],
           (unsigned long long)n[TERN_RAG_UNCHANGED], (unsigned long long)n[TERN_RAG_REMOVED],
           (unsigned long long)n[TERN_RAG_SKIPPED], (unsigned long long)n[TERN_RAG_OTHER]);
    printf("%s: %llu chunks of %llu files, vectors of %u values by ", info->path, (unsigned long long)info->n_chunks,
           (unsigned long long)info->n_files, (unsigned)info->dims);
    tern_cli_print_text(stdout, info->model_name);
    putchar('\n');
}

static int print_json(const tern_rag_counts *counts, const tern_rag_info *info, json_t *skipped) {
    const uint64_t *n = counts->n;
    return tern_cli_print_json(
        json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "db", tern_json_text(info->path), "model",
                  tern_json_text(info->model_name), "added", (json_int_t)n[TERN_RAG_ADDED], "changed",
                  (json_int_t)n[TERN_RAG_CHANGED], "unchanged", (json_int_t)n[TERN_RAG_UNCHANGED], "removed",
                  (json_int_t)n[TERN_RAG_REMOVED], "other_kinds", (json_int_t)n[TERN_RAG_OTHER], "embedded_chunks",
                  (json_int_t)n[TERN_RAG_CHUNK], "files", (json_int_t)info->n_files, "chunks",
                  (json_int_t)info->n_chunks, "skipped", skipped));
}

static int add_all(tern_rag *rag, const add_options *options, const path_list *list) {
    tern_error err;
    tern_rag_info info;
    tern_rag_counts counts = {0};
    progress p = {.options = options, .started = tern_seconds(), .on_terminal = isatty(STDERR_FILENO)};
    const tern_rag_add_params params = {.extensions = options->extensions,
                                        .max_file_bytes = (uint64_t)options->max_file_size,
                                        .on_event = on_event,
                                        .user = &p};
    tern_status status = TERN_OK;
    if (options->rag.json && !(p.skipped = json_array()))
        return tern_cli_fail("out of memory for the JSON");
    for (size_t i = 0; i < list->n && !status; i++) {
        if (list->remembered && access(list->paths[i], F_OK) && errno == ENOENT) { /* or only unmounted */
            tern_cli_warn("%s: is not there; tern rag remove takes its texts out", list->paths[i]);
            continue;
        }
        status = tern_rag_add(rag, list->paths[i], &params, &counts, &err);
    }
    clear_line(&p);
    if (!status)
        status = tern_rag_get_info(rag, &info, &err);
    int code = 0;
    if (status)
        code = tern_cli_error(&err);
    else if (options->rag.json)
        code = print_json(&counts, &info, p.skipped);
    else
        print_counts(&counts, &info);
    json_decref(p.skipped);
    return code;
}

static int run_add(void *memory, const char *const *operands, size_t n_operands) {
    const add_options *options = memory;
    const tern_rag_settings settings = {.chunk_tokens = (uint32_t)options->chunk_tokens,
                                        .overlap_tokens = (uint32_t)(options->overlap < 0 ? 0 : options->overlap),
                                        .set_overlap = options->overlap >= 0};
    tern_rag *rag = NULL;
    tern_model *model = NULL;
    path_list list = {0};
    for (size_t i = 0; i < n_operands; i++)
        if (access(operands[i], F_OK)) /* before a database is made for it */
            return tern_cli_fail("%s: there is no such file or folder", operands[i]);
    tern_interrupt_watch(NULL);
    int status = tern_cli_rag_open(&options->rag, true, &rag);
    if (!status)
        status = gather(rag, operands, n_operands, &list);
    if (!status)
        status = tern_cli_rag_model(rag, &options->rag, &options->model, &settings, &model);
    if (!status)
        status = add_all(rag, options, &list);
    for (size_t i = 0; i < list.n; i++)
        free(list.paths[i]);
    free(list.paths);
    tern_rag_close(rag);
    tern_model_free(model);
    tern_interrupt_unwatch();
    return status;
}

const tern_command tern_command_rag_add = {
    .name = "rag add",
    .operands = "[DIR...]",
    .summary = "read a folder's texts, to be asked about",
    .example = "tern rag add docs -m model.gguf           # all texts below docs/\n"
               "tern rag add notes.txt ~/letters          # some more\n"
               "tern rag add                              # what has changed since\n",
    .notes = "Files that have not changed are not computed again; what is gone from a folder goes from\n"
             "the database. Hidden files are left out, symbolic links are not followed; binary files, files\n"
             "that are not UTF-8 and those that are too large are skipped, with a line on standard error.\n"
             "Ctrl-C or a crash loses no more than the file under way. Without XDG_DATA_HOME the database is\n"
             "~/.local/share/tern/rag.db.\n",
    .max_operands = SIZE_MAX,
    .groups = {{"Database", tern_rag_table, FIELD(rag)},
               {"Files", file_table, 0},
               {"Model", tern_model_option_table, FIELD(model)},
               {"Threads and memory", tern_placement_option_table, FIELD(model.placement)}},
    .options_size = sizeof(add_options),
    .defaults = &defaults,
    .run = run_add,
};
