/*
 * The database (SQLite): who made its vectors, which folders it holds, files, chunks, vectors.
 *
 *     meta     key, value            model, fingerprint, dims, chunk_tokens, overlap_tokens
 *     folders  path
 *     files    id, path, mtime (ns; 0: look at the contents), size, hash, n_chunks
 *     chunks   id, file, n, first_line, last_line, text
 *     words    the index of the chunks' words (FTS5), kept by triggers
 *     vectors  file, scales (float32 [n_chunks]), bytes (int8 [n_chunks, dims])
 *
 * A file's vectors are one row, so that all of them are read in long stretches; a value of a vector is byte * scale.
 * Numbers in blobs are little-endian, as all machines are that tern runs on.
 */
#ifndef TERN_RAG_STORE_H
#define TERN_RAG_STORE_H

#include <sqlite3.h>

#include "rag/rag.h"

enum { TERN_RAG_APPLICATION = 0x7465726e, TERN_RAG_VERSION = 1 }; /* "tern" */

/* Statements, prepared once each when first needed (store.c has their text). */
typedef enum tern_rag_sql {
    SQL_META_GET,
    SQL_META_SET,
    SQL_COUNTS,
    SQL_FOLDER_ADD,
    SQL_FOLDER_REMOVE,
    SQL_FOLDERS,
    SQL_FILES,
    SQL_FILE_GET,
    SQL_FILE_TOUCH,
    SQL_FILE_REMOVE,
    SQL_FILE_ADD,
    SQL_FILES_BELOW,
    SQL_FILES_REMOVE_BELOW,
    SQL_CHUNK_ADD,
    SQL_CHUNK_GET,
    SQL_WORDS,
    SQL_VECTORS_ADD,
    SQL_VECTORS,
    SQL_VECTORS_SIZE,
    SQL_BEGIN,
    SQL_BEGIN_READ,
    SQL_COMMIT,
    SQL_ROLLBACK,
    TERN_RAG_N_SQL
} tern_rag_sql;

struct tern_rag {
    sqlite3 *db;
    sqlite3_stmt *statements[TERN_RAG_N_SQL];
    char *path, *model_path, *model_name;
    uint64_t fingerprint;
    uint32_t dims; /* 0: no model yet */
    uint32_t chunk_tokens, overlap_tokens;
    struct tern_embedder *embedder; /* NULL: no model in use */
};

/* A statement without bindings, ready to be stepped; *statement stays the database's. */
tern_status tern_rag_statement(tern_rag *rag, tern_rag_sql sql, sqlite3_stmt **statement, tern_error *err);
/* Step one to its end that has no rows of interest, and reset it. */
tern_status tern_rag_run(tern_rag *rag, sqlite3_stmt *statement, tern_error *err);
/* Both, for one without bindings. */
tern_status tern_rag_execute(tern_rag *rag, tern_rag_sql sql, tern_error *err);
/* What the last call of SQLite has to say. */
tern_status tern_rag_fail(const tern_rag *rag, tern_error *err);
/* What is stored does not fit together. */
tern_status tern_rag_damaged(const tern_rag *rag, const char *what, tern_error *err);

/* Who made the vectors: from the struct into the database, in a transaction of the caller's. */
tern_status tern_rag_write_meta(tern_rag *rag, tern_error *err);

/* And back: as it is now. */
tern_status tern_rag_read_meta(tern_rag *rag, tern_error *err);
/* Whose the database is now, which another process may have changed. */
tern_status tern_rag_read_fingerprint(tern_rag *rag, uint64_t *fingerprint, tern_error *err);
/* In a transaction that stores vectors: is it still this model's? */
tern_status tern_rag_check_owner(tern_rag *rag, tern_error *err);

/* Paths below `path`, as texts, are those from *first up to, and without, *behind: "DIR/", "DIR0". Both with free(). */
tern_status tern_rag_range(const char *path, char **first, char **behind, tern_error *err);

#endif
