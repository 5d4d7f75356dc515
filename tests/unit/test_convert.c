/* tern's own layout: what a converted file computes, how it is loaded, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/layout.h"
#include "tern/tern.h"

#define DATA TERN_SOURCE_DIR "/tests/data/golden/"
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call)                                                                                                      \
            fail_msg("%s", err.message);                                                                               \
    } while (0)

enum { N_IDS = 24, N_GREEDY = 24, SYNTH = 4 };

static tern_error err;
static char folder[] = "/tmp/tern-convert-XXXXXX", converted[64], synthetic[64];

/* The last is large enough for a screen. */
static const char *sources[] = {
    "demo",    DATA "plain/model-i2_s.gguf",       DATA "odd/hf-packed",       DATA "small/hf-bf16",
    synthetic, DATA "plain/model-tq1_0-q6_k.gguf", DATA "small/model-f32.gguf"};
enum { N_SOURCES = sizeof sources / sizeof *sources };
static const char *const packings[] = {"t5r16", "t2r16"};

static int setup(void **state) {
    (void)state;
    tern_synth_params params;
    if (!mkdtemp(folder) || tern_synth_shape("tiny", &params, &err))
        return 1;
    snprintf(converted, sizeof converted, "%s/converted.gguf", folder);
    snprintf(synthetic, sizeof synthetic, "%s/synthetic.gguf", folder);
    params.n_layers = 2;
    params.vocab_size = 16393; /* not whole groups of 16 rows */
    return tern_synth(synthetic, &params, &err) != TERN_OK;
}

static int teardown(void **state) {
    (void)state;
    unlink(converted);
    unlink(synthetic);
    return rmdir(folder);
}

static void convert(const char *source, const char *packing, bool no_screen) {
    const tern_convert_params params = {.packing = packing, .no_screen = no_screen, .n_threads = 2};
    OK(tern_convert(source, converted, &params, &err));
}

/* ------------------------------------------------------------ the same numbers */

typedef struct outcome {
    float *logits; /* [N_IDS, vocab] */
    size_t n;
    int32_t greedy[N_GREEDY];
    size_t n_greedy;
} outcome;

static bool take_id(void *user, const char *text, size_t n_bytes, int32_t id) {
    outcome *o = user;
    (void)text, (void)n_bytes;
    if (id >= 0 && o->n_greedy < N_GREEDY)
        o->greedy[o->n_greedy++] = id;
    return true;
}

static outcome run(const char *path, const char *cpu, const char *packing) {
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_model_info info;
    tern_model_params params = tern_model_defaults();
    params.cpu = cpu;
    params.packing = packing;
    params.n_threads = 2;
    OK(tern_model_load(path, &params, &model, &err));
    tern_model_get_info(model, &info);
    OK(tern_session_create(model, NULL, &session, &err));
    outcome o = {.n = (size_t)N_IDS * info.vocab_size};
    o.logits = calloc(o.n, sizeof *o.logits);
    assert_non_null(o.logits);
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    int32_t ids[N_IDS];
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(tern_rng_u64(&rng) % (info.vocab_size - 12));
    OK(tern_session_eval_logits(session, ids, N_IDS, o.logits, &err));
    tern_generate_params generate = tern_generate_defaults();
    generate.sampler.temperature = 0;
    generate.max_tokens = N_GREEDY;
    generate.ignore_end = true;
    OK(tern_session_truncate(session, 0, &err));
    OK(tern_generate_ids(session, ids, 5, &generate, take_id, &o, NULL, &err));
    assert_int_equal(o.n_greedy, N_GREEDY);
    tern_session_free(session);
    tern_model_free(model);
    return o;
}

static void must_match(const outcome *a, const outcome *b, const char *what, const char *rung) {
    if (a->n != b->n || memcmp(a->logits, b->logits, a->n * sizeof *a->logits))
        fail_msg("%s on %s: other logits", what, rung);
    if (memcmp(a->greedy, b->greedy, sizeof a->greedy))
        fail_msg("%s on %s: other tokens", what, rung);
}

/* Every source in every packing, on every rung of this CPU with every packing that it has kernels for: read in place
 * or packed again. */
static void test_same_bits(void **state) {
    (void)state;
    for (size_t s = 0; s < N_SOURCES; s++) {
        outcome wanted = run(sources[s], NULL, NULL);
        for (size_t p = 0; p < 2; p++) {
            convert(sources[s], packings[p], p == 1);
            for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
                if ((*rung)->features & ~tern_cpu_features())
                    continue;
                for (size_t t = 0; (*rung)->ternary[t]; t++) {
                    outcome got = run(converted, (*rung)->name, (*rung)->ternary[t]->packing->name);
                    must_match(&wanted, &got, sources[s], (*rung)->name);
                    free(got.logits);
                }
            }
        }
        free(wanted.logits);
    }
}

/* A converted file converted again, to the other packing and back, is the same file. */
static void test_back_and_forth(void **state) {
    (void)state;
    char other[80], again[80];
    snprintf(other, sizeof other, "%s/other.gguf", folder);
    snprintf(again, sizeof again, "%s/again.gguf", folder);
    convert(synthetic, "t5r16", false);
    const tern_convert_params to_t2 = {.packing = "t2r16"}, to_t5 = {.packing = "t5r16"};
    OK(tern_convert(converted, other, &to_t2, &err));
    OK(tern_convert(other, again, &to_t5, &err));
    tern_map a, b;
    OK(tern_map_open(converted, &a, &err));
    OK(tern_map_open(again, &b, &err));
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    tern_map_close(&a);
    tern_map_close(&b);
    unlink(other);
    unlink(again);
}

/* ------------------------------------------------------------------- loading */

static void test_in_place(void **state) {
    (void)state;
    tern_pool *pool = NULL;
    OK(tern_pool_create(2, &pool, &err));
    for (size_t p = 0; p < 2; p++) {
        convert(synthetic, packings[p], false);
        for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
            for (size_t t = 0; (*rung)->ternary[t]; t++) {
                const tern_ternary *ternary = (*rung)->ternary[t];
                tern_checkpoint *checkpoint = NULL;
                tern_weights weights;
                OK(tern_checkpoint_open(converted, &checkpoint, &err));
                OK(tern_weights_load(checkpoint, ternary, pool, NULL, &weights, &err));
                bool all = true;
                for (size_t i = 0; i < (size_t)weights.dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
                    int which = (int)(i % TERN_LINEARS_PER_LAYER);
                    const tern_linear *linear = &weights.layers[i / TERN_LINEARS_PER_LAYER].linears[which];
                    bool here = tern_form_for(ternary, which) == tern_form_named(packings[p], which);
                    assert_int_equal(linear->packed == linear->source->data, here);
                    all &= here;
                }
                assert_true(!all || weights.memory_bytes == weights.norm_bytes);
                if (strcmp(ternary->packing->name, packings[p]) == 0 && (p == 1) == !ternary->lines)
                    assert_true(all);
                OK(tern_weights_screen(checkpoint, (*rung)->screen, pool, false, &weights, &err));
                assert_true(!(*rung)->screen || (weights.screen.n_rows && !weights.screen.memory));
                tern_weights_free(&weights);
                tern_checkpoint_close(checkpoint);
            }
    }
    tern_pool_free(pool);
}

/* All keys of a GGUF are there again, byte by byte and in order; only ours are new. */
static void test_keys(void **state) {
    (void)state;
    static const char *const ours[] = {"general.alignment", "tern.layout.version", "tern.layout.packing",
                                       "tern.layout.source"};
    tern_checkpoint *a = NULL, *b = NULL;
    convert(DATA "plain/model-i2_s.gguf", NULL, false);
    OK(tern_checkpoint_open(DATA "plain/model-i2_s.gguf", &a, &err));
    OK(tern_checkpoint_open(converted, &b, &err));
    size_t at = 0, new_keys = 0;
    for (size_t i = 0; i < b->n_raw_keys; i++) {
        bool is_ours = false;
        for (size_t k = 0; k < sizeof ours / sizeof *ours; k++)
            is_ours |= tern_view_equal(b->raw_keys[i].key, tern_view_of(ours[k]));
        new_keys += is_ours;
        if (is_ours)
            continue;
        assert_true(at < a->n_raw_keys);
        assert_true(tern_view_equal(a->raw_keys[at].bytes, b->raw_keys[i].bytes));
        at++;
    }
    assert_int_equal(at, a->n_raw_keys);
    assert_int_equal(new_keys, 4);
    assert_int_equal(b->layout_version, TERN_LAYOUT_ONE_SCALE);
    tern_checkpoint_close(a);
    tern_checkpoint_close(b);
}

/* A folder's tokenizer and template come along. */
static void test_vocabulary(void **state) {
    (void)state;
    static const char text[] = "Once upon a time, 12345 bees\n\n don't <|eot_id|> \xe2\x82\xac\xff";
    static const tern_message messages[] = {{"user", "Hello there"}};
    convert(DATA "odd/hf-packed", NULL, false);
    const char *const paths[] = {DATA "odd/hf-packed", converted};
    int32_t *ids[2] = {0};
    char *chat[2] = {0};
    size_t n[2], n_chat[2];
    for (int i = 0; i < 2; i++) {
        tern_tokenizer *tokenizer = NULL;
        OK(tern_tokenizer_load(paths[i], &tokenizer, &err));
        OK(tern_tokenize(tokenizer, text, sizeof text - 1, TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, &ids[i], &n[i],
                         &err));
        OK(tern_chat_render(tokenizer, messages, 1, true, &chat[i], &n_chat[i], &err));
        tern_tokenizer_free(tokenizer);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(ids[0], ids[1], n[0] * sizeof *ids[0]);
    assert_string_equal(chat[0], chat[1]);
    for (int i = 0; i < 2; i++) {
        tern_free(ids[i]);
        tern_free(chat[i]);
    }
}

/* --------------------------------------------------------------------- forms */

static void test_forms(void **state) {
    (void)state;
    static const uint32_t shapes[][2] = {{1, 1}, {16, 12}, {17, 191}, {200, 193}, {576, 48}, {193, 385}};
    tern_rng rng;
    tern_rng_seed(&rng, 7);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int which = 4; which < TERN_LINEARS_PER_LAYER; which++)
            for (size_t p = 0; p < 2; p++) {
                tern_linear linear = {.rows = shapes[s][0], .cols = shapes[s][1]};
                const tern_form *form = tern_form_named(packings[p], which);
                tern_form_lay_out(form, &linear);
                size_t n = (size_t)linear.rows * linear.cols;
                int8_t *trits = malloc(n), *back = malloc(n);
                uint8_t *bytes = malloc(linear.n_units * linear.unit_bytes); /* exactly: sanitizers watch the end */
                assert_true(trits && back && bytes);
                for (size_t i = 0; i < n; i++)
                    trits[i] = (int8_t)(tern_rng_u64(&rng) % 3) - 1;
                linear.packed = bytes;
                for (uint32_t row = 0; row < linear.rows; row += TERN_FORM_STRIP) {
                    uint32_t n_rows = linear.rows - row < TERN_FORM_STRIP ? linear.rows - row : TERN_FORM_STRIP;
                    tern_form_pack(form, &linear, row, n_rows, trits + (size_t)row * linear.cols);
                }
                for (uint32_t row = 0; row < linear.rows; row += TERN_FORM_STRIP) {
                    uint32_t n_rows = linear.rows - row < TERN_FORM_STRIP ? linear.rows - row : TERN_FORM_STRIP;
                    assert_true(tern_form_unpack(form, bytes, &linear, row, n_rows, back + (size_t)row * linear.cols));
                }
                assert_memory_equal(trits, back, n);
                free(trits);
                free(back);
                free(bytes);
            }
    assert_null(tern_form_named("t9", 0));
}

/* ------------------------------------------------------------------- hostile */

typedef struct change {
    const char *packing, *tensor; /* in the tensor list */
    const char *name;             /* instead; as long */
    int dim;                      /* 1, 2: the innermost, the other; 0: no change */
    uint64_t value;               /* of the dimension */
    const char *part;             /* of the message */
    tern_status status;
} change;

static const change changes[] = {
    {"t5r16", "blk.0.attn_q.t5r16", "blk.0.attn_q.t5r17", 0, 0, "blk.0.attn_q is missing", TERN_ERR_FORMAT},
    {"t5r16", "blk.1.attn_k.t5r16", "blk.1.attn_q.t2r16", 0, 0, "the same matrix", TERN_ERR_FORMAT},
    {"t5r16", "blk.1.ffn_up.t5rows", "blk.1.ffn_up.t5cols", 0, 0, "blk.1.ffn_up is missing", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.ffn_gate.t5r16", "blk.0.ffn_gate.t2r16", 0, 0, "is I8 [", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.attn_v.t5r16", NULL, 1, 8, "is I8 [", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.attn_v.t5r16", NULL, 2, 1, "is I8 [", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.ffn_down.t5cols", NULL, 2, 7, "is I8 [", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.ffn_down.t5cols", NULL, 2, UINT64_MAX, "impossible shape", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.ffn_down.t5cols", NULL, 2, 1 << 30, "truncated", TERN_ERR_FORMAT},
    {"t2r16", "blk.1.attn_output.t2r16", "blk.1.attn_output.t5r16", 0, 0, "is I8 [", TERN_ERR_FORMAT},
    {"t5r16", "tern.scales", "tern.scalez", 0, 0, "tensor tern.scales", TERN_ERR_FORMAT},
    {"t5r16", "tern.scales", NULL, 2, 1, "tensor tern.scales", TERN_ERR_FORMAT},
    {"t5r16", "blk.0.attn_norm.weight", "blk.0.attn_norm.height", 0, 0, "attn_norm.weight is missing", TERN_ERR_FORMAT},
    {"t5r16", "screen.fine", "screen.find", 0, 0, "screen.fine is missing", TERN_ERR_FORMAT},
    {"t5r16", "screen.coarse", NULL, 2, 2, "screen.coarse is I8", TERN_ERR_FORMAT},
    {"t5r16", "screen.steps", NULL, 1, 1, "screen.steps is I8", TERN_ERR_FORMAT},
    {"t5r16", "screen.norms", NULL, 1, 15, "screen.norms is F32", TERN_ERR_FORMAT},
    {"t5r16", "screen.centre", NULL, 1, 128, "screen.centre is F32", TERN_ERR_FORMAT},
};

static uint8_t *find_bytes(uint8_t *bytes, size_t size, const char *text) {
    uint8_t *found = memmem(bytes, size, text, strlen(text));
    if (!found)
        fail_msg("%s is not in the file", text);
    return found;
}

static void expect_refusal(const uint8_t *bytes, size_t size, const char *part, tern_status status) {
    FILE *file = fopen(converted, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    tern_model *model = NULL;
    tern_status got = tern_model_load(converted, NULL, &model, &err);
    if (got != status)
        fail_msg("status %d where '%s' was to come: %s", (int)got, part, got ? err.message : "");
    if (!strstr(err.message, part) || !strstr(err.message, converted))
        fail_msg("'%s' lacks '%s'", err.message, part);
}

static char *read_converted(size_t *size) {
    char *bytes = NULL;
    OK(tern_read_file(converted, 1 << 28, &bytes, size, &err));
    return bytes;
}

static void test_hostile(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const change *c = &changes[i];
        size_t size;
        convert(synthetic, c->packing, false);
        char *bytes = read_converted(&size);
        uint8_t *at = find_bytes((uint8_t *)bytes, size, c->tensor);
        if (c->name)
            memcpy(at, c->name, strlen(c->name));
        if (c->dim) /* behind the name: the number of dimensions, then the dimensions */
            memcpy(at + strlen(c->tensor) + 4 + 8 * (size_t)(c->dim - 1), &c->value, 8);
        expect_refusal((uint8_t *)bytes, size, c->part, c->status);
        free(bytes);
    }
}

/* Overwrite a part of a tensor's data in a file that is in memory. */
static void patch(char *bytes, size_t size, const char *name, size_t offset, const void *with, size_t n_bytes) {
    tern_checkpoint *checkpoint = NULL;
    OK(tern_checkpoint_open_memory("copy", (const uint8_t *)bytes, size, &checkpoint, &err));
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, name);
    assert_non_null(tensor);
    memcpy(bytes + (tensor->data - (const uint8_t *)bytes) + offset, with, n_bytes);
    tern_checkpoint_close(checkpoint);
}

static void test_hostile_numbers(void **state) {
    (void)state;
    static const uint32_t bad_scales[] = {0x7fc00000, 0x7f800000, 0xbf800000};
    size_t size;
    for (size_t i = 0; i < 3; i++) {
        convert(DATA "plain/model-i2_s.gguf", "t5r16", false);
        char *bytes = read_converted(&size);
        patch(bytes, size, TERN_SCALES_NAME, 4 * 1, &bad_scales[i], 4);
        expect_refusal((uint8_t *)bytes, size, "the scale of blk.0.attn_k", TERN_ERR_FORMAT);
        free(bytes);
    }
    convert(DATA "plain/model-i2_s.gguf", "t2r16", false);
    char *bytes = read_converted(&size);
    find_bytes((uint8_t *)bytes, size, "tern.layout.version")[strlen("tern.layout.version") + 4] =
        TERN_LAYOUT_VERSION + 1;
    expect_refusal((uint8_t *)bytes, size, "take a newer tern", TERN_ERR_UNSUPPORTED);
    free(bytes);
    static const float not_a_number = NAN, infinite = INFINITY;
    static const struct {
        const char *name;
        const float *value;
        size_t row;
    } screens[] = {{"screen.row_steps", &not_a_number, 40}, {"screen.norms", &infinite, 16393}};
    for (size_t i = 0; i < 2; i++) {
        convert(synthetic, "t5r16", false);
        bytes = read_converted(&size);
        patch(bytes, size, screens[i].name, sizeof(float) * screens[i].row, screens[i].value, sizeof(float));
        expect_refusal((uint8_t *)bytes, size, screens[i].name, TERN_ERR_FORMAT);
        free(bytes);
    }
    /* codes that are no trits do no harm in place, and are found when packed again */
    convert(DATA "plain/model-i2_s.gguf", "t2r16", false);
    bytes = read_converted(&size);
    static const uint8_t ones[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    patch(bytes, size, "blk.0.attn_q.t2r16", 64, ones, sizeof ones);
    FILE *file = fopen(converted, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(bytes);
    tern_model *model = NULL;
    tern_model_params params = tern_model_defaults();
    params.cpu = "ref";
    params.packing = "t2r16";
    OK(tern_model_load(converted, &params, &model, &err));
    tern_model_free(model);
    model = NULL;
    params.packing = "t5r16";
    assert_int_equal(tern_model_load(converted, &params, &model, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "no ternary values"));
}

/* ------------------------------------------------------------------ refusals */

static bool refuse(void *user, uint64_t done, uint64_t total) {
    (void)user;
    return done < total / 2;
}

/* A file without a screen says so, on every rung: where there are kernels for one it has it. */
static void test_missing_screen(void **state) {
    (void)state;
    char old[64] = "";
    const char *before = getenv("TERN_CPU");
    snprintf(old, sizeof old, "%s", before ? before : "");
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        if (((*rung)->features & tern_cpu_features()) != (*rung)->features)
            continue;
        bool missing = (*rung)->screen != NULL, has = false; /* the wrong way round */
        tern_convert_params params = {.screen_missing = &missing};
        setenv("TERN_CPU", (*rung)->name, 1);
        OK(tern_convert(synthetic, converted, &params, &err));
        assert_int_equal(missing, (*rung)->screen == NULL);
        tern_inspection *inspection;
        OK(tern_inspect(converted, &inspection, &err));
        tern_tensor_info tensor;
        for (size_t i = 0; i < tern_inspection_n_tensors(inspection); i++) {
            tern_inspection_tensor(inspection, i, &tensor);
            has |= strncmp(tensor.name, "screen.", 7) == 0;
        }
        tern_inspection_free(inspection);
        assert_int_equal(has, !missing);
        params.no_screen = missing = true; /* left out as asked: nothing is missing */
        OK(tern_convert(synthetic, converted, &params, &err));
        assert_false(missing);
    }
    before ? setenv("TERN_CPU", old, 1) : unsetenv("TERN_CPU");
}

static void test_refusals(void **state) {
    (void)state;
    const tern_convert_params bad_type = {.type = "q4_0"}, bad_packing = {.packing = "t9"}, stop = {.progress = refuse};
    unlink(converted);
    assert_int_equal(tern_convert(synthetic, converted, &bad_type, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "q4_0"));
    assert_int_equal(tern_convert(synthetic, converted, &bad_packing, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "t5r16"));
    assert_int_equal(tern_convert(synthetic, NULL, NULL, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_convert(synthetic, synthetic, NULL, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another file"));
    assert_int_equal(tern_convert("/no/such/model.gguf", converted, NULL, &err), TERN_ERR_IO);
    assert_int_equal(tern_convert(synthetic, "/no/such/folder/x.gguf", NULL, &err), TERN_ERR_IO);
    assert_int_equal(tern_convert(synthetic, converted, &stop, &err), TERN_ERR_CANCELLED);
    assert_int_equal(access(converted, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),      cmocka_unit_test(test_back_and_forth),  cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_keys),           cmocka_unit_test(test_vocabulary),      cmocka_unit_test(test_forms),
        cmocka_unit_test(test_hostile),        cmocka_unit_test(test_hostile_numbers), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_missing_screen),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
