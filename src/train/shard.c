/* Reading shards: everything in the file is checked once, when it is opened, and trusted afterwards. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/reader.h"
#include "train/data.h"
#include "train/shard_layout.h"

struct tern_shard {
    tern_map map;
    char *name;
    const uint8_t *data;
    uint64_t size;
    tern_shard_info info;
    uint32_t id_bytes;
    bool masked;
    const uint8_t *index[TERN_N_SPLITS]; /* entries */
    uint8_t *made_index;                 /* of a file that has none; owned */
    uint64_t longest;
    /* of a joined one, which has no data itself */
    const tern_shard **parts;       /* [n_parts]; NULL: a file */
    uint64_t *first[TERN_N_SPLITS]; /* [n_parts + 1]: number of each part's first document; owned by first[0] */
    size_t n_parts;
};

typedef struct entry {
    uint64_t offset, n;
} entry;

static entry entry_of(const tern_shard *shard, int split, uint64_t index) {
    const uint8_t *p = shard->index[split] + index * TERN_SHARD_ENTRY;
    return (entry){tern_shard_get(p, 8), tern_shard_get(p + 8, 8)};
}

static tern_status damaged(const tern_shard *shard, tern_error *err, const char *what) {
    return tern_fail(err, TERN_ERR_FORMAT, "%s: the shard is damaged: %s; make it again with `tern train data`",
                     shard->name, what);
}

/* ------------------------------------------------------------------- checks */

static int32_t id_at(const uint8_t *ids, uint32_t id_bytes, uint64_t i) {
    return id_bytes == 2 ? (int32_t)tern_shard_get(ids + 2 * i, 2) : (int32_t)tern_shard_get(ids + 4 * i, 4);
}

/* Ids within the vocabulary, mask bytes 0 or 1. */
static bool contents_valid(const tern_shard *shard, entry e) {
    const uint8_t *ids = shard->data + e.offset, *mask = ids + e.n * shard->id_bytes;
    uint32_t worst = 0;
    uint8_t marks = 0;
    for (uint64_t i = 0; i < e.n; i++) {
        uint32_t id = (uint32_t)id_at(ids, shard->id_bytes, i);
        worst = id > worst ? id : worst;
    }
    for (uint64_t i = 0; shard->masked && i < e.n; i++)
        marks |= mask[i];
    return worst < shard->info.vocab_size && marks <= 1;
}

/* `area`: the end of the documents. Sums of tokens must be the header's, and the documents' bytes must fill the area,
 * which also bounds the work on a hostile file. */
static tern_status check_documents(tern_shard *shard, uint64_t area, tern_error *err) {
    uint64_t filled = 0;
    for (int split = 0; split < TERN_N_SPLITS; split++) {
        uint64_t tokens = 0;
        for (uint64_t i = 0; i < shard->info.n_documents[split]; i++) {
            entry e = entry_of(shard, split, i);
            if (e.offset < TERN_SHARD_HEADER || e.offset > area || e.n > area / shard->id_bytes)
                return damaged(shard, err, "a document lies outside of the file");
            uint64_t bytes = tern_shard_padded(e.n, shard->id_bytes, shard->masked);
            if (bytes > area - e.offset || bytes > area - TERN_SHARD_HEADER - filled)
                return damaged(shard, err, "a document lies outside of the file");
            if (e.n < (shard->info.kind == TERN_SHARD_PAIRS ? 2u : 1u))
                return damaged(shard, err, "a document is too short");
            if (!contents_valid(shard, e))
                return damaged(shard, err, "an id is outside of the vocabulary, or a mask is not 0 or 1");
            filled += bytes;
            tokens += e.n;
            shard->longest = e.n > shard->longest ? e.n : shard->longest;
        }
        if (tokens != shard->info.n_tokens[split])
            return damaged(shard, err, "the number of tokens is not the documents'");
        if (shard->info.kind == TERN_SHARD_PAIRS && shard->info.n_documents[split] % 2)
            return damaged(shard, err, "a pair has one half only");
    }
    return filled == area - TERN_SHARD_HEADER ? TERN_OK : damaged(shard, err, "the documents do not fill it");
}

static tern_status check_header(tern_shard *shard, uint32_t kind, uint64_t file_size, uint64_t index, tern_error *err) {
    const tern_shard_info *info = &shard->info;
    if (kind > TERN_SHARD_PAIRS)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: shard kind %" PRIu32 " is not known to this version",
                         shard->name, kind);
    if (file_size != shard->size)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: %" PRIu64 " bytes, but the shard was written with %" PRIu64
                         "; copy it again, or make it with `tern train data`",
                         shard->name, shard->size, file_size);
    if (info->vocab_size == 0 || info->vocab_size > INT32_MAX || (shard->id_bytes != 2 && shard->id_bytes != 4))
        return damaged(shard, err, "vocabulary or width of ids");
    if ((uint32_t)info->bos_id >= info->vocab_size || (uint32_t)info->eos_id >= info->vocab_size)
        return damaged(shard, err, "BOS or EOS is outside of the vocabulary");
    uint64_t documents = 0, bytes = 0;
    if (index < TERN_SHARD_HEADER || index > shard->size ||
        !tern_add_u64(info->n_documents[0], info->n_documents[1], &documents) ||
        !tern_mul_u64(documents, TERN_SHARD_ENTRY, &bytes) || bytes != shard->size - index)
        return damaged(shard, err, "the index is not where it should be");
    return TERN_OK;
}

static tern_status read_shard(tern_shard *shard, tern_error *err) {
    tern_reader reader = {.data = shard->data, .size = shard->size, .pos = TERN_SHARD_AT_VERSION};
    tern_shard_info *info = &shard->info;
    if (shard->size < TERN_SHARD_HEADER)
        return damaged(shard, err, "it ends inside the header");
    uint32_t version = tern_read_u32(&reader), kind = tern_read_u32(&reader);
    if (version != TERN_SHARD_VERSION)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: shard version %" PRIu32 ", and this tern reads %d; make it again with `tern train data`",
                         shard->name, version, TERN_SHARD_VERSION);
    if (tern_hash_bytes(shard->data, TERN_SHARD_AT_HEAD_HASH) !=
        tern_shard_get(shard->data + TERN_SHARD_AT_HEAD_HASH, 8))
        return damaged(shard, err, "the header's checksum is wrong");
    shard->id_bytes = tern_read_u32(&reader);
    info->vocab_size = tern_read_u32(&reader);
    info->tokenizer_hash = tern_read_u64(&reader);
    info->bos_id = (int32_t)tern_read_u32(&reader);
    info->eos_id = (int32_t)tern_read_u32(&reader);
    uint64_t *fields[] = {info->n_documents, info->n_tokens, info->text_bytes};
    for (int i = 0; i < 3; i++)
        for (int split = 0; split < TERN_N_SPLITS; split++)
            fields[i][split] = tern_read_u64(&reader);
    uint64_t file_size = tern_read_u64(&reader), index = tern_read_u64(&reader);
    info->hash = tern_read_u64(&reader);
    tern_status status = check_header(shard, kind, file_size, index, err);
    if (status)
        return status;
    if (tern_hash_bytes(shard->data + TERN_SHARD_HEADER, shard->size - TERN_SHARD_HEADER) != info->hash)
        return damaged(shard, err, "the checksum is wrong");
    info->kind = (tern_shard_kind)kind;
    shard->masked = kind != TERN_SHARD_TEXT;
    shard->index[TERN_SPLIT_TRAIN] = shard->data + index;
    shard->index[TERN_SPLIT_HELD_OUT] = shard->data + index + info->n_documents[0] * TERN_SHARD_ENTRY;
    return check_documents(shard, index, err);
}

/* ------------------------------------------------------------------- llm.c's */

/* Karpathy's llm.c (commit f1e2ace): 256 int32 of header (magic, version, number of tokens), then ids; each text begins
 * with the delimiter. */
enum { LLMC_HEADER = 1024 };
static const struct llmc {
    uint32_t magic, version, id_bytes, vocab_size;
    int32_t delimiter;
} llmc_formats[] = {{20240520, 1, 2, 50257, 50256}, {20240801, 7, 4, 128256, 128000}};

static const struct llmc *find_llmc(const uint8_t *data, uint64_t size) {
    for (size_t i = 0; size >= LLMC_HEADER && i < sizeof llmc_formats / sizeof *llmc_formats; i++)
        if (tern_shard_get(data, 4) == llmc_formats[i].magic)
            return &llmc_formats[i];
    return NULL;
}

/* Entries of the stretches that end with a delimiter (or the file) and begin with the one before; with NULL they are
 * only counted. */
static uint64_t cut_at_delimiters(tern_shard *shard, const struct llmc *format, uint64_t count, uint8_t *index) {
    const uint8_t *ids = shard->data + LLMC_HEADER;
    uint64_t n = 0, begin = 0;
    shard->info.n_tokens[0] = 0;
    for (uint64_t i = 1; i <= count; i++) {
        if (i < count && id_at(ids, format->id_bytes, i) != format->delimiter)
            continue;
        uint64_t length = (i < count ? i + 1 : count) - begin;
        if (length > 1) { /* a delimiter at the very end begins nothing */
            if (index) {
                tern_shard_put(index + n * TERN_SHARD_ENTRY, LLMC_HEADER + begin * format->id_bytes, 8);
                tern_shard_put(index + n * TERN_SHARD_ENTRY + 8, length, 8);
            }
            n++;
            shard->info.n_tokens[0] += length;
            shard->longest = length > shard->longest ? length : shard->longest;
        }
        begin = i;
    }
    return n;
}

static tern_status read_llmc(tern_shard *shard, const struct llmc *format, tern_error *err) {
    uint64_t version = tern_shard_get(shard->data + 4, 4), count = tern_shard_get(shard->data + 8, 4);
    if (version != format->version)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: version %" PRIu64 " of llm.c's format %" PRIu32 "; this tern reads %" PRIu32, shard->name,
                         version, format->magic, format->version);
    if (count * format->id_bytes != shard->size - LLMC_HEADER)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: %" PRIu64 " bytes of ids, but the header says %" PRIu64 " ids of %d", shard->name,
                         shard->size - LLMC_HEADER, count, (int)format->id_bytes);
    shard->id_bytes = format->id_bytes;
    shard->info = (tern_shard_info){.kind = TERN_SHARD_TEXT,
                                    .vocab_size = format->vocab_size,
                                    .bos_id = format->delimiter,
                                    .eos_id = format->delimiter,
                                    .hash = tern_hash_bytes(shard->data, shard->size)};
    if (!contents_valid(shard, (entry){LLMC_HEADER, count}))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: an id is outside of the vocabulary of %" PRIu32, shard->name,
                         format->vocab_size);
    uint64_t n = count ? cut_at_delimiters(shard, format, count, NULL) : 0;
    shard->made_index = tern_alloc_array(n ? n : 1, TERN_SHARD_ENTRY);
    if (!shard->made_index)
        return tern_fail_memory(err, "the index of documents");
    if (count)
        cut_at_delimiters(shard, format, count, shard->made_index);
    shard->info.n_documents[0] = n;
    shard->index[0] = shard->index[1] = shard->made_index;
    return TERN_OK;
}

/* ------------------------------------------------------------ open and close */

static tern_status read_any(tern_shard *shard, tern_error *err) {
    const struct llmc *format = find_llmc(shard->data, shard->size);
    if (format)
        return read_llmc(shard, format, err);
    if (shard->size < 8 || memcmp(shard->data, TERN_SHARD_MAGIC, 8) != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: no shard of tokens; make one with `tern train data`", shard->name);
    return read_shard(shard, err);
}

tern_status tern_shard_open_memory(const char *name, const void *bytes, size_t n_bytes, tern_shard **shard,
                                   tern_error *err) {
    tern_shard *made = calloc(1, sizeof *made);
    if (made)
        made->name = strdup(name);
    if (!made || !made->name) {
        free(made);
        return tern_fail_memory(err, "the shard");
    }
    made->data = bytes;
    made->size = n_bytes;
    tern_status status = read_any(made, err);
    if (status)
        tern_shard_close(made);
    else
        *shard = made;
    return status;
}

tern_status tern_shard_open(const char *path, tern_shard **shard, tern_error *err) {
    tern_map map;
    tern_status status = tern_map_open(path, &map, err);
    if (status)
        return status;
    status = tern_shard_open_memory(path, map.data, map.size, shard, err);
    if (status)
        tern_map_close(&map);
    else
        (*shard)->map = map;
    return status;
}

void tern_shard_close(tern_shard *shard) {
    if (!shard)
        return;
    tern_map_close(&shard->map);
    free(shard->parts);
    free(shard->first[0]);
    free(shard->made_index);
    free(shard->name);
    free(shard);
}

/* ------------------------------------------------------------------- several */

static tern_status check_alike(const tern_shard *a, const tern_shard *b, tern_error *err) {
    const tern_shard_info *x = &a->info, *y = &b->info;
    if (x->kind != y->kind)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is of another kind than %s; see tern train data --kind", b->name,
                         a->name);
    if (x->vocab_size != y->vocab_size)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: has a vocabulary of %" PRIu32 ", but %s one of %" PRIu32
                         "; make both with the same tokenizer",
                         b->name, y->vocab_size, a->name, x->vocab_size);
    if (x->tokenizer_hash != y->tokenizer_hash || x->bos_id != y->bos_id || x->eos_id != y->eos_id)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: was made with another tokenizer than %s; make both with the same one", b->name, a->name);
    return TERN_OK;
}

/* info, longest and first[] of the parts; false: too much to count. */
static bool add_parts(tern_shard *shard) {
    tern_shard_info *sum = &shard->info;
    tern_hash hash;
    tern_hash_start(&hash);
    for (size_t i = 0; i < shard->n_parts; i++) {
        const tern_shard *part = shard->parts[i];
        uint8_t bytes[8];
        tern_shard_put(bytes, part->info.hash, sizeof bytes);
        tern_hash_add(&hash, bytes, sizeof bytes);
        shard->longest = part->longest > shard->longest ? part->longest : shard->longest;
        for (int split = 0; split < TERN_N_SPLITS; split++) {
            shard->first[split][i] = sum->n_documents[split];
            if (!tern_add_u64(sum->n_documents[split], part->info.n_documents[split], &sum->n_documents[split]) ||
                !tern_add_u64(sum->n_tokens[split], part->info.n_tokens[split], &sum->n_tokens[split]) ||
                !tern_add_u64(sum->text_bytes[split], part->info.text_bytes[split], &sum->text_bytes[split]))
                return false;
            shard->first[split][i + 1] = sum->n_documents[split];
        }
    }
    if (shard->n_parts > 1)
        sum->hash = tern_hash_value(&hash);
    return true;
}

static tern_status join(tern_shard *shard, tern_shard *const *parts, size_t n, tern_error *err) {
    char name[4096];
    tern_status status = TERN_OK;
    for (size_t i = 1; !status && i < n; i++)
        status = check_alike(parts[0], parts[i], err);
    if (status)
        return status;
    if (n > 1)
        snprintf(name, sizeof name, "%s and %zu more", parts[0]->name, n - 1);
    shard->name = strdup(n > 1 ? name : parts[0]->name);
    shard->parts = tern_alloc_array(n, sizeof *shard->parts);
    shard->first[0] = tern_alloc_array(2 * (n + 1), sizeof *shard->first[0]);
    if (!shard->name || !shard->parts || !shard->first[0])
        return tern_fail_memory(err, "the list of shards");
    shard->first[1] = shard->first[0] + n + 1;
    for (size_t i = 0; i < n; i++)
        shard->parts[i] = parts[i];
    shard->n_parts = n;
    shard->info = (tern_shard_info){.kind = parts[0]->info.kind,
                                    .vocab_size = parts[0]->info.vocab_size,
                                    .bos_id = parts[0]->info.bos_id,
                                    .eos_id = parts[0]->info.eos_id,
                                    .tokenizer_hash = parts[0]->info.tokenizer_hash,
                                    .hash = parts[0]->info.hash};
    return add_parts(shard) ? TERN_OK
                            : tern_fail(err, TERN_ERR_FORMAT, "%s: more documents than can be counted", shard->name);
}

tern_status tern_shard_join(tern_shard *const *parts, size_t n_parts, tern_shard **joined, tern_error *err) {
    if (n_parts == 0 || n_parts > UINT32_MAX)
        return tern_fail(err, TERN_ERR_ARGUMENT, "no shards to train on, or too many");
    tern_shard *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the shards");
    tern_status status = join(made, parts, n_parts, err);
    if (status)
        tern_shard_close(made);
    else
        *joined = made;
    return status;
}

/* The part that has a document, whose number there goes to *index. */
static const tern_shard *part_of(const tern_shard *shard, tern_split split, uint64_t *index) {
    size_t low = 0, high = shard->n_parts;
    if (!shard->parts)
        return shard;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (shard->first[split][middle] <= *index)
            low = middle;
        else
            high = middle;
    }
    *index -= shard->first[split][low];
    return shard->parts[low];
}

size_t tern_shard_parts(const tern_shard *shard) { return shard->parts ? shard->n_parts : 1; }

/* ------------------------------------------------------------------ documents */

const tern_shard_info *tern_shard_describe(const tern_shard *shard) { return &shard->info; }
uint64_t tern_shard_longest(const tern_shard *shard) { return shard->longest; }
const char *tern_shard_name(const tern_shard *shard) { return shard->name; }

uint64_t tern_shard_document_tokens(const tern_shard *shard, tern_split split, uint64_t index) {
    if (split >= TERN_N_SPLITS || index >= shard->info.n_documents[split])
        return 0;
    shard = part_of(shard, split, &index);
    return entry_of(shard, split, index).n;
}

void tern_shard_read(const tern_shard *shard, tern_split split, uint64_t index, uint64_t from, size_t n, int32_t *ids,
                     const uint8_t **mask) {
    shard = part_of(shard, split, &index);
    entry e = entry_of(shard, split, index);
    const uint8_t *stored = shard->data + e.offset;
    for (size_t i = 0; i < n; i++)
        ids[i] = id_at(stored, shard->id_bytes, from + i);
    if (mask)
        *mask = shard->masked ? stored + e.n * shard->id_bytes + from : NULL;
}

tern_status tern_shard_document(const tern_shard *shard, tern_split split, uint64_t index, int32_t *buffer,
                                const uint8_t **mask, size_t *n, tern_error *err) {
    uint64_t tokens = tern_shard_document_tokens(shard, split, index);
    if (!tokens)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: there is no document %" PRIu64, shard->name, index);
    tern_shard_read(shard, split, index, 0, (size_t)tokens, buffer, mask);
    *n = (size_t)tokens;
    return TERN_OK;
}
