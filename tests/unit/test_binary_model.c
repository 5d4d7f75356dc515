/* Models without zeros among their weights: recognised, computed with one bit a weight to the same last bit, and
 * written and read again without loss. */
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
#include "kernels/binary.h"
#include "model/layout.h"
#include "tern/tern.h"

#define DATA TERN_SOURCE_DIR "/tests/data/golden/"
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call)                                                                                                      \
            fail_msg("%s", err.message);                                                                               \
    } while (0)

enum { N_IDS = 21, N_GREEDY = 12 };

static tern_error err;
static char folder[] = "/tmp/tern-binary-XXXXXX", binary[64], one[64], two[64], three[64];

static int setup(void **state) {
    (void)state;
    tern_synth_params params;
    if (!mkdtemp(folder) || tern_synth_shape("tiny", &params, &err))
        return 1;
    snprintf(binary, sizeof binary, "%s/binary.gguf", folder);
    snprintf(one, sizeof one, "%s/one.gguf", folder);
    snprintf(two, sizeof two, "%s/two.gguf", folder);
    snprintf(three, sizeof three, "%s/three.gguf", folder);
    params.n_layers = 2;
    params.ffn_size = 1024;
    params.binary = true;
    return tern_synth(binary, &params, &err) != TERN_OK;
}

static int teardown(void **state) {
    (void)state;
    unlink(binary);
    unlink(one);
    unlink(two);
    unlink(three);
    return rmdir(folder);
}

static void convert(const char *source, const char *target, const char *type, const char *packing) {
    const tern_convert_params params = {.type = type, .packing = packing, .n_threads = 2};
    OK(tern_convert(source, target, &params, &err));
}

/* ------------------------------------------------------------ the same numbers */

static bool take_id(void *user, const char *text, size_t n_bytes, int32_t id) {
    int32_t **at = user;
    (void)text, (void)n_bytes;
    if (id >= 0)
        *(*at)++ = id;
    return true;
}

/* Logits of a prompt and the tokens after it, as one block of memory; *size its bytes. expected_packing NULL: one for
 * ternary weights. */
static float *run(const char *path, const char *cpu, const char *packing, const char *expected_packing, size_t *size) {
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_model_info info;
    tern_model_params params = tern_model_defaults();
    params.cpu = cpu;
    params.packing = packing;
    params.n_threads = 2;
    OK(tern_model_load(path, &params, &model, &err));
    tern_model_get_info(model, &info);
    if (expected_packing)
        assert_string_equal(info.packing, expected_packing);
    else
        assert_string_not_equal(info.packing, "b1r16");
    OK(tern_session_create(model, NULL, &session, &err));
    size_t n = (size_t)N_IDS * info.vocab_size;
    *size = (n + 2 * N_GREEDY) * sizeof(float);
    float *logits = calloc(1, *size);
    assert_non_null(logits);
    int32_t ids[N_IDS], *next = (int32_t *)(void *)(logits + n);
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(tern_rng_u64(&rng) % (info.vocab_size - 12));
    OK(tern_session_eval_logits(session, ids, N_IDS, logits, &err));
    tern_generate_params generate = tern_generate_defaults();
    generate.sampler.temperature = 0;
    generate.max_tokens = N_GREEDY;
    generate.ignore_end = true;
    OK(tern_session_truncate(session, 0, &err));
    OK(tern_generate_ids(session, ids, 5, &generate, take_id, &next, NULL, &err)); /* one token a step */
    tern_session_free(session);
    tern_model_free(model);
    return logits;
}

static void must_match(const char *path, const char *cpu, const char *packing, const char *expected_packing,
                       const float *wanted, size_t wanted_size) {
    size_t size;
    float *got = run(path, cpu, packing, expected_packing, &size);
    if (size != wanted_size || memcmp(got, wanted, size) != 0)
        fail_msg("%s on %s as %s: other logits or tokens", path, cpu, expected_packing);
    free(got);
}

/* As ternary, the reference's way; then with one bit a weight, recognised in files of every type. */
static void test_same_bits(void **state) {
    (void)state;
    size_t size;
    float *wanted = run(binary, "ref", "t2r16", "t2r16", &size);
    convert(binary, one, "b1", NULL);
    convert(binary, two, "f32", NULL);
    convert(binary, three, "tern", "t2r16"); /* somebody wanted it so: it is taken as it lies there */
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        if ((*rung)->features & ~tern_cpu_features())
            continue;
        must_match(binary, (*rung)->name, NULL, "b1r16", wanted, size);
        must_match(one, (*rung)->name, NULL, "b1r16", wanted, size);
        must_match(one, (*rung)->name, "t2r16", "t2r16", wanted, size);
        must_match(two, (*rung)->name, NULL, "b1r16", wanted, size);
        must_match(three, (*rung)->name, "b1r16", "b1r16", wanted, size);
    }
    free(wanted);
    const tern_kernels *best;
    OK(tern_kernels_choose(NULL, &best, &err));
    free(run(three, best->name, NULL, "t2r16", &size));
}

/* Nothing is packed when it is loaded, and it takes a bit a weight. */
static void test_in_place(void **state) {
    (void)state;
    convert(binary, one, NULL, NULL); /* b1r16 by itself */
    tern_pool *pool = NULL;
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights;
    const tern_kernels *best;
    OK(tern_kernels_choose(NULL, &best, &err));
    OK(tern_pool_create(2, &pool, &err));
    OK(tern_checkpoint_open(one, &checkpoint, &err));
    assert_string_equal(checkpoint->layout_packing, "b1r16");
    OK(tern_weights_load(checkpoint, &best->binary->int8, pool, NULL, &weights, &err));
    assert_int_equal(weights.memory_bytes, weights.norm_bytes);
    assert_int_equal(weights.packed_bytes, weights.n_ternary / 8);
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
        assert_ptr_equal(weights.layers[1].linears[j].packed, weights.layers[1].linears[j].source->data);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
    tern_pool_free(pool);
}

/* ------------------------------------------------------------------- lossless */

static void same_files(const char *a, const char *b) {
    tern_map left, right;
    OK(tern_map_open(a, &left, &err));
    OK(tern_map_open(b, &right, &err));
    assert_int_equal(left.size, right.size);
    assert_memory_equal(left.data, right.data, left.size);
    tern_map_close(&left);
    tern_map_close(&right);
}

/* Every tensor of a is in b, byte by byte (norms may be of another type). */
static void same_tensors(const char *a, const char *b, bool norms) {
    tern_checkpoint *left = NULL, *right = NULL;
    OK(tern_checkpoint_open(a, &left, &err));
    OK(tern_checkpoint_open(b, &right, &err));
    assert_int_equal(left->n_tensors, right->n_tensors);
    for (size_t i = 0; i < left->n_tensors; i++) {
        const tern_tensor *x = &left->tensors[i], *y = tern_checkpoint_find(right, x->name);
        assert_non_null(y);
        if (!norms && strstr(x->name, "norm"))
            continue;
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
    tern_checkpoint_close(left);
    tern_checkpoint_close(right);
}

static void test_back_and_forth(void **state) {
    (void)state;
    static const char *const types[] = {"i2_s", "tq1_0", "tq2_0", "f16", "bf16", "f32"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        convert(binary, one, types[i], NULL);
        convert(one, two, "b1", NULL);
        convert(two, three, types[i], NULL);
        same_tensors(one, three, true);
    }
    convert(binary, one, "b1", NULL);
    convert(one, two, NULL, "t5r16");
    convert(two, three, "b1", NULL);
    same_files(one, three);
}

/* ----------------------------------------------------------------- binarising */

/* sign(W - mean W) and mean |W|, in double precision, of the first matrix. */
static void test_binarize(void **state) {
    (void)state;
    const tern_convert_params params = {.type = "b1", .binarize = true, .n_threads = 2};
    OK(tern_convert(DATA "small/hf-bf16", one, &params, &err));
    tern_checkpoint *master = NULL, *made = NULL;
    tern_weights from, to;
    tern_pool *pool = NULL;
    const tern_kernels *best;
    OK(tern_kernels_choose(NULL, &best, &err));
    OK(tern_pool_create(1, &pool, &err));
    OK(tern_checkpoint_open(DATA "small/hf-bf16", &master, &err));
    OK(tern_checkpoint_open(one, &made, &err));
    OK(tern_weights_bind(master, &from, &err));
    OK(tern_weights_load(made, &best->binary->int8, pool, NULL, &to, &err));
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
        const tern_linear *a = &from.layers[0].linears[j], *b = &to.layers[0].linears[j];
        size_t n = (size_t)a->rows * a->cols;
        float *w = calloc(n, sizeof *w);
        int8_t *trits = calloc(a->cols, 1);
        assert_true(w && trits);
        double sum = 0, magnitude = 0;
        for (size_t i = 0; i < n; i++) {
            if (i % a->cols == 0)
                tern_codec_of(a->source->type)->decode_row(a->source, i / a->cols, w + i);
            sum += (double)w[i];
            magnitude += fabs((double)w[i]);
        }
        assert_true(fabs((double)b->scale / (magnitude / (double)n) - 1) < 1e-6);
        for (size_t i = 0; i < n; i++) {
            if (i % a->cols == 0)
                tern_packing_b1r16.unpack_row(b->packed + i / a->cols / 16 * b->unit_bytes, i / a->cols % 16, a->cols,
                                              trits);
            double above = (double)w[i] - sum / (double)n;
            if (fabs(above) > 1e-6) /* the mean is a float */
                assert_int_equal(trits[i % a->cols], above > 0 ? 1 : -1);
        }
        free(trits);
        free(w);
    }
    tern_weights_free(&from);
    tern_weights_free(&to);
    tern_checkpoint_close(master);
    tern_checkpoint_close(made);
    tern_pool_free(pool);
    /* what is binary stays what it is */
    convert(one, two, "f32", NULL);
    const tern_convert_params again = {.type = "b1", .binarize = true, .n_threads = 2};
    OK(tern_convert(two, three, &again, &err));
    same_tensors(one, three, false);
}

/* --------------------------------------------------------------------- errors */

static void must_fail(const char *source, const tern_convert_params *params, tern_status status, const char *why) {
    unlink(three);
    assert_int_equal(tern_convert(source, three, params, &err), status);
    if (!strstr(err.message, why))
        fail_msg("'%s' does not say '%s'", err.message, why);
    assert_int_not_equal(access(three, F_OK), 0);
}

static void test_refused(void **state) {
    (void)state;
    static const char ternary[] = DATA "plain/model-i2_s.gguf";
    const tern_convert_params b1 = {.type = "b1"}, packing = {.packing = "b1r16"},
                              binarize = {.type = "b1", .binarize = true}, both = {.type = "b1", .packing = "t2r16"};
    must_fail(ternary, &b1, TERN_ERR_UNSUPPORTED, "tensor blk.0.ffn_down.weight holds zeros: not binary");
    must_fail(ternary, &packing, TERN_ERR_UNSUPPORTED, "holds zeros: not binary");
    must_fail(ternary, &binarize, TERN_ERR_UNSUPPORTED, "only master weights can be binarised");
    must_fail(binary, &both, TERN_ERR_ARGUMENT, "not as t2r16");
    convert(binary, one, "b1", NULL);
    must_fail(one, &binarize, TERN_ERR_UNSUPPORTED, "only master weights can be binarised");
    tern_model *model = NULL;
    tern_model_params params = tern_model_defaults();
    params.packing = "b1r16";
    assert_int_equal(tern_model_load(ternary, &params, &model, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "holds zeros: not binary"));
    assert_null(model);
}

/* A single zero, in the very last weight of the last matrix: ternary, and said to be. */
static void test_one_zero(void **state) {
    (void)state;
    tern_map map;
    tern_checkpoint *checkpoint = NULL;
    OK(tern_checkpoint_open(binary, &checkpoint, &err));
    const tern_tensor *last = tern_checkpoint_find(checkpoint, "blk.1.ffn_down.weight");
    assert_non_null(last);
    OK(tern_map_open(binary, &map, &err));
    uint8_t *bytes = malloc(map.size);
    assert_non_null(bytes);
    memcpy(bytes, map.data, map.size);
    size_t size = map.size;
    char pattern[32]; /* the matrix is found by its bytes */
    memcpy(pattern, last->data + last->rows * last->cols / 4 - 32, sizeof pattern);
    bool found = false;
    for (size_t at = 0; !found && at + 32 <= size; at++)
        if (memcmp(bytes + at, pattern, 32) == 0) {
            found = true;
            bytes[at + 31] = (uint8_t)((bytes[at + 31] & ~3) | 1); /* code 1 is zero */
        }
    assert_true(found);
    tern_map_close(&map);
    tern_checkpoint_close(checkpoint);
    FILE *file = fopen(two, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(bytes);
    const tern_convert_params b1 = {.type = "b1"};
    must_fail(two, &b1, TERN_ERR_UNSUPPORTED, "tensor blk.1.ffn_down.weight holds zeros: not binary");
    size_t n;
    free(run(two, NULL, "auto", NULL, &n));
}

int main(void) {
    unsetenv("TERN_PACKING");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_in_place), cmocka_unit_test(test_back_and_forth),
        cmocka_unit_test(test_binarize),  cmocka_unit_test(test_refused),  cmocka_unit_test(test_one_zero),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
