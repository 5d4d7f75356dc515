/* The codecs: every type's bytes by hand where the layout matters, round trips, hostile scales and codes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "format/codec.h"

static tern_tensor tensor_of(const tern_codec *codec, uint64_t rows, uint64_t cols, const uint8_t *data) {
    tern_tensor tensor = {
        .name = "x", .type_name = codec->name, .type = codec->type, .rows = rows, .cols = cols, .data = data};
    assert_true(tern_codec_bytes(codec, rows, cols, &tensor.bytes));
    return tensor;
}

static void *fresh(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

/* Random trits; the first `zeros` of them 0, so that whole TQ blocks of zeros occur. */
static int8_t *random_trits(size_t n, size_t zeros, uint64_t seed) {
    tern_rng rng;
    tern_rng_seed(&rng, seed);
    int8_t *trits = fresh(n);
    for (size_t i = 0; i < n; i++)
        trits[i] = i < zeros ? 0 : (int8_t)(tern_rng_u64(&rng) % 3) - 1;
    return trits;
}

static void test_table(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t gguf_type;
    } expected[] = {{"F32", 0},   {"F16", 1},    {"Q4_0", 2},   {"Q8_0", 8}, {"Q6_K", 14},
                    {"BF16", 30}, {"TQ1_0", 34}, {"TQ2_0", 35}, {"I2_S", 36}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const tern_codec *codec = tern_codec_of_gguf(expected[i].gguf_type);
        assert_non_null(codec);
        assert_string_equal(codec->name, expected[i].name);
        assert_ptr_equal(codec, tern_codec_named(expected[i].name));
        assert_ptr_equal(codec, tern_codec_of(codec->type));
        assert_true(codec->ternary ? codec->decode_trits && codec->scale && codec->encode_trits
                                   : codec->decode_row && codec->encode_row);
    }
    assert_non_null(tern_codec_of(TERN_TYPE_HF_PACKED));
    assert_ptr_equal(tern_codec_named("i2_s"), tern_codec_of(TERN_TYPE_I2_S));
    assert_null(tern_codec_of(TERN_TYPE_OTHER));
    assert_null(tern_codec_of_gguf(12));
    assert_null(tern_codec_of_gguf(UINT32_MAX));
    assert_null(tern_codec_named("I2"));
}

static void test_bytes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t rows, cols, bytes; /* bytes 0: impossible */
    } cases[] = {
        {"F32", 3, 5, 60},
        {"BF16", 3, 5, 30},
        {"I2_S", 2, 64, 64},
        {"I2_S", 1, 64, 0},
        {"TQ1_0", 2, 256, 108},
        {"TQ2_0", 2, 512, 264},
        {"TQ2_0", 256, 2, 0},
        {"HF_PACKED", 8, 3, 6},
        {"HF_PACKED", 6, 4, 0},
        {"Q8_0", 1, 32, 34},
        {"Q4_0", 1, 33, 0},
        {"Q6_K", 2, 256, 420},
        {"F32", 0, 5, 0},
        {"F32", 5, 0, 0},
        {"F32", 1ull << 62, 4, 0},
        {"F32", 1ull << 62, 1, 0},
        {"I2_S", 1ull << 40, 1ull << 40, 0},
        {"Q8_0", UINT64_MAX / 32, 32, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t bytes = 0;
        bool ok = tern_codec_bytes(tern_codec_named(cases[i].name), cases[i].rows, cases[i].cols, &bytes);
        assert_int_equal(ok, cases[i].bytes != 0);
        if (ok)
            assert_int_equal(bytes, cases[i].bytes);
    }
}

/* Trits -> bytes -> trits, whole and in parts, at an odd address, with a leading dimension. */
static void round_trip(const char *name, uint64_t rows, uint64_t cols) {
    const tern_codec *codec = tern_codec_named(name);
    uint64_t n_bytes;
    assert_true(tern_codec_bytes(codec, rows, cols, &n_bytes));
    int8_t *trits = random_trits(rows * cols, cols < 300 ? cols / 2 : 300, rows + cols);
    uint8_t *bytes = fresh(n_bytes + 1);
    codec->encode_trits(trits, rows, cols, 0.75f, bytes + 1);
    tern_tensor tensor = tensor_of(codec, rows, cols, bytes + 1);
    float scale = 0;
    assert_int_equal(codec->scale(&tensor, &scale, NULL), TERN_OK);
    assert_true(scale == 0.75f);

    size_t ld = cols + 7;
    int8_t *back = fresh(rows * ld);
    memset(back, 99, rows * ld);
    uint64_t half = rows / 2;
    assert_true(codec->decode_trits(&tensor, 0, half, back, ld));
    assert_true(codec->decode_trits(&tensor, half, rows - half, back + half * ld, ld));
    for (uint64_t row = 0; row < rows; row++) {
        assert_memory_equal(back + row * ld, trits + row * cols, cols);
        for (size_t i = cols; i < ld; i++)
            assert_int_equal(back[row * ld + i], 99);
    }
    free(back);
    free(bytes);
    free(trits);
}

static void test_round_trips(void **state) {
    (void)state;
    round_trip("I2_S", 5, 256);
    round_trip("I2_S", 64, 6);   /* many rows in one block */
    round_trip("I2_S", 16, 200); /* blocks straddle rows */
    round_trip("I2_S", 128, 131);
    round_trip("TQ1_0", 3, 512);
    round_trip("TQ2_0", 3, 512);
    round_trip("TQ1_0", 1, 256);
    round_trip("TQ2_0", 1, 256);
}

/* Layouts straight from numerics.md section 6, one marked value each. */
static void test_layouts(void **state) {
    (void)state;
    int8_t trits[256];
    uint8_t bytes[96];
    static const struct {
        const char *name;
        int value, byte, expected; /* trit `value` is 1, the others 0 */
    } cases[] = {
        {"I2_S", 0, 0, 0x95},
        {"I2_S", 33, 1, 0x65},
        {"I2_S", 64, 0, 0x59},
        {"I2_S", 127, 31, 0x56},
        {"I2_S", 128, 32, 0x95},
        {"TQ2_0", 0, 0, 0x56},
        {"TQ2_0", 33, 1, 0x59},
        {"TQ2_0", 64, 0, 0x65},
        {"TQ2_0", 127, 31, 0x95},
        {"TQ2_0", 128, 32, 0x56},
        /* base 3, all ones is 121; a marked digit adds 81, 27, 9, 3, 1; stored as ceil(q * 256 / 243) */
        {"TQ1_0", 0, 0, (202 * 256 + 242) / 243},
        {"TQ1_0", 33, 1, (148 * 256 + 242) / 243},
        {"TQ1_0", 159, 31, (122 * 256 + 242) / 243},
        {"TQ1_0", 160, 32, (202 * 256 + 242) / 243},
        {"TQ1_0", 239, 47, (122 * 256 + 242) / 243},
        {"TQ1_0", 240, 48, (201 * 256 + 242) / 243},
        {"TQ1_0", 255, 51, (123 * 256 + 242) / 243},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(trits, 0, sizeof trits);
        trits[cases[i].value] = 1;
        tern_codec_named(cases[i].name)->encode_trits(trits, 1, 256, 1.0f, bytes);
        assert_int_equal(bytes[cases[i].byte], cases[i].expected);
    }
}

static void test_hf_packed(void **state) {
    (void)state;
    enum { ROWS = 12, COLS = 37, QUARTER = ROWS / 4 };
    int8_t *trits = random_trits(ROWS * COLS, 0, 5), back[ROWS * COLS];
    uint8_t bytes[QUARTER * COLS] = {0};
    for (int row = 0; row < ROWS; row++)
        for (int col = 0; col < COLS; col++)
            bytes[row % QUARTER * COLS + col] |= (uint8_t)((trits[row * COLS + col] + 1) << (2 * (row / QUARTER)));
    const tern_codec *codec = tern_codec_of(TERN_TYPE_HF_PACKED);
    tern_tensor tensor = tensor_of(codec, ROWS, COLS, bytes);
    assert_true(codec->decode_trits(&tensor, 0, ROWS, back, COLS));
    assert_memory_equal(back, trits, sizeof back);
    assert_true(codec->decode_trits(&tensor, 7, 2, back, COLS));
    assert_memory_equal(back, trits + 7 * COLS, 2 * COLS);

    float number = 4, scale = 0;
    tern_tensor companion = tensor_of(tern_codec_named("F32"), 1, 1, (const uint8_t *)&number);
    assert_int_equal(codec->scale(&tensor, &scale, NULL), TERN_ERR_FORMAT);
    tensor.scale = &companion;
    assert_int_equal(codec->scale(&tensor, &scale, NULL), TERN_OK);
    assert_true(scale == 4);
    tensor.scale_is_inverse = true;
    assert_int_equal(codec->scale(&tensor, &scale, NULL), TERN_OK);
    assert_true(scale == 0.25f);
    number = 0; /* divides by zero */
    assert_int_equal(codec->scale(&tensor, &scale, NULL), TERN_ERR_FORMAT);
    for (unsigned shift = 0; shift < 8; shift += 2) { /* a code 3 in the vector part and in the tail */
        for (int at = 5; at < COLS; at += 30) {
            uint8_t good = bytes[COLS + at];
            bytes[COLS + at] |= (uint8_t)(3 << shift);
            assert_false(codec->decode_trits(&tensor, 0, ROWS, back, COLS));
            bytes[COLS + at] = good;
        }
    }
    free(trits);
}

static void test_bad_codes(void **state) {
    (void)state;
    int8_t trits[512] = {0}, back[512];
    uint8_t bytes[256];
    static const char *const names[] = {"I2_S", "TQ2_0"};
    for (int k = 0; k < 2; k++) {
        const tern_codec *codec = tern_codec_named(names[k]);
        trits[0] = trits[256] = 1;
        codec->encode_trits(trits, 2, 256, 1.0f, bytes);
        tern_tensor tensor = tensor_of(codec, 2, 256, bytes);
        assert_true(codec->decode_trits(&tensor, 0, 2, back, 256));
        for (int at = 0; at < 64; at++)
            for (int shift = 0; shift < 8; shift += 2) {
                uint8_t good = bytes[at];
                bytes[at] |= (uint8_t)(3 << shift);
                assert_false(codec->decode_trits(&tensor, 0, 2, back, 256));
                bytes[at] = good;
            }
    }
}

static void test_bad_scales(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, -1.0f, 0.0f, -0.0f};
    int8_t trits[512] = {1};
    uint8_t bytes[256];
    tern_error err;
    float scale;
    const tern_codec *codec = tern_codec_named("I2_S");
    tern_tensor tensor = tensor_of(codec, 2, 256, bytes);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        codec->encode_trits(trits, 2, 256, bad[i], bytes);
        assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "'x'"));
    }
    trits[0] = 0; /* all zeros: scale 0 is right */
    codec->encode_trits(trits, 2, 256, 0.0f, bytes);
    assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_OK);
    assert_true(scale == 0);
    codec->encode_trits(trits, 2, 256, NAN, bytes);
    assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_ERR_FORMAT);

    trits[0] = trits[256] = 1;
    static const char *const names[] = {"TQ1_0", "TQ2_0"};
    for (int k = 0; k < 2; k++) {
        codec = tern_codec_named(names[k]);
        tensor = tensor_of(codec, 2, 256, bytes);
        codec->encode_trits(trits, 2, 256, 0.5f, bytes);
        bytes[2 * codec->block_bytes - 1] ^= 0x04; /* the second block's scale differs */
        assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "scales by row or block"));
        assert_true(codec->block_scale(&tensor, 0, 0) == 0.5f && codec->block_scale(&tensor, 1, 0) != 0.5f);
        codec->encode_trits(trits, 2, 256, -0.5f, bytes);
        assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_ERR_FORMAT);
        codec->encode_trits(trits, 2, 256, NAN, bytes);
        assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_ERR_FORMAT);
        /* a block with scale 0 holds zeros, whatever its codes */
        codec->encode_trits(trits, 2, 256, 0.5f, bytes);
        memset(bytes + codec->block_bytes - 2, 0, 2);
        int8_t back[512], zeros[256] = {0};
        assert_true(codec->decode_trits(&tensor, 0, 2, back, 256));
        assert_memory_equal(back, zeros, 256);
        assert_int_equal(back[256], 1);
        assert_int_equal(codec->scale(&tensor, &scale, &err), TERN_OK);
        assert_true(scale == 0.5f);
    }
}

/* Every fp16 and bf16 value decodes as the scalar functions say, and goes back to the same bits. */
static void test_half_rows(void **state) {
    (void)state;
    enum { N = 65536 };
    uint16_t *halves = fresh(N * sizeof *halves), *again = fresh(N * sizeof *again);
    float *values = fresh(N * sizeof *values);
    for (unsigned i = 0; i < N; i++)
        halves[i] = (uint16_t)i;
    for (int k = 0; k < 2; k++) {
        const tern_codec *codec = tern_codec_named(k ? "BF16" : "F16");
        tern_tensor tensor = tensor_of(codec, 1, N, (const uint8_t *)halves);
        codec->decode_row(&tensor, 0, values);
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(tern_bits_from_f32(values[i]),
                             tern_bits_from_f32(k ? tern_bf16_to_f32((uint16_t)i) : tern_f16_to_f32((uint16_t)i)));
        codec->encode_row(values, N, (uint8_t *)again);
        for (unsigned i = 0; i < N; i++)
            assert_true(again[i] == i || isnan(values[i]));
    }
    free(values);
    free(again);
    free(halves);
}

/* Quantise normal values of very different sizes; the error keeps the bound that stands at each quantiser. */
static void test_quantisers(void **state) {
    (void)state;
    enum { N = 4096 };
    static const struct {
        const char *name;
        int block;
        double step; /* largest error as a part of the block's largest magnitude */
    } cases[] = {{"Q8_0", 32, 0.5 / 127}, {"Q4_0", 32, 1.0 / 8}, {"Q6_K", 256, 0.5 / 31 * (1 + 1.0 / 127)},
                 {"F32", 32, 0},          {"F16", 32, 0x1p-11},  {"BF16", 32, 0x1p-8}};
    float values[N], back[N];
    tern_rng rng;
    tern_rng_seed(&rng, 11);
    for (int i = 0; i < N; i++)
        values[i] = (float)(tern_rng_normal(&rng) * pow(10, (i / 256 % 5) - 2));
    memset(values + 512, 0, 256 * sizeof values[0]);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const tern_codec *codec = tern_codec_named(cases[k].name);
        uint64_t n_bytes;
        assert_true(tern_codec_bytes(codec, 2, N / 2, &n_bytes));
        uint8_t *bytes = fresh(n_bytes);
        tern_tensor tensor = tensor_of(codec, 2, N / 2, bytes);
        for (int row = 0; row < 2; row++) {
            codec->encode_row(values + row * N / 2, N / 2, bytes + (size_t)row * n_bytes / 2);
            codec->decode_row(&tensor, (uint64_t)row, back + row * N / 2);
        }
        for (int first = 0; first < N; first += cases[k].block) {
            double most = 0;
            for (int i = first; i < first + cases[k].block; i++) { /* fmax() here crashes GCC 12 for arm64 at -O3 */
                double value = fabs((double)values[i]);
                most = value > most ? value : most;
            }
            for (int i = first; i < first + cases[k].block; i++)
                assert_true(fabs((double)values[i] - (double)back[i]) <= most * cases[k].step * 1.001 + 1e-9);
        }
        free(bytes);
    }
}

/* Codes by hand: the layouts of the block-quantised types. */
static void test_quant_layouts(void **state) {
    (void)state;
    uint8_t bytes[210] = {0};
    float out[256];
    bytes[1] = 0x3c; /* fp16 1.0 */
    bytes[2] = 0xf3; /* Q4_0: value 0 is 3 - 8, value 16 is 15 - 8 */
    tern_tensor q4 = tensor_of(tern_codec_named("Q4_0"), 1, 32, bytes);
    tern_codec_named("Q4_0")->decode_row(&q4, 0, out);
    assert_true(out[0] == -5 && out[16] == 7 && out[1] == -8);
    tern_tensor q8 = tensor_of(tern_codec_named("Q8_0"), 1, 32, bytes);
    tern_codec_named("Q8_0")->decode_row(&q8, 0, out);
    assert_true(out[0] == -13 && out[1] == 0);

    memset(bytes, 0, sizeof bytes);
    bytes[209] = 0x3c;
    for (int group = 0; group < 16; group++)
        bytes[192 + group] = (uint8_t)(group + 1);
    bytes[0] = 0x21;   /* value 0: low 1; value 64: low 2 */
    bytes[32] = 0x43;  /* value 32: low 3; value 96: low 4 */
    bytes[64] = 0x05;  /* value 128: low 5 */
    bytes[128] = 0xe4; /* high bits of values 0, 32, 64, 96: 0, 1, 2, 3 */
    bytes[160] = 0x02; /* of value 128: 2 */
    tern_tensor q6 = tensor_of(tern_codec_named("Q6_K"), 1, 256, bytes);
    tern_codec_named("Q6_K")->decode_row(&q6, 0, out);
    assert_true(out[0] == 1 * (1 - 32));
    assert_true(out[32] == 3 * (16 + 3 - 32));
    assert_true(out[64] == 5 * (32 + 2 - 32));
    assert_true(out[96] == 7 * (48 + 4 - 32));
    assert_true(out[128] == 9 * (32 + 5 - 32));
    assert_true(out[255] == 16 * -32);
}

static void test_absmean(void **state) {
    (void)state;
    enum { ROWS = 7, COLS = 61 };
    float weights[ROWS * COLS], buffer[COLS], mean = 0;
    double sum = 0;
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    for (int i = 0; i < ROWS * COLS; i++) {
        weights[i] = (float)tern_rng_normal(&rng);
        sum += fabs((double)weights[i]);
    }
    tern_tensor tensor = tensor_of(tern_codec_named("F32"), ROWS, COLS, (const uint8_t *)weights);
    assert_int_equal(tern_absmean(&tensor, buffer, &mean, NULL), TERN_OK);
    assert_true(fabs((double)mean / (sum / (ROWS * COLS)) - 1) < 1e-7);

    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int at = 0; at < ROWS * COLS; at += 30)
        for (int k = 0; k < 3; k++) {
            float good = weights[at];
            tern_error err;
            weights[at] = bad[k];
            assert_int_equal(tern_absmean(&tensor, buffer, &mean, &err), TERN_ERR_FORMAT);
            weights[at] = good;
        }

    for (int i = 0; i < ROWS * COLS; i++) /* dead weights as published checkpoints have them */
        weights[i] = 1e-34f * (float)(i % 5);
    assert_int_equal(tern_absmean(&tensor, buffer, &mean, NULL), TERN_OK);
    assert_true(mean == 1e-5f);
    memset(weights, 0, sizeof weights);
    assert_int_equal(tern_absmean(&tensor, buffer, &mean, NULL), TERN_OK);
    assert_true(mean == 1e-5f);
    tern_tensor ternary = tensor;
    ternary.type = TERN_TYPE_I2_S;
    assert_int_equal(tern_absmean(&ternary, buffer, &mean, NULL), TERN_ERR_ARGUMENT);
}

static void test_ternarize(void **state) {
    (void)state;
    enum { N = 4099 };
    static const float edges[] = {0.5f, -0.5f, 0x1.000002p-1f, -0x1.000002p-1f, 1.5f, -1.5f, 2.5f,
                                  -9,   0,     -0.0f,          1e-34f};
    enum { N_EDGES = sizeof edges / sizeof edges[0] };
    float weights[N];
    int8_t trits[N];
    static const float means[] = {1, 0.37f, 1e-5f, 3.1f};
    for (int k = 0; k < 4; k++) {
        tern_rng rng;
        tern_rng_seed(&rng, (uint64_t)k);
        for (int i = 0; i < N; i++)
            weights[i] = i < N_EDGES ? edges[i] : (float)tern_rng_normal(&rng) * means[k];
        tern_ternarize_row(weights, N, means[k], trits);
        float inverse = 1.0f / means[k];
        for (int i = 0; i < N; i++)
            assert_int_equal(trits[i], (int)fmaxf(-1, fminf(1, rintf(weights[i] * inverse))));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_bytes),     cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_layouts),       cmocka_unit_test(test_hf_packed), cmocka_unit_test(test_bad_codes),
        cmocka_unit_test(test_bad_scales),    cmocka_unit_test(test_half_rows), cmocka_unit_test(test_quantisers),
        cmocka_unit_test(test_quant_layouts), cmocka_unit_test(test_absmean),   cmocka_unit_test(test_ternarize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
