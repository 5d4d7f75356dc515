/*
 * Question answering over local files: their texts are cut into chunks, each chunk gets a vector, and the chunks whose
 * vectors are nearest to a question's go into the prompt that answers it. Chunks and vectors lie in one SQLite
 * database.
 *
 *     tern_rag *rag;
 *     tern_rag_open("rag.db", true, &rag, &err);
 *     tern_rag_use_model(rag, model, "model.gguf", NULL, &err);
 *     tern_rag_add(rag, "notes", NULL, &counts, &err);
 *     tern_rag_search(rag, "Where do terns breed?", TERN_RAG_BY_BOTH, 4, 0, &hits, &err);
 *     tern_rag_prompt(tern_model_tokenizer(model), "Where do terns breed?", &hits, 3000, &n_used, &ids, &n_ids, &err);
 *
 * The entry header of this room. A tern_rag belongs to one thread at a time; several processes may use one database.
 * What was stored is whole after a crash at any time: each file goes in with all its chunks or not at all.
 */
#ifndef TERN_RAG_RAG_H
#define TERN_RAG_RAG_H

#include "base/status.h"

typedef struct tern_rag tern_rag;

/* Open the database at `path`; with `create`, one that is not there (or empty) is made. A file that is no such
 * database, is damaged or of a newer version is TERN_ERR_FORMAT. */
tern_status tern_rag_open(const char *path, bool create, tern_rag **rag, tern_error *err);
void tern_rag_close(tern_rag *rag);

typedef struct tern_rag_info {
    const char *path;       /* the database */
    const char *model_name; /* whose vectors are in it; NULL: none yet */
    const char *model_path; /* where that model was when it was first used; "demo": the built-in one */
    uint32_t dims, chunk_tokens, overlap_tokens;
    uint64_t n_files, n_chunks;
} tern_rag_info;

/* The strings belong to the database and are valid until tern_rag_use_model(). */
tern_status tern_rag_get_info(tern_rag *rag, tern_rag_info *info, tern_error *err);

typedef struct tern_rag_settings {
    uint32_t chunk_tokens;   /* of a chunk at most; 0: the database's, a new one's 160, or an eighth of the model's
                                context if that is less */
    uint32_t overlap_tokens; /* that a chunk repeats of the one before, if `set_overlap` */
    bool set_overlap;        /* else: the database's, a new one's a fifth of chunk_tokens */
} tern_rag_settings;

enum { TERN_RAG_MIN_CHUNK = 16, TERN_RAG_MAX_CHUNK = 4096 };

/* Which model makes the vectors; it must outlive `rag`. A database without files takes any; it remembers it by what it
 * computes for a fixed text: another one (an adapter makes another one, a converted file does not) is
 * TERN_ERR_ARGUMENT, and so are settings that are not the database's. `settings` may be NULL. */
tern_status tern_rag_use_model(tern_rag *rag, tern_model *model, const char *model_path,
                               const tern_rag_settings *settings, tern_error *err);

/* ------------------------------------------------------------------ adding */

typedef enum tern_rag_event {
    TERN_RAG_ADDED,     /* a new file */
    TERN_RAG_CHANGED,   /* its contents are new */
    TERN_RAG_UNCHANGED, /* nothing was computed */
    TERN_RAG_REMOVED,   /* it was in the database and is no longer in the folder */
    TERN_RAG_SKIPPED,   /* `why`: it cannot be used */
    TERN_RAG_OTHER,     /* of a kind that was not asked for */
    TERN_RAG_CHUNK,     /* a chunk of the file has its vector */
    TERN_RAG_N_EVENTS
} tern_rag_event;

typedef struct tern_rag_add_params {
    const char *extensions;  /* "md,txt": files with these; NULL: tern_rag_extensions */
    uint64_t max_file_bytes; /* larger ones are skipped; 0: 4 MiB */
    /* Called for every event (`why` is NULL but for TERN_RAG_SKIPPED); false cancels. What is stored stays. */
    bool (*on_event)(void *user, tern_rag_event event, const char *path, const char *why);
    void *user;
} tern_rag_add_params;

typedef struct tern_rag_counts {
    uint64_t n[TERN_RAG_N_EVENTS]; /* of each event */
} tern_rag_counts;

/* Texts by the ends of their names, ended by NULL; README, LICENSE and Makefile count, too. */
extern const char *const tern_rag_extensions[];

/* Bring the database up to date with a folder (or a single file, whatever its name), which it then remembers. Files
 * whose size and time or whose contents are those of the last time are not computed again. Hidden files and folders are
 * left out, symbolic links are not followed. *counts (may be NULL) adds up, also when it fails. Needs a model. */
tern_status tern_rag_add(tern_rag *rag, const char *path, const tern_rag_add_params *params, tern_rag_counts *counts,
                         tern_error *err);

/* Take a folder or a file out, by the name that tern_rag_add() got or tern_rag_folders() tells; *n_files were removed.
 * TERN_ERR_ARGUMENT if the database has nothing there. */
tern_status tern_rag_remove(tern_rag *rag, const char *path, uint64_t *n_files, tern_error *err);

/* Folders (and single files) that were added, and files, in the order of their names; the callback returns false to
 * stop. It must not call tern_rag_*. */
typedef bool (*tern_rag_list_fn)(void *user, const char *path, uint64_t n_files, uint64_t n_chunks);
tern_status tern_rag_folders(tern_rag *rag, tern_rag_list_fn fn, void *user, tern_error *err);
tern_status tern_rag_files(tern_rag *rag, tern_rag_list_fn fn, void *user, tern_error *err);

/* ------------------------------------------------------------------ asking */

typedef struct tern_rag_hit {
    char *path, *text;
    uint32_t first_line, last_line;  /* from 1 */
    float score;                     /* of the vectors, 1 at most: larger is nearer */
    uint32_t vector_rank, word_rank; /* its place, from 1, by vectors and by words; 0: not among the best */
} tern_rag_hit;

typedef enum tern_rag_by {
    TERN_RAG_BY_BOTH = 0, /* those that stand high in both orders, or very high in one (reciprocal rank fusion: Cormack,
                             Clarke and Buettcher 2009) */
    TERN_RAG_BY_VECTORS,  /* what the model finds alike */
    TERN_RAG_BY_WORDS     /* which share rare words (BM25) */
} tern_rag_by;

typedef struct tern_rag_hits {
    tern_rag_hit *hits; /* [n] best first */
    size_t n;
    uint64_t n_searched;                 /* chunks in the database */
    double load_seconds, search_seconds; /* reading the vectors; comparing them */
} tern_rag_hits;

enum { TERN_RAG_MAX_HITS = 256 };

/* The k <= TERN_RAG_MAX_HITS chunks nearest to the question; vectors are compared by n_threads (0: all CPUs). */
tern_status tern_rag_search(tern_rag *rag, const char *question, tern_rag_by by, size_t k, int n_threads,
                            tern_rag_hits *hits, tern_error *err);
void tern_rag_hits_free(tern_rag_hits *hits);

/* The chat prompt that asks the question with the first *n_used hits, all or as many as fit into `limit` tokens -> ids
 * [*n_ids], to be freed with tern_free(). Text in files and question cannot become special tokens.
 * TERN_ERR_CONTEXT if the question alone does not fit. */
tern_status tern_rag_prompt(const tern_tokenizer *tokenizer, const char *question, const tern_rag_hits *hits,
                            size_t limit, size_t *n_used, int32_t **ids, size_t *n_ids, tern_error *err);

/* What an answer says when the chunks do not hold one. */
#define TERN_RAG_NO_ANSWER "The passages do not say."

/* The grammar (docs/GRAMMAR.md) of answers from n sources, free(): sentences, each with a source or several behind it,
 * "[2]", "[1, 2]", or TERN_RAG_NO_ANSWER alone. A number in brackets is always that of a source. NULL: no memory. */
char *tern_rag_grammar(size_t n_sources);
/* Does the answer cite source `number` (from 1), as "[2]" or in "[1, 2]"? */
bool tern_rag_cites(const char *answer, size_t number);
/* Does it cite any of them, or is it TERN_RAG_NO_ANSWER? One that was cut off, or has another grammar, need not. */
bool tern_rag_is_founded(const char *answer, size_t n_sources);

#endif
