/* The model of a database: the first one that made vectors for it, and no other. */
#include <stdlib.h>
#include <string.h>

#include "rag/embed.h"
#include "rag/store.h"

static tern_status check_settings(const tern_rag *rag, const tern_rag_settings *settings, tern_error *err) {
    if (settings->chunk_tokens && settings->chunk_tokens != rag->chunk_tokens)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: its chunks have %u tokens, not %u: leave that as it is, or begin "
                         "another database",
                         rag->path, (unsigned)rag->chunk_tokens, (unsigned)settings->chunk_tokens);
    if (settings->set_overlap && settings->overlap_tokens != rag->overlap_tokens)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: its chunks overlap by %u tokens, not %u: leave that as it is, or "
                         "begin another database",
                         rag->path, (unsigned)rag->overlap_tokens, (unsigned)settings->overlap_tokens);
    return TERN_OK;
}

/* The settings of a new database. */
static tern_status choose_settings(tern_rag *rag, const tern_rag_settings *settings, uint32_t n_ctx, tern_error *err) {
    uint32_t chunk = settings->chunk_tokens, most = n_ctx < TERN_RAG_MAX_CHUNK ? n_ctx : TERN_RAG_MAX_CHUNK;
    if (!chunk && (chunk = n_ctx / 8 < 160 ? n_ctx / 8 : 160) < TERN_RAG_MIN_CHUNK)
        chunk = TERN_RAG_MIN_CHUNK;
    if (chunk < TERN_RAG_MIN_CHUNK || chunk > most)
        return tern_fail(err, TERN_ERR_ARGUMENT, "chunks of %u tokens: this model can do from %d to %u",
                         (unsigned)chunk, (int)TERN_RAG_MIN_CHUNK, (unsigned)most);
    uint32_t overlap = settings->set_overlap ? settings->overlap_tokens : chunk / 5;
    if (overlap > chunk / 2 - 2)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "an overlap of %u tokens: chunks of %u tokens can overlap by %u at most", (unsigned)overlap,
                         (unsigned)chunk, (unsigned)(chunk / 2 - 2));
    rag->chunk_tokens = chunk;
    rag->overlap_tokens = overlap;
    return TERN_OK;
}

/* The database is this model's from now on, in a transaction: not if another process has stored files meanwhile. */
static tern_status claim(tern_rag *rag, tern_error *err) {
    tern_rag_info info = {0};
    tern_status status = tern_rag_execute(rag, SQL_BEGIN, err);
    if (status)
        return status;
    status = tern_rag_get_info(rag, &info, err);
    if (!status && info.n_files)
        status = tern_fail(err, TERN_ERR_BUSY, "%s: another process has just begun it; try again", rag->path);
    if (!status)
        status = tern_rag_write_meta(rag, err);
    if (!status)
        status = tern_rag_execute(rag, SQL_COMMIT, err);
    if (status && !sqlite3_get_autocommit(rag->db))
        tern_rag_execute(rag, SQL_ROLLBACK, NULL);
    return status;
}

static tern_status first_use(tern_rag *rag, const tern_model_info *info, const char *path, uint64_t fingerprint,
                             const tern_rag_settings *settings, tern_error *err) {
    tern_status status = choose_settings(rag, settings, info->n_ctx, err);
    if (status)
        return status;
    free(rag->model_name);
    free(rag->model_path);
    rag->model_name = strdup(info->name);
    rag->model_path = strdup(path);
    rag->fingerprint = fingerprint;
    rag->dims = info->hidden_size;
    status = rag->model_name && rag->model_path ? claim(rag, err) : tern_fail_memory(err, "the model's name");
    if (!status)
        return TERN_OK;
    free(rag->model_name);
    free(rag->model_path);
    rag->model_name = rag->model_path = NULL;
    rag->dims = 0;
    return status;
}

tern_status tern_rag_check_owner(tern_rag *rag, tern_error *err) {
    uint64_t fingerprint;
    tern_status status = tern_rag_read_fingerprint(rag, &fingerprint, err);
    if (!status && fingerprint != rag->fingerprint)
        status = tern_fail(err, TERN_ERR_BUSY, "%s: another process has begun it with another model", rag->path);
    return status;
}

static tern_status compare(tern_rag *rag, const tern_model_info *info, const char *path, uint64_t fingerprint,
                           const tern_rag_settings *settings, tern_error *err) {
    tern_rag_info stored = {0};
    tern_status status = tern_rag_read_meta(rag, err);
    if (!status)
        status = tern_rag_get_info(rag, &stored, err);
    if (status)
        return status;
    if (stored.n_files == 0)
        return first_use(rag, info, path, fingerprint, settings, err);
    if (rag->model_name && fingerprint == rag->fingerprint && info->hidden_size == rag->dims)
        return check_settings(rag, settings, err);
    return tern_fail(
        err, TERN_ERR_ARGUMENT,
        "%s: its vectors are those of the model %s (%s, %u values, fingerprint %016llx), not of %s (%s, %u "
        "values, %016llx): use that model, or another database",
        rag->path, rag->model_name ? rag->model_name : "?", rag->model_path ? rag->model_path : "?",
        (unsigned)rag->dims, (unsigned long long)rag->fingerprint, info->name, path, (unsigned)info->hidden_size,
        (unsigned long long)fingerprint);
}

tern_status tern_rag_use_model(tern_rag *rag, tern_model *model, const char *model_path,
                               const tern_rag_settings *settings, tern_error *err) {
    static const tern_rag_settings none;
    tern_model_info info;
    tern_embedder *embedder;
    uint64_t fingerprint = 0;
    tern_model_get_info(model, &info);
    tern_status status = tern_embedder_create(model, &embedder, err);
    if (status)
        return status;
    settings = settings ? settings : &none;
    status = tern_embedder_fingerprint(embedder, &fingerprint, err);
    if (!status)
        status = compare(rag, &info, model_path, fingerprint, settings, err);
    if (status == TERN_ERR_BUSY) /* another process was faster: then its model counts */
        status = compare(rag, &info, model_path, fingerprint, settings, err);
    if (status) {
        tern_embedder_free(embedder);
        return status;
    }
    tern_embedder_free(rag->embedder);
    rag->embedder = embedder;
    return TERN_OK;
}

tern_status tern_rag_get_info(tern_rag *rag, tern_rag_info *info, tern_error *err) {
    sqlite3_stmt *statement;
    tern_status status = tern_rag_statement(rag, SQL_COUNTS, &statement, err);
    if (status)
        return status;
    if (sqlite3_step(statement) != SQLITE_ROW)
        status = tern_rag_fail(rag, err);
    else
        *info = (tern_rag_info){.path = rag->path,
                                .model_name = rag->model_name,
                                .model_path = rag->model_path,
                                .dims = rag->dims,
                                .chunk_tokens = rag->chunk_tokens,
                                .overlap_tokens = rag->overlap_tokens,
                                .n_files = (uint64_t)sqlite3_column_int64(statement, 0),
                                .n_chunks = (uint64_t)sqlite3_column_int64(statement, 1)};
    sqlite3_reset(statement);
    return status;
}
