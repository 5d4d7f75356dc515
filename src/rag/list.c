/* What is in the database, and taking it out. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "rag/store.h"

static tern_status list(tern_rag *rag, tern_rag_sql sql, tern_rag_list_fn fn, void *user, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, sql, &statement, err);
    int code = SQLITE_DONE;
    if (status)
        return status;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *path = (const char *)sqlite3_column_text(statement, 0);
        if (path &&
            !fn(user, path, (uint64_t)sqlite3_column_int64(statement, 1), (uint64_t)sqlite3_column_int64(statement, 2)))
            break;
    }
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        status = tern_rag_fail(rag, err);
    sqlite3_reset(statement);
    return status;
}

tern_status tern_rag_folders(tern_rag *rag, tern_rag_list_fn fn, void *user, tern_error *err) {
    return list(rag, SQL_FOLDERS, fn, user, err);
}

tern_status tern_rag_files(tern_rag *rag, tern_rag_list_fn fn, void *user, tern_error *err) {
    return list(rag, SQL_FILES, fn, user, err);
}

tern_status tern_rag_range(const char *path, char **first, char **behind, tern_error *err) {
    size_t length = strlen(path);
    while (length && path[length - 1] == '/')
        length--;
    *first = malloc(length + 2);
    *behind = malloc(length + 2);
    if (!*first || !*behind) {
        free(*first);
        free(*behind);
        *first = *behind = NULL;
        return tern_fail_memory(err, "a path");
    }
    memcpy(*first, path, length);
    memcpy(*behind, path, length);
    memcpy(*first + length, "/", 2);
    memcpy(*behind + length, "0", 2); /* the character behind the slash */
    return TERN_OK;
}

/* The absolute name of something that may be gone: without "." and "..", links in it as they are. free(). */
static char *absolute(const char *path) {
    char folder[PATH_MAX];
    tern_buffer out = {0};
    char *real = realpath(path, NULL);
    if (real)
        return real;
    if (*path != '/' && getcwd(folder, sizeof folder))
        tern_buffer_text(&out, strcmp(folder, "/") == 0 ? "" : folder);
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, "/");
        if (n == 2 && memcmp(at, "..", 2) == 0) {
            while (out.size && out.bytes[--out.size] != '/') {
            }
        } else if (n && !(n == 1 && *at == '.')) {
            tern_buffer_text(&out, "/");
            tern_buffer_append(&out, at, n);
        }
        at += n + (at[n] == '/');
    }
    if (!out.size)
        tern_buffer_text(&out, "/");
    if (out.bytes)
        out.bytes[out.size] = 0;
    return tern_buffer_take(&out, NULL);
}

/* Run a statement about ?1 = path, ?2 = first, ?3 = behind; *n rows were changed. */
static tern_status run_below(tern_rag *rag, tern_rag_sql sql, const char *path, const char *first, const char *behind,
                             uint64_t *n, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, sql, &statement, err);
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, first, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 3, behind, -1, SQLITE_STATIC);
    status = tern_rag_run(rag, statement, err);
    *n = status ? 0 : (uint64_t)sqlite3_changes(rag->db);
    return status;
}

static tern_status remove_below(tern_rag *rag, const char *path, uint64_t *n_files, tern_error *err) {
    char *first, *behind;
    uint64_t n_folders = 0;
    *n_files = 0;
    tern_status status = tern_rag_range(path, &first, &behind, err);
    if (status)
        return status;
    if (!(status = tern_rag_execute(rag, SQL_BEGIN, err))) {
        if (!(status = run_below(rag, SQL_FILES_REMOVE_BELOW, path, first, behind, n_files, err)) &&
            !(status = run_below(rag, SQL_FOLDER_REMOVE, path, first, behind, &n_folders, err)))
            status = tern_rag_execute(rag, SQL_COMMIT, err);
        if (status && !sqlite3_get_autocommit(rag->db))
            tern_rag_execute(rag, SQL_ROLLBACK, NULL);
    }
    free(first);
    free(behind);
    if (!status && *n_files == 0 && n_folders == 0)
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: the database has nothing of that name (tern rag list)", path);
    return status;
}

tern_status tern_rag_remove(tern_rag *rag, const char *path, uint64_t *n_files, tern_error *err) {
    char *name = absolute(path);
    if (!name)
        return tern_fail_memory(err, "a path");
    tern_status status = remove_below(rag, name, n_files, err);
    free(name);
    return status;
}
