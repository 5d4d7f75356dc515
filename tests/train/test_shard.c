/* Shards: what is written is read again; what is damaged, cut off or of another version is refused. */
#include "shard_fixture.h"

static tern_shard_writer *small(tern_shard_kind kind) {
    tern_shard_writer *writer = begin(kind, VOCAB);
    add(writer, kind, TERN_SPLIT_TRAIN, 10, 5, 2);
    add(writer, kind, TERN_SPLIT_HELD_OUT, 20, 3, 1);
    add(writer, kind, TERN_SPLIT_TRAIN, 30, 1, 3);
    add(writer, kind, TERN_SPLIT_HELD_OUT, 40, 8, 4);
    return writer;
}

static tern_shard *small_shard(tern_shard_kind kind) { return finish(small(kind)); }

static void round_trip(void **state) {
    (void)state;
    for (int kind = TERN_SHARD_TEXT; kind <= TERN_SHARD_PAIRS; kind++) {
        tern_shard *shard = finish(small((tern_shard_kind)kind));
        const tern_shard_info *info = tern_shard_describe(shard);
        assert_int_equal(info->kind, kind);
        assert_int_equal(info->vocab_size, VOCAB);
        assert_int_equal(info->bos_id, BOS);
        assert_int_equal(info->eos_id, EOS);
        assert_true(info->tokenizer_hash == 0x1234567890abcdefu);
        assert_int_equal(info->n_documents[0], 2);
        assert_int_equal(info->n_documents[1], 2);
        assert_int_equal(info->n_tokens[0], 10);
        assert_int_equal(info->n_tokens[1], 15);
        assert_int_equal(info->text_bytes[0], 6);
        assert_int_equal(info->text_bytes[1], 11);
        assert_int_equal(tern_shard_longest(shard), 10);
        int32_t ids[10];
        const uint8_t *mask;
        size_t n;
        assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 0, ids, &mask, &n, &err), TERN_OK);
        static const int32_t wanted[] = {BOS, 10, 11, 12, 13, 14, EOS};
        assert_int_equal(n, 7);
        assert_memory_equal(ids, wanted, sizeof wanted);
        if (kind == TERN_SHARD_TEXT)
            assert_null(mask);
        else
            assert_memory_equal(mask, "\0\0\0\0\0\1\1", 7);
        assert_int_equal(tern_shard_document(shard, TERN_SPLIT_HELD_OUT, 1, ids, &mask, &n, &err), TERN_OK);
        assert_int_equal(n, 10);
        assert_int_equal(ids[8], 47);
        tern_shard_read(shard, TERN_SPLIT_HELD_OUT, 1, 5, 3, ids, &mask);
        assert_int_equal(ids[0], 44);
        assert_int_equal(ids[2], 46);
        if (kind)
            assert_memory_equal(mask, "\0\1\1", 3);
        assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 2, ids, &mask, &n, &err), TERN_ERR_ARGUMENT);
        tern_shard_close(shard);
    }
}

static void wide_ids(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_TEXT, 128256);
    const int32_t ids[] = {128000, 70000, 5, 128255};
    assert_int_equal(tern_shard_writer_add(writer, TERN_SPLIT_TRAIN, ids, NULL, 4, 9, &err), TERN_OK);
    tern_shard *shard = finish(writer);
    int32_t back[4];
    const uint8_t *mask;
    size_t n;
    assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 0, back, &mask, &n, &err), TERN_OK);
    assert_memory_equal(ids, back, sizeof ids);
    tern_shard_close(shard);
}

static void several(void **state) {
    (void)state;
    for (int kind = TERN_SHARD_TEXT; kind <= TERN_SHARD_CHAT; kind++) {
        tern_shard *parts[3] = {small_shard((tern_shard_kind)kind), NULL, small_shard((tern_shard_kind)kind)};
        tern_shard_writer *writer = begin((tern_shard_kind)kind, VOCAB);
        add(writer, (tern_shard_kind)kind, TERN_SPLIT_TRAIN, 50, 30, 3);
        parts[1] = finish(writer);
        tern_shard *one = NULL, *all = NULL, *turned = NULL;
        assert_int_equal(tern_shard_join(parts, 1, &one, &err), TERN_OK);
        assert_memory_equal(tern_shard_describe(one), tern_shard_describe(parts[0]), sizeof(tern_shard_info));
        assert_int_equal(tern_shard_join(parts, 3, &all, &err), TERN_OK);
        const tern_shard_info *info = tern_shard_describe(all);
        assert_int_equal(tern_shard_parts(all), 3);
        assert_int_equal(info->kind, kind);
        assert_int_equal(info->n_documents[0], 5);
        assert_int_equal(info->n_documents[1], 4);
        assert_int_equal(info->n_tokens[0], 10 + 32 + 10);
        assert_int_equal(info->n_tokens[1], 30);
        assert_int_equal(info->text_bytes[0], 6 + 30 + 6);
        assert_int_equal(tern_shard_longest(all), 32);
        assert_non_null(strstr(tern_shard_name(all), " and 2 more"));
        /* documents 0 1 | 2 | 3 4; the second file holds nothing out: 0 1 | | 2 3 */
        static const struct {
            tern_split split;
            uint64_t index;
            int first;
        } documents[] = {{TERN_SPLIT_TRAIN, 0, 10},    {TERN_SPLIT_TRAIN, 1, 30},    {TERN_SPLIT_TRAIN, 2, 50},
                         {TERN_SPLIT_TRAIN, 3, 10},    {TERN_SPLIT_TRAIN, 4, 30},    {TERN_SPLIT_HELD_OUT, 0, 20},
                         {TERN_SPLIT_HELD_OUT, 1, 40}, {TERN_SPLIT_HELD_OUT, 2, 20}, {TERN_SPLIT_HELD_OUT, 3, 40}};
        for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
            int32_t ids[32];
            const uint8_t *mask;
            size_t n;
            assert_int_equal(tern_shard_document(all, documents[i].split, documents[i].index, ids, &mask, &n, &err),
                             TERN_OK);
            assert_int_equal(ids[1], documents[i].first);
            assert_int_equal(ids[n - 1], EOS);
            assert_true((mask != NULL) == (kind == TERN_SHARD_CHAT));
        }
        assert_int_equal(tern_shard_document_tokens(all, TERN_SPLIT_TRAIN, 5), 0);
        assert_int_equal(tern_shard_document_tokens(all, TERN_SPLIT_HELD_OUT, 4), 0);
        /* a run goes on with the same files in the same order only */
        assert_int_equal(tern_shard_join((tern_shard *[]){parts[1], parts[0], parts[2]}, 3, &turned, &err), TERN_OK);
        assert_true(tern_shard_describe(turned)->hash != info->hash);
        tern_shard_close(turned);
        tern_shard_close(one);
        tern_shard_close(all);
        for (int i = 0; i < 3; i++)
            tern_shard_close(parts[i]);
    }
}

static void several_that_differ(void **state) {
    (void)state;
    static const tern_shard_params other = {TERN_SHARD_TEXT, VOCAB, BOS, EOS, 1};
    tern_shard_writer *writer = NULL;
    tern_shard *shards[4] = {small_shard(TERN_SHARD_TEXT), NULL, NULL, small_shard(TERN_SHARD_CHAT)};
    shards[2] = finish(begin(TERN_SHARD_TEXT, VOCAB + 1));
    assert_int_equal(tern_shard_writer_create(temporary(), &other, &writer, &err), TERN_OK);
    shards[1] = finish(writer);
    static const char *const parts[] = {NULL, "another tokenizer", "a vocabulary of 1001", "another kind"};
    for (int i = 1; i < 4; i++) {
        tern_shard *joined = NULL;
        assert_int_equal(tern_shard_join((tern_shard *[]){shards[0], shards[i]}, 2, &joined, &err), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, parts[i]));
        assert_non_null(strstr(err.message, tern_shard_name(shards[0])));
        assert_non_null(strstr(err.message, tern_shard_name(shards[i])));
    }
    assert_int_equal(tern_shard_join(shards, 0, &(tern_shard *){NULL}, &err), TERN_ERR_ARGUMENT);
    for (int i = 0; i < 4; i++)
        tern_shard_close(shards[i]);
}

static void no_documents(void **state) {
    (void)state;
    tern_shard *shard = finish(begin(TERN_SHARD_TEXT, VOCAB));
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 0);
    assert_int_equal(tern_shard_longest(shard), 0);
    assert_int_equal(tern_shard_document_tokens(shard, TERN_SPLIT_TRAIN, 0), 0);
    tern_feed *feed;
    assert_int_equal(tern_feed_create(shard, 16, 1, 0, &feed, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "nothing to train on"));
    tern_shard_close(shard);
}

/* The file's bytes, in an allocation of exactly their size. */
static uint8_t *written(tern_shard_writer *writer, size_t *size) {
    char *text;
    assert_int_equal(tern_shard_writer_finish(writer, NULL, &err), TERN_OK);
    assert_int_equal(tern_read_file(path, 1 << 20, &text, size, &err), TERN_OK);
    unlink(path);
    uint8_t *bytes = malloc(*size);
    memcpy(bytes, text, *size);
    free(text);
    return bytes;
}

static tern_status open_bytes(const uint8_t *bytes, size_t size) {
    tern_shard *shard = NULL;
    err.message[0] = 0;
    tern_status status = tern_shard_open_memory("t.shard", bytes, size, &shard, &err);
    if (!status)
        tern_shard_close(shard);
    else
        assert_true(err.message[0] && !strchr(err.message, '\n') && strstr(err.message, "t.shard"));
    return status;
}

/* Every single byte matters. */
static void any_byte(void **state) {
    (void)state;
    for (int kind = TERN_SHARD_TEXT; kind <= TERN_SHARD_PAIRS; kind++) {
        size_t size;
        uint8_t *bytes = written(small((tern_shard_kind)kind), &size);
        assert_int_equal(open_bytes(bytes, size), TERN_OK);
        for (size_t i = 0; i < size; i++) {
            bytes[i] ^= 1;
            assert_int_not_equal(open_bytes(bytes, size), TERN_OK);
            bytes[i] ^= 1;
        }
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *head = malloc(cut + 1);
            memcpy(head, bytes, cut);
            assert_int_not_equal(open_bytes(head, cut), TERN_OK);
            free(head);
        }
        free(bytes);
    }
}

static void seal(uint8_t *bytes, size_t size) {
    tern_shard_put(bytes + TERN_SHARD_AT_BODY_HASH,
                   tern_hash_bytes(bytes + TERN_SHARD_HEADER, size - TERN_SHARD_HEADER), 8);
    tern_shard_put(bytes + TERN_SHARD_AT_HEAD_HASH, tern_hash_bytes(bytes, TERN_SHARD_AT_HEAD_HASH), 8);
}

/* A lie with good checksums: each field of the header, the index, ids and masks. */
static void lies(void **state) {
    size_t size;
    uint8_t *good = written(small(TERN_SHARD_CHAT), &size);
    size_t index = (size_t)tern_shard_get(good + TERN_SHARD_AT_INDEX, 8);
    const struct {
        size_t at;
        unsigned width;
        uint64_t value;
        const char *part;
    } cases[] = {
        {TERN_SHARD_AT_VERSION, 4, 2, "version 2"},
        {TERN_SHARD_AT_KIND, 4, 3, "kind 3"},
        {TERN_SHARD_AT_KIND, 4, 0, "do not fill"},
        {16, 4, 4, "outside"},
        {16, 4, 3, "width"},
        {20, 4, 0, "vocabulary"},
        {20, 4, 999, "BOS or EOS"},
        {32, 4, UINT32_MAX, "BOS or EOS"},
        {36, 4, 1000, "BOS or EOS"},
        {40, 8, 3, "index"},
        {40, 8, UINT64_MAX, "index"},
        {40, 8, UINT64_MAX / 16, "index"},
        {56, 8, 11, "number of tokens"},
        {TERN_SHARD_AT_FILE_SIZE, 8, size + 1, "bytes, but the shard was written with"},
        {TERN_SHARD_AT_INDEX, 8, 0, "index"},
        {TERN_SHARD_AT_INDEX, 8, UINT64_MAX, "index"},
        {index, 8, 0, "outside of the file"},
        {index, 8, index, "outside of the file"},
        {index, 8, UINT64_MAX - 7, "outside of the file"},
        {index + 8, 8, 0, "too short"},
        {index + 8, 8, UINT64_MAX, "outside of the file"},
        {index + 8, 8, UINT64_MAX / 3, "outside of the file"},
        {index + 8, 8, 8, "number of tokens"},
        {TERN_SHARD_HEADER, 2, 1000, "outside of the vocabulary"},
        {TERN_SHARD_HEADER + 14, 1, 2, "mask"},
    };
    (void)state;
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bytes, good, size);
        tern_shard_put(bytes + cases[i].at, cases[i].value, cases[i].width);
        seal(bytes, size);
        assert_int_not_equal(open_bytes(bytes, size), TERN_OK);
        if (!strstr(err.message, cases[i].part))
            fail_msg("case %zu: '%s' is not in '%s'", i, cases[i].part, err.message);
    }
    free(bytes);
    free(good);
}

static void half_a_pair(void **state) {
    (void)state;
    tern_shard_writer *writer = begin(TERN_SHARD_PAIRS, VOCAB);
    add(writer, TERN_SHARD_PAIRS, TERN_SPLIT_TRAIN, 0, 4, 2);
    size_t size;
    uint8_t *bytes = written(writer, &size);
    assert_int_equal(open_bytes(bytes, size), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "one half"));
    free(bytes);
}

static void other_files(void **state) {
    (void)state;
    tern_shard *shard;
    assert_int_equal(open_bytes((const uint8_t *)"GGUF....", 8), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "tern train data"));
    assert_int_equal(tern_shard_open("/nowhere/none.shard", &shard, &err), TERN_ERR_IO);
    assert_int_equal(tern_shard_open("/tmp", &shard, &err), TERN_ERR_IO);
}

static void not_writable(void **state) {
    (void)state;
    tern_shard_writer *writer;
    tern_shard_params params = {TERN_SHARD_TEXT, VOCAB, BOS, EOS, 0};
    assert_int_equal(tern_shard_writer_create("/nowhere/a.shard", &params, &writer, &err), TERN_ERR_IO);
}

/* llm.c's files: 1024 bytes of header, ids. */
static uint8_t *llmc(uint32_t magic, uint32_t version, unsigned width, const uint32_t *ids, size_t n, size_t *size) {
    *size = 1024 + n * width;
    uint8_t *bytes = calloc(1, *size);
    tern_shard_put(bytes, magic, 4);
    tern_shard_put(bytes + 4, version, 4);
    tern_shard_put(bytes + 8, n, 4);
    for (size_t i = 0; i < n; i++)
        tern_shard_put(bytes + 1024 + i * width, ids[i], width);
    return bytes;
}

static void llmc_files(void **state) {
    static const struct {
        uint32_t magic, version, width, delimiter, vocab;
    } formats[] = {{20240520, 1, 2, 50256, 50257}, {20240801, 7, 4, 128000, 128256}};
    (void)state;
    for (size_t f = 0; f < 2; f++) {
        uint32_t d = formats[f].delimiter, tokens[] = {d, 1, 2, 3, d, 4, d, 5, 6};
        size_t size, n;
        uint8_t *bytes = llmc(formats[f].magic, formats[f].version, formats[f].width, tokens, 9, &size);
        tern_shard *shard;
        assert_int_equal(tern_shard_open_memory("a.bin", bytes, size, &shard, &err), TERN_OK);
        const tern_shard_info *info = tern_shard_describe(shard);
        assert_int_equal(info->vocab_size, formats[f].vocab);
        assert_int_equal(info->n_documents[0], 3);
        assert_int_equal(info->n_documents[1], 0);
        assert_int_equal(info->n_tokens[0], 5 + 3 + 3);
        int32_t ids[5], D = (int32_t)d;
        const uint8_t *mask;
        assert_int_equal(tern_shard_longest(shard), 5);
        assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 0, ids, &mask, &n, &err), TERN_OK);
        assert_int_equal(n, 5);
        assert_memory_equal(ids, ((int32_t[]){D, 1, 2, 3, D}), 5 * sizeof *ids);
        assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 2, ids, &mask, &n, &err), TERN_OK);
        assert_int_equal(n, 3);
        assert_memory_equal(ids, ((int32_t[]){D, 5, 6}), 3 * sizeof *ids);
        tern_shard_close(shard);
        assert_int_equal(open_bytes(bytes, size - 1), TERN_ERR_FORMAT);
        tern_shard_put(bytes + 1024, formats[f].vocab, formats[f].width);
        assert_int_equal(open_bytes(bytes, size), TERN_ERR_FORMAT);
        tern_shard_put(bytes + 4, 3, 4);
        assert_int_equal(open_bytes(bytes, size), TERN_ERR_UNSUPPORTED);
        free(bytes);
        bytes = llmc(formats[f].magic, formats[f].version, formats[f].width, NULL, 0, &size);
        assert_int_equal(open_bytes(bytes, size), TERN_OK);
        free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(wide_ids),
        cmocka_unit_test(no_documents),
        cmocka_unit_test(any_byte),
        cmocka_unit_test(lies),
        cmocka_unit_test(half_a_pair),
        cmocka_unit_test(other_files),
        cmocka_unit_test(llmc_files),
        cmocka_unit_test(not_writable),
        cmocka_unit_test(several),
        cmocka_unit_test(several_that_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
