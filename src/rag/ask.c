/* From a question to the chunks that are nearest to it. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/str.h"
#include "rag/embed.h"
#include "rag/search.h"
#include "rag/store.h"

/* All vectors, and to which files they belong. */
typedef struct loaded {
    tern_index index;
    int64_t *files; /* [n_files] ids */
    size_t *firsts; /* [n_files] the row of each one's first chunk */
    size_t n_files;
} loaded;

static void free_loaded(loaded *l) {
    tern_index_free(&l->index);
    free(l->files);
    free(l->firsts);
}

/* A file's vectors from the statement's row into the index, from `row` on. */
static tern_status load_file(const tern_rag *rag, sqlite3_stmt *statement, loaded *l, size_t row, size_t n,
                             tern_error *err) {
    const float *scales = sqlite3_column_blob(statement, 2);
    size_t n_scales = (size_t)sqlite3_column_bytes(statement, 2);
    const int8_t *bytes = sqlite3_column_blob(statement, 3);
    size_t n_bytes = (size_t)sqlite3_column_bytes(statement, 3), dims = l->index.dims, ld = l->index.ld;
    if (!scales || !bytes)
        return sqlite3_errcode(rag->db) == SQLITE_NOMEM ? tern_fail_memory(err, "the vectors")
                                                        : tern_rag_damaged(rag, "a file without vectors", err);
    if (n > l->index.n - row || n_scales != n * sizeof *scales || n_bytes != n * dims)
        return tern_rag_damaged(rag, "a file's vectors are not as many as its chunks", err);
    memcpy(l->index.scales + row, scales, n_scales);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(l->index.scales[row + i]) || l->index.scales[row + i] < 0 || l->index.scales[row + i] > 1)
            return tern_rag_damaged(rag, "a vector's scale", err);
    if (ld == dims)
        memcpy(l->index.bytes + row * ld, bytes, n_bytes);
    else
        for (size_t i = 0; i < n; i++)
            memcpy(l->index.bytes + (row + i) * ld, bytes + i * dims, dims);
    return TERN_OK;
}

static tern_status load_rows(tern_rag *rag, loaded *l, tern_error *err) {
    sqlite3_stmt *statement;
    size_t row = 0, file = 0;
    int code = SQLITE_DONE;
    tern_status status = tern_rag_statement(rag, SQL_VECTORS, &statement, err);
    if (status)
        return status;
    while (!status && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        size_t n = (size_t)sqlite3_column_int64(statement, 1);
        if (file == l->n_files) {
            status = tern_rag_damaged(rag, "more files than were counted", err);
            break;
        }
        l->files[file] = sqlite3_column_int64(statement, 0);
        l->firsts[file++] = row;
        status = load_file(rag, statement, l, row, n, err);
        row += n;
    }
    if (!status && code != SQLITE_DONE)
        status = tern_rag_fail(rag, err);
    sqlite3_reset(statement);
    if (!status && row != l->index.n)
        status = tern_rag_damaged(rag, "chunks without vectors", err);
    l->n_files = file;
    return status;
}

/* As many vectors as chunks? Before there is made room for them. */
static tern_status check_size(tern_rag *rag, uint64_t n_chunks, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, SQL_VECTORS_SIZE, &statement, err);
    if (status)
        return status;
    if (sqlite3_step(statement) != SQLITE_ROW)
        status = tern_rag_fail(rag, err);
    else if (n_chunks > UINT32_MAX || (uint64_t)sqlite3_column_int64(statement, 0) != n_chunks * sizeof(float) ||
             (uint64_t)sqlite3_column_int64(statement, 1) != n_chunks * rag->dims)
        status = tern_rag_damaged(rag, "there are not as many vectors as chunks", err);
    sqlite3_reset(statement);
    return status;
}

static tern_status load_all(tern_rag *rag, loaded *l, tern_error *err) {
    tern_rag_info info;
    tern_status status = tern_rag_get_info(rag, &info, err);
    if (status || (status = check_size(rag, info.n_chunks, err)) ||
        (status = tern_index_create(info.n_chunks, rag->dims, &l->index, err)))
        return status;
    l->n_files = info.n_files;
    l->files = tern_alloc_array(info.n_files + 1, sizeof *l->files);
    l->firsts = tern_alloc_array(info.n_files + 1, sizeof *l->firsts);
    return l->files && l->firsts ? load_rows(rag, l, err) : tern_fail_memory(err, "the list of files");
}

/* ---- by vectors and by words ---- */

enum { CANDIDATES = TERN_RAG_MAX_HITS, FUSION = 60, WITNESSES = 16, SAMPLES = 256 };

/* A chunk that one of the two found. */
typedef struct candidate {
    uint32_t row, vector_rank, word_rank; /* ranks from 1; 0: none */
    float score;
    double fused;
} candidate;

typedef struct candidates {
    candidate list[2 * CANDIDATES];
    size_t n;
} candidates;

static tern_status by_vectors(const loaded *l, const tern_kernels *kernels, tern_pool *pool, const float *query,
                              candidates *found, tern_error *err) {
    tern_match matches[CANDIDATES];
    size_t n = 0;
    tern_status status = tern_index_search(&l->index, kernels, pool, query, CANDIDATES, matches, &n, err);
    for (size_t i = 0; i < n && !status; i++)
        found->list[found->n++] =
            (candidate){.row = matches[i].row, .vector_rank = (uint32_t)i + 1, .score = matches[i].score};
    return status;
}

/* A question as a query of FTS5: any of its words, each in quotes, so that none is an operator. NULL: no memory. */
static char *query_of(const char *question) {
    tern_buffer query = {0};
    for (const char *at = question; *at;) {
        size_t n = 0;
        while (isalnum((unsigned char)at[n]) || (unsigned char)at[n] >= 0x80)
            n++;
        if (n) {
            tern_buffer_printf(&query, "%s\"%.*s\"", query.size ? " OR " : "", (int)n, at);
        }
        at += n ? n : 1;
    }
    return tern_buffer_take(&query, NULL);
}

static bool find_row(const loaded *l, int64_t file, int64_t n, uint32_t *row) {
    for (size_t i = 0; i < l->n_files; i++)
        if (l->files[i] == file) {
            size_t behind = i + 1 < l->n_files ? l->firsts[i + 1] : l->index.n;
            if (n < 0 || (uint64_t)n >= behind - l->firsts[i])
                return false;
            *row = (uint32_t)(l->firsts[i] + (size_t)n);
            return true;
        }
    return false;
}

static void add_word_rank(candidates *found, uint32_t row, uint32_t rank) {
    for (size_t i = 0; i < found->n; i++)
        if (found->list[i].row == row) {
            found->list[i].word_rank = rank;
            return;
        }
    found->list[found->n++] = (candidate){.row = row, .word_rank = rank};
}

static tern_status by_words(tern_rag *rag, const loaded *l, const char *question, candidates *found, tern_error *err) {
    sqlite3_stmt *statement;
    uint32_t rank = 0, row;
    int code = SQLITE_DONE;
    char *query = query_of(question);
    tern_status status = query ? TERN_OK : tern_fail_memory(err, "the question's words");
    if (!status && *query && !(status = tern_rag_statement(rag, SQL_WORDS, &statement, err))) {
        sqlite3_bind_text(statement, 1, query, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, CANDIDATES);
        while (!status && rank < CANDIDATES && (code = sqlite3_step(statement)) == SQLITE_ROW) {
            if (find_row(l, sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1), &row))
                add_word_rank(found, row, ++rank);
            else
                status = tern_rag_damaged(rag, "a word's chunk", err);
        }
        if (!status && code != SQLITE_DONE && code != SQLITE_ROW)
            status = tern_rag_fail(rag, err);
        sqlite3_reset(statement);
    }
    free(query);
    return status;
}

static int by_fused(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->fused != y->fused)
        return x->fused > y->fused ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* What the vectors' order counts beside that of the words, which counts 1: the square of how much the chunks with the
 * question's words are nearer to it, by their vectors, than any chunks are. A model whose vectors say nothing about
 * these texts then leaves the words' order alone; where no chunk has any of the words the vectors are all there is. */
static tern_status weigh_vectors(const loaded *l, const tern_kernels *kernels, const float *query,
                                 const candidates *found, double *weight, tern_error *err) {
    float some[WITNESSES], any[SAMPLES];
    size_t n_some = 0, n_any = l->index.n < SAMPLES ? l->index.n : SAMPLES;
    tern_status status = TERN_OK;
    for (size_t i = 0; i < found->n && !status; i++)
        if (found->list[i].word_rank && found->list[i].word_rank <= WITNESSES)
            status = tern_index_score(&l->index, kernels, query, found->list[i].row, &some[n_some++], err);
    *weight = 1;
    if (status || !n_some)
        return status;
    for (size_t i = 0; i < n_any && !status; i++)
        status = tern_index_score(&l->index, kernels, query, i * l->index.n / n_any, &any[i], err);
    double agreement = status ? 0 : tern_agreement(some, n_some, any, n_any);
    *weight =
        agreement > 0.001 ? agreement * agreement : 1e-6; /* never 0: they still order what has none of the words */
    return status;
}

static tern_status collect(tern_rag *rag, const loaded *l, tern_pool *pool, const char *question, tern_rag_by by,
                           candidates *found, double *seconds, tern_error *err) {
    const tern_kernels *kernels = tern_embedder_kernels(rag->embedder);
    const float *query = tern_embedder_vector(rag->embedder);
    tern_status status = TERN_OK;
    double start = tern_seconds();
    found->n = 0;
    if (by != TERN_RAG_BY_WORDS)
        status = by_vectors(l, kernels, pool, query, found, err);
    *seconds = tern_seconds() - start;
    if (!status && by != TERN_RAG_BY_VECTORS)
        status = by_words(rag, l, question, found, err);
    double weight = 1;
    if (!status && by == TERN_RAG_BY_BOTH)
        status = weigh_vectors(l, kernels, query, found, &weight, err);
    for (size_t i = 0; i < found->n && !status; i++) {
        candidate *c = &found->list[i];
        c->fused = (c->vector_rank ? weight / (FUSION + c->vector_rank) : 0) +
                   (c->word_rank ? 1.0 / (FUSION + c->word_rank) : 0);
        if (!c->vector_rank)
            status = tern_index_score(&l->index, kernels, query, c->row, &c->score, err);
    }
    qsort(found->list, found->n, sizeof *found->list, by_fused);
    return status;
}

/* The chunk of a row. */
static tern_status get_hit(tern_rag *rag, const loaded *l, const candidate *c, tern_rag_hit *hit, tern_error *err) {
    sqlite3_stmt *statement;
    size_t low = 0, high = l->n_files; /* the last file that begins at or before the row */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (l->firsts[middle] <= c->row)
            low = middle;
        else
            high = middle;
    }
    tern_status status = tern_rag_statement(rag, SQL_CHUNK_GET, &statement, err);
    if (status)
        return status;
    sqlite3_bind_int64(statement, 1, l->files[low]);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)(c->row - l->firsts[low]));
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *path = (const char *)sqlite3_column_text(statement, 0);
        const char *text = (const char *)sqlite3_column_text(statement, 3);
        *hit = (tern_rag_hit){.path = path ? strdup(path) : NULL,
                              .text = text ? strdup(text) : NULL,
                              .first_line = (uint32_t)sqlite3_column_int64(statement, 1),
                              .last_line = (uint32_t)sqlite3_column_int64(statement, 2),
                              .score = c->score,
                              .vector_rank = c->vector_rank,
                              .word_rank = c->word_rank};
        if (!hit->path || !hit->text)
            status = tern_fail_memory(err, "a chunk's text");
    } else {
        status =
            code == SQLITE_DONE ? tern_rag_damaged(rag, "a vector without its chunk", err) : tern_rag_fail(rag, err);
    }
    sqlite3_reset(statement);
    return status;
}

static tern_status find(tern_rag *rag, loaded *l, tern_pool *pool, const char *question, tern_rag_by by, size_t k,
                        tern_rag_hits *hits, tern_error *err) {
    candidates *found = malloc(sizeof *found);
    if (!found)
        return tern_fail_memory(err, "a search");
    double start = tern_seconds();
    tern_status status = load_all(rag, l, err);
    if (!status)
        status = tern_index_centre(&l->index, tern_embedder_kernels(rag->embedder), pool, err);
    hits->load_seconds = tern_seconds() - start;
    hits->n_searched = l->index.n;
    found->n = 0;
    if (!status && l->index.n)
        status = collect(rag, l, pool, question, by, found, &hits->search_seconds, err);
    size_t n = status || found->n < k ? found->n : k;
    if (!status && !(hits->hits = tern_calloc_array(n + 1, sizeof *hits->hits)))
        status = tern_fail_memory(err, "the chunks found");
    for (; !status && hits->n < n; hits->n++) /* one that fails half-way is freed with the others */
        if ((status = get_hit(rag, l, &found->list[hits->n], &hits->hits[hits->n], err))) {
            hits->n++;
            break;
        }
    free(found);
    return status;
}

tern_status tern_rag_search(tern_rag *rag, const char *question, tern_rag_by by, size_t k, int n_threads,
                            tern_rag_hits *hits, tern_error *err) {
    tern_pool *pool = NULL;
    loaded l = {0};
    *hits = (tern_rag_hits){0};
    if (!rag->embedder || k < 1 || k > TERN_RAG_MAX_HITS)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a search needs a model and asks for 1 to %d chunks",
                         (int)TERN_RAG_MAX_HITS);
    int8_t *bytes = malloc(rag->dims);
    float scale;
    tern_status status = bytes ? tern_embedder_run(rag->embedder, question, strlen(question), bytes, &scale, err)
                               : tern_fail_memory(err, "the question's vector");
    free(bytes);
    if (!status)
        status = tern_pool_create(n_threads > 0 ? n_threads : tern_cpu_count(), &pool, err);
    if (!status)
        status = tern_rag_execute(rag, SQL_BEGIN_READ, err); /* one state of the database for all that is read */
    if (!status) {
        status = find(rag, &l, pool, question, by, k, hits, err);
        if (!sqlite3_get_autocommit(rag->db))
            tern_rag_execute(rag, SQL_ROLLBACK, NULL);
    }
    free_loaded(&l);
    tern_pool_free(pool);
    if (status)
        tern_rag_hits_free(hits);
    return status;
}

void tern_rag_hits_free(tern_rag_hits *hits) {
    for (size_t i = 0; i < hits->n; i++) {
        free(hits->hits[i].path);
        free(hits->hits[i].text);
    }
    free(hits->hits);
    *hits = (tern_rag_hits){0};
}
