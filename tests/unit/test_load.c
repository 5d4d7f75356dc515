/* Loading float matrices: masters take absmean, matrices that a converter already made ternary keep their magnitude. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/half.h"
#include "format/gguf_write.h"
#include "model/weights.h"

enum { HIDDEN = 32, FFN = 48, VOCAB = 8, F32 = 0, F16 = 1 };

static tern_error err;

/* Weight i of any matrix: about a third zeros, the rest of one magnitude or of several. */
static float weight(size_t i, bool one_magnitude) {
    float magnitude = one_magnitude ? 0.0375f : 0.01f * ((float)(i * 7 % 5) + 0.6f);
    return i % 3 == 0 ? 0 : i % 3 == 1 ? magnitude : -magnitude;
}

static const struct {
    const char *name;
    uint64_t rows, cols;
    bool matrix;
} tensors[] = {
    {"token_embd.weight", VOCAB, HIDDEN, false},      {"blk.0.attn_norm.weight", 1, HIDDEN, false},
    {"blk.0.attn_sub_norm.weight", 1, HIDDEN, false}, {"blk.0.ffn_norm.weight", 1, HIDDEN, false},
    {"blk.0.ffn_sub_norm.weight", 1, FFN, false},     {"output_norm.weight", 1, HIDDEN, false},
    {"blk.0.attn_q.weight", HIDDEN, HIDDEN, true},    {"blk.0.attn_k.weight", HIDDEN, HIDDEN, true},
    {"blk.0.attn_v.weight", HIDDEN, HIDDEN, true},    {"blk.0.attn_output.weight", HIDDEN, HIDDEN, true},
    {"blk.0.ffn_gate.weight", FFN, HIDDEN, true},     {"blk.0.ffn_up.weight", FFN, HIDDEN, true},
    {"blk.0.ffn_down.weight", HIDDEN, FFN, true},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors };

static void write_model(const char *path, bool one_magnitude) {
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {
        {"bitnet-b1.58.vocab_size", VOCAB},          {"bitnet-b1.58.context_length", 64},
        {"bitnet-b1.58.embedding_length", HIDDEN},   {"bitnet-b1.58.block_count", 1},
        {"bitnet-b1.58.feed_forward_length", FFN},   {"bitnet-b1.58.attention.head_count", 2},
        {"bitnet-b1.58.attention.head_count_kv", 2},
    };
    tern_gguf_writer *writer = NULL;
    assert_int_equal(tern_gguf_writer_create(path, &writer, &err), TERN_OK);
    tern_gguf_put_string(writer, "general.architecture", "bitnet-b1.58");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        tern_gguf_put_u32(writer, sizes[i].key, sizes[i].value);
    tern_gguf_put_f32(writer, "bitnet-b1.58.attention.layer_norm_rms_epsilon", 1e-5f);
    tern_gguf_put_f32(writer, "bitnet-b1.58.rope.freq_base", 10000);
    for (size_t i = 0; i < N_TENSORS; i++)
        tern_gguf_put_tensor(writer, tensors[i].name, tensors[i].matrix ? F16 : F32, tensors[i].rows, tensors[i].cols,
                             tensors[i].rows == 1, tensors[i].rows * tensors[i].cols * (tensors[i].matrix ? 2 : 4));
    assert_int_equal(tern_gguf_begin_data(writer, &err), TERN_OK);
    for (size_t i = 0; i < N_TENSORS; i++)
        for (size_t j = 0; j < tensors[i].rows * tensors[i].cols; j++) {
            float value = tensors[i].matrix ? weight(j, one_magnitude) : 1;
            uint16_t half = tern_f32_to_f16(value);
            assert_int_equal(tern_gguf_write_data(writer, tensors[i].matrix ? (void *)&half : (void *)&value,
                                                  tensors[i].matrix ? sizeof half : sizeof value, &err),
                             TERN_OK);
        }
    assert_int_equal(tern_gguf_writer_finish(writer, &err), TERN_OK);
}

/* Load the model, check the scale of every matrix, and the trits of each against the weights divided by it. */
static void check_load(bool one_magnitude) {
    char folder[] = "/tmp/tern-load-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    write_model(path, one_magnitude);
    tern_checkpoint *checkpoint = NULL;
    tern_pool *pool = NULL;
    tern_weights weights;
    assert_int_equal(tern_checkpoint_open(path, &checkpoint, &err), TERN_OK);
    assert_int_equal(tern_pool_create(2, &pool, &err), TERN_OK);
    static const tern_ternary t2 = {.packing = &tern_packing_t2r16};
    assert_int_equal(tern_weights_load(checkpoint, &t2, pool, NULL, &weights, &err), TERN_OK);
    for (int m = 0; m < TERN_LINEARS_PER_LAYER; m++) {
        const tern_linear *linear = &weights.layers[0].linears[m];
        size_t n = (size_t)linear->rows * linear->cols;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += fabs((double)tern_f16_to_f32(tern_f32_to_f16(weight(i, one_magnitude))));
        double wanted = one_magnitude ? (double)tern_f16_to_f32(tern_f32_to_f16(0.0375f)) : sum / (double)n;
        assert_true(fabs((double)linear->scale - wanted) <= 1e-6 * wanted);
        int8_t trits[FFN];
        for (uint32_t row = 0; row < linear->rows; row++) {
            tern_packing_t2r16.unpack_row(linear->packed + row / 16 * linear->unit_bytes, row % 16, linear->cols,
                                          trits);
            for (uint32_t col = 0; col < linear->cols; col++) {
                double scaled = (double)weight((size_t)row * linear->cols + col, one_magnitude) / wanted;
                assert_int_equal(trits[col], scaled > 0.5 ? 1 : scaled < -0.5 ? -1 : 0);
            }
        }
    }
    tern_weights_free(&weights);
    tern_pool_free(pool);
    tern_checkpoint_close(checkpoint);
    unlink(path);
    rmdir(folder);
}

static void test_masters(void **state) {
    (void)state;
    check_load(false);
}

static void test_already_ternary(void **state) {
    (void)state;
    check_load(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masters),
        cmocka_unit_test(test_already_ternary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
