/* Matrices whose rows have scales of their own: products against a reference to be read, on every rung, packing, number
 * of threads and tokens; files there and back; and what has no place for them. */
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
#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/lines.h"
#include "model/convert.h"
#include "model/scales.h"
#include "runtime/cpu_linear.h"
#include "tern/tern.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call)                                                                                                      \
            fail_msg("%s", err.message);                                                                               \
    } while (0)

enum { HIDDEN = 512, FFN = 768, GROUP = 256, MOST_ROWS = 768, MOST_COLS = 768, LAYERS = 2, MOST_TOKENS = 40 };
enum { Q, K, V, O, GATE, UP, DOWN, ALL = 7 };

/* One scale, one a row, one a group; and a model of all kinds. */
typedef enum kind { TENSOR, ROW, BLOCK, MIXED, N_KINDS } kind;

static tern_error err;
static char folder[] = "/tmp/tern-scales-XXXXXX", files[N_KINDS][64], other[64], again[64];

/* What the files hold: made once, each layer the same. Scales are numbers of F16, and [rows][groups]. */
static int8_t trits[ALL][MOST_ROWS * MOST_COLS];
static float scales[N_KINDS][ALL][MOST_ROWS * (MOST_COLS / GROUP)];
static const uint32_t shapes[ALL][2] = {{HIDDEN, HIDDEN}, {256, HIDDEN}, {256, HIDDEN}, {HIDDEN, HIDDEN},
                                        {FFN, HIDDEN},    {FFN, HIDDEN}, {HIDDEN, FFN}};

static kind kind_of(kind model, int which) {
    static const kind mixed[ALL] = {TENSOR, BLOCK, ROW, ROW, BLOCK, ROW, BLOCK};
    return model == MIXED ? mixed[which] : model;
}

static void make_values(void) {
    tern_rng rng;
    tern_rng_seed(&rng, 12);
    for (int which = 0; which < ALL; which++) {
        uint32_t rows = shapes[which][0], groups = shapes[which][1] / GROUP;
        for (size_t i = 0; i < (size_t)rows * shapes[which][1]; i++)
            trits[which][i] = (int8_t)(tern_rng_u64(&rng) % 3) - 1;
        memset(trits[which] + 3 * shapes[which][1] + GROUP, 0, GROUP); /* a group of zeros, which gets scale 0 */
        for (int model = 0; model < N_KINDS; model++)
            for (uint32_t i = 0; i < rows * groups; i++) {
                kind by = kind_of((kind)model, which);
                float of_group = 0.01f + 0.03f * (float)tern_rng_uniform(&rng);
                float of_row = 0.01f + 0.001f * (float)(i / groups % 37);
                float scale = by == TENSOR ? 0.02f : by == ROW ? of_row : of_group;
                scales[model][which][i] = tern_f16_to_f32(tern_f32_to_f16(scale));
            }
    }
}

static tern_status give_layer(void *user, uint32_t layer, const int8_t *t[TERN_LINEARS_PER_LAYER],
                              const float *s[TERN_LINEARS_PER_LAYER], tern_error *e) {
    const kind *model = user;
    (void)layer, (void)e;
    for (int which = 0; which < ALL; which++) {
        t[which] = trits[which];
        s[which] = scales[*model][which];
    }
    return TERN_OK;
}

static int setup(void **state) {
    (void)state;
    char plain[64];
    tern_synth_params params;
    if (!mkdtemp(folder) || tern_synth_shape("tiny", &params, &err))
        return 1;
    params.hidden_size = HIDDEN;
    params.ffn_size = FFN;
    params.n_layers = LAYERS;
    params.n_heads = 4;
    params.n_kv_heads = 2;
    params.vocab_size = 512;
    params.n_ctx = 64;
    snprintf(plain, sizeof plain, "%s/plain.gguf", folder);
    snprintf(other, sizeof other, "%s/other.gguf", folder);
    snprintf(again, sizeof again, "%s/again.gguf", folder);
    if (tern_synth(plain, &params, &err))
        return 1;
    make_values();
    for (int model = 0; model < N_KINDS; model++) {
        kind user = (kind)model;
        const tern_matrix_source source = {give_layer, &user, GROUP};
        const tern_convert_params convert = {.type = "TQ2_0"};
        snprintf(files[model], sizeof files[model], "%s/%d.gguf", folder, model);
        if (tern_convert_with(plain, files[model], &convert, &source, &err))
            return 1;
    }
    return unlink(plain);
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < N_KINDS; i++)
        unlink(files[i]);
    unlink(other);
    unlink(again);
    return rmdir(folder);
}

/* ---------------------------------------------------------------- products */

/* y [rows] for q [cols] that was scaled by s; model/scales.h has the order of operations. */
static void reference(kind model, int which, const int8_t *q, float s, float *y) {
    uint32_t rows = shapes[which][0], cols = shapes[which][1], groups = cols / GROUP;
    bool one_slab = kind_of(model, which) != BLOCK;
    for (uint32_t row = 0; row < rows; row++) {
        const int8_t *t = trits[which] + (size_t)row * cols;
        const float *scale = scales[model][which] + (size_t)row * groups;
        float sum = 0;
        int32_t whole = 0;
        for (uint32_t g = 0; g < groups; g++) {
            int32_t acc = 0;
            for (uint32_t i = g * GROUP; i < (g + 1) * GROUP; i++)
                acc += t[i] * q[i];
            sum = fmaf((float)acc, scale[g], sum);
            whole += acc;
        }
        y[row] = one_slab ? (float)whole / s * scale[0] : sum / s;
    }
}

typedef struct inputs {
    float x[MOST_TOKENS * MOST_COLS], before[MOST_TOKENS * MOST_ROWS];
} inputs;

/* What the reference makes of in->x [n, cols] for the matrices -> wanted [which][n, rows] of all seven: the first three
 * and gate and up from inputs of HIDDEN, where `up` is what relu2 leaves of both. */
static void want(kind model, const inputs *in, size_t n, float (*wanted)[MOST_TOKENS * MOST_ROWS]) {
    const tern_kernels *ref = tern_kernels_all()[0];
    static int8_t q[MOST_COLS];
    for (int which = 0; which < ALL; which++)
        for (size_t t = 0; t < n; t++) {
            uint32_t rows = shapes[which][0], cols = shapes[which][1];
            float s, *y = wanted[which] + t * rows;
            int32_t sum;
            ref->quantize_i8(in->x + t * cols, cols, cols, q, &s, &sum);
            reference(model, which, q, s, y);
            if (which == O || which == DOWN)
                for (uint32_t i = 0; i < rows; i++)
                    y[i] = in->before[t * rows + i] + y[i];
            if (which == UP)
                ref->relu2_mul(wanted[GATE] + t * rows, y, rows, y);
        }
}

static void compare(const float *wanted, const float *got, size_t n, const char *what, const tern_ternary *ternary,
                    const char *rung, kind model, size_t tokens) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&wanted[i], &got[i], sizeof *got) != 0)
            fail_msg("%s of kind %d on %s with %s, %zu tokens: value %zu is %.9g, not %.9g", what, (int)model, rung,
                     ternary->packing->name, tokens, i, (double)got[i], (double)wanted[i]);
}

static void check_products(kind model, const tern_kernels *rung, const tern_ternary *ternary, tern_pool *pool,
                           const inputs *in, size_t n, float (*wanted)[MOST_TOKENS * MOST_ROWS]) {
    static float got[3][MOST_TOKENS * MOST_ROWS];
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights;
    tern_cpu_linear cpu;
    OK(tern_checkpoint_open(files[model], &checkpoint, &err));
    OK(tern_weights_load(checkpoint, ternary, pool, NULL, &weights, &err));
    const tern_layer *layer = &weights.layers[1];
    for (int which = 0; which < ALL; which++) {
        assert_int_equal(layer->linears[which].own_scales, kind_of(model, which) != TENSOR);
        assert_int_equal(layer->linears[which].slab_cols, kind_of(model, which) == BLOCK ? GROUP : 0);
    }
    tern_cpu_linear_init(&cpu, &weights, rung, pool);
    OK(tern_cpu_linear_reserve(&cpu, (uint32_t)n, &err));

    const tern_linear *const qkv[] = {&layer->q, &layer->k, &layer->v};
    tern_cpu_norm_quantize(&cpu, in->x, NULL, HIDDEN, (uint32_t)n, TERN_ROUND_INT8);
    tern_cpu_linear_run(&cpu, qkv, (float *[]){got[0], got[1], got[2]}, 3, (uint32_t)n);
    for (int i = 0; i < 3; i++)
        compare(wanted[i], got[i], n * shapes[i][0], "q, k, v", ternary, rung->name, model, n);
    tern_cpu_gated(&cpu, &layer->gate, &layer->up, got[0], (uint32_t)n);
    compare(wanted[UP], got[0], n * FFN, "gate and up", ternary, rung->name, model, n);
    for (int which = O; which <= DOWN; which += DOWN - O) {
        memcpy(got[0], in->before, n * HIDDEN * sizeof(float));
        tern_cpu_norm_quantize(&cpu, in->x, NULL, shapes[which][1], (uint32_t)n, TERN_ROUND_INT8);
        tern_cpu_linear_add(&cpu, &layer->linears[which], got[0], (uint32_t)n);
        compare(wanted[which], got[0], n * HIDDEN, which == O ? "o" : "down", ternary, rung->name, model, n);
    }
    tern_cpu_linear_free(&cpu);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
}

static void test_products(void **state) {
    (void)state;
    static const size_t tokens[] = {1, 3, 9, MOST_TOKENS};
    static inputs in;
    static float wanted[ALL][MOST_TOKENS * MOST_ROWS];
    tern_pool *pools[2];
    OK(tern_pool_create(1, &pools[0], &err));
    OK(tern_pool_create(3, &pools[1], &err));
    tern_rng rng;
    tern_rng_seed(&rng, 4);
    for (size_t i = 0; i < sizeof in.x / sizeof *in.x; i++) /* some zeros, for what is left out of `down` */
        in.x[i] = tern_rng_u64(&rng) % 4 ? (float)tern_rng_normal(&rng) : 0;
    for (size_t i = 0; i < sizeof in.before / sizeof *in.before; i++)
        in.before[i] = (float)tern_rng_normal(&rng);
    for (int model = 0; model < N_KINDS; model++)
        for (size_t n = 0; n < sizeof tokens / sizeof *tokens; n++) {
            want((kind)model, &in, tokens[n], wanted);
            for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
                for (size_t t = 0; (*rung)->ternary[t]; t++)
                    if (((*rung)->features & ~tern_cpu_features()) == 0)
                        check_products((kind)model, *rung, (*rung)->ternary[t], pools[(n + t) % 2], &in, tokens[n],
                                       wanted);
        }
    tern_pool_free(pools[0]);
    tern_pool_free(pools[1]);
}

/* -------------------------------------------------------------- whole models */

enum { N_IDS = 20 };

/* Logits [N_IDS, vocab] of a file, `at_once` tokens a call; to be freed. */
static float *logits_of(const char *path, const char *cpu, size_t at_once) {
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_model_info info;
    tern_model_params params = tern_model_defaults();
    params.cpu = cpu;
    params.n_threads = 2;
    OK(tern_model_load(path, &params, &model, &err));
    tern_model_get_info(model, &info);
    OK(tern_session_create(model, NULL, &session, &err));
    float *logits = calloc((size_t)N_IDS * info.vocab_size, sizeof *logits);
    int32_t ids[N_IDS];
    assert_non_null(logits);
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(i * 37 % 300);
    for (size_t i = 0; i < N_IDS; i += at_once)
        OK(tern_session_eval_logits(session, ids + i, N_IDS - i < at_once ? N_IDS - i : at_once,
                                    logits + i * info.vocab_size, &err));
    tern_session_free(session);
    tern_model_free(model);
    return logits;
}

static void same_file(const char *a, const char *b) {
    tern_map map_a, map_b;
    OK(tern_map_open(a, &map_a, &err));
    OK(tern_map_open(b, &map_b, &err));
    assert_int_equal(map_a.size, map_b.size);
    assert_memory_equal(map_a.data, map_b.data, map_a.size);
    tern_map_close(&map_a);
    tern_map_close(&map_b);
}

static void convert(const char *from, const char *to, const char *type, const char *packing) {
    const tern_convert_params params = {.type = type, .packing = packing};
    OK(tern_convert(from, to, &params, &err));
}

/* To TQ1_0 and tern's own layout and back: the same bytes; the same logits on the way, however they are computed. */
static void test_files(void **state) {
    (void)state;
    static const char *const ways[][2] = {{"TQ1_0", NULL}, {NULL, "t5r16"}, {NULL, "t2r16"}};
    for (int model = 0; model < N_KINDS; model++) {
        float *wanted = logits_of(files[model], "ref", N_IDS);
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            convert(files[model], other, ways[way][0], ways[way][1]);
            float *got = logits_of(other, NULL, way == 0 ? 1 : 7);
            assert_memory_equal(wanted, got, (size_t)N_IDS * 512 * sizeof *got);
            free(got);
            convert(other, again, "TQ2_0", NULL);
            same_file(files[model], again);
        }
        free(wanted);
    }
    assert_false(memcmp(scales[ROW], scales[BLOCK], sizeof scales[ROW]) == 0);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const types[] = {"I2_S", "F16", "F32", "BF16", "hf-packed", "b1"};
    unlink(other);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const tern_convert_params params = {.type = types[i]};
        assert_int_equal(tern_convert(files[ROW], other, &params, &err), TERN_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "scales by row"));
        assert_int_equal(access(other, F_OK), -1);
    }
}

/* What tern fit counts of a file is what is loaded of it, scales included. */
static void check_size(const char *path, kind model, const char *packing) {
    tern_model *loaded;
    tern_model_info info;
    tern_shape shape;
    tern_size size;
    tern_model_params params = tern_model_defaults();
    const tern_size_params wanted = {.weight_type = packing, .exact_head = true};
    params.packing = packing;
    params.exact_head = true;
    params.cpu = "ref";
    OK(tern_model_load(path, &params, &loaded, &err));
    tern_model_get_info(loaded, &info);
    tern_model_free(loaded);
    OK(tern_shape_of(path, &shape, &err));
    for (int which = 0; which < ALL; which++) {
        static const uint32_t of_kind[] = {[TENSOR] = 0, [BLOCK] = GROUP};
        kind by = kind_of(model, which);
        assert_int_equal(shape.scale_columns[which], by == ROW ? shapes[which][1] : of_kind[by]);
    }
    OK(tern_size_of(&shape, &wanted, &size, &err));
    assert_int_equal(size.weight_bytes, info.weight_bytes);
    assert_int_equal(size.total_bytes, info.loaded_bytes);
    assert_int_equal(size.bytes_per_token, info.bytes_per_token);
}

static void test_sizes(void **state) {
    (void)state;
    static const char *const packings[] = {"t2r16", "t5r16"};
    for (int model = 0; model < N_KINDS; model++)
        for (size_t i = 0; i < 2; i++) {
            check_size(files[model], (kind)model, packings[i]);
            convert(files[model], other, NULL, packings[i]);
            check_size(other, (kind)model, packings[i]);
        }
    tern_shape shape;
    tern_size size;
    const tern_size_params ask[] = {{.weight_type = "I2_S"}, {.weight_type = "b1r16"}, {.weight_type = "TQ1_0"}};
    OK(tern_shape_of(files[ROW], &shape, &err));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tern_size_of(&shape, &ask[i], &size, &err), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "scales by row"));
    }
    OK(tern_size_of(&shape, &ask[2], &size, &err));
    shape.scale_columns[DOWN] = 500; /* of 768 */
    assert_int_equal(tern_size_of(&shape, &ask[2], &size, &err), TERN_ERR_ARGUMENT);
}

/* In tern's own layout: another number of slabs than columns divide into, a scale that is none. */
static void test_hostile(void **state) {
    (void)state;
    convert(files[BLOCK], other, NULL, "t2r16");
    tern_checkpoint *checkpoint = NULL;
    OK(tern_checkpoint_open(other, &checkpoint, &err));
    assert_int_equal(checkpoint->layout_version, TERN_LAYOUT_OWN_SCALES);
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        tern_tensor *tensor = (tern_tensor *)&checkpoint->tensors[i];
        size_t length = strlen(tensor->name);
        if (strncmp(tensor->name, "blk.0.", 6) != 0 || strcmp(tensor->name + length - 7, ".scales") != 0)
            continue;
        tern_weights weights;
        const tern_tensor kept = *tensor;
        tensor->rows = 5; /* 512 and 768 columns are no five whole slabs */
        assert_int_equal(tern_weights_bind(checkpoint, &weights, &err), TERN_ERR_FORMAT);
        *tensor = kept;
        tensor->cols--;
        assert_int_equal(tern_weights_bind(checkpoint, &weights, &err), TERN_ERR_FORMAT);
        *tensor = kept;
        float *bad = tern_alloc_array((size_t)(kept.rows * kept.cols), sizeof *bad);
        assert_non_null(bad);
        memcpy(bad, kept.data, (size_t)(kept.rows * kept.cols) * sizeof *bad);
        static const float none[] = {NAN, INFINITY, -1};
        for (size_t j = 0; j < 3; j++) {
            bad[7] = none[j];
            tensor->data = (const uint8_t *)bad;
            assert_int_equal(tern_weights_bind(checkpoint, &weights, &err), TERN_ERR_FORMAT);
            assert_non_null(strstr(err.message, kept.name));
        }
        *tensor = kept;
        free(bad);
        OK(tern_weights_bind(checkpoint, &weights, &err));
        tern_weights_free(&weights);
    }
    tern_checkpoint_close(checkpoint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_files),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sizes),    cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
