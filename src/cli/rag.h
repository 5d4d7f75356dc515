/* What the commands `tern rag ...` share. */
#ifndef TERN_CLI_RAG_H
#define TERN_CLI_RAG_H

#include "cli/measure.h"
#include "rag/rag.h"

typedef struct tern_rag_options {
    const char *db, *model;
    bool json;
} tern_rag_options;

/* --db alone, or with --model. */
extern const tern_option tern_rag_db_table[], tern_rag_table[];

/* Open --db or the default one ($XDG_DATA_HOME/tern/rag.db); `create` makes it, and the default one's folder. 0 or the
 * exit status. */
int tern_cli_rag_open(const tern_rag_options *options, bool create, tern_rag **rag);

/* Load --model, or the model that the database remembers, or the built-in one, and have the database use it.
 * `settings` may be NULL. *model is the caller's, also after a failure; to be freed behind the database. */
int tern_cli_rag_model(tern_rag *rag, const tern_rag_options *options, const tern_model_options *loading,
                       const tern_rag_settings *settings, tern_model **model);

/* Names and other people's text on a terminal: control characters but newlines and tabs become '?'. */
void tern_cli_print_text(FILE *file, const char *text);

#endif
