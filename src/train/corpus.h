/*
 * Text files as what training reads: mapped, cut into blocks that threads work on, and blocks into documents. Where the
 * cuts are depends on the text alone, never on the number of threads.
 */
#ifndef TERN_TRAIN_CORPUS_H
#define TERN_TRAIN_CORPUS_H

#include "base/file.h"
#include "base/str.h"

typedef struct tern_corpus_file {
    tern_map map; /* of an empty file: nothing */
    const char *name;
    bool json_lines; /* its name ends in .jsonl */
} tern_corpus_file;

typedef struct tern_block {
    size_t begin, end; /* bytes of the file */
    uint32_t file;
} tern_block;

typedef struct tern_corpus {
    tern_corpus_file *files; /* [n_files] */
    size_t n_files;
    tern_block *blocks; /* [n_blocks]: of all files, in order */
    size_t n_blocks;
    uint64_t n_bytes; /* of all files */
} tern_corpus;

/* Where a text may be cut. JSON lines are always cut behind a newline. */
typedef enum tern_cut {
    TERN_CUT_WORDS, /* in front of a blank that follows a letter: pre-tokens on both sides are the same, cut or not */
    TERN_CUT_DOCUMENTS, /* behind a separator; a document of more than TERN_MAX_DOCUMENT bytes is cut between words */
    TERN_CUT_LINES,     /* all files are JSON lines, whatever their names */
} tern_cut;

#define TERN_MAX_DOCUMENT ((size_t)16 << 20)
#define TERN_END_OF_TEXT "<|endoftext|>"

/* Blocks of about block_bytes. `separator`: of documents; empty: each file is one. Paths and separator must outlive the
 * corpus. Compressed files are an error. Free with tern_corpus_close() (accepts what a failure left). */
tern_status tern_corpus_open(const char *const *paths, size_t n_paths, tern_cut cut, tern_view separator,
                             size_t block_bytes, tern_corpus *corpus, tern_error *err);
void tern_corpus_close(tern_corpus *corpus);

static inline tern_view tern_block_text(const tern_corpus *corpus, const tern_block *block) {
    return (tern_view){(const char *)corpus->files[block->file].map.data + block->begin, block->end - block->begin};
}

/* Take the next document off `rest`: up to the separator, which is dropped with the white space on both sides of it;
 * empty documents are passed over. With an empty separator all of rest, as it is. False: none is left. */
bool tern_next_document(tern_view *rest, tern_view separator, tern_view *document);
/* Take the next line that is not blank; without its end. */
bool tern_next_line(tern_view *rest, tern_view *line);
/* The number of the line that holds `at`, a place in the file; for messages. */
size_t tern_line_number(const tern_corpus_file *file, const char *at);

#endif
