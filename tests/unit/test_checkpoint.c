/* Opening checkpoints: what kind a path is, and every form of every reference model against every other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/checkpoint.h"
#include "format/codec.h"

#define REFERENCE TERN_SOURCE_DIR "/../shared/reference"

/* ------------------------------------------------- without reference files */

static void expect_open_error(const char *path, tern_status status, const char *part) {
    tern_checkpoint *checkpoint = NULL;
    tern_error err = {0};
    assert_int_equal(tern_checkpoint_open(path, &checkpoint, &err), status);
    assert_null(checkpoint);
    if (!strstr(err.message, part))
        fail_msg("'%s' lacks '%s'", err.message, part);
    assert_non_null(strstr(err.message, path));
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void test_kinds(void **state) {
    (void)state;
    char folder[] = "/tmp/tern-checkpoint-XXXXXX", path[128];
    assert_non_null(mkdtemp(folder));
    static const struct {
        const char *name, *text, *part;
        tern_status status;
    } cases[] = {
        {"model.safetensors", "GGU", "give the folder", TERN_ERR_ARGUMENT},
        {"config.json", "{}", "give the folder", TERN_ERR_ARGUMENT},
        {"model.gguf", "hello world", "not a GGUF file", TERN_ERR_FORMAT},
        {"empty.gguf", "", "empty", TERN_ERR_FORMAT},
        {"short.gguf", "GGUF", "truncated", TERN_ERR_FORMAT},
    };
    expect_open_error(folder, TERN_ERR_IO, "no config.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].name);
        write_file(path, cases[i].text);
        expect_open_error(path, cases[i].status, cases[i].part);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/absent.gguf", folder);
    expect_open_error(path, TERN_ERR_IO, "No such file");
    rmdir(folder);
    tern_checkpoint_close(NULL);
}

/* ---------------------------------------------------- reference folders */

typedef struct matrix {
    int8_t *trits; /* [rows][cols] */
    uint64_t rows, cols;
    float scale;
} matrix;

/* A tensor of any form as trits and scale. */
static matrix load_matrix(const tern_tensor *tensor) {
    assert_non_null(tensor);
    const tern_codec *codec = tern_codec_of(tensor->type);
    assert_non_null(codec);
    matrix m = {malloc(tensor->rows * tensor->cols), tensor->rows, tensor->cols, 0};
    assert_non_null(m.trits);
    tern_error err = {0};
    if (codec->ternary) {
        if (codec->scale(tensor, &m.scale, &err))
            fail_msg("%s", err.message);
        assert_true(codec->decode_trits(tensor, 0, m.rows, m.trits, m.cols));
        return m;
    }
    float *row = malloc(m.cols * sizeof *row);
    assert_non_null(row);
    if (tern_absmean(tensor, row, &m.scale, &err))
        fail_msg("%s", err.message);
    for (uint64_t i = 0; i < m.rows; i++) {
        codec->decode_row(tensor, i, row);
        tern_ternarize_row(row, m.cols, m.scale, m.trits + i * m.cols);
    }
    free(row);
    return m;
}

/* The file's own bytes come back from its trits. */
static void check_encoder(const tern_tensor *tensor, const matrix *m) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    if (!codec->encode_trits)
        return;
    uint8_t *bytes = malloc(tensor->bytes);
    assert_non_null(bytes);
    codec->encode_trits(m->trits, m->rows, m->cols, m->scale, bytes);
    assert_memory_equal(bytes, tensor->data, tensor->bytes);
    free(bytes);
}

static const struct {
    const char *hf, *gguf;
} linears[] =
    {
        {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"},
        {"self_attn.o_proj", "attn_output"}, {"mlp.gate_proj", "ffn_gate"},  {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"},
},
  norms[] = {
      {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.attn_sub_norm", "attn_sub_norm"},
      {"mlp.ffn_sub_norm", "ffn_sub_norm"},
};

static const tern_tensor *find_layer(const tern_checkpoint *checkpoint, uint32_t layer, const char *hf,
                                     const char *gguf) {
    char name[128];
    if (checkpoint->kind == TERN_CHECKPOINT_GGUF)
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, gguf);
    else
        snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer, hf);
    return tern_checkpoint_find(checkpoint, name);
}

static void compare_config(const tern_checkpoint *a, const tern_checkpoint *b) {
    const tern_config *x = &a->config, *y = &b->config;
    assert_int_equal(x->vocab_size, y->vocab_size);
    assert_int_equal(x->n_ctx, y->n_ctx);
    assert_int_equal(x->hidden_size, y->hidden_size);
    assert_int_equal(x->ffn_size, y->ffn_size);
    assert_int_equal(x->n_layers, y->n_layers);
    assert_int_equal(x->n_heads, y->n_heads);
    assert_int_equal(x->n_kv_heads, y->n_kv_heads);
    assert_int_equal(x->bos_id, y->bos_id);
    assert_int_equal(x->eos_id, y->eos_id);
    assert_true(x->rms_eps == y->rms_eps);
    assert_true(x->rope_theta == y->rope_theta);
}

static void compare_norm(const tern_tensor *master, const tern_tensor *other) {
    assert_non_null(master);
    assert_non_null(other);
    assert_int_equal(master->cols, other->cols);
    float a[2048], b[2048];
    assert_true(master->cols <= 2048);
    tern_codec_of(master->type)->decode_row(master, 0, a);
    tern_codec_of(other->type)->decode_row(other, 0, b);
    assert_memory_equal(a, b, master->cols * sizeof a[0]);
}

/* Every form of a model against its bf16 master. */
static void compare_forms(const tern_checkpoint *master, const tern_checkpoint *other, double scale_bound) {
    compare_config(master, other);
    for (uint32_t layer = 0; layer < master->config.n_layers; layer++) {
        for (size_t i = 0; i < sizeof linears / sizeof linears[0]; i++) {
            const tern_tensor *tensor = find_layer(other, layer, linears[i].hf, linears[i].gguf);
            matrix a = load_matrix(find_layer(master, layer, linears[i].hf, linears[i].gguf)), b = load_matrix(tensor);
            assert_int_equal(a.rows, b.rows);
            assert_int_equal(a.cols, b.cols);
            assert_memory_equal(a.trits, b.trits, a.rows * a.cols);
            assert_true(fabs((double)b.scale / (double)a.scale - 1) <= scale_bound);
            check_encoder(tensor, &b);
            free(a.trits);
            free(b.trits);
        }
        for (size_t i = 0; i < sizeof norms / sizeof norms[0]; i++)
            compare_norm(find_layer(master, layer, norms[i].hf, norms[i].gguf),
                         find_layer(other, layer, norms[i].hf, norms[i].gguf));
    }
}

static const struct {
    const char *file, *format, *type;
    double scale_bound; /* relative: how the form rounds its scale */
} forms[] = {
    {"hf-bf16", "Hugging Face (bf16 master)", "BF16", 0}, {"hf-packed", "Hugging Face (packed)", "HF_PACKED", 0x1p-8},
    {"model-i2_s.gguf", "GGUF v3", "I2_S", 1e-6},         {"model-tq1_0.gguf", "GGUF v3", "TQ1_0", 0x1p-11},
    {"model-tq2_0.gguf", "GGUF v3", "TQ2_0", 0x1p-11},
};

static tern_checkpoint *open_or_fail(const char *path) {
    tern_checkpoint *checkpoint = NULL;
    tern_error err = {0};
    if (tern_checkpoint_open(path, &checkpoint, &err))
        fail_msg("%s", err.message);
    return checkpoint;
}

static void check_folder(const char *folder) {
    char path[512];
    snprintf(path, sizeof path, REFERENCE "/%s/hf-bf16", folder);
    if (access(path, R_OK)) {
        print_message("%s is not here: skipped\n", path);
        skip();
    }
    tern_checkpoint *master = open_or_fail(path);
    int n_forms = 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        snprintf(path, sizeof path, REFERENCE "/%s/%s", folder, forms[i].file);
        if (access(path, R_OK))
            continue; /* TQ needs rows of 256 */
        tern_checkpoint *other = open_or_fail(path);
        assert_string_equal(other->format, forms[i].format);
        assert_string_equal(find_layer(other, 0, "mlp.down_proj", "ffn_down")->type_name, forms[i].type);
        compare_forms(master, other, forms[i].scale_bound);
        assert_true(other->n_metadata > 10 && other->file_bytes > 100000);
        if (other->kind == TERN_CHECKPOINT_GGUF) {
            assert_int_equal(other->vocab.n_tokens, other->config.vocab_size);
            assert_non_null(other->vocab.types);
            assert_true(other->vocab.n_merges > 0);
            assert_string_equal(other->vocab.model, "gpt2");
            assert_int_equal(other->config.arch[0], 'b');
        }
        tern_checkpoint_close(other);
        n_forms++;
    }
    assert_true(n_forms >= 3);
    tern_checkpoint_close(master);
}

static void test_tiny_a(void **state) { (void)state, check_folder("tiny-a"); }
static void test_tiny_b(void **state) { (void)state, check_folder("tiny-b"); }
static void test_tiny_c(void **state) { (void)state, check_folder("tiny-c"); }
static void test_story(void **state) { (void)state, check_folder("story"); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),  cmocka_unit_test(test_tiny_a), cmocka_unit_test(test_tiny_b),
        cmocka_unit_test(test_tiny_c), cmocka_unit_test(test_story),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
