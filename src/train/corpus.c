#include "train/corpus.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/compressed.h"
#include "base/mem.h"

static bool ends_with(const char *text, const char *ending) {
    size_t a = strlen(text), b = strlen(ending);
    return a >= b && strcmp(text + a - b, ending) == 0;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/* --------------------------------------------------------------------- cuts */

/* The first cut between words at or behind `at` (> 0): no pre-token reaches over it, since letters only end there and
 * what is behind begins anew with the blank. */
static size_t cut_words(tern_view text, size_t at) {
    const char *end = text.bytes + text.size;
    for (const char *p = text.bytes + at; p < end && (p = memchr(p, ' ', (size_t)(end - p))); p++)
        if (is_letter(p[-1]))
            return (size_t)(p - text.bytes);
    return text.size;
}

static size_t cut_lines(tern_view text, size_t at) {
    const char *newline = memchr(text.bytes + at - 1, '\n', text.size - at + 1);
    return newline ? (size_t)(newline + 1 - text.bytes) : text.size;
}

/* Behind the first separator that ends at or behind `at`. */
static size_t cut_documents(tern_view text, tern_view separator, size_t at) {
    size_t from = at > separator.size ? at - separator.size : 0;
    size_t limit = text.size - from < TERN_MAX_DOCUMENT ? text.size : from + TERN_MAX_DOCUMENT;
    const char *found =
        separator.size ? memmem(text.bytes + from, limit - from, separator.bytes, separator.size) : NULL;
    if (found)
        return (size_t)(found - text.bytes) + separator.size;
    return limit < text.size ? cut_words(text, limit) : text.size;
}

static bool add_block(tern_corpus *corpus, size_t *capacity, tern_block block) {
    if (!tern_grow_array((void **)&corpus->blocks, capacity, corpus->n_blocks + 1, sizeof block))
        return false;
    corpus->blocks[corpus->n_blocks++] = block;
    return true;
}

static bool cut_file(tern_corpus *corpus, size_t *capacity, uint32_t index, tern_cut cut, tern_view separator,
                     size_t block_bytes) {
    const tern_corpus_file *file = &corpus->files[index];
    tern_view text = {(const char *)file->map.data, file->map.size};
    bool ok = true;
    for (size_t begin = 0, end; ok && begin < text.size; begin = end) {
        size_t at = text.size - begin > block_bytes ? begin + block_bytes : text.size;
        if (at == text.size)
            end = text.size;
        else if (file->json_lines)
            end = cut_lines(text, at);
        else
            end = cut == TERN_CUT_WORDS ? cut_words(text, at) : cut_documents(text, separator, at);
        tern_map_release(text.bytes + begin, end - begin); /* pages come along with those that were looked at */
        ok = add_block(corpus, capacity, (tern_block){begin, end, index});
    }
    return ok;
}

/* -------------------------------------------------------------------- files */

/* Compressed text would be taken for very odd words. */
static tern_status check_plain(const tern_corpus_file *file, tern_error *err) {
    const char *tool = file->map.size ? tern_unpacker_of(file->map.data, file->map.size) : NULL;
    if (tool)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: is compressed; unpack it first: %s -dc FILE > TEXT",
                         file->name, tool);
    return TERN_OK;
}

static tern_status open_file(const char *path, tern_cut cut, tern_corpus_file *file, tern_error *err) {
    struct stat info;
    *file = (tern_corpus_file){.name = path, .json_lines = cut == TERN_CUT_LINES || ends_with(path, ".jsonl")};
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0)
        return TERN_OK; /* no text is some text, but cannot be mapped */
    tern_status status = tern_map_open(path, &file->map, err);
    return status ? status : check_plain(file, err);
}

tern_status tern_corpus_open(const char *const *paths, size_t n_paths, tern_cut cut, tern_view separator,
                             size_t block_bytes, tern_corpus *corpus, tern_error *err) {
    *corpus = (tern_corpus){.files = tern_calloc_array(n_paths ? n_paths : 1, sizeof *corpus->files)};
    size_t capacity = 0;
    tern_status status = corpus->files ? TERN_OK : tern_fail_memory(err, "the list of texts");
    for (size_t i = 0; !status && i < n_paths; i++) {
        status = open_file(paths[i], cut, &corpus->files[i], err);
        corpus->n_files = i + 1;
        corpus->n_bytes += corpus->files[i].map.size;
        if (!status && !cut_file(corpus, &capacity, (uint32_t)i, cut, separator, block_bytes))
            status = tern_fail_memory(err, "the list of blocks");
    }
    if (status)
        tern_corpus_close(corpus);
    return status;
}

void tern_corpus_close(tern_corpus *corpus) {
    for (size_t i = 0; i < corpus->n_files; i++)
        tern_map_close(&corpus->files[i].map);
    free(corpus->files);
    free(corpus->blocks);
    *corpus = (tern_corpus){0};
}

/* ---------------------------------------------------------------- documents */

static tern_view trim(tern_view text) {
    while (text.size && is_blank(text.bytes[0]))
        text.bytes++, text.size--;
    while (text.size && is_blank(text.bytes[text.size - 1]))
        text.size--;
    return text;
}

bool tern_next_document(tern_view *rest, tern_view separator, tern_view *document) {
    if (!separator.size) {
        *document = *rest;
        *rest = (tern_view){rest->bytes + rest->size, 0};
        return document->size > 0;
    }
    while (rest->size) {
        const char *found = memmem(rest->bytes, rest->size, separator.bytes, separator.size);
        size_t size = found ? (size_t)(found - rest->bytes) : rest->size, taken = found ? size + separator.size : size;
        *document = trim((tern_view){rest->bytes, size});
        *rest = (tern_view){rest->bytes + taken, rest->size - taken};
        if (document->size)
            return true;
    }
    return false;
}

bool tern_next_line(tern_view *rest, tern_view *line) {
    while (rest->size) {
        const char *newline = memchr(rest->bytes, '\n', rest->size);
        size_t size = newline ? (size_t)(newline - rest->bytes) : rest->size, taken = newline ? size + 1 : size;
        *line = trim((tern_view){rest->bytes, size});
        if (line->size >= 3 && memcmp(line->bytes, "\xef\xbb\xbf", 3) == 0) /* a byte order mark is no JSON */
            *line = (tern_view){line->bytes + 3, line->size - 3};
        *rest = (tern_view){rest->bytes + taken, rest->size - taken};
        if (line->size)
            return true;
    }
    return false;
}

size_t tern_line_number(const tern_corpus_file *file, const char *at) {
    size_t n = 1;
    for (const char *p = (const char *)file->map.data; p < at && (p = memchr(p, '\n', (size_t)(at - p))); p++)
        n++;
    return n;
}
