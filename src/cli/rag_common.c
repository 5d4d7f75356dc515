#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/rag.h"
#include "cli/user_path.h"

#define DB_ROW                                                                                                         \
    {                                                                                                                  \
        "db", 0, TERN_OPTION_FILE, offsetof(tern_rag_options, db), "FILE", "the database", 0, 0, NULL,                 \
            "$XDG_DATA_HOME/tern/rag.db"                                                                               \
    }
#define JSON_ROW                                                                                                       \
    { "json", 0, TERN_OPTION_FLAG, offsetof(tern_rag_options, json), NULL, "one JSON object", 0, 0, NULL, NULL }

const tern_option tern_rag_db_table[] = {DB_ROW, JSON_ROW, {0}};

const tern_option tern_rag_table[] = {
    DB_ROW,
    {"model", 'm', TERN_OPTION_FILE, offsetof(tern_rag_options, model), "MODEL",
     "the model: a .gguf file, a Hugging Face folder or demo; a\ndatabase goes on with the model it was begun with", 0,
     0, NULL, "the database's, else demo"},
    JSON_ROW,
    {0},
};

int tern_cli_rag_open(const tern_rag_options *options, bool create, tern_rag **rag) {
    tern_error err;
    char *path = options->db ? strdup(options->db) : tern_cli_user_path("XDG_DATA_HOME", ".local/share", "rag.db");
    if (!path)
        return tern_cli_fail("where is the database? Give --db FILE (neither XDG_DATA_HOME nor HOME is set)");
    int status = 0;
    if (create && !options->db && !tern_cli_make_parents(path))
        status = tern_cli_fail("%s: cannot make its folder: %s; give --db FILE", path, strerror(errno));
    else if (tern_rag_open(path, create, rag, &err))
        status = tern_cli_error(&err);
    free(path);
    return status;
}

int tern_cli_rag_model(tern_rag *rag, const tern_rag_options *options, const tern_model_options *loading,
                       const tern_rag_settings *settings, tern_model **model) {
    tern_rag_info info;
    tern_error err;
    *model = NULL;
    if (tern_rag_get_info(rag, &info, &err))
        return tern_cli_error(&err);
    const char *path = options->model ? options->model : info.model_path ? info.model_path : "demo";
    int status = tern_cli_load_model(path, loading, model);
    if (status)
        return status;
    char *absolute = strcmp(path, "demo") == 0 ? NULL : realpath(path, NULL);
    if (!absolute && !(absolute = strdup(path))) /* info's strings end with the next call */
        return tern_cli_fail("out of memory for the model's name");
    tern_status used = tern_rag_use_model(rag, *model, absolute, settings, &err);
    free(absolute);
    return used ? tern_cli_error(&err) : 0;
}

void tern_cli_print_text(FILE *file, const char *text) {
    for (const char *at = text; *at; at++) {
        unsigned char c = (unsigned char)*at;
        fputc((c < ' ' && c != '\n' && c != '\t') || c == 0x7f ? '?' : c, file);
    }
}
