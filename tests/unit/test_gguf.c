/* GGUF: what a whole file gives, and one hostile change a row. The image is built byte by byte here, so that any one
 * number can lie. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/checkpoint.h"
#include "format/codec.h"

enum what {
    NOTHING,
    MAGIC,
    VERSION,
    N_TENSORS,
    N_KEYS,
    ARCH,       /* text */
    KEY_NAME,   /* text, of the key "extra" */
    KEY_LENGTH, /* of "extra" */
    KEY_TYPE,   /* of "extra" (u32) */
    ALIGNMENT,
    BLOCKS_TYPE, /* value type of block_count */
    ITEM_TYPE,   /* of the array of tokens */
    N_TOKENS,    /* its length */
    TOKEN_LENGTH,
    N_TYPES,      /* entries of token_type */
    ROPE_SCALING, /* text */
    TEMPLATE,     /* text of 3 bytes */
    MODEL_NAME,   /* text */
    BOS,          /* bos_token_id */
    TENSOR_NAME,  /* text, of the matrix */
    NAME_LENGTH,
    N_DIMS,
    DIM_0,
    DIM_1,
    TYPE,
    OFFSET,
    LAST_OFFSET, /* of the last tensor */
    LAST_TYPE,
    CUT, /* bytes kept */
};

typedef struct change {
    enum what what;
    uint64_t value;
    const char *text;
    tern_status status;
    const char *part; /* of the message */
} change;

static void put(tern_buffer *out, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) {
        char byte = (char)(value >> (8 * i));
        tern_buffer_append(out, &byte, 1);
    }
}

static uint64_t number(const change *c, enum what what, uint64_t normal) { return c->what == what ? c->value : normal; }
static const char *text(const change *c, enum what what, const char *normal) {
    return c->what == what && c->text ? c->text : normal;
}

static void put_string(tern_buffer *out, const char *string, uint64_t length) {
    put(out, length, 8);
    tern_buffer_text(out, string);
}

static void put_key(tern_buffer *out, const char *key, uint32_t type) {
    put_string(out, key, strlen(key));
    put(out, type, 4);
}

static void put_keys(tern_buffer *out, const change *c) {
    const char *arch = text(c, ARCH, "bitnet-b1.58"), *template = text(c, TEMPLATE, "{{}");
    char key[64];
    put_key(out, "general.architecture", 8);
    put_string(out, arch, strlen(arch));
    snprintf(key, sizeof key, "%s.block_count", arch);
    put_key(out, key, (uint32_t)number(c, BLOCKS_TYPE, 4));
    put(out, 1, 4);
    put_key(out, "general.alignment", 4);
    put(out, number(c, ALIGNMENT, 32), 4);
    put_key(out, "tokenizer.ggml.tokens", 9);
    put(out, number(c, ITEM_TYPE, 8), 4);
    put(out, number(c, N_TOKENS, 2), 8);
    put_string(out, "a", number(c, TOKEN_LENGTH, 1));
    put_string(out, "bc", 2);
    put_key(out, "tokenizer.ggml.token_type", 9);
    put(out, 5, 4);
    put(out, number(c, N_TYPES, 2), 8);
    put(out, 1, 4);
    put(out, 3, 4);
    if (c->what == N_TYPES && c->value == 3)
        put(out, 3, 4);
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    put_key(out, key, 8);
    put_string(out, text(c, ROPE_SCALING, "none"), strlen(text(c, ROPE_SCALING, "none")));
    put_key(out, "tokenizer.chat_template", 8);
    put(out, 3, 8);
    tern_buffer_append(out, template, 3);
    if (c->what == MODEL_NAME) {
        put_key(out, "general.name", 8);
        put_string(out, c->text, strlen(c->text));
    }
    if (c->what == BOS) {
        put_key(out, "tokenizer.ggml.bos_token_id", 4);
        put(out, c->value, 4);
    }
    put_string(out, text(c, KEY_NAME, "extra"), number(c, KEY_LENGTH, strlen(text(c, KEY_NAME, "extra"))));
    put(out, number(c, KEY_TYPE, 4), 4);
    put(out, 7, 4);
}

static void put_tensors(tern_buffer *out, const change *c) {
    put_string(out, "token_embd.weight", 17);
    put(out, 2, 4), put(out, 4, 8), put(out, 2, 8), put(out, 0, 4), put(out, 0, 8);
    const char *name = text(c, TENSOR_NAME, "blk.0.attn_q.weight");
    put_string(out, name, number(c, NAME_LENGTH, strlen(name)));
    put(out, number(c, N_DIMS, 2), 4);
    put(out, number(c, DIM_0, 128), 8);
    put(out, number(c, DIM_1, 2), 8);
    put(out, number(c, TYPE, 36), 4);
    put(out, number(c, OFFSET, 32), 8);
    put_string(out, "output_norm.weight", 18);
    put(out, 1, 4), put(out, 4, 8), put(out, number(c, LAST_TYPE, 0), 4), put(out, number(c, LAST_OFFSET, 128), 8);
}

/* Three tensors: F32 [2, 4], I2_S [2, 128] with scale 0.5, F32 [4]. */
static tern_buffer build(const change *c) {
    tern_buffer out = {0};
    tern_buffer_text(&out, c->what == MAGIC ? "GGML" : "GGUF");
    put(&out, number(c, VERSION, 3), 4);
    put(&out, number(c, N_TENSORS, 3), 8);
    put(&out, number(c, N_KEYS, c->what == MODEL_NAME || c->what == BOS ? 9 : 8), 8);
    put_keys(&out, c);
    put_tensors(&out, c);
    while (out.size % 32)
        put(&out, 0, 1);
    for (int i = 0; i < 8; i++)
        put(&out, 0x3f800000, 4);
    for (int i = 0; i < 64; i++)
        put(&out, i ? 0x55 : 0x95, 1);
    put(&out, 0x3f000000, 4), put(&out, 0, 8), put(&out, 0, 8), put(&out, 0, 8), put(&out, 0, 4);
    for (int i = 0; i < 4; i++)
        put(&out, 0x40000000, 4);
    if (c->what == CUT)
        out.size = c->value;
    assert_false(out.failed);
    return out;
}

/* A copy of exactly the right size, so that a sanitizer sees the first byte past the end. */
static tern_status open_image(const tern_buffer *image, tern_checkpoint **checkpoint, uint8_t **bytes,
                              tern_error *err) {
    *bytes = malloc(image->size ? image->size : 1);
    assert_non_null(*bytes);
    memcpy(*bytes, image->bytes, image->size);
    return tern_checkpoint_open_memory("image", *bytes, image->size, checkpoint, err);
}

static void check_contents(const tern_checkpoint *checkpoint) {
    assert_int_equal(checkpoint->n_tensors, 3);
    assert_string_equal(checkpoint->config.arch, "bitnet-b1.58");
    assert_int_equal(checkpoint->config.n_layers, 1);
    assert_int_equal(checkpoint->config.vocab_size, 2); /* from the tokens */
    assert_int_equal(checkpoint->config.hidden_size, 0);
    assert_true(isnan(checkpoint->config.rms_eps));
    assert_int_equal(checkpoint->config.tied_embedding, -1);
    assert_string_equal(checkpoint->chat_template, "{{}");
    assert_int_equal(checkpoint->vocab.n_tokens, 2);
    assert_int_equal(checkpoint->vocab.tokens[1].size, 2);
    assert_memory_equal(checkpoint->vocab.tokens[1].bytes, "bc", 2);
    assert_int_equal(checkpoint->vocab.types[1], 3);
    assert_null(checkpoint->vocab.pre);
    assert_int_equal(checkpoint->vocab.bos_id, -1);

    const tern_tensor *matrix = tern_checkpoint_find(checkpoint, "blk.0.attn_q.weight");
    assert_non_null(matrix);
    assert_int_equal(matrix->rows, 2);
    assert_int_equal(matrix->cols, 128);
    assert_int_equal(matrix->bytes, 96);
    float scale = 0, row[4];
    int8_t trits[256];
    const tern_codec *codec = tern_codec_of(matrix->type);
    assert_int_equal(codec->scale(matrix, &scale, NULL), TERN_OK);
    assert_true(scale == 0.5f);
    assert_true(codec->decode_trits(matrix, 0, 2, trits, 128));
    assert_int_equal(trits[0], 1);
    assert_int_equal(trits[1], 0);
    const tern_tensor *norm = tern_checkpoint_find(checkpoint, "output_norm.weight");
    assert_int_equal(norm->n_dims, 1);
    assert_int_equal(norm->rows, 1);
    tern_codec_of(norm->type)->decode_row(norm, 0, row);
    assert_true(row[3] == 2);
    assert_null(tern_checkpoint_find(checkpoint, "blk.0.attn_q"));
}

static void test_valid(void **state) {
    (void)state;
    for (uint64_t version = 2; version <= 3; version++) {
        tern_buffer image = build(&(change){.what = VERSION, .value = version});
        tern_checkpoint *checkpoint = NULL;
        uint8_t *bytes;
        tern_error err = {0};
        if (open_image(&image, &checkpoint, &bytes, &err))
            fail_msg("%s", err.message);
        assert_string_equal(checkpoint->format, version == 2 ? "GGUF v2" : "GGUF v3");
        check_contents(checkpoint);
        static const char *const lines[][3] = {{"general.architecture", "string", "bitnet-b1.58"},
                                               {"tokenizer.ggml.tokens", "array[string]", "[a, bc]"},
                                               {"tokenizer.ggml.token_type", "array[i32]", "[1, 3]"},
                                               {"extra", "u32", "7"}};
        assert_int_equal(checkpoint->n_metadata, 8);
        size_t found = 0;
        for (size_t i = 0; i < checkpoint->n_metadata; i++)
            for (size_t k = 0; k < 4; k++)
                found += strcmp(checkpoint->metadata[i].key, lines[k][0]) == 0 &&
                         strcmp(checkpoint->metadata[i].type, lines[k][1]) == 0 &&
                         strcmp(checkpoint->metadata[i].value, lines[k][2]) == 0;
        assert_int_equal(found, 4);
        tern_checkpoint_close(checkpoint);
        free(bytes);
        tern_buffer_free(&image);
    }
}

#define BAD TERN_ERR_FORMAT
#define NOT TERN_ERR_UNSUPPORTED

static const change changes[] = {
    {BOS, 1, NULL, TERN_OK, NULL},
    {BOS, UINT32_MAX, NULL, TERN_OK, NULL}, /* none */
    {BOS, 1u << 31, NULL, BAD, "no token's id"},
    {MAGIC, 0, NULL, BAD, "not a GGUF file"},
    {VERSION, 1, NULL, NOT, "version 1"},
    {VERSION, 4, NULL, NOT, "version 4"},
    {VERSION, 0, NULL, NOT, "version 0"},
    {VERSION, 0x03000000, NULL, NOT, "big-endian"},
    {N_TENSORS, UINT64_MAX, NULL, BAD, "tensors, more than"},
    {N_TENSORS, 1000, NULL, BAD, "tensors, more than"},
    {N_TENSORS, 4, NULL, BAD, "unreadable name"}, /* the padding as a fourth */
    {N_KEYS, UINT64_MAX, NULL, BAD, "keys, more than"},
    {N_KEYS, 9, NULL, BAD, "truncated"},        /* the first tensor as a key */
    {N_KEYS, 7, NULL, BAD, "impossible shape"}, /* the last key as a tensor */
    {ARCH, 0, "qwen2", NOT, "'qwen2'"},
    {ARCH, 0, "bitnet\x1b[2J", BAD, "unreadable name"}, /* its own keys carry the escape sequence */
    {KEY_NAME, 0, "general.alignment", BAD, "duplicate key 'general.alignment'"},
    {KEY_NAME, 0, "a\nb", BAD, "unreadable name"},
    {KEY_NAME, 0, "\xff\xfe", BAD, "unreadable name"},
    {KEY_LENGTH, 0, NULL, BAD, "unreadable name"},
    {KEY_LENGTH, UINT64_MAX, NULL, BAD, "truncated"},
    {KEY_LENGTH, 1 << 20, NULL, BAD, "truncated"},
    {KEY_TYPE, 13, NULL, BAD, "value type"},
    {KEY_TYPE, 9, NULL, BAD, "truncated"},
    {KEY_TYPE, 8, NULL, BAD, "truncated"},
    {ALIGNMENT, 0, NULL, BAD, "general.alignment"},
    {ALIGNMENT, 24, NULL, BAD, "general.alignment"},
    {ALIGNMENT, 1u << 31, NULL, BAD, "general.alignment"},
    {ALIGNMENT, 64, NULL, BAD, "multiple of the alignment"},
    {BLOCKS_TYPE, 6, NULL, BAD, "must be an integer"},
    {ITEM_TYPE, 13, NULL, BAD, "value type"},
    {ITEM_TYPE, 9, NULL, BAD, ""},
    {N_TOKENS, UINT64_MAX, NULL, BAD, "truncated"},
    {N_TOKENS, UINT64_MAX / 8, NULL, BAD, "truncated"},
    {TOKEN_LENGTH, UINT64_MAX, NULL, BAD, "truncated"},
    {TOKEN_LENGTH, UINT64_MAX - 7, NULL, BAD, "truncated"},
    {N_TYPES, 3, NULL, BAD, "3 entries for 2 tokens"},
    {N_TYPES, 1ull << 62, NULL, BAD, "truncated"},
    {ROPE_SCALING, 0, "yarn", NOT, "RoPE scaling 'yarn'"},
    {TEMPLATE, 0, "a\0b", BAD, "zero byte"},
    {TENSOR_NAME, 0, "token_embd.weight", BAD, "duplicate tensor 'token_embd.weight'"},
    {TENSOR_NAME, 0, "a\033[31m", BAD, "unreadable name"},
    {NAME_LENGTH, 0, NULL, BAD, "unreadable name"},
    {NAME_LENGTH, 1ull << 40, NULL, BAD, "truncated"},
    {N_DIMS, 0, NULL, BAD, "0 dimensions"},
    {N_DIMS, 5, NULL, BAD, "5 dimensions"},
    {N_DIMS, UINT32_MAX, NULL, BAD, "dimensions"},
    {DIM_0, 0, NULL, BAD, "impossible shape"},
    {DIM_1, 0, NULL, BAD, "impossible shape"},
    {DIM_1, UINT64_MAX, NULL, BAD, "impossible shape"},
    {DIM_1, 1ull << 56, NULL, BAD, "truncated"},
    {DIM_0, 100, NULL, BAD, "cannot be of type I2_S"},
    {DIM_1, 4, NULL, BAD, "48 are missing"},
    {DIM_1, 400, NULL, BAD, "are missing"},
    {TYPE, 0, NULL, BAD, "needs"},  /* F32 takes more than there is */
    {TYPE, 34, NULL, BAD, "TQ1_0"}, /* rows of 128 are no TQ blocks */
    {TYPE, 12, NULL, BAD, "Q4_K"},
    {OFFSET, 33, NULL, BAD, "multiple of the alignment"},
    {OFFSET, 0, NULL, BAD, "overlap"},
    {OFFSET, 64, NULL, BAD, "16 are missing"},
    {LAST_OFFSET, 96, NULL, BAD, "overlap"},
    {OFFSET, 1ull << 40, NULL, BAD, "are missing"},
    {OFFSET, UINT64_MAX - 31, NULL, BAD, "overflows"},
    {OFFSET, UINT64_MAX - 511, NULL, BAD, ""},
    {LAST_OFFSET, 256, NULL, BAD, "'output_norm.weight' needs"},
    {LAST_TYPE, 99, NULL, TERN_OK, NULL}, /* can be listed */
    {TYPE, 38, NULL, TERN_OK, NULL},
    {ARCH, 0, "bitnet-25", TERN_OK, NULL},
    {ARCH, 0, "bitnet", TERN_OK, NULL},
};

static void check_change(const change *c, size_t row) {
    tern_buffer image = build(c);
    tern_checkpoint *checkpoint = NULL;
    uint8_t *bytes;
    tern_error err = {0};
    tern_status status = open_image(&image, &checkpoint, &bytes, &err);
    if (status != c->status)
        fail_msg("row %zu: status %d, not %d: %s", row, status, c->status, err.message);
    if (status) {
        assert_null(checkpoint);
        assert_int_equal(err.status, status);
        if (!strstr(err.message, c->part) || strncmp(err.message, "image: ", 7) != 0 || strchr(err.message, '\n'))
            fail_msg("row %zu: '%s' lacks '%s'", row, err.message, c->part);
    } else {
        tern_checkpoint_close(checkpoint);
    }
    free(bytes);
    tern_buffer_free(&image);
}

static void test_hostile(void **state) {
    (void)state;
    for (size_t row = 0; row < sizeof changes / sizeof changes[0]; row++)
        check_change(&changes[row], row);
}

/* The name goes to terminals: no control character of a stranger's file may. */
static void test_model_name(void **state) {
    (void)state;
    tern_buffer image = build(&(change){.what = MODEL_NAME,
                                        .text = "a\x1b]0;b\x07\n\xff"
                                                "é"});
    tern_checkpoint *checkpoint = NULL;
    uint8_t *bytes;
    assert_int_equal(open_image(&image, &checkpoint, &bytes, NULL), TERN_OK);
    assert_string_equal(checkpoint->config.name, "a\\x1b]0;b\\x07\\n\\xffé");
    tern_checkpoint_close(checkpoint);
    free(bytes);
    tern_buffer_free(&image);
}

/* llama.cpp's own "bitnet": the same name with scale tensors. */
static void test_mainline_bitnet(void **state) {
    (void)state;
    tern_buffer image = build(&(change){.what = ARCH, .text = "bitnet"});
    char *name = memmem(image.bytes, image.size, "blk.0.attn_q.weight", 19);
    assert_non_null(name);
    memcpy(name, "blk.0.attn_qq.scale", 19);
    tern_checkpoint *checkpoint = NULL;
    uint8_t *bytes;
    tern_error err = {0};
    assert_int_equal(open_image(&image, &checkpoint, &bytes, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "llama.cpp"));
    free(bytes);
    tern_buffer_free(&image);
}

/* Cut at every byte: always an error, and about the cut as soon as the magic is there. */
static void test_every_cut(void **state) {
    (void)state;
    tern_buffer whole = build(&(change){0});
    for (size_t size = 0; size < whole.size; size++) {
        tern_buffer part = {.bytes = whole.bytes, .size = size};
        tern_checkpoint *checkpoint = NULL;
        uint8_t *bytes;
        tern_error err = {0};
        assert_int_equal(open_image(&part, &checkpoint, &bytes, &err), TERN_ERR_FORMAT);
        assert_non_null(strstr(err.message, size < 4 ? "not a GGUF" : "truncated"));
        free(bytes);
    }
    /* the last byte gone: the message says by how much */
    char expected[128];
    snprintf(expected, sizeof expected, "the file has %zu bytes, tensor 'output_norm.weight' needs %zu (1 are missing)",
             whole.size - 1, whole.size);
    check_change(&(change){CUT, whole.size - 1, NULL, BAD, expected}, 0);
    tern_buffer_free(&whole);
}

/* Every byte set to 0, 0xff or flipped: no crash, and what opens can be walked. */
static void test_every_byte(void **state) {
    (void)state;
    tern_buffer whole = build(&(change){0});
    for (size_t at = 0; at < whole.size; at++)
        for (int k = 0; k < 4; k++) {
            char good = whole.bytes[at];
            whole.bytes[at] = (char)(k == 0 ? 0 : k == 1 ? 0xff : k == 2 ? good ^ 0x80 : good + 1);
            tern_checkpoint *checkpoint = NULL;
            uint8_t *bytes;
            tern_error err = {0};
            if (open_image(&whole, &checkpoint, &bytes, &err)) {
                assert_true(err.message[0] && strlen(err.message) < TERN_ERROR_SIZE - 1);
            } else {
                for (size_t i = 0; i < checkpoint->n_tensors; i++) {
                    const tern_codec *codec = tern_codec_of(checkpoint->tensors[i].type);
                    float scale;
                    if (codec && codec->ternary)
                        codec->scale(&checkpoint->tensors[i], &scale, NULL);
                }
                tern_checkpoint_close(checkpoint);
            }
            free(bytes);
            whole.bytes[at] = good;
        }
    tern_buffer_free(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),           cmocka_unit_test(test_hostile),   cmocka_unit_test(test_model_name),
        cmocka_unit_test(test_mainline_bitnet), cmocka_unit_test(test_every_cut), cmocka_unit_test(test_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
