/* tern rag list, tern rag remove. */
#include <stdlib.h>
#include <string.h>

#include "cli/rag.h"

typedef struct list_options {
    tern_rag_options rag;
    bool files;
} list_options;

static const tern_option list_table[] = {
    {"files", 0, TERN_OPTION_FLAG, offsetof(list_options, files), NULL, "list every file, too", 0, 0, NULL, NULL},
    {0},
};

static const list_options list_defaults;

static bool print_folder(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    (void)user;
    printf("%8llu files %8llu chunks  ", (unsigned long long)n_files, (unsigned long long)n_chunks);
    tern_cli_print_text(stdout, path);
    putchar('\n');
    return true;
}

static bool print_file(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    (void)user, (void)n_files;
    printf("%23llu chunks  ", (unsigned long long)n_chunks);
    tern_cli_print_text(stdout, path);
    putchar('\n');
    return true;
}

static bool append_folder(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    return json_array_append_new(user, json_pack("{s:o, s:I, s:I}", "path", tern_json_text(path), "files",
                                                 (json_int_t)n_files, "chunks", (json_int_t)n_chunks)) == 0;
}

static bool append_file(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    (void)n_files;
    return json_array_append_new(
               user, json_pack("{s:o, s:I}", "path", tern_json_text(path), "chunks", (json_int_t)n_chunks)) == 0;
}

static json_t *text_or_null(const char *text) { return text ? tern_json_text(text) : json_null(); }

static int list_json(tern_rag *rag, const tern_rag_info *info, bool files) {
    tern_error err;
    json_t *folders = json_array(), *list = files ? json_array() : NULL;
    tern_status status = tern_rag_folders(rag, append_folder, folders, &err);
    if (!status && files)
        status = tern_rag_files(rag, append_file, list, &err);
    if (status) {
        json_decref(folders);
        json_decref(list);
        return tern_cli_error(&err);
    }
    return tern_cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o*}", "db", tern_json_text(info->path), "model",
        text_or_null(info->model_name), "model_path", text_or_null(info->model_path), "dims", (json_int_t)info->dims,
        "chunk_tokens", (json_int_t)info->chunk_tokens, "overlap_tokens", (json_int_t)info->overlap_tokens, "files",
        (json_int_t)info->n_files, "chunks", (json_int_t)info->n_chunks, "folders", folders, "file_list", list));
}

static int list_text(tern_rag *rag, const tern_rag_info *info, bool files) {
    tern_error err;
    printf("%s: %llu chunks of %llu files\n", info->path, (unsigned long long)info->n_chunks,
           (unsigned long long)info->n_files);
    if (info->model_name) {
        printf("vectors of %u values by ", (unsigned)info->dims);
        tern_cli_print_text(stdout, info->model_name);
        fputs(" (", stdout);
        tern_cli_print_text(stdout, info->model_path);
        printf("), chunks of %u tokens with %u of the one before\n", (unsigned)info->chunk_tokens,
               (unsigned)info->overlap_tokens);
    }
    tern_status status = tern_rag_folders(rag, print_folder, NULL, &err);
    if (!status && files)
        status = tern_rag_files(rag, print_file, NULL, &err);
    return status ? tern_cli_error(&err) : 0;
}

static int run_list(void *memory, const char *const *operands, size_t n_operands) {
    const list_options *options = memory;
    tern_rag *rag = NULL;
    tern_rag_info info;
    tern_error err;
    (void)operands, (void)n_operands;
    int status = tern_cli_rag_open(&options->rag, false, &rag);
    if (!status && tern_rag_get_info(rag, &info, &err))
        status = tern_cli_error(&err);
    if (!status)
        status = options->rag.json ? list_json(rag, &info, options->files) : list_text(rag, &info, options->files);
    tern_rag_close(rag);
    return status;
}

const tern_command tern_command_rag_list = {
    .name = "rag list",
    .operands = "",
    .summary = "show what the database holds",
    .example = "tern rag list\n"
               "tern rag list --files\n"
               "tern rag list --json | jq .folders\n",
    .groups = {{"Options", list_table, 0}, {"Database", tern_rag_db_table, offsetof(list_options, rag)}},
    .options_size = sizeof(list_options),
    .defaults = &list_defaults,
    .run = run_list,
};

static const tern_rag_options remove_defaults;

static int run_remove(void *memory, const char *const *operands, size_t n_operands) {
    const tern_rag_options *options = memory;
    tern_rag *rag = NULL;
    uint64_t n_files = 0, n;
    tern_error err;
    int status = tern_cli_rag_open(options, false, &rag);
    for (size_t i = 0; i < n_operands && !status; i++) {
        if (tern_rag_remove(rag, operands[i], &n, &err))
            status = tern_cli_error(&err);
        else
            n_files += n;
    }
    tern_rag_close(rag);
    if (status)
        return status;
    if (options->json)
        return tern_cli_print_json(json_pack("{s:I}", "removed", (json_int_t)n_files));
    printf("%llu files removed\n", (unsigned long long)n_files);
    return 0;
}

const tern_command tern_command_rag_remove = {
    .name = "rag remove",
    .operands = "PATH...",
    .summary = "take a folder or a file out of the database",
    .example = "tern rag remove docs\n"
               "tern rag remove ~/letters/old.txt\n",
    .notes = "The files themselves stay. A file that is removed from a folder that the database keeps up to\n"
             "date comes back with the next tern rag add, if it is still there.\n",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .groups = {{"Database", tern_rag_db_table, 0}},
    .options_size = sizeof(tern_rag_options),
    .defaults = &remove_defaults,
    .run = run_remove,
};
