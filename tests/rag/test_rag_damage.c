/* Databases that are not what `tern rag` made: bytes that were changed or lost, tables and values that do not fit
 * together, vectors of another model. Nothing of it crashes or is believed: an error of one line, or an answer from
 * what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/file.h"
#include "base/rng.h"
#include "rag/rag.h"

enum { N_DAMAGES = 400, MAX_BYTES = 8 << 20 };

static char folder[40], database[64], text_path[64], more_path[64];
static tern_model *model;
static char *whole; /* [n_whole] a good database */
static size_t n_whole;

static void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void make_database(void) {
    static const tern_rag_settings settings = {.chunk_tokens = 16};
    tern_error err;
    tern_rag *rag;
    assert_int_equal(tern_rag_open(database, true, &rag, &err), TERN_OK);
    assert_int_equal(tern_rag_use_model(rag, model, "model", &settings, &err), TERN_OK);
    assert_int_equal(tern_rag_add(rag, folder, NULL, NULL, &err), TERN_OK);
    tern_rag_close(rag);
    assert_int_equal(tern_read_file(database, MAX_BYTES, &whole, &n_whole, &err), TERN_OK);
}

static int set_up(void **state) {
    (void)state;
    tern_model_params params = tern_model_defaults();
    tern_error err;
    char text[6000] = "";
    params.n_threads = 1;
    snprintf(folder, sizeof folder, "%s/tern-rag-damage-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(database, sizeof database, "%s/rag.db", folder);
    snprintf(text_path, sizeof text_path, "%s/one.txt", folder);
    snprintf(more_path, sizeof more_path, "%s/two.md", folder);
    for (int i = 0; i < 40; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "Boat %d of the harbour sailed on the sea.\n\n", i);
    write_bytes(text_path, text, strlen(text));
    write_bytes(more_path, "The little dog ran in the garden.\n", 34);
    assert_int_equal(
        tern_model_load(TERN_SOURCE_DIR "/tests/data/golden/small/model-i2_s-f32-v2.gguf", &params, &model, &err),
        TERN_OK);
    make_database();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char journal[80];
    snprintf(journal, sizeof journal, "%s-journal", database);
    tern_model_free(model);
    free(whole);
    unlink(journal);
    unlink(database);
    unlink(text_path);
    unlink(more_path);
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

/* What all errors are: one line that says something. */
static tern_status told(tern_status status, const tern_error *err) {
    if (status) {
        assert_int_equal(err->status, status);
        assert_true(err->message[0] && !strchr(err->message, '\n'));
    }
    return status;
}

static bool any_file(void *user, const char *path, uint64_t n_files, uint64_t n_chunks) {
    (void)n_files, (void)n_chunks;
    *(size_t *)user += strlen(path);
    return true;
}

static tern_status search(tern_rag *rag, tern_rag_by by, tern_error *err) {
    tern_rag_hits hits;
    size_t n_used, n_ids;
    int32_t *ids;
    tern_status status = told(tern_rag_search(rag, "Where did the dog run?", by, 5, 1, &hits, err), err);
    if (status)
        return status;
    for (size_t i = 0; i < hits.n; i++)
        assert_true(hits.hits[i].path && hits.hits[i].text);
    status = told(tern_rag_prompt(tern_model_tokenizer(model), "Where?", &hits, 4000, &n_used, &ids, &n_ids, err), err);
    tern_rag_hits_free(&hits);
    if (!status)
        tern_free(ids);
    return status;
}

/* Everything that the command does with a database; the first error, of asking rather than of adding. */
static tern_status use(tern_error *err) {
    tern_rag *rag = NULL;
    tern_error later;
    size_t n_bytes = 0;
    tern_status status = told(tern_rag_open(database, false, &rag, err), err);
    if (status)
        return status;
    told(tern_rag_folders(rag, any_file, &n_bytes, &later), &later);
    told(tern_rag_files(rag, any_file, &n_bytes, &later), &later);
    status = told(tern_rag_use_model(rag, model, "model", NULL, err), err);
    for (int by = TERN_RAG_BY_BOTH; by <= TERN_RAG_BY_WORDS && !status; by++)
        status = search(rag, (tern_rag_by)by, err);
    if (status != TERN_ERR_ARGUMENT) {
        uint64_t n_removed;
        told(tern_rag_add(rag, folder, NULL, NULL, &later), &later);
        told(tern_rag_remove(rag, more_path, &n_removed, &later), &later);
    }
    tern_rag_close(rag);
    return status;
}

/* ------------------------------------------------------------------- bytes */

static size_t below(tern_rng *rng, size_t n) { return (size_t)(tern_rng_u64(rng) % n); }

/* One kind of damage to bytes [*n]. */
static void damage(tern_rng *rng, int kind, char *bytes, size_t *n) {
    enum { PAGE = 16384, HEADER = 100, STRETCH = 300 };
    size_t n_pages = *n / PAGE, a = below(rng, n_pages) * PAGE, b = below(rng, n_pages) * PAGE;
    switch (kind) {
    case 0: /* a few bytes anywhere */
        for (size_t i = below(rng, 8) + 1; i; i--)
            bytes[below(rng, *n)] = (char)tern_rng_u64(rng);
        break;
    case 1: /* of the file's header */
        bytes[16 + below(rng, HEADER - 16)] = (char)tern_rng_u64(rng);
        break;
    case 2: /* of a page's header and its list of cells */
        for (size_t i = below(rng, 4) + 1; i; i--)
            bytes[(a ? a : HEADER) + below(rng, 40)] = (char)tern_rng_u64(rng);
        break;
    case 3: /* a stretch */
        for (size_t i = 0, at = below(rng, *n - STRETCH); i < STRETCH; i++)
            bytes[at + i] = (char)tern_rng_u64(rng);
        break;
    case 4: /* a page that was never written */
        memset(bytes + a, 0, PAGE);
        break;
    case 5: /* an older one, or another one's place */
        memmove(bytes + a, bytes + b, PAGE);
        break;
    default: /* the end is missing */
        *n = below(rng, *n);
    }
}

static void test_bytes(void **state) {
    (void)state;
    tern_rng rng;
    size_t n_failed = 0;
    char *bytes = malloc(n_whole);
    assert_non_null(bytes);
    tern_rng_seed(&rng, 5);
    for (int i = 0; i < N_DAMAGES; i++) {
        tern_error err = {0};
        size_t n = n_whole;
        memcpy(bytes, whole, n_whole);
        damage(&rng, i % 7, bytes, &n);
        write_bytes(database, bytes, n);
        n_failed += use(&err) != TERN_OK;
    }
    free(bytes);
    assert_true(n_failed > N_DAMAGES / 4);
}

/* ------------------------------------------------------------------ contents */

static const struct {
    const char *sql;
    tern_status status;
    const char *message; /* a part of it */
} contents[] = {
    {"SELECT 1", TERN_OK, ""}, /* else nothing below proves anything */
    {"UPDATE meta SET value = NULL WHERE key = 'model_path'", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE meta SET value = x'ff00' WHERE key = 'fingerprint'", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE meta SET value = '99999999999999999999' WHERE key = 'dims'", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE meta SET value = '128' WHERE key = 'dims'", TERN_ERR_ARGUMENT, "its vectors are those of"},
    {"UPDATE meta SET value = '0123456789abcdef' WHERE key = 'fingerprint'", TERN_ERR_ARGUMENT,
     "its vectors are those"},
    {"DELETE FROM meta WHERE key = 'chunk_tokens'", TERN_ERR_FORMAT, "damaged"},
    {"DROP TABLE meta", TERN_ERR_FORMAT, "damaged"},
    {"ALTER TABLE files RENAME COLUMN n_chunks TO chunks", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE files SET n_chunks = 'many'", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE files SET n_chunks = 9223372036854775807", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE files SET n_chunks = n_chunks + 1", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE vectors SET scales = substr(scales, 5)", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE vectors SET bytes = substr(bytes, 2)", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE vectors SET bytes = CAST(bytes AS TEXT)", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE vectors SET bytes = CAST(bytes || x'00' AS BLOB)", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE vectors SET bytes = NULL", TERN_ERR_FORMAT, NULL}, /* NOT NULL: cannot be, but with another table */
    {"UPDATE vectors SET scales = CAST(x'0000c07f' || substr(scales, 5) AS BLOB)", TERN_ERR_FORMAT, "scale"}, /* NaN */
    {"UPDATE vectors SET scales = CAST(x'000080bf' || substr(scales, 5) AS BLOB)", TERN_ERR_FORMAT, "scale"}, /* -1 */
    {"UPDATE vectors SET bytes = zeroblob(length(bytes))", TERN_OK, ""},
    {"UPDATE vectors SET bytes = CAST(x'8080' || substr(bytes, 3) AS BLOB)", TERN_OK,
     ""}, /* -128, which tern never writes */
    {"UPDATE chunks SET n = n + 1000000", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE chunks SET n = -n - 1", TERN_ERR_FORMAT, "damaged"},
    {"UPDATE chunks SET first_line = -5, last_line = 'x'", TERN_OK, ""},
    {"UPDATE chunks SET text = x'00ff8041'", TERN_OK, ""},
    {"UPDATE files SET path = x'ff' || id", TERN_OK, ""},
    {"DROP TABLE words", TERN_ERR_FORMAT, "damaged"},
    {"DROP TABLE words; CREATE TABLE words(text, rank)", TERN_ERR_FORMAT, "damaged"},
    {"DROP TABLE vectors; CREATE VIEW vectors AS SELECT id AS file, NULL AS scales, NULL AS bytes FROM files",
     TERN_ERR_FORMAT, "damaged"},
    {"PRAGMA user_version = 7", TERN_ERR_FORMAT, "another version"},
    {"PRAGMA application_id = 1", TERN_ERR_FORMAT, "not a database of tern rag"},
};

static void test_contents(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        sqlite3 *db;
        tern_error err = {0};
        write_bytes(database, whole, n_whole);
        assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
        int code = sqlite3_exec(db, contents[i].sql, NULL, NULL, NULL);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
        if (!contents[i].message) {
            assert_int_equal(code, SQLITE_CONSTRAINT);
            continue;
        }
        if (code)
            fail_msg("%s: SQLite: %d", contents[i].sql, code);
        tern_status status = use(&err);
        if (status != contents[i].status || !strstr(err.message, contents[i].message))
            fail_msg("%s: status %d, \"%s\"", contents[i].sql, (int)status, err.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_contents), cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
