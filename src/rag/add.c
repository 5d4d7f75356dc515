/* Bringing the database up to date with a folder. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "rag/chunk.h"
#include "rag/embed.h"
#include "rag/store.h"
#include "rag/walk.h"

#define DEFAULT_MAX_FILE ((uint64_t)4 << 20)
#define LARGEST_FILE ((uint64_t)256 << 20) /* its vectors are one blob, which SQLite limits to 1 GB */
#define RACY_NS ((int64_t)2000000000) /* a file that changed so shortly ago may change within the same time stamp */

const char *const tern_rag_extensions[] = {
    "adoc", "asciidoc", "bash", "bib", "c",     "cc",       "cfg",   "clj", "cmake", "conf", "cpp",   "cs",
    "css",  "csv",      "cxx",  "d",   "dart",  "diff",     "el",    "env", "erl",   "ex",   "f90",   "go",
    "h",    "hpp",      "hs",   "htm", "html",  "ini",      "java",  "jl",  "js",    "json", "jsonl", "jsx",
    "kt",   "lisp",     "log",  "lua", "m",     "markdown", "md",    "mk",  "ml",    "nim",  "org",   "patch",
    "php",  "pl",       "pm",   "po",  "proto", "ps1",      "py",    "pyi", "r",     "rb",   "rs",    "rst",
    "s",    "scala",    "scm",  "sh",  "sql",   "srt",      "swift", "tcl", "tex",   "text", "toml",  "ts",
    "tsv",  "tsx",      "txt",  "vim", "vtt",   "xml",      "yaml",  "yml", "zig",   "zsh",  NULL,
};

static const char *const plain_names[] = {"README", "LICENSE", "COPYING",  "CHANGES",    "NEWS", "AUTHORS",
                                          "TODO",   "INSTALL", "Makefile", "Dockerfile", NULL};

/* One file's chunks with their vectors, as they go into the database. */
typedef struct parcel {
    tern_chunk *chunks;
    float *scales; /* [n] */
    int8_t *bytes; /* [n, dims] */
    size_t n;
} parcel;

typedef struct adding {
    tern_rag *rag;
    const tern_rag_add_params *params;
    tern_rag_counts *counts;
    uint64_t max_bytes;
    bool single; /* a file that was named itself: its ending does not matter */
    char **seen; /* [n_seen] paths of files that are there, whether usable or not, in the walk's order */
    size_t n_seen, capacity;
} adding;

static tern_status tell(adding *a, tern_rag_event event, const char *path, const char *why, tern_error *err) {
    a->counts->n[event]++;
    if (a->params->on_event && !a->params->on_event(a->params->user, event, path, why))
        return tern_fail(err, TERN_ERR_CANCELLED, "cancelled; what was added stays");
    return TERN_OK;
}

static bool in_list(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ", ");
        const char *item = *at == '.' ? at + 1 : at;
        if (n - (size_t)(item - at) == length && strncasecmp(item, word, length) == 0)
            return true;
        at += n + (at[n] != 0);
    }
    return false;
}

static bool is_wanted(const char *path, const char *extensions) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    if (extensions)
        return dot && in_list(extensions, dot + 1);
    for (size_t i = 0; !dot && plain_names[i]; i++)
        if (strcmp(name, plain_names[i]) == 0)
            return true;
    for (size_t i = 0; dot && tern_rag_extensions[i]; i++)
        if (strcasecmp(dot + 1, tern_rag_extensions[i]) == 0)
            return true;
    return false;
}

/* ---- computing ---- */

static void free_parcel(parcel *p) {
    free(p->chunks);
    free(p->scales);
    free(p->bytes);
}

static tern_status embed_file(adding *a, const char *path, const char *text, size_t n_bytes, parcel *p,
                              tern_error *err) {
    tern_rag *rag = a->rag;
    size_t *ends, n_tokens, n_all;
    *p = (parcel){0};
    tern_status status = tern_embedder_token_ends(rag->embedder, text, n_bytes, &ends, &n_tokens, err);
    if (status)
        return status;
    status =
        tern_chunk_text(text, n_bytes, ends, n_tokens, rag->chunk_tokens, rag->overlap_tokens, &p->chunks, &p->n, err);
    free(ends);
    if (!status && p->n) {
        p->scales = tern_alloc_array(p->n, sizeof *p->scales);
        p->bytes = tern_mul_size(p->n, rag->dims, &n_all) ? malloc(n_all) : NULL;
        if (!p->scales || !p->bytes)
            status = tern_fail_memory(err, "the vectors of a file");
    }
    for (size_t i = 0; i < p->n && !status; i++) {
        status = tern_embedder_run(rag->embedder, text + p->chunks[i].offset, p->chunks[i].size,
                                   p->bytes + i * rag->dims, &p->scales[i], err);
        if (!status)
            status = tell(a, TERN_RAG_CHUNK, path, NULL, err);
    }
    if (status)
        free_parcel(p);
    return status;
}

/* ---- storing ---- */

static tern_status store_chunks(tern_rag *rag, sqlite3_int64 file, const char *text, const parcel *p, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = TERN_OK;
    for (size_t i = 0; i < p->n && !status; i++) {
        const tern_chunk *chunk = &p->chunks[i];
        if ((status = tern_rag_statement(rag, SQL_CHUNK_ADD, &statement, err)))
            break;
        sqlite3_bind_int64(statement, 1, file);
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)i);
        sqlite3_bind_int64(statement, 3, chunk->first_line);
        sqlite3_bind_int64(statement, 4, chunk->last_line);
        sqlite3_bind_text(statement, 5, text + chunk->offset, (int)chunk->size, SQLITE_STATIC);
        status = tern_rag_run(rag, statement, err);
    }
    if (status || p->n == 0 || (status = tern_rag_statement(rag, SQL_VECTORS_ADD, &statement, err)))
        return status;
    sqlite3_bind_int64(statement, 1, file);
    if (sqlite3_bind_blob64(statement, 2, p->scales, p->n * sizeof *p->scales, SQLITE_STATIC) ||
        sqlite3_bind_blob64(statement, 3, p->bytes, p->n * rag->dims, SQLITE_STATIC))
        return tern_rag_fail(rag, err);
    return tern_rag_run(rag, statement, err);
}

static tern_status replace_file(tern_rag *rag, const char *path, int64_t mtime, size_t n_bytes, uint64_t hash,
                                const char *text, const parcel *p, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, SQL_FILE_REMOVE, &statement, err);
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    if ((status = tern_rag_run(rag, statement, err)) ||
        (status = tern_rag_statement(rag, SQL_FILE_ADD, &statement, err)))
        return status;
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, mtime);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)n_bytes);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)hash);
    sqlite3_bind_int64(statement, 5, (sqlite3_int64)p->n);
    status = tern_rag_run(rag, statement, err);
    return status ? status : store_chunks(rag, sqlite3_last_insert_rowid(rag->db), text, p, err);
}

/* In one transaction: all of the file or nothing. Begun only now, so that others can write while vectors are computed.
 */
static tern_status store_file(tern_rag *rag, const char *path, int64_t mtime, size_t n_bytes, uint64_t hash,
                              const char *text, const parcel *p, tern_error *err) {
    tern_status status = tern_rag_execute(rag, SQL_BEGIN, err);
    if (status)
        return status;
    status = tern_rag_check_owner(rag, err);
    if (!status)
        status = replace_file(rag, path, mtime, n_bytes, hash, text, p, err);
    if (!status)
        status = tern_rag_execute(rag, SQL_COMMIT, err);
    if (status && !sqlite3_get_autocommit(rag->db)) /* a full disk may have rolled it back already */
        tern_rag_execute(rag, SQL_ROLLBACK, NULL);
    return status;
}

/* ---- a file ---- */

typedef struct known_file {
    bool is_known;
    int64_t mtime, size;
    uint64_t hash;
} known_file;

static tern_status look_up(tern_rag *rag, const char *path, known_file *known, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, SQL_FILE_GET, &statement, err);
    *known = (known_file){0};
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *known = (known_file){true, sqlite3_column_int64(statement, 1), sqlite3_column_int64(statement, 2),
                              (uint64_t)sqlite3_column_int64(statement, 3)};
    else if (code != SQLITE_DONE)
        status = tern_rag_fail(rag, err);
    sqlite3_reset(statement);
    return status;
}

static tern_status touch(tern_rag *rag, const char *path, int64_t mtime, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, SQL_FILE_TOUCH, &statement, err);
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, mtime);
    return tern_rag_run(rag, statement, err);
}

/* The time to remember: 0, which no time equals, if the file may still change without it showing. */
static int64_t time_of(const struct stat *info) {
#ifdef __APPLE__
    struct timespec changed = info->st_mtimespec;
#else
    struct timespec changed = info->st_mtim;
#endif
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns = (int64_t)changed.tv_sec * 1000000000 + changed.tv_nsec;
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - ns < RACY_NS ? 0 : ns;
}

/* A text that is there: compute and store it unless its contents are known. */
static tern_status take_text(adding *a, const char *path, int64_t mtime, const char *text, size_t n_bytes,
                             const known_file *known, tern_error *err) {
    uint64_t hash = tern_hash_bytes(text, n_bytes);
    parcel p;
    tern_status status = TERN_OK;
    if (known->is_known && known->hash == hash && known->size == (int64_t)n_bytes) {
        if (mtime != known->mtime)
            status = touch(a->rag, path, mtime, err);
        return status ? status : tell(a, TERN_RAG_UNCHANGED, path, NULL, err);
    }
    status = embed_file(a, path, text, n_bytes, &p, err);
    if (status)
        return status;
    status = store_file(a->rag, path, mtime, n_bytes, hash, text, &p, err);
    free_parcel(&p);
    return status ? status : tell(a, known->is_known ? TERN_RAG_CHANGED : TERN_RAG_ADDED, path, NULL, err);
}

static bool remember(adding *a, const char *path) {
    char *copy = strdup(path);
    if (!copy || !tern_grow_array((void **)&a->seen, &a->capacity, a->n_seen + 1, sizeof *a->seen)) {
        free(copy);
        return false;
    }
    a->seen[a->n_seen++] = copy;
    return true;
}

static const char *too_large(char *why, size_t size, uint64_t n_bytes, uint64_t limit) {
    snprintf(why, size, "%.1f MB, more than %.1f MB (--max-file-size)", (double)n_bytes / 1e6, (double)limit / 1e6);
    return why;
}

/* One that cannot be used, but is there: what the database has of it is out of date. */
static tern_status skip(adding *a, const char *path, const char *why, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(a->rag, SQL_FILE_REMOVE, &statement, err);
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
    status = tern_rag_run(a->rag, statement, err);
    return status ? status : tell(a, TERN_RAG_SKIPPED, path, why, err);
}

static tern_status on_file(void *user, const char *path, const struct stat *info, const char *why, tern_error *err) {
    adding *a = user;
    known_file known;
    tern_error read_error;
    char *text, reason[64];
    size_t n_bytes;
    if (why && info && S_ISLNK(info->st_mode) && !is_wanted(path, a->params->extensions))
        return tell(a, TERN_RAG_OTHER, path, NULL, err);
    if (why)
        return tell(a, TERN_RAG_SKIPPED, path, why, err);
    if (!a->single && !is_wanted(path, a->params->extensions))
        return tell(a, TERN_RAG_OTHER, path, NULL, err);
    if (!tern_is_utf8_text(path, strlen(path)))
        return tell(a, TERN_RAG_SKIPPED, path, "its name is not UTF-8", err);
    if (!remember(a, path))
        return tern_fail_memory(err, "the list of files");
    if ((uint64_t)info->st_size > a->max_bytes)
        return skip(a, path, too_large(reason, sizeof reason, (uint64_t)info->st_size, a->max_bytes), err);
    tern_status status = look_up(a->rag, path, &known, err);
    if (status)
        return status;
    int64_t mtime = time_of(info);
    if (known.is_known && mtime && known.mtime == mtime && known.size == info->st_size)
        return tell(a, TERN_RAG_UNCHANGED, path, NULL, err);
    status = tern_read_regular(path, a->max_bytes, &text, &n_bytes, &read_error);
    if (status == TERN_ERR_MEMORY)
        return tern_fail_memory(err, "a file");
    if (status) {
        const char *rest =
            strncmp(read_error.message, path, strlen(path)) == 0 ? read_error.message + strlen(path) : "";
        return tell(a, TERN_RAG_SKIPPED, path, *rest ? rest + strspn(rest, ": ") : read_error.message, err);
    }
    if (!tern_is_utf8_text(text, n_bytes))
        status = skip(a, path, memchr(text, 0, n_bytes) ? "binary: it has zero bytes" : "not UTF-8 text", err);
    else
        status = take_text(a, path, mtime, text, n_bytes, &known, err);
    free(text);
    return status;
}

/* ---- what is gone ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Names in the database at or below `root` that were not seen -> a list of them. */
static tern_status find_gone(adding *a, const char *root, char ***gone, size_t *n_gone, tern_error *err) {
    char *first, *behind;
    size_t capacity = 0;
    sqlite3_stmt *statement;
    tern_status status = tern_rag_range(root, &first, &behind, err);
    if (status)
        return status;
    status = tern_rag_statement(a->rag, SQL_FILES_BELOW, &statement, err);
    int code = SQLITE_DONE;
    if (!status) {
        sqlite3_bind_text(statement, 1, root, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 2, first, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 3, behind, -1, SQLITE_STATIC);
        while (!status && (code = sqlite3_step(statement)) == SQLITE_ROW) {
            const char *path = (const char *)sqlite3_column_text(statement, 0);
            if (!path || bsearch(&path, a->seen, a->n_seen, sizeof *a->seen, by_text))
                continue;
            char *copy = strdup(path);
            if (copy && tern_grow_array((void **)gone, &capacity, *n_gone + 1, sizeof **gone)) {
                (*gone)[(*n_gone)++] = copy;
            } else {
                free(copy);
                status = tern_fail_memory(err, "the list of files");
            }
        }
        if (!status && code != SQLITE_DONE)
            status = tern_rag_fail(a->rag, err);
        sqlite3_reset(statement);
    }
    free(first);
    free(behind);
    return status;
}

static tern_status remove_gone(adding *a, const char *root, tern_error *err) {
    char **gone = NULL;
    size_t n_gone = 0;
    sqlite3_stmt *statement;
    qsort(a->seen, a->n_seen, sizeof *a->seen, by_text);
    tern_status status = find_gone(a, root, &gone, &n_gone, err);
    for (size_t i = 0; i < n_gone; i++) {
        if (!status && !(status = tern_rag_statement(a->rag, SQL_FILE_REMOVE, &statement, err))) {
            sqlite3_bind_text(statement, 1, gone[i], -1, SQLITE_STATIC);
            status = tern_rag_run(a->rag, statement, err);
            if (!status)
                status = tell(a, TERN_RAG_REMOVED, gone[i], NULL, err);
        }
        free(gone[i]);
    }
    free(gone);
    return status;
}

static tern_status add_root(adding *a, const char *root, tern_error *err) {
    sqlite3_stmt *statement;
    struct stat info;
    bool whole = true;
    if (stat(root, &info))
        return tern_fail(err, TERN_ERR_IO, "%s: %s", root, strerror(errno));
    tern_status status = tern_rag_statement(a->rag, SQL_FOLDER_ADD, &statement, err);
    if (status)
        return status;
    sqlite3_bind_text(statement, 1, root, -1, SQLITE_STATIC);
    if ((status = tern_rag_run(a->rag, statement, err)))
        return status;
    a->single = !S_ISDIR(info.st_mode);
    if (a->single && !S_ISREG(info.st_mode))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: neither a folder nor a regular file", root);
    status = a->single ? on_file(a, root, &info, NULL, err) : tern_walk(root, on_file, a, &whole, err);
    return !status && whole ? remove_gone(a, root, err) : status;
}

tern_status tern_rag_add(tern_rag *rag, const char *path, const tern_rag_add_params *params, tern_rag_counts *counts,
                         tern_error *err) {
    static const tern_rag_add_params none;
    tern_rag_counts ignored = {0};
    adding a = {.rag = rag, .params = params ? params : &none, .counts = counts ? counts : &ignored};
    a.max_bytes = a.params->max_file_bytes ? a.params->max_file_bytes : DEFAULT_MAX_FILE;
    if (a.max_bytes > LARGEST_FILE)
        a.max_bytes = LARGEST_FILE;
    if (!rag->embedder)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: no model to add files with", rag->path);
    char *root = realpath(path, NULL);
    if (!root)
        return errno == ENOMEM ? tern_fail_memory(err, "a path")
                               : tern_fail(err, TERN_ERR_IO, "%s: %s", path, strerror(errno));
    tern_status status = tern_is_utf8_text(root, strlen(root))
                             ? add_root(&a, root, err)
                             : tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name is not UTF-8", root);
    for (size_t i = 0; i < a.n_seen; i++)
        free(a.seen[i]);
    free(a.seen);
    free(root);
    return status;
}
