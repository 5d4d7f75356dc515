#include "train/data_build.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/pool.h"
#include "tokenizer/tokenizer.h"
#include "train/corpus.h"
#include "train/json_line.h"
#include "train/overlap.h"
#include "train/record.h"

enum { BLOCK_BYTES = 256 << 10, BLOCKS_PER_THREAD = 4 };

/* A document, ready to be written: a stretch of its block's tokens. */
typedef struct document {
    size_t first, n;
    uint64_t text_bytes;
    tern_split split;
} document;

/* What one block has become. Memory is kept from turn to turn. */
typedef struct product {
    int32_t *ids;
    uint8_t *mask;
    size_t n_ids, ids_capacity, mask_capacity;
    document *documents;
    size_t n_documents, capacity;
    uint64_t n_read, n_excluded, n_no_answer;
    tern_status status;
    tern_error err;
} product;

typedef struct builder {
    const tern_data_params *params;
    tern_view separator;
    tern_corpus corpus;
    bool held_out; /* all of the corpus */
    tern_overlap excluded;
    tern_pool *pool;
    product *products; /* [n_products] */
    size_t n_products, first_block;
    tern_shard_set *shards;
    tern_data_report report;
    uint64_t done, total; /* bytes */
} builder;

/* ---------------------------------------------------------------- documents */

static tern_split split_of(const builder *b, uint64_t hash) {
    double place = (double)(hash >> 11) * 0x1p-53; /* in [0, 1) */
    return b->held_out || place < b->params->held_out ? TERN_SPLIT_HELD_OUT : TERN_SPLIT_TRAIN;
}

static tern_status no_memory(product *p) { return tern_fail_memory(&p->err, "a document"); }

/* Append tokens, with BOS in front if it is not -1 and EOS behind if that is not -1; with a mask the EOS is learnt. */
static tern_status put_document(product *p, const int32_t *ids, const uint8_t *mask, size_t n, int32_t bos, int32_t eos,
                                tern_split split, uint64_t text_bytes) {
    size_t want = p->n_ids + n + 2, first = p->n_ids;
    if (!tern_grow_array((void **)&p->ids, &p->ids_capacity, want, sizeof *p->ids) ||
        (mask && !tern_grow_array((void **)&p->mask, &p->mask_capacity, want, 1)) ||
        !tern_grow_array((void **)&p->documents, &p->capacity, p->n_documents + 1, sizeof *p->documents))
        return no_memory(p);
    if (bos >= 0) {
        if (mask)
            p->mask[p->n_ids] = 0;
        p->ids[p->n_ids++] = bos;
    }
    memcpy(p->ids + p->n_ids, ids, n * sizeof *ids);
    if (mask)
        memcpy(p->mask + p->n_ids, mask, n);
    p->n_ids += n;
    if (eos >= 0) {
        if (mask)
            p->mask[p->n_ids] = 1;
        p->ids[p->n_ids++] = eos;
    }
    p->documents[p->n_documents++] = (document){first, p->n_ids - first, text_bytes, split};
    return TERN_OK;
}

static bool is_excluded(const builder *b, product *p, tern_view text) {
    bool excluded = !b->held_out && tern_overlap_has(&b->excluded, text);
    p->n_excluded += excluded;
    return excluded;
}

/* What comes before the first answer: conversations that begin alike are all on one side of the split. */
static uint64_t prompt_hash(const tern_message *messages, size_t n) {
    tern_hash hash;
    tern_hash_start(&hash);
    for (size_t i = 0; i < n && strcmp(messages[i].role, "assistant") != 0; i++) {
        tern_hash_add(&hash, messages[i].role, strlen(messages[i].role) + 1);
        tern_hash_add(&hash, messages[i].content, strlen(messages[i].content) + 1);
    }
    return tern_hash_value(&hash);
}

static bool record_is_excluded(const builder *b, product *p, const tern_record *record) {
    for (size_t which = 0; which < record->n; which++)
        for (size_t i = 0; i < record->n_messages[which]; i++)
            if (is_excluded(b, p, tern_view_of(record->messages[which][i].content)))
                return true;
    return false;
}

static uint64_t bytes_of(const tern_message *messages, size_t n) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(messages[i].content);
    return bytes;
}

/* Conversations: their answers are learnt; among texts all of them is, as of any document (Cheng et al. 2024,
 * arXiv 2406.14491: pre-training on texts with instructions among them). */
static tern_status add_record(const builder *b, product *p, const tern_record *record) {
    bool whole = b->params->kind == TERN_SHARD_TEXT;
    tern_chat_lesson lessons[2] = {{0}, {0}};
    tern_status status = TERN_OK;
    bool learnt = true;
    tern_split split = split_of(b, prompt_hash(record->messages[0], record->n_messages[0]));
    for (size_t i = 0; !status && i < record->n; i++) {
        status = tern_chat_learn(b->params->tokenizer, record->messages[i], record->n_messages[i], record->n == 2,
                                 &lessons[i], &p->err);
        learnt &= lessons[i].answer_bytes > 0;
    }
    p->n_no_answer += !status && !learnt;
    for (size_t i = 0; !status && learnt && i < record->n; i++)
        status = put_document(p, lessons[i].ids, whole ? NULL : lessons[i].mask, lessons[i].n, -1, -1, split,
                              whole ? bytes_of(record->messages[i], record->n_messages[i]) : lessons[i].answer_bytes);
    tern_chat_lesson_free(&lessons[0]);
    tern_chat_lesson_free(&lessons[1]);
    return status;
}

/* A document: BOS, the text, EOS (as far as the tokenizer has them). Among conversations all but the BOS is learnt: a
 * model that goes on learning what it was pre-trained on forgets less of it (Ouyang et al. 2022, arXiv 2203.02155,
 * section 3.5). */
static tern_status add_text(const builder *b, product *p, tern_view text) {
    const tern_tokenizer *tokenizer = b->params->tokenizer;
    bool masked = b->params->kind != TERN_SHARD_TEXT;
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    size_t n;
    tern_status status = tern_tokenize(tokenizer, text.bytes, text.size, 0, &ids, &n, &p->err);
    if (status)
        return status;
    if (masked && (mask = tern_alloc_array(n, 1)))
        memset(mask, 1, n);
    status = masked && !mask
                 ? no_memory(p)
                 : put_document(p, ids, mask, n, tern_tokenizer_bos(tokenizer), tern_tokenizer_eos(tokenizer),
                                split_of(b, tern_hash_bytes(text.bytes, text.size)), text.size);
    free(mask);
    free(ids);
    return status;
}

static tern_status add_line(const builder *b, product *p, tern_view line) {
    tern_record record;
    tern_status status = tern_record_parse(b->params->kind, line, &record, &p->err);
    if (status)
        return status;
    p->n_read++;
    if (record.n && !record_is_excluded(b, p, &record))
        status = add_record(b, p, &record);
    else if (!record.n && record.text.size && !is_excluded(b, p, record.text))
        status = add_text(b, p, record.text);
    tern_record_free(&record);
    return status;
}

/* ------------------------------------------------------------------- blocks */

static tern_status add_lines(const builder *b, product *p, const tern_corpus_file *file, tern_view text) {
    tern_view line;
    while (tern_next_line(&text, &line)) {
        tern_status status = add_line(b, p, line);
        if (status) {
            tern_error_prefix(&p->err, "%s: line %zu", file->name, tern_line_number(file, line.bytes));
            return status;
        }
    }
    return TERN_OK;
}

static tern_status add_documents(const builder *b, product *p, const tern_corpus_file *file, tern_view text) {
    tern_view found;
    while (tern_next_document(&text, b->separator, &found)) {
        p->n_read++;
        tern_status status = is_excluded(b, p, found) ? TERN_OK : add_text(b, p, found);
        if (status) {
            tern_error_prefix(&p->err, "%s", file->name);
            return status;
        }
    }
    return TERN_OK;
}

static void build_block(void *context, size_t task, int worker) {
    builder *b = context;
    product *p = &b->products[task];
    const tern_block *block = &b->corpus.blocks[b->first_block + task];
    const tern_corpus_file *file = &b->corpus.files[block->file];
    tern_view text = tern_block_text(&b->corpus, block);
    (void)worker;
    p->n_ids = p->n_documents = 0;
    p->n_read = p->n_excluded = p->n_no_answer = 0;
    p->status = (file->json_lines ? add_lines : add_documents)(b, p, file, text);
    tern_map_release(text.bytes, text.size);
}

static tern_status write_product(builder *b, const product *p, tern_error *err) {
    tern_status status = p->status;
    if (status && err)
        *err = p->err;
    size_t together = b->params->kind == TERN_SHARD_PAIRS ? 2 : 1;
    for (size_t i = 0; !status && i < p->n_documents; i += together) {
        tern_shard_item items[2];
        for (size_t k = 0; k < together; k++) {
            const document *d = &p->documents[i + k];
            const uint8_t *mask = b->params->kind == TERN_SHARD_TEXT ? NULL : p->mask + d->first;
            items[k] = (tern_shard_item){p->ids + d->first, mask, d->n, d->text_bytes};
        }
        status = tern_shard_set_add(b->shards, p->documents[i].split, items, together, err);
    }
    if (!b->held_out) {
        b->report.n_read += p->n_read;
        b->report.n_excluded += p->n_excluded;
        b->report.n_no_answer += p->n_no_answer;
    }
    return status;
}

/* Turns of a few blocks a thread, then written in their order. */
static tern_status build_corpus(builder *b, tern_error *err) {
    tern_status status = TERN_OK;
    for (b->first_block = 0; !status && b->first_block < b->corpus.n_blocks; b->first_block += b->n_products) {
        size_t left = b->corpus.n_blocks - b->first_block, n = left < b->n_products ? left : b->n_products;
        tern_pool_run(b->pool, n, build_block, b);
        for (size_t i = 0; !status && i < n; i++) {
            const tern_block *block = &b->corpus.blocks[b->first_block + i];
            status = write_product(b, &b->products[i], err);
            b->done += block->end - block->begin;
        }
        if (!status && b->params->progress && !b->params->progress(b->params->progress_user, b->done, b->total))
            status = tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    return status;
}

static tern_status build_files(builder *b, const char *const *paths, size_t n, bool held_out, tern_error *err) {
    tern_cut cut = b->params->kind == TERN_SHARD_TEXT ? TERN_CUT_DOCUMENTS : TERN_CUT_LINES;
    tern_status status = tern_corpus_open(paths, n, cut, b->separator, BLOCK_BYTES, &b->corpus, err);
    if (status)
        return status;
    b->held_out = held_out;
    b->total = b->corpus.n_bytes;
    b->done = 0;
    status = build_corpus(b, err);
    tern_corpus_close(&b->corpus);
    return status;
}

/* ---------------------------------------------------------------- exclusion */

static bool exclude_strings(tern_overlap *overlap, const json_t *value) {
    const char *key;
    json_t *child;
    size_t i;
    bool ok = true;
    if (json_is_string(value))
        return tern_overlap_add(overlap, (tern_view){json_string_value(value), json_string_length(value)});
    json_array_foreach(value, i, child) ok = ok && exclude_strings(overlap, child);
    json_object_foreach((json_t *)value, key, child) ok = ok && exclude_strings(overlap, child);
    return ok;
}

/* Every string of JSON lines, or the whole text. */
static bool exclude_file(tern_overlap *overlap, const tern_corpus_file *file) {
    tern_view text = {(const char *)file->map.data, file->map.size}, line;
    bool ok = true;
    if (!file->json_lines)
        return tern_overlap_add(overlap, text);
    while (ok && tern_next_line(&text, &line)) {
        tern_error problem;
        json_t *root = tern_json_line(line, &problem);
        ok = root                                ? exclude_strings(overlap, root)
             : problem.status == TERN_ERR_MEMORY ? false
                                                 : tern_overlap_add(overlap, line);
        json_decref(root);
    }
    return ok;
}

static tern_status exclude_files(builder *b, const char *const *paths, size_t n, tern_error *err) {
    tern_corpus corpus;
    bool ok = true;
    tern_status status = tern_corpus_open(paths, n, TERN_CUT_WORDS, (tern_view){0}, SIZE_MAX, &corpus, err);
    if (status)
        return status;
    for (size_t i = 0; ok && i < corpus.n_files; i++)
        ok = exclude_file(&b->excluded, &corpus.files[i]);
    tern_corpus_close(&corpus);
    return ok ? TERN_OK : tern_fail_memory(err, "the excluded texts");
}

/* --------------------------------------------------------------------- all */

static tern_status check_tokenizer(const tern_data_params *params, tern_error *err) {
    if (tern_tokenizer_bos(params->tokenizer) < 0 || tern_tokenizer_eos(params->tokenizer) < 0)
        return tern_fail(
            err, TERN_ERR_UNSUPPORTED,
            "the tokenizer has no BOS or no EOS token (<|begin_of_text|>, <|end_of_text|>), which documents "
            "begin and end with");
    if (params->separator && strlen(params->separator) > TERN_MAX_DOCUMENT / 2)
        return tern_fail(err, TERN_ERR_ARGUMENT, "the separator of documents is too long");
    return TERN_OK;
}

/* The names of several shards are known only now: none of them may be an input. */
static tern_status check_names(const builder *b, tern_error *err) {
    const tern_data_params *p = b->params;
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < tern_shard_set_count(b->shards); i++) {
        char *name = tern_shard_set_name(b->shards, i);
        if (!name)
            return tern_fail_memory(err, "the list of shards");
        status = tern_check_output(name, p->texts, p->n_texts, err);
        if (!status)
            status = tern_check_output(name, p->held_out_files, p->n_held_out_files, err);
        if (!status)
            status = tern_check_output(name, p->excluded, p->n_excluded, err);
        free(name);
    }
    return status;
}

static tern_status build_all(builder *b, const char *path, tern_error *err) {
    const tern_data_params *params = b->params;
    const tern_shard_params shard = {params->kind, (uint32_t)tern_tokenizer_vocab_size(params->tokenizer),
                                     tern_tokenizer_bos(params->tokenizer), tern_tokenizer_eos(params->tokenizer),
                                     params->tokenizer_hash};
    tern_status status = tern_pool_create(params->n_threads > 0 ? params->n_threads : tern_cpu_count(), &b->pool, err);
    if (status)
        return status;
    b->n_products = (size_t)tern_pool_threads(b->pool) * BLOCKS_PER_THREAD;
    b->products = tern_calloc_array(b->n_products, sizeof *b->products);
    if (!b->products)
        return tern_fail_memory(err, "the threads' blocks");
    status = exclude_files(b, params->excluded, params->n_excluded, err);
    if (!status)
        status = exclude_files(b, params->held_out_files, params->n_held_out_files, err);
    if (!status)
        status = tern_shard_set_create(path, &shard, params->shard_bytes, &b->shards, err);
    if (!status)
        status = build_files(b, params->texts, params->n_texts, false, err);
    if (!status)
        status = build_files(b, params->held_out_files, params->n_held_out_files, true, err);
    if (!status)
        status = check_names(b, err);
    if (status)
        return status;
    tern_shard_set *shards = b->shards;
    b->shards = NULL; /* finish() frees it, whatever comes */
    b->report.n_shards = tern_shard_set_count(shards);
    return tern_shard_set_finish(shards, params->on_shard, params->on_shard_user, &b->report.info, err);
}

tern_status tern_data_build(const tern_data_params *params, const char *path, tern_data_report *report,
                            tern_error *err) {
    builder b = {.params = params, .separator = tern_view_of(params->separator ? params->separator : TERN_END_OF_TEXT)};
    double start = tern_seconds();
    tern_status status = check_tokenizer(params, err);
    if (!status)
        status = build_all(&b, path, err);
    b.report.seconds = tern_seconds() - start;
    tern_shard_set_abort(b.shards);
    for (size_t i = 0; b.products && i < b.n_products; i++) {
        free(b.products[i].ids);
        free(b.products[i].mask);
        free(b.products[i].documents);
    }
    free(b.products);
    tern_pool_free(b.pool);
    tern_overlap_free(&b.excluded);
    if (!status && report)
        *report = b.report;
    return status;
}
