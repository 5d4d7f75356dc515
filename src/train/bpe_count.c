/* The table of byte strings, and counting on all threads: each has a table of its own, and sums do not depend on who
 * added what. */
#include "train/bpe_count.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/pool.h"
#include "tokenizer/pretokenize.h"
#include "train/corpus.h"
#include "train/json_line.h"

enum { BLOCK_BYTES = 256 << 10 };

/* ---------------------------------------------------------------- the table */

static uint32_t hash_of(const char *bytes, size_t size) {
    uint64_t hash = size * 0x9e3779b97f4a7c15u, chunk;
    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&chunk, bytes, 8);
        hash = (hash ^ chunk) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    chunk = 0;
    memcpy(&chunk, bytes, size);
    hash = (hash ^ chunk) * 0xff51afd7ed558ccdu;
    return (uint32_t)(hash >> 32);
}

static bool grow(tern_word_map *map) {
    size_t n_slots = map->n_slots ? map->n_slots * 2 : 1 << 12;
    tern_word *slots = tern_calloc_array(n_slots, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < map->n_slots; i++) {
        if (!map->slots[i].bytes)
            continue;
        size_t at = map->slots[i].hash & (n_slots - 1);
        while (slots[at].bytes)
            at = (at + 1) & (n_slots - 1);
        slots[at] = map->slots[i];
    }
    free(map->slots);
    map->slots = slots;
    map->n_slots = n_slots;
    return true;
}

tern_word *tern_word_find(tern_word_map *map, const char *bytes, size_t size) {
    if (2 * map->n_words >= map->n_slots && !grow(map))
        return NULL;
    uint32_t hash = hash_of(bytes, size);
    size_t at = hash & (map->n_slots - 1);
    for (; map->slots[at].bytes; at = (at + 1) & (map->n_slots - 1)) {
        tern_word *slot = &map->slots[at];
        if (slot->hash == hash && slot->size == size && memcmp(slot->bytes, bytes, size) == 0)
            return slot;
    }
    char *copy = tern_arena_copy(&map->arena, bytes, size);
    if (!copy)
        return NULL;
    map->n_words++;
    map->slots[at] = (tern_word){copy, (uint32_t)size, hash, 0};
    return &map->slots[at];
}

void tern_word_map_free(tern_word_map *map) {
    tern_arena_free(&map->arena);
    free(map->slots);
    *map = (tern_word_map){0};
}

/* ----------------------------------------------------------------- counting */

typedef struct worker {
    tern_word_map words;
    uint64_t n_pretokens, n_bytes;
    tern_status status; /* the first that went wrong */
    size_t block;       /* and where */
    tern_error err;
} worker;

typedef struct counting {
    const tern_bpe_params *params;
    tern_corpus corpus;
    size_t *chosen; /* [n_chosen] blocks */
    size_t n_chosen;
    worker *workers;
    uint64_t total; /* bytes of the chosen blocks */
    atomic_uint_fast64_t done;
    atomic_bool stop;
} counting;

static bool count_text(worker *w, tern_view text) {
    const uint8_t *bytes = (const uint8_t *)text.bytes;
    for (size_t at = 0, end; at < text.size; at = end) {
        end = tern_llama3_pretoken(bytes, text.size, at);
        size_t size = end - at < UINT32_MAX ? end - at : UINT32_MAX;
        tern_word *word = tern_word_find(&w->words, text.bytes + at, size);
        if (!word)
            return false;
        word->count++;
        w->n_pretokens++;
    }
    w->n_bytes += text.size;
    return true;
}

/* Between the markers; the marker itself is not to be learnt. */
static bool count_documents(worker *w, tern_view text) {
    static const char marker[] = TERN_END_OF_TEXT;
    bool ok = true;
    while (ok && text.size) {
        const char *found = memmem(text.bytes, text.size, marker, sizeof marker - 1);
        size_t size = found ? (size_t)(found - text.bytes) : text.size, taken = found ? size + sizeof marker - 1 : size;
        ok = count_text(w, (tern_view){text.bytes, size});
        text = (tern_view){text.bytes + taken, text.size - taken};
    }
    return ok;
}

static tern_status count_lines(worker *w, const tern_corpus_file *file, tern_view text) {
    tern_view line;
    while (tern_next_line(&text, &line)) {
        json_t *object = tern_json_line(line, &w->err);
        const json_t *value = json_object_get(object, "text");
        tern_status status = object ? TERN_OK : w->err.status;
        if (!status && !json_is_string(value))
            status = tern_fail(&w->err, TERN_ERR_FORMAT, "no \"text\" that is a string");
        else if (!status && !count_documents(w, (tern_view){json_string_value(value), json_string_length(value)}))
            status = tern_fail_memory(&w->err, "the pre-tokens");
        json_decref(object);
        if (status) {
            tern_error_prefix(&w->err, "%s: line %zu", file->name, tern_line_number(file, line.bytes));
            return status;
        }
    }
    return TERN_OK;
}

static tern_status count_block(worker *w, const tern_corpus *corpus, const tern_block *block) {
    const tern_corpus_file *file = &corpus->files[block->file];
    tern_view text = tern_block_text(corpus, block);
    if (file->json_lines)
        return count_lines(w, file, text);
    return count_documents(w, text) ? TERN_OK : tern_fail_memory(&w->err, "the pre-tokens");
}

static void count_task(void *context, size_t task, int index) {
    counting *c = context;
    worker *w = &c->workers[index];
    const tern_block *block = &c->corpus.blocks[c->chosen[task]];
    tern_view text = tern_block_text(&c->corpus, block);
    if (atomic_load_explicit(&c->stop, memory_order_relaxed))
        return;
    tern_status status = count_block(w, &c->corpus, block);
    if (status && (!w->status || task < w->block)) {
        w->status = status;
        w->block = task;
    }
    tern_map_release(text.bytes, text.size);
    uint64_t done = atomic_fetch_add(&c->done, text.size) + text.size;
    if (status || (index == 0 && c->params->counting && !c->params->counting(c->params->progress_user, done, c->total)))
        atomic_store(&c->stop, true);
}

/* Blocks so that about max_bytes are counted, evenly spread. */
static tern_status choose(counting *c, tern_error *err) {
    uint64_t wanted = c->params->max_bytes, all = c->corpus.n_bytes, passed = 0;
    c->chosen = tern_alloc_array(c->corpus.n_blocks + 1, sizeof *c->chosen);
    if (!c->chosen)
        return tern_fail_memory(err, "the list of blocks");
    for (size_t i = 0; i < c->corpus.n_blocks; i++) {
        uint64_t size = c->corpus.blocks[i].end - c->corpus.blocks[i].begin;
        if (!wanted || c->total == 0 || (double)c->total < (double)passed * ((double)wanted / (double)all)) {
            c->chosen[c->n_chosen++] = i;
            c->total += size;
        }
        passed += size;
    }
    return TERN_OK;
}

/* The workers' words, together. */
static tern_status gather(counting *c, int n_workers, tern_word_map *words, tern_bpe_result *result, tern_error *err) {
    for (int i = 0; i < n_workers; i++) {
        worker *w = &c->workers[i];
        for (size_t k = 0; k < w->words.n_slots; k++) {
            const tern_word *from = &w->words.slots[k];
            tern_word *to = from->bytes ? tern_word_find(words, from->bytes, from->size) : NULL;
            if (from->bytes && !to)
                return tern_fail_memory(err, "the pre-tokens");
            if (to)
                to->count += from->count;
        }
        result->n_bytes += w->n_bytes;
        result->n_pretokens += w->n_pretokens;
        tern_word_map_free(&w->words);
    }
    result->n_distinct = words->n_words;
    return TERN_OK;
}

/* The first block that failed speaks for all. */
static tern_status outcome(const counting *c, int n_workers, tern_error *err) {
    const worker *first = NULL;
    for (int i = 0; i < n_workers; i++)
        if (c->workers[i].status && (!first || c->workers[i].block < first->block))
            first = &c->workers[i];
    if (first && err)
        *err = first->err;
    if (first)
        return first->status;
    return atomic_load(&c->stop) ? tern_fail(err, TERN_ERR_CANCELLED, "cancelled") : TERN_OK;
}

static tern_status count_all(counting *c, tern_pool *pool, tern_word_map *words, tern_bpe_result *result,
                             tern_error *err) {
    int n_workers = tern_pool_threads(pool);
    c->workers = tern_calloc_array((size_t)n_workers, sizeof *c->workers);
    if (!c->workers)
        return tern_fail_memory(err, "the threads' tables");
    tern_pool_run(pool, c->n_chosen, count_task, c);
    tern_status status = outcome(c, n_workers, err);
    if (!status)
        status = gather(c, n_workers, words, result, err);
    for (int i = 0; i < n_workers; i++)
        tern_word_map_free(&c->workers[i].words);
    free(c->workers);
    return status;
}

tern_status tern_bpe_count(const tern_bpe_params *params, tern_word_map *words, tern_bpe_result *result,
                           tern_error *err) {
    counting c = {.params = params};
    tern_pool *pool = NULL;
    tern_status status =
        tern_corpus_open(params->texts, params->n_texts, TERN_CUT_WORDS, (tern_view){0}, BLOCK_BYTES, &c.corpus, err);
    if (!status)
        status = choose(&c, err);
    if (!status)
        status = tern_pool_create(params->n_threads > 0 ? params->n_threads : tern_cpu_count(), &pool, err);
    if (!status)
        status = count_all(&c, pool, words, result, err);
    tern_pool_free(pool);
    free(c.chosen);
    tern_corpus_close(&c.corpus);
    return status;
}
