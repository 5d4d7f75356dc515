/*
 * Out of memory in what `tern rag` is made of: an allocation fails, tern's own or SQLite's, while a database is made,
 * brought up to date or asked. Each time there is an error with a message, or the very result that there is with
 * memory; the database stays whole, and the next try does what the failed one was to do.
 *
 * The first allocations of each scenario fail one after the other, then every so many; TERN_FAULT_STEP=1: all of them.
 */
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guard.h"
#include "fault/failing.h"
#include "rag/rag.h"

enum { FIRST = 60, OTHERS = 200 };

/* SQLite's blocks: it wants to be told how large one is, so that stands in front of it. */
enum { HEAD = 16 };

static void *sqlite_realloc(void *memory, int size) {
    char *block = realloc(memory ? (char *)memory - HEAD : NULL, (size_t)size + HEAD);
    if (!block)
        return NULL;
    *(int *)(void *)block = size;
    return block + HEAD;
}

static void *sqlite_malloc(int size) { return sqlite_realloc(NULL, size); }

static void sqlite_free(void *memory) {
    if (memory)
        free((char *)memory - HEAD);
}

static int sqlite_size(void *memory) { return memory ? *(int *)(void *)((char *)memory - HEAD) : 0; }
static int sqlite_round(int size) { return (size + 7) & ~7; }
static int sqlite_start(void *user) { return (void)user, SQLITE_OK; }
static void sqlite_end(void *user) { (void)user; }

/* ------------------------------------------------------------------ the folder */

static char folder[40];
static char database[64], texts[64], one[80], two[80];
static tern_model *model;

static bool write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    bool good = file && fputs(text, file) >= 0;
    return file ? fclose(file) == 0 && good : false;
}

static const char first_text[] = "The little dog ran in the garden.\n\nHe barked at the cat.\n",
                  second_text[] = "The boat sailed on the sea.\nThe whale swam under the boat, and the dog slept.\n",
                  changed_text[] = "A penguin ate the cake.\n";

/* ------------------------------------------------------------------- scenarios */

static bool same_event(void *user, tern_rag_event event, const char *path, const char *why) {
    (void)user, (void)event, (void)path, (void)why;
    return true;
}

static tern_status open_with_model(bool create, tern_rag **rag, tern_error *err) {
    static const tern_rag_settings settings = {.chunk_tokens = 16};
    tern_status status = tern_rag_open(database, create, rag, err);
    return status ? status : tern_rag_use_model(*rag, model, "model", &settings, err);
}

/* What is in it, and what is found, as a text: the same in the end, whatever failed on the way. */
static tern_status ask(tern_rag *rag, char *found, size_t size, tern_error *err) {
    tern_rag_hits hits;
    size_t n_used, n_ids, used = 0;
    int32_t *ids;
    tern_status status = tern_rag_search(rag, "Where was the dog?", TERN_RAG_BY_BOTH, 3, 1, &hits, err);
    if (status)
        return status;
    for (size_t i = 0; i < hits.n; i++)
        used += (size_t)snprintf(found + used, size - used, "%u %u %s|", hits.hits[i].vector_rank,
                                 hits.hits[i].word_rank, hits.hits[i].text);
    status =
        tern_rag_prompt(tern_model_tokenizer(model), "Where was the dog?", &hits, 4000, &n_used, &ids, &n_ids, err);
    tern_rag_hits_free(&hits);
    if (status)
        return status;
    snprintf(found + used, size - used, "%zu %zu", n_used, n_ids);
    tern_free(ids);
    return TERN_OK;
}

static tern_status make(char *found, size_t size, tern_error *err) {
    const tern_rag_add_params params = {.on_event = same_event};
    tern_rag *rag = NULL;
    tern_rag_info info;
    tern_status status = open_with_model(true, &rag, err);
    if (!status)
        status = tern_rag_add(rag, texts, &params, NULL, err);
    if (!status)
        status = tern_rag_get_info(rag, &info, err);
    if (!status)
        snprintf(found, size, "%d %d", (int)info.n_files, (int)info.n_chunks);
    tern_rag_close(rag);
    return status;
}

static tern_status search(char *found, size_t size, tern_error *err) {
    tern_rag *rag = NULL;
    tern_status status = open_with_model(false, &rag, err);
    if (!status)
        status = ask(rag, found, size, err);
    tern_rag_close(rag);
    return status;
}

static bool count_files(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    (void)path, (void)n_chunks;
    *(uint64_t *)user += n_files;
    return true;
}

static tern_status take_out(char *found, size_t size, tern_error *err) {
    tern_rag *rag = NULL;
    uint64_t n_removed = 0, n_files = 0;
    tern_status status = tern_rag_open(database, false, &rag, err);
    if (!status)
        status = tern_rag_remove(rag, one, &n_removed, err);
    if (!status || status == TERN_ERR_ARGUMENT) /* a try that failed later had taken it out */
        status = tern_rag_files(rag, count_files, &n_files, err);
    if (!status)
        snprintf(found, size, "%d left", (int)n_files);
    tern_rag_close(rag);
    return status;
}

/* ------------------------------------------------------------------ what comes before and after */

static bool nothing(void) { return unlink(database) == 0 || access(database, F_OK) != 0; }

static bool made(void) {
    char found[64];
    return nothing() && write_text(one, first_text) && write_text(two, second_text) &&
           make(found, sizeof found, NULL) == TERN_OK;
}

static bool made_and_changed(void) { return made() && write_text(two, changed_text); }

static bool kept(void) { return true; }

/* The database is whole as SQLite sees it, and so are its files: all chunks, all vectors. */
static bool is_whole(void) {
    static const char *const checks[] = {
        "PRAGMA integrity_check", "INSERT INTO words(words, rank) VALUES('integrity-check', 1)",
        "SELECT 'chunks' FROM files f WHERE n_chunks != (SELECT count(*) FROM chunks WHERE file = f.id)",
        "SELECT 'vectors' FROM files f LEFT JOIN vectors v ON v.file = f.id WHERE 4 * n_chunks != length(scales)",
        "SELECT 'meta' FROM meta WHERE value IS NULL"};
    sqlite3 *db;
    bool whole = true;
    if (access(database, F_OK) != 0)
        return true;
    if (sqlite3_open(database, &db))
        return false;
    sqlite3_stmt *statement;
    int n_tables = 0;
    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM sqlite_master", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        n_tables = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    for (size_t i = 0; i < sizeof checks / sizeof *checks && whole && n_tables; i++) {
        if (sqlite3_prepare_v2(db, checks[i], -1, &statement, NULL)) {
            whole = false;
            break;
        }
        int code = sqlite3_step(statement);
        const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : "ok";
        whole = (code == SQLITE_ROW || code == SQLITE_DONE) && text && strcmp(text, "ok") == 0;
        if (!whole)
            fprintf(stderr, "rag_fault: %s: %s\n", checks[i], text ? text : sqlite3_errmsg(db));
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return whole;
}

typedef struct scenario {
    const char *name;
    bool (*before)(void); /* each time */
    tern_status (*run)(char *found, size_t size, tern_error *err);
    bool once; /* what `before` makes is still there afterwards */
} scenario;

/* Allocation n of `total` fails: false if that goes wrong. */
static bool fail_one(const scenario *s, long n, long total, const char *good, long *tolerated) {
    char found[1024] = "";
    tern_error err = {0};
    if (!(s->once ? kept : s->before)())
        return false;
    tern_fault_arm(n);
    tern_status status = s->run(found, sizeof found, &err);
    bool failed = tern_fault_disarm();
    *tolerated += status == TERN_OK;
    const char *wrong = NULL;
    if (!failed)
        wrong = "the allocation did not come";
    else if (status == TERN_OK && strcmp(found, good) != 0)
        wrong = "another result";
    else if (status && (status != TERN_ERR_MEMORY || err.status != status || !err.message[0] ||
                        strchr(err.message, '\n') != NULL))
        wrong = "another error";
    else if (!s->once && !is_whole())
        wrong = "the database is not whole";
    else if (status && (s->run(found, sizeof found, &err) || strcmp(found, good) != 0))
        wrong = "the next try fails";
    if (wrong)
        fprintf(stderr, "rag_fault: %s: allocation %ld of %ld: %s: status %d, \"%s\", found \"%s\"\n", s->name, n,
                total, wrong, (int)status, err.message, found);
    return !wrong;
}

static bool run(const scenario *s) {
    const char *text = getenv("TERN_FAULT_STEP");
    long wanted = text ? strtol(text, NULL, 10) : 0;
    char good[1024] = "";
    tern_error err = {0};
    if (!s->before())
        return false;
    if (s->once && s->run(good, sizeof good, &err)) /* the model keeps the scratch that it needs */
        return false;
    tern_fault_arm(-1);
    if (s->run(good, sizeof good, &err)) {
        fprintf(stderr, "rag_fault: %s: %s\n", s->name, err.message);
        return false;
    }
    long total = tern_fault_count(), tolerated = 0, tried = 0;
    long step = wanted > 0 ? wanted : total > FIRST + OTHERS ? (total - FIRST) / OTHERS : 1;
    for (long n = 0; n < total; n += n < FIRST ? 1 : step, tried++)
        if (!fail_one(s, n, total, good, &tolerated))
            return false;
    printf("%s: %ld of %ld allocations failed once; %ld without consequence\n", s->name, tried, total, tolerated);
    return total > FIRST;
}

int main(void) {
    static const sqlite3_mem_methods methods = {.xMalloc = sqlite_malloc,
                                                .xFree = sqlite_free,
                                                .xRealloc = sqlite_realloc,
                                                .xSize = sqlite_size,
                                                .xRoundup = sqlite_round,
                                                .xInit = sqlite_start,
                                                .xShutdown = sqlite_end};
    static const scenario scenarios[] = {
        {"a new database", nothing, make, false},
        {"a search", made, search, true},
        {"a file that changed", made_and_changed, make, false},
        {"a file taken out", made, take_out, false},
    };
    tern_model_params params = tern_model_defaults();
    params.n_threads = 1;
    /* In memory, if there is such a place: hundreds of transactions wait for a disk otherwise. */
    snprintf(folder, sizeof folder, "%s/tern-rag-fault-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    /* Its own little pools would hide most of its allocations. */
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) || sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) ||
        !mkdtemp(folder) ||
        tern_model_load(TERN_SOURCE_DIR "/tests/data/golden/small/model-i2_s-f32-v2.gguf", &params, &model, NULL))
        return 1;
    json_set_alloc_funcs(tern_guard_malloc, tern_guard_free);
    snprintf(database, sizeof database, "%s/rag.db", folder);
    snprintf(texts, sizeof texts, "%s/texts", folder);
    snprintf(one, sizeof one, "%s/one.txt", texts);
    snprintf(two, sizeof two, "%s/two.txt", texts);
    bool good = mkdir(texts, 0700) == 0 && write_text(one, first_text) && write_text(two, second_text);
    char found[64];
    good = good && make(found, sizeof found, NULL) == TERN_OK;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios && good; i++)
        good = run(&scenarios[i]);
    tern_model_free(model);
    unlink(one);
    unlink(two);
    rmdir(texts);
    unlink(database);
    rmdir(folder);
    return !good;
}
