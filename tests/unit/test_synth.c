/* Random models: the file is what a reader expects, of every type, shape and vocabulary, and the same for a seed. */
#include <math.h>

#include "base/rng.h"
#include "format/codec.h"
#include "model/vocab.h"
#include "synth_fixture.h"

static void check_trits(const tern_tensor *tensor, double *zero_share) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    int8_t *trits = malloc(tensor->rows * tensor->cols);
    float *row = malloc(tensor->cols * sizeof *row), scale;
    tern_error err;
    if (codec->ternary) {
        assert_true(codec->decode_trits(tensor, 0, tensor->rows, trits, tensor->cols));
        assert_int_equal(codec->scale(tensor, &scale, &err), TERN_OK);
    } else {
        assert_int_equal(tern_absmean(tensor, row, &scale, &err), TERN_OK);
        for (uint64_t i = 0; i < tensor->rows; i++) {
            codec->decode_row(tensor, i, row);
            tern_ternarize_row(row, tensor->cols, scale, trits + i * tensor->cols);
        }
    }
    double zeros = 0, sum = 0, n = (double)(tensor->rows * tensor->cols);
    for (size_t i = 0; i < tensor->rows * tensor->cols; i++)
        zeros += trits[i] == 0, sum += trits[i];
    *zero_share = zeros / n;
    assert_true(fabs(sum / n) < 0.02);
    double expected = 1 / sqrt((double)tensor->cols * 2 * TERN_SYNTH_SIGN_CHANCES / 256); /* ffn_up: unit variance */
    assert_true(fabs((double)scale / expected - 1) < 0.02);
    free(row), free(trits);
}

static void test_every_type(void **state) {
    (void)state;
    static const char *const weights[] = {"I2_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32", "i2_s"};
    static const char *const embeddings[] = {"F16", "BF16", "F32", "Q8_0", "Q6_K", "Q4_0", "f16"};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        tern_synth_params params = small();
        params.weight_type = weights[i];
        params.embedding_type = embeddings[i];
        params.tied_embedding = i % 2;
        tern_checkpoint *checkpoint = write_and_open(&params);
        double zeros;
        check_trits(find(checkpoint, 1, "ffn_up"), &zeros);
        assert_true(fabs(zeros - TERN_SYNTH_ZERO_CHANCES / 256.0) < 0.01);
        const tern_tensor *embedding = find(checkpoint, -1, "token_embd");
        assert_int_equal(strcasecmp(embedding->type_name, embeddings[i]), 0);
        assert_int_equal(embedding->rows, params.vocab_size);
        float row[256];
        double squares = 0;
        for (uint64_t id = 0; id < 64; id++) {
            tern_codec_of(embedding->type)->decode_row(embedding, id * 16, row);
            for (size_t k = 0; k < 256; k++)
                squares += (double)row[k] * row[k] / (64 * 256);
        }
        assert_true(fabs(squares - 2) < 0.15); /* own part 1, shared part 1 */
        assert_int_equal(tern_checkpoint_find(checkpoint, "output.weight") == NULL, params.tied_embedding);
        assert_int_equal(checkpoint->n_tensors, 2 + 11 * 2 + !params.tied_embedding);
        tern_checkpoint_close(checkpoint);
    }
}

static void test_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"general.architecture",
                                       "general.name",
                                       "bitnet-b1.58.vocab_size",
                                       "bitnet-b1.58.context_length",
                                       "bitnet-b1.58.embedding_length",
                                       "bitnet-b1.58.block_count",
                                       "bitnet-b1.58.feed_forward_length",
                                       "bitnet-b1.58.rope.dimension_count",
                                       "bitnet-b1.58.attention.head_count",
                                       "bitnet-b1.58.attention.head_count_kv",
                                       "tokenizer.ggml.add_bos_token",
                                       "bitnet-b1.58.attention.layer_norm_rms_epsilon",
                                       "bitnet-b1.58.rope.freq_base",
                                       "general.file_type",
                                       "tokenizer.ggml.model",
                                       "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.scores",
                                       "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.merges",
                                       "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.padding_token_id",
                                       "tokenizer.chat_template",
                                       "general.quantization_version"};
    tern_synth_params params = small();
    tern_checkpoint *checkpoint = write_and_open(&params);
    assert_int_equal(checkpoint->n_metadata, sizeof keys / sizeof *keys);
    for (size_t i = 0; i < checkpoint->n_metadata; i++)
        assert_string_equal(checkpoint->metadata[i].key, keys[i]);
    const tern_config *c = &checkpoint->config;
    assert_int_equal(c->vocab_size, 1024);
    assert_int_equal(c->n_ctx, 512);
    assert_int_equal(c->hidden_size, 256);
    assert_int_equal(c->ffn_size, 768);
    assert_int_equal(c->n_layers, 2);
    assert_int_equal(c->n_heads, 4);
    assert_int_equal(c->n_kv_heads, 2);
    assert_true(c->rope_theta == 500000.0f && c->rms_eps == 1e-5f);
    tern_checkpoint_close(checkpoint);
}

/* LLaMA's layout has its own keys and no sub norms; what makes no sense there is refused. */
static void test_llama(void **state) {
    (void)state;
    tern_synth_params params = small();
    params.llama = true;
    params.weight_type = "F16";
    tern_checkpoint *checkpoint = write_and_open(&params);
    assert_string_equal(checkpoint->config.arch, "llama");
    assert_true(checkpoint->config.no_sub_norms && checkpoint->config.activation == TERN_SILU);
    assert_int_equal(checkpoint->config.n_kv_heads, 2);
    assert_null(tern_checkpoint_find(checkpoint, "blk.0.ffn_sub_norm.weight"));
    assert_null(tern_checkpoint_find(checkpoint, "blk.0.attn_sub_norm.weight"));
    assert_non_null(tern_checkpoint_find(checkpoint, "blk.1.attn_output.weight"));
    tern_checkpoint_close(checkpoint);
    params.ffn_sparsity = 0.8f;
    tern_error err;
    assert_int_equal(tern_synth("/nowhere/llama.gguf", &params, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "SiLU"));
}

static void round_trip(const tern_tokenizer *tokenizer, const char *text, size_t n) {
    int32_t *ids;
    size_t n_ids, n_bytes;
    char *back;
    tern_error err;
    assert_int_equal(tern_tokenize(tokenizer, text, n, 0, &ids, &n_ids, &err), TERN_OK);
    assert_int_equal(tern_detokenize(tokenizer, ids, n_ids, false, &back, &n_bytes, &err), TERN_OK);
    assert_int_equal(n_bytes, n);
    assert_memory_equal(back, text, n);
    tern_free(back);
    tern_free(ids);
}

static void test_made_up_vocabulary(void **state) {
    (void)state;
    static const uint32_t sizes[] = {268, 300, 767, 768, 1024, 40000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tern_synth_params params = small();
        params.n_layers = 1;
        params.vocab_size = sizes[i];
        tern_checkpoint *checkpoint = write_and_open(&params);
        tern_tokenizer *tokenizer;
        tern_error err;
        if (tern_vocab_from_checkpoint(checkpoint, &tokenizer, &err))
            fail_msg("%s", err.message);
        int32_t specials = sizes[i] >= 768 ? 256 : 12, first = (int32_t)sizes[i] - specials;
        assert_int_equal(tern_tokenizer_vocab_size(tokenizer), sizes[i]);
        assert_int_equal(tern_tokenizer_bos(tokenizer), first);
        assert_int_equal(tern_tokenizer_eos(tokenizer), first + 1);
        assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|eot_id|>"), first + 9);
        assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|reserved_special_token_0|>"), first + 2);
        assert_int_equal(tern_tokenizer_find_special(tokenizer, "<|reserved_special_token_6|>"), first + 11);
        assert_int_equal(tern_tokenizer_is_special(tokenizer, first - 1), false);
        char bytes[512];
        tern_rng rng;
        tern_rng_seed(&rng, 1);
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (char)(tern_rng_u64(&rng) >> 56);
        round_trip(tokenizer, bytes, sizeof bytes);
        static const char text[] =
            "Once upon a time, in Tr\xc3\xb6msten Wald\n\n  x = 3.14159; \xf0\x9f\x90\xa6 <|eot_id|>";
        round_trip(tokenizer, text, sizeof text - 1);
        if (sizes[i] == 40000) { /* words are really merged */
            int32_t *ids;
            size_t n_ids;
            assert_int_equal(tern_tokenize(tokenizer, "see the sea", 11, 0, &ids, &n_ids, &err), TERN_OK);
            assert_true(n_ids <= 4);
            tern_free(ids);
        }
        tern_tokenizer_free(tokenizer);
        tern_checkpoint_close(checkpoint);
    }
}

/* A vocabulary read from a file comes out the same: here the file is a random model's own. */
static void test_vocabulary_from_file(void **state) {
    (void)state;
    tern_synth_params params = small();
    tern_error err;
    tern_tokenizer *a = NULL, *b = NULL;
    assert_int_equal(tern_synth(other_path, &params, &err), TERN_OK);
    params.tokenizer = other_path;
    params.seed = 8;
    if (tern_synth(path, &params, &err) || tern_vocab_from_path(other_path, &a, &err) ||
        tern_vocab_from_path(path, &b, &err))
        fail_msg("%s", err.message);
    assert_int_equal(tern_tokenizer_vocab_size(b), 1024);
    assert_int_equal(tern_tokenizer_bos(a), tern_tokenizer_bos(b));
    for (int32_t id = 0; id < 1024; id++) {
        size_t n, m;
        const char *x = tern_tokenizer_token(a, id, &n), *y = tern_tokenizer_token(b, id, &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
        assert_int_equal(tern_tokenizer_is_special(a, id), tern_tokenizer_is_special(b, id));
    }
    round_trip(b, "the rain in spain", 17);
    tern_tokenizer_free(a);
    tern_tokenizer_free(b);
    params.vocab_size = 2048;
    assert_int_equal(tern_synth(path, &params, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "1024"));
}

static uint64_t hash_file(const char *name) {
    tern_map map;
    assert_int_equal(tern_map_open(name, &map, NULL), TERN_OK);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < map.size; i++)
        hash = (hash ^ map.data[i]) * 0x100000001b3u;
    tern_map_close(&map);
    return hash;
}

/* Slabs do not depend on who makes them: one tensor of many slabs, written with 1 and with 3 threads. */
static void test_thread_count_does_not_matter(void **state) {
    (void)state;
    static const char *const types[] = {"I2_S", "BF16"};
    for (size_t i = 0; i < 2; i++) {
        tern_synth_tensor tensor = {.name = "x.weight",
                                    .codec = tern_codec_named(types[i]),
                                    .rows = 9000,
                                    .cols = 512,
                                    .fill = TERN_SYNTH_TRITS,
                                    .scale = 0.5f,
                                    .lean = 3.3,
                                    .stream = 5};
        assert_true(tern_codec_bytes(tensor.codec, tensor.rows, tensor.cols, &tensor.bytes));
        uint64_t hashes[2];
        for (int run = 0; run < 2; run++) {
            tern_pool *pool;
            tern_gguf_writer *writer;
            tern_error err;
            tern_synth_progress progress = {0};
            assert_int_equal(tern_pool_create(run ? 3 : 1, &pool, &err), TERN_OK);
            assert_int_equal(tern_gguf_writer_create(path, &writer, &err), TERN_OK);
            tern_gguf_put_tensor(writer, tensor.name, tensor.codec->gguf_type, tensor.rows, tensor.cols, false,
                                 tensor.bytes);
            assert_int_equal(tern_gguf_begin_data(writer, &err), TERN_OK);
            assert_int_equal(tern_synth_write_tensor(&tensor, 11, pool, writer, &progress, &err), TERN_OK);
            assert_int_equal(progress.done, tensor.bytes);
            assert_int_equal(tern_gguf_writer_finish(writer, &err), TERN_OK);
            tern_pool_free(pool);
            hashes[run] = hash_file(path);
        }
        assert_true(hashes[0] == hashes[1]);
    }
}

static void test_seed(void **state) {
    (void)state;
    tern_synth_params params = small();
    tern_error err;
    assert_int_equal(tern_synth(path, &params, &err), TERN_OK);
    assert_int_equal(tern_synth(other_path, &params, &err), TERN_OK);
    assert_true(hash_file(path) == hash_file(other_path));
    params.seed++;
    assert_int_equal(tern_synth(other_path, &params, &err), TERN_OK);
    assert_true(hash_file(path) != hash_file(other_path));
}

static bool cancel_half_way(void *user, uint64_t done, uint64_t total) {
    *(int *)user += 1;
    return done < total / 2;
}

static void test_cancelled_leaves_nothing(void **state) {
    (void)state;
    tern_synth_params params = small();
    tern_error err;
    int calls = 0;
    unlink(path);
    params.progress = cancel_half_way;
    params.progress_user = &calls;
    assert_int_equal(tern_synth(path, &params, &err), TERN_ERR_CANCELLED);
    assert_true(calls > 0);
    assert_int_equal(access(path, F_OK), -1); /* and the temporary file: remove_folder() would fail */
    params.progress = NULL;
    assert_int_equal(tern_synth("/nonexistent/folder/a.gguf", &params, &err), TERN_ERR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/folder/a.gguf"));
}

static void expect_refused(tern_synth_params params, const char *word) {
    tern_error err = {0};
    unlink(path);
    assert_int_equal(tern_synth(path, &params, &err), TERN_ERR_ARGUMENT);
    if (!strstr(err.message, word))
        fail_msg("'%s' is not in '%s'", word, err.message);
    assert_int_equal(access(path, F_OK), -1);
}

#define REFUSE(field, value, word)                                                                                     \
    do {                                                                                                               \
        tern_synth_params params = small();                                                                            \
        params.field = value;                                                                                          \
        expect_refused(params, word);                                                                                  \
    } while (0)

static void test_refuses(void **state) {
    (void)state;
    REFUSE(vocab_size, 100, "vocabulary");
    REFUSE(n_layers, 0, "layers");
    REFUSE(hidden_size, 1 << 30, "hidden size");
    REFUSE(hidden_size, 200, "I2_S");
    REFUSE(ffn_size, 700, "multiple of 128");
    REFUSE(n_heads, 3, "heads");
    REFUSE(n_kv_heads, 3, "KV heads");
    REFUSE(weight_type, "Q6_K", "weight type");
    REFUSE(weight_type, NULL, "weight type");
    REFUSE(embedding_type, "I2_S", "embedding type");
    REFUSE(embedding_type, "nonsense", "embedding type");
    REFUSE(rms_eps, 0, "epsilon");
    REFUSE(rms_eps, NAN, "epsilon");
    REFUSE(rope_theta, INFINITY, "theta");
    REFUSE(ffn_sparsity, 0.2f, "sparsity");
    REFUSE(ffn_sparsity, NAN, "sparsity");
    tern_synth_params params;
    tern_error err;
    assert_int_equal(tern_synth_shape("9b", &params, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "2b4t"));
    assert_int_equal(tern_synth_shape(NULL, &params, &err), TERN_ERR_ARGUMENT);
}

/* Every shape that is offered can be planned in every type. */
static void test_all_shapes(void **state) {
    (void)state;
    static const char *const names[] = {"tiny", "0.7b", "2b", "2b4t", "3b", "8b", "13b", "70b"};
    static const char *const weights[] = {"I2_S", "TQ1_0", "F32"};
    double previous = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < 3; k++) {
            tern_synth_params params;
            tern_synth_design design = {.block_gain = 1};
            tern_synth_tensor *tensors;
            size_t n;
            tern_error err;
            assert_int_equal(tern_synth_shape(names[i], &params, &err), TERN_OK);
            params.weight_type = weights[k];
            if (tern_synth_plan(&params, &design, &tensors, &n, &err))
                fail_msg("%s", err.message);
            double trits = 0;
            for (size_t j = 0; j < n; j++)
                if (tensors[j].fill == TERN_SYNTH_TRITS)
                    trits += (double)tensors[j].rows * (double)tensors[j].cols;
            assert_true(trits >= previous);
            previous = trits;
            if (strcmp(names[i], "2b4t") == 0)
                assert_true(trits == 2084044800.0); /* design.md: 2.084 G */
            free(tensors);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_made_up_vocabulary),
        cmocka_unit_test(test_vocabulary_from_file),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_thread_count_does_not_matter),
        cmocka_unit_test(test_cancelled_leaves_nothing),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_all_shapes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
