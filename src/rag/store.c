#include "rag/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "rag/embed.h"

enum { BUSY_MS = 10000 };

static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE folders(path TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, mtime INTEGER NOT NULL,"
    " size INTEGER NOT NULL, hash INTEGER NOT NULL, n_chunks INTEGER NOT NULL);"
    "CREATE TABLE chunks(id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,"
    " n INTEGER NOT NULL, first_line INTEGER NOT NULL, last_line INTEGER NOT NULL, text TEXT NOT NULL,"
    " UNIQUE(file, n));"
    "CREATE TABLE vectors(file INTEGER PRIMARY KEY REFERENCES files(id) ON DELETE CASCADE, scales BLOB NOT NULL,"
    " bytes BLOB NOT NULL);"
    "CREATE VIRTUAL TABLE words USING fts5(text, content = 'chunks', content_rowid = 'id',"
    " tokenize = 'porter unicode61');"
    "CREATE TRIGGER chunk_in AFTER INSERT ON chunks BEGIN"
    " INSERT INTO words(rowid, text) VALUES(new.id, new.text); END;"
    "CREATE TRIGGER chunk_out AFTER DELETE ON chunks BEGIN"
    " INSERT INTO words(words, rowid, text) VALUES('delete', old.id, old.text); END;";

/* Those that take more than a line. */
static const char folders_sql[] =
    "SELECT path, (SELECT count(*) FROM files f WHERE f.path = d.path OR (f.path >= rtrim(d.path, '/')"
    " || '/' AND f.path < rtrim(d.path, '/') || '0')), (SELECT ifnull(sum(n_chunks), 0) FROM files f"
    " WHERE f.path = d.path OR (f.path >= rtrim(d.path, '/') || '/' AND f.path < rtrim(d.path, '/')"
    " || '0')) FROM folders d ORDER BY path";
static const char chunk_get_sql[] =
    "SELECT f.path, c.first_line, c.last_line, c.text FROM chunks c JOIN files f ON f.id = c.file"
    " WHERE c.file = ?1 AND c.n = ?2";
static const char words_sql[] = "SELECT c.file, c.n FROM words JOIN chunks c ON c.id = words.rowid WHERE words MATCH ?1"
                                " ORDER BY rank, c.id LIMIT ?2";
static const char vectors_sql[] =
    "SELECT f.id, f.n_chunks, v.scales, v.bytes FROM files f LEFT JOIN vectors v ON v.file = f.id"
    " WHERE f.n_chunks > 0 ORDER BY f.path";

static const char *const texts[TERN_RAG_N_SQL] = {
    [SQL_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [SQL_META_SET] = "INSERT OR REPLACE INTO meta VALUES(?1, ?2)",
    [SQL_COUNTS] = "SELECT count(*), ifnull(sum(n_chunks), 0) FROM files",
    [SQL_FOLDER_ADD] = "INSERT OR IGNORE INTO folders VALUES(?1)",
    [SQL_FOLDER_REMOVE] = "DELETE FROM folders WHERE path = ?1 OR (path >= ?2 AND path < ?3)",
    [SQL_FOLDERS] = folders_sql,
    [SQL_FILES] = "SELECT path, 1, n_chunks FROM files ORDER BY path",
    [SQL_FILE_GET] = "SELECT id, mtime, size, hash FROM files WHERE path = ?1",
    [SQL_FILE_TOUCH] = "UPDATE files SET mtime = ?2 WHERE path = ?1",
    [SQL_FILE_REMOVE] = "DELETE FROM files WHERE path = ?1",
    [SQL_FILE_ADD] = "INSERT INTO files(path, mtime, size, hash, n_chunks) VALUES(?1, ?2, ?3, ?4, ?5)",
    [SQL_FILES_BELOW] = "SELECT path FROM files WHERE path = ?1 OR (path >= ?2 AND path < ?3) ORDER BY path",
    [SQL_FILES_REMOVE_BELOW] = "DELETE FROM files WHERE path = ?1 OR (path >= ?2 AND path < ?3)",
    [SQL_CHUNK_ADD] = "INSERT INTO chunks(file, n, first_line, last_line, text) VALUES(?1, ?2, ?3, ?4, ?5)",
    [SQL_CHUNK_GET] = chunk_get_sql,
    [SQL_WORDS] = words_sql,
    [SQL_VECTORS_ADD] = "INSERT INTO vectors VALUES(?1, ?2, ?3)",
    [SQL_VECTORS] = vectors_sql,
    [SQL_VECTORS_SIZE] = "SELECT ifnull(sum(length(scales)), 0), ifnull(sum(length(bytes)), 0) FROM vectors",
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_BEGIN_READ] = "BEGIN",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
};

tern_status tern_rag_damaged(const tern_rag *rag, const char *what, tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT,
                     "%s: the database is damaged (%s): remove the file and add the folders again", rag->path, what);
}

tern_status tern_rag_fail(const tern_rag *rag, tern_error *err) {
    int system = sqlite3_system_errno(rag->db);
    const char *text = sqlite3_errmsg(rag->db);
    if (sqlite3_extended_errcode(rag->db) == SQLITE_IOERR_NOMEM)
        return tern_fail_memory(err, "the database");
    switch (sqlite3_errcode(rag->db) & 0xff) {
    case SQLITE_ERROR: /* the statements are good: a table or a column is missing, or a sum overflows */
    case SQLITE_CORRUPT:
        return tern_rag_damaged(rag, text, err);
    case SQLITE_NOTADB:
        return tern_fail(err, TERN_ERR_FORMAT, "%s: not a database of tern rag", rag->path);
    case SQLITE_NOMEM:
        return tern_fail_memory(err, "the database");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tern_fail(err, TERN_ERR_BUSY, "%s: another process is writing to it; try again when it has finished",
                         rag->path);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        return tern_fail(err, TERN_ERR_IO, "%s: cannot open the database for writing: %s", rag->path,
                         system ? strerror(system) : text);
    case SQLITE_FULL:
    case SQLITE_IOERR:
        return tern_fail(err, TERN_ERR_IO, "%s: cannot read or write: %s; what was stored before is whole", rag->path,
                         system ? strerror(system) : text);
    default:
        return tern_fail(err, TERN_ERR_IO, "%s: %s", rag->path, text);
    }
}

tern_status tern_rag_statement(tern_rag *rag, tern_rag_sql sql, sqlite3_stmt **statement, tern_error *err) {
    *statement = NULL;
    if (!rag->statements[sql] &&
        sqlite3_prepare_v3(rag->db, texts[sql], -1, SQLITE_PREPARE_PERSISTENT, &rag->statements[sql], NULL))
        return tern_rag_fail(rag, err);
    *statement = rag->statements[sql];
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
    return TERN_OK;
}

tern_status tern_rag_run(tern_rag *rag, sqlite3_stmt *statement, tern_error *err) {
    int code = sqlite3_step(statement);
    tern_status status = code == SQLITE_DONE || code == SQLITE_ROW ? TERN_OK : tern_rag_fail(rag, err);
    sqlite3_reset(statement);
    return status;
}

tern_status tern_rag_execute(tern_rag *rag, tern_rag_sql sql, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, sql, &statement, err);
    return status ? status : tern_rag_run(rag, statement, err);
}

/* ---- meta ---- */

/* The value of a key as text, to be freed; *text NULL if there is none. */
static tern_status get_meta(tern_rag *rag, const char *key, char **text, tern_error *err) {
    sqlite3_stmt *statement;
    *text = NULL;
    tern_status status = tern_rag_statement(rag, SQL_META_GET, &statement, err);
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *value = (const char *)sqlite3_column_text(statement, 0);
        if (value && !(*text = strdup(value)))
            status = tern_fail_memory(err, "a setting");
    } else if (code != SQLITE_DONE) {
        status = tern_rag_fail(rag, err);
    }
    sqlite3_reset(statement);
    return status;
}

static tern_status set_meta(tern_rag *rag, const char *key, const char *value, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, SQL_META_SET, &statement, err);
    if (status)
        return status;
    if (sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC) ||
        sqlite3_bind_text(statement, 2, value, -1, SQLITE_STATIC))
        return tern_rag_fail(rag, err);
    status = tern_rag_run(rag, statement, err);
    sqlite3_clear_bindings(statement);
    return status;
}

static tern_status get_number(tern_rag *rag, const char *key, int base, uint64_t least, uint64_t most, uint64_t *value,
                              tern_error *err) {
    char *text, *end;
    tern_status status = get_meta(rag, key, &text, err);
    if (status)
        return status;
    errno = 0;
    *value = text ? strtoull(text, &end, base) : 0;
    if (!text || !*text || *end || errno || *value < least || *value > most)
        status = tern_rag_damaged(rag, key, err);
    free(text);
    return status;
}

tern_status tern_rag_read_fingerprint(tern_rag *rag, uint64_t *fingerprint, tern_error *err) {
    return get_number(rag, "fingerprint", 16, 0, UINT64_MAX, fingerprint, err);
}

tern_status tern_rag_read_meta(tern_rag *rag, tern_error *err) {
    uint64_t dims, chunk, overlap;
    free(rag->model_name);
    free(rag->model_path);
    rag->model_name = rag->model_path = NULL;
    tern_status status = get_meta(rag, "model_name", &rag->model_name, err);
    if (status || !rag->model_name)
        return status;
    if ((status = get_meta(rag, "model_path", &rag->model_path, err)) ||
        (status = tern_rag_read_fingerprint(rag, &rag->fingerprint, err)) ||
        (status = get_number(rag, "dims", 10, 1, TERN_RAG_MAX_DIMS, &dims, err)) ||
        (status = get_number(rag, "chunk_tokens", 10, TERN_RAG_MIN_CHUNK, TERN_RAG_MAX_CHUNK, &chunk, err)) ||
        (status = get_number(rag, "overlap_tokens", 10, 0, chunk / 2 - 2, &overlap, err)))
        return status;
    if (!rag->model_path)
        return tern_rag_damaged(rag, "model_path", err);
    rag->dims = (uint32_t)dims;
    rag->chunk_tokens = (uint32_t)chunk;
    rag->overlap_tokens = (uint32_t)overlap;
    return TERN_OK;
}

tern_status tern_rag_write_meta(tern_rag *rag, tern_error *err) {
    char fingerprint[24], dims[16], chunk[16], overlap[16];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)rag->fingerprint);
    snprintf(dims, sizeof dims, "%u", (unsigned)rag->dims);
    snprintf(chunk, sizeof chunk, "%u", (unsigned)rag->chunk_tokens);
    snprintf(overlap, sizeof overlap, "%u", (unsigned)rag->overlap_tokens);
    const struct {
        const char *key, *value;
    } rows[] = {{"model_name", rag->model_name}, {"model_path", rag->model_path},
                {"fingerprint", fingerprint},    {"dims", dims},
                {"chunk_tokens", chunk},         {"overlap_tokens", overlap}};
    tern_status status = TERN_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !status; i++)
        status = set_meta(rag, rows[i].key, rows[i].value, err);
    return status;
}

/* ---- opening ---- */

static tern_status get_pragma(tern_rag *rag, const char *sql, int64_t *value, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = TERN_OK;
    if (sqlite3_prepare_v2(rag->db, sql, -1, &statement, NULL))
        return tern_rag_fail(rag, err);
    if (sqlite3_step(statement) == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else
        status = tern_rag_fail(rag, err);
    sqlite3_finalize(statement);
    return status;
}

static tern_status run_sql(tern_rag *rag, const char *sql, tern_error *err) {
    return sqlite3_exec(rag->db, sql, NULL, NULL, NULL) ? tern_rag_fail(rag, err) : TERN_OK;
}

/* Tables and marks in one transaction; nothing if another process was faster. */
static tern_status create_tables(tern_rag *rag, tern_error *err) {
    char marks[128];
    int64_t n_tables = 0;
    snprintf(marks, sizeof marks, "PRAGMA application_id = %d; PRAGMA user_version = %d;", (int)TERN_RAG_APPLICATION,
             (int)TERN_RAG_VERSION);
    tern_status status = run_sql(rag, "PRAGMA page_size = 16384; BEGIN IMMEDIATE;", err);
    if (status)
        return status;
    status = get_pragma(rag, "SELECT count(*) FROM sqlite_master", &n_tables, err);
    if (!status && n_tables == 0 && !(status = run_sql(rag, schema, err)))
        status = run_sql(rag, marks, err);
    if (!status)
        return tern_rag_execute(rag, SQL_COMMIT, err);
    sqlite3_exec(rag->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Is it ours, of this version? An empty one gets its tables if `create`. */
static tern_status check_tables(tern_rag *rag, bool create, tern_error *err) {
    int64_t n_tables = 0, application = 0, version = 0;
    tern_status status;
    if ((status = get_pragma(rag, "SELECT count(*) FROM sqlite_master", &n_tables, err)) ||
        (n_tables == 0 && create && (status = create_tables(rag, err))) ||
        (status = get_pragma(rag, "PRAGMA application_id", &application, err)) ||
        (status = get_pragma(rag, "PRAGMA user_version", &version, err)))
        return status;
    if (n_tables == 0 && !create)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: nothing is in it yet: tern rag add FOLDER", rag->path);
    if (application != TERN_RAG_APPLICATION)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: not a database of tern rag", rag->path);
    if (version != TERN_RAG_VERSION)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: made by another version of tern (its form is %lld, this one reads %d)", rag->path,
                         (long long)version, (int)TERN_RAG_VERSION);
    return tern_rag_read_meta(rag, err);
}

static tern_status open_database(tern_rag *rag, bool create, tern_error *err) {
    static const char settings[] = "PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON;";
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    if (tern_is_directory(rag->path))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: a folder, not a database", rag->path);
    if (!create && !tern_file_exists(rag->path))
        return tern_fail(err, TERN_ERR_IO, "%s: there is no such database: tern rag add FOLDER makes one", rag->path);
    if (sqlite3_open_v2(rag->path, &rag->db, flags, NULL)) {
        if (!rag->db)
            return tern_fail_memory(err, "the database");
        return tern_rag_fail(rag, err);
    }
    sqlite3_extended_result_codes(rag->db, 1);
    sqlite3_busy_timeout(rag->db, BUSY_MS);
    sqlite3_db_config(rag->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    tern_status status = run_sql(rag, settings, err);
    return status ? status : check_tables(rag, create, err);
}

tern_status tern_rag_open(const char *path, bool create, tern_rag **rag, tern_error *err) {
    tern_rag *opened = calloc(1, sizeof *opened);
    if (!opened || !(opened->path = strdup(path))) {
        free(opened);
        return tern_fail_memory(err, "the database");
    }
    tern_status status = open_database(opened, create, err);
    if (status)
        tern_rag_close(opened);
    else
        *rag = opened;
    return status;
}

void tern_rag_close(tern_rag *rag) {
    if (!rag)
        return;
    for (size_t i = 0; i < TERN_RAG_N_SQL; i++)
        sqlite3_finalize(rag->statements[i]);
    sqlite3_close(rag->db);
    tern_embedder_free(rag->embedder);
    free(rag->path);
    free(rag->model_path);
    free(rag->model_name);
    free(rag);
}
