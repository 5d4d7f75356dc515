/* Pruned models: which heads and channels go, what is left computes what the whole model computes without the others,
 * and files are written whole or not at all. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/train_fixture.h"

#include "base/file.h"
#include "format/codec.h"
#include "prune/parts.h"
#include "train/export.h"
#include "train/tune.h"

#define TOKENIZER TERN_SOURCE_DIR "/tests/data/tokenizer/small.json"
enum { LENGTH = 40, HEADS = 4, HEAD = 64, HIDDEN = 256, FFN = 512, LAYERS = 2 };

typedef struct fixture {
    char folder[64], in[128], out[128], other[128];
    tern_params params;
} fixture;

static const char text[] =
    "Once there was a small bird who lived by the sea. Every day it flew over the waves to look for fish, and every "
    "evening it came home to its nest in the rocks. One day a storm came up, and the bird could not find the way back. "
    "It asked the moon, but the moon was behind the clouds. It asked the wind, but the wind was in a hurry. Then it "
    "saw "
    "a light on the hill, where an old man kept a fire for the ships, and it followed the light until it was home. "
    "\"Thank you,\" said the bird, and from then on it brought him a fish each morning. 1 + 2 = 3, and so the story "
    "ends.";

static int set_up(void **state) {
    const tern_dims dims = {.vocab_size = 1472,
                            .n_ctx = 64,
                            .hidden_size = HIDDEN,
                            .ffn_size = FFN,
                            .n_layers = LAYERS,
                            .n_heads = HEADS,
                            .n_kv_heads = HEADS,
                            .head_dim = HEAD,
                            .rms_eps = 1e-5f,
                            .rope_theta = 10000};
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/tern-prune-XXXXXX");
    if (!mkdtemp(f->folder))
        return 1;
    snprintf(f->in, sizeof f->in, "%s/in", f->folder);
    snprintf(f->out, sizeof f->out, "%s/out", f->folder);
    snprintf(f->other, sizeof f->other, "%s/other", f->folder);
    MUST(tern_params_create(&dims, false, &f->params, err));
    fill_params(&f->params, 4);
    const tern_param *embedding = tern_param_embedding(&f->params);
    for (size_t i = 0; i < (size_t)embedding->rows * embedding->cols; i++)
        f->params.values[embedding->offset + i] /= 4; /* logits of standard deviation 1 */
    *state = f;
    return 0;
}

/* A file, or a folder of files. */
static void remove_model(const char *path) {
    char name[512];
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        snprintf(name, sizeof name, "%.200s/%.255s", path, entry->d_name);
        unlink(name);
    }
    if (folder)
        closedir(folder);
    rmdir(path);
    unlink(path);
}

static int tear_down(void **state) {
    fixture *f = *state;
    remove_model(f->in);
    remove_model(f->out);
    remove_model(f->other);
    tern_params_free(&f->params);
    int failed = rmdir(f->folder); /* fails if a temporary file is left */
    free(f);
    return failed;
}

static void export_model(const fixture *f, tern_export_kind kind, const char *type) {
    const tern_export_params how = {
        .kind = kind, .mode = TERN_WEIGHTS_TERNARY, .weight_type = type, .tokenizer_json = TOKENIZER};
    MUST(tern_export(&f->params, &how, f->in, err));
}

static tern_pruner *calibrated(const char *path, bool gradients) {
    tern_pruner *pruner;
    MUST(tern_pruner_create(path, 2, &pruner, err));
    MUST(tern_pruner_calibrate(
        pruner, &(tern_prune_calibration){.text = text, .n_bytes = sizeof text - 1, .gradients = gradients}, err));
    return pruner;
}

static tern_prune_plan prune(tern_pruner *pruner, const tern_prune_choice *choice, const char *out) {
    tern_prune_plan plan;
    MUST(tern_pruner_choose(pruner, choice, &plan, err));
    MUST(tern_pruner_write(pruner, out, err));
    return plan;
}

/* logits [LENGTH, vocab], to be freed, of a model by path; `info` may be NULL. */
static float *logits_of(const char *path, tern_model_info *info) {
    tern_model_params params = tern_model_defaults();
    tern_session_params how = tern_session_defaults();
    tern_model_info own;
    tern_model *model;
    tern_session *session;
    int32_t ids[LENGTH];
    params.n_threads = 2;
    how.kv_type = TERN_KV_F32;
    for (uint64_t i = 0; i < LENGTH; i++)
        ids[i] = (int32_t)((draw(4, 2000, i) + 0.5) * 1472);
    MUST(tern_model_load(path, &params, &model, err));
    tern_model_get_info(model, &own);
    float *logits = malloc((size_t)LENGTH * own.vocab_size * sizeof *logits);
    assert_non_null(logits);
    MUST(tern_session_create(model, &how, &session, err));
    MUST(tern_session_eval_logits(session, ids, LENGTH, logits, err));
    tern_session_free(session);
    tern_model_free(model);
    if (info)
        *info = own;
    return logits;
}

/* Root of the mean squares of the difference and of `b`, over each other. */
static double relative_difference(const float *a, const float *b) {
    double difference = 0, all = 0;
    for (size_t i = 0; i < (size_t)LENGTH * 1472; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(difference / all);
}

static void same_files(const char *a, const char *b) {
    char *bytes[2];
    size_t n[2];
    MUST(tern_read_file(a, 1 << 30, &bytes[0], &n[0], err));
    MUST(tern_read_file(b, 1 << 30, &bytes[1], &n[1], err));
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static uint64_t file_size(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (uint64_t)info.st_size;
}

static void fails(tern_status status, const tern_error *err, const char *part) {
    assert_int_not_equal(status, TERN_OK);
    if (!strstr(err->message, part))
        fail_msg("'%s' is not in '%s'", part, err->message);
}

/* ------------------------------------------------------------- nothing cut */

static void test_nothing(void **state) {
    static const struct {
        tern_export_kind kind;
        const char *type, *file;
    } forms[] = {{TERN_EXPORT_GGUF, "I2_S", ""},
                 {TERN_EXPORT_GGUF, "TQ1_0", ""},
                 {TERN_EXPORT_GGUF, "F16", ""},
                 {TERN_EXPORT_HF_PACKED, NULL, "/model.safetensors"},
                 {TERN_EXPORT_HF_MASTER, NULL, "/model.safetensors"}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char in[160], out[160];
        export_model(f, forms[i].kind, forms[i].type);
        tern_pruner *pruner = calibrated(f->in, false);
        tern_prune_plan plan = prune(pruner, &(tern_prune_choice){.score = TERN_PRUNE_ACTIVATION}, f->out);
        assert_int_equal(plan.before.n_params, plan.after.n_params);
        assert_false(plan.only_tern);
        tern_pruner_free(pruner);
        snprintf(in, sizeof in, "%s%s", f->in, forms[i].file);
        snprintf(out, sizeof out, "%s%s", f->out, forms[i].file);
        same_files(in, out);
        remove_model(f->in);
        remove_model(f->out);
    }
}

/* --------------------------------------------------------- the right ones */

/* Column c of a matrix of the masters, or row r of one, becomes zeros. */
static void clear(const fixture *f, uint32_t layer, int which, bool column, uint32_t at) {
    const tern_param *param = tern_param_of(&f->params, layer, which);
    float *values = f->params.values + param->offset;
    for (uint32_t i = 0; i < (column ? param->rows : param->cols); i++)
        values[column ? (size_t)i * param->cols + at : (size_t)at * param->cols + i] = 0;
}

static uint32_t useless_head(uint32_t layer) { return layer == 0 ? 2 : 0; }

/* Of a head whose output goes nowhere nothing is left, whichever score is asked; the others stay in their order. */
static void test_useless_head(void **state) {
    fixture *f = *state;
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t i = 0; i < HEAD; i++)
            clear(f, layer, TERN_PARAM_O, true, useless_head(layer) * HEAD + i);
    export_model(f, TERN_EXPORT_HF_PACKED, NULL);
    tern_pruner *pruner = calibrated(f->in, true);
    for (int score = TERN_PRUNE_ACTIVATION; score <= TERN_PRUNE_TAYLOR; score++) {
        const tern_prune_choice choice = {.heads = 0.25, .score = (tern_prune_score)score};
        tern_prune_plan plan = prune(pruner, &choice, f->out);
        assert_int_equal(plan.after.n_heads, HEADS - 1);
        assert_int_equal(plan.after.n_kv_heads, HEADS - 1);
        assert_true(plan.only_tern);
        const prune_side *side = &pruner->sides[PRUNE_ATTENTION];
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t i = 0, head = 0; head < HEADS; head++)
                if (head != useless_head(layer))
                    assert_int_equal(side->kept[(size_t)layer * (HEADS - 1) * HEAD + HEAD * i++], head * HEAD);
        tern_model_info info;
        free(logits_of(f->out, &info));
        assert_int_equal(info.n_heads, HEADS - 1);
        assert_int_equal(info.head_dim, HEAD);
        assert_int_equal(info.hidden_size, HIDDEN);
        assert_int_equal(info.n_params, plan.after.n_params);
    }
    tern_pruner_free(pruner);
    /* the pruned model can be pruned again, and the control takes others with some seed */
    pruner = calibrated(f->out, true);
    assert_int_equal(
        prune(pruner, &(tern_prune_choice){.heads = 0.3, .score = TERN_PRUNE_TAYLOR}, f->other).after.n_heads,
        HEADS - 2);
    free(logits_of(f->other, NULL));
    tern_pruner_free(pruner);
}

/* With three query heads on each KV head: the same number goes of each, or whole KV heads go. */
static void test_groups(void **state) {
    fixture *f = *state;
    tern_dims dims = f->params.dims;
    dims.n_kv_heads = 2;
    tern_params_free(&f->params);
    MUST(tern_params_create(&dims, false, &f->params, err));
    fill_params(&f->params, 6);
    export_model(f, TERN_EXPORT_GGUF, "I2_S");
    tern_pruner *pruner = calibrated(f->in, false);
    static const struct {
        tern_prune_unit unit;
        uint32_t heads, kv;
    } cases[] = {{TERN_PRUNE_HEADS, 2, 2}, {TERN_PRUNE_GROUPS, 2, 1}, {TERN_PRUNE_AUTO, 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_model_info info;
        tern_prune_plan plan = prune(pruner, &(tern_prune_choice){.heads = 0.5, .unit = cases[i].unit}, f->out);
        assert_int_equal(plan.after.n_heads, cases[i].heads);
        assert_int_equal(plan.after.n_kv_heads, cases[i].kv);
        const uint32_t *kept = pruner->sides[PRUNE_ATTENTION].kept;
        for (uint32_t layer = 0; layer < LAYERS; layer++, kept += (size_t)2 * HEAD)
            assert_int_equal(kept[0] / HEAD / 2 == kept[HEAD] / HEAD / 2, cases[i].unit != TERN_PRUNE_HEADS);
        free(logits_of(f->out, &info));
        assert_int_equal(info.n_kv_heads, cases[i].kv);
        assert_int_equal(info.n_params, plan.after.n_params);
    }
    tern_pruner_free(pruner);
}

/* Channels that are never open and lead nowhere go first, and without them the model computes the same: RMSNorm's
 * smaller number of channels is made good by the gains. */
static void test_dead_channels(void **state) {
    fixture *f = *state;
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t i = layer; i < FFN; i += 4) {
            clear(f, layer, TERN_PARAM_GATE, false, i);
            clear(f, layer, TERN_PARAM_DOWN, true, i);
        }
    export_model(f, TERN_EXPORT_GGUF, "I2_S");
    tern_pruner *pruner = calibrated(f->in, true);
    for (int score = TERN_PRUNE_ACTIVATION; score <= TERN_PRUNE_TAYLOR; score++) {
        tern_prune_plan plan =
            prune(pruner, &(tern_prune_choice){.ffn = 0.25, .score = (tern_prune_score)score}, f->out);
        assert_int_equal(plan.after.ffn_size, FFN / 4 * 3);
        assert_false(plan.only_tern);
        const prune_side *side = &pruner->sides[PRUNE_FFN];
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            uint32_t n_dead = 0; /* that stayed: another one that the text never opened may have gone in its place */
            double left = 0, all = 0;
            for (uint32_t i = 0; i < FFN; i++)
                all += side->activation[layer * FFN + i];
            for (uint32_t i = 0; i < side->n_kept; i++) {
                uint32_t channel = side->kept[layer * side->n_kept + i];
                n_dead += channel % 4 == layer;
                left += side->activation[layer * FFN + channel];
            }
            assert_true(n_dead < 4);
            assert_true(fabs(all - left) <= 1e-9 * all);
            /* a little less, by what eps adds to the mean square */
            if (!(side->factor[layer] > 0.98 * sqrt(4.0 / 3) && side->factor[layer] < 1.0001 * sqrt(4.0 / 3)))
                fail_msg("layer %u: the gains' factor is %g", layer, side->factor[layer]);
        }
        assert_true(file_size(f->out) < file_size(f->in));
        float *whole = logits_of(f->in, NULL), *pruned = logits_of(f->out, NULL);
        double difference = relative_difference(pruned, whole);
        /* sums in another order: now and then an int8 value is rounded the other way */
        if (!(difference < 0.05))
            fail_msg("without the dead channels logits differ by %g", difference);
        free(whole);
        free(pruned);
    }
    tern_pruner_free(pruner);
}

/* ------------------------------------------------------- against the whole */

/* A GGUF in memory whose tensors can be changed. */
typedef struct patch {
    char *bytes;
    size_t n;
    tern_checkpoint *checkpoint;
} patch;

static patch open_patch(const char *path) {
    patch p;
    MUST(tern_read_file(path, 1 << 30, &p.bytes, &p.n, err));
    MUST(tern_checkpoint_open_memory("patch", (const uint8_t *)p.bytes, p.n, &p.checkpoint, err));
    return p;
}

static void close_patch(patch *p, const char *out) {
    FILE *file = fopen(out, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(p->bytes, 1, p->n, file), p->n);
    assert_int_equal(fclose(file), 0);
    tern_checkpoint_close(p->checkpoint);
    free(p->bytes);
}

/* Rows of a matrix that are not kept become zeros; its scale stays. */
static void mask_rows(const patch *p, uint32_t layer, int which, const uint32_t *kept, uint32_t n_kept) {
    char name[128];
    const tern_tensor *tensor = tern_checkpoint_find(p->checkpoint, tern_linear_gguf_name(name, layer, which));
    const tern_codec *codec = tern_codec_of(tensor->type);
    int8_t *trits = malloc(tensor->rows * tensor->cols);
    float scale;
    assert_non_null(trits);
    assert_true(codec->decode_trits(tensor, 0, tensor->rows, trits, tensor->cols));
    MUST(codec->scale(tensor, &scale, err));
    for (uint32_t row = 0, i = 0; row < tensor->rows; row++)
        if (i < n_kept && kept[i] == row)
            i++;
        else
            memset(trits + (size_t)row * tensor->cols, 0, tensor->cols);
    codec->encode_trits(trits, tensor->rows, tensor->cols, scale, (uint8_t *)tensor->data);
    free(trits);
}

/* The norm of the whole model divides by the mean square over all channels, of which those not kept are now 0. */
static void scale_gains(const patch *p, uint32_t layer, tern_norm norm, double factor) {
    char name[128];
    const tern_tensor *tensor = tern_checkpoint_find(p->checkpoint, tern_norm_name(p->checkpoint, name, layer, norm));
    for (uint64_t i = 0; i < tensor->cols; i++) {
        float gain;
        memcpy(&gain, tensor->data + i * sizeof gain, sizeof gain);
        gain = (float)(gain * factor);
        memcpy((uint8_t *)tensor->data + i * sizeof gain, &gain, sizeof gain);
    }
}

/* The pruned model against the whole one in which the same heads give 0 (their rows of V are 0) and the same channels
 * never open. */
static void test_masked(void **state) {
    fixture *f = *state;
    export_model(f, TERN_EXPORT_GGUF, "I2_S");
    tern_pruner *pruner = calibrated(f->in, true);
    for (int score = TERN_PRUNE_ACTIVATION; score <= TERN_PRUNE_RANDOM; score++) {
        const tern_prune_choice choice = {.heads = 0.5, .ffn = 0.25, .score = (tern_prune_score)score, .seed = 7};
        prune(pruner, &choice, f->out);
        patch p = open_patch(f->in);
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            const prune_side *heads = &pruner->sides[PRUNE_ATTENTION], *ffn = &pruner->sides[PRUNE_FFN];
            uint32_t n = heads->n_kept * HEAD;
            assert_int_equal(heads->n_kept, 2);
            assert_int_equal(ffn->n_kept, 384);
            mask_rows(&p, layer, TERN_PARAM_V, heads->kept + (size_t)layer * n, n);
            mask_rows(&p, layer, TERN_PARAM_GATE, ffn->kept + (size_t)layer * ffn->n_kept, ffn->n_kept);
            scale_gains(&p, layer, TERN_NORM_ATTN_SUB, heads->factor[layer] * sqrt(0.5));
            scale_gains(&p, layer, TERN_NORM_FFN_SUB, ffn->factor[layer] * sqrt(0.75));
        }
        close_patch(&p, f->other);
        float *whole = logits_of(f->in, NULL), *masked = logits_of(f->other, NULL), *pruned = logits_of(f->out, NULL);
        assert_true(relative_difference(masked, whole) > 0.1);
        double difference = relative_difference(pruned, masked);
        if (!(difference < 0.05)) /* int8 values that are rounded the other way; see above */
            fail_msg("score %d: pruned and masked differ by %g", score, difference);
        free(whole);
        free(masked);
        free(pruned);
    }
    tern_pruner_free(pruner);
}

/* Masters stay masters: the values that are left are the values that were there. */
static void test_master(void **state) {
    fixture *f = *state;
    char path[160];
    export_model(f, TERN_EXPORT_HF_MASTER, NULL);
    tern_pruner *pruner = calibrated(f->in, false);
    prune(pruner, &(tern_prune_choice){.heads = 0.5, .ffn = 0.5, .unit = TERN_PRUNE_GROUPS}, f->out);
    tern_model_info info;
    free(logits_of(f->out, &info));
    assert_int_equal(info.ffn_size, FFN / 2);
    assert_int_equal(info.n_heads, 2);
    tern_checkpoint *checkpoint;
    tern_params smaller = {0};
    MUST(tern_checkpoint_open(f->out, &checkpoint, err));
    MUST(tern_params_create(&pruner->after, false, &smaller, err));
    MUST(tern_params_load(checkpoint, &smaller, err)); /* as `tern train continue` takes them */
    const prune_side *ffn = &pruner->sides[PRUNE_FFN];
    const tern_param *from = tern_param_of(&f->params, 1, TERN_PARAM_UP),
                     *to = tern_param_of(&smaller, 1, TERN_PARAM_UP);
    assert_int_equal(to->rows, FFN / 2);
    for (uint32_t i = 0; i < FFN / 2; i++) {
        float was = f->params.values[from->offset + (size_t)ffn->kept[FFN / 2 + i] * HIDDEN];
        assert_true(fabs(was - smaller.values[to->offset + (size_t)i * HIDDEN]) <= 0.004 * fabs(was)); /* bf16 */
    }
    tern_params_free(&smaller);
    tern_checkpoint_close(checkpoint);
    /* the run's configuration could not say how wide such heads are */
    tern_error error;
    fails(tern_tune(&(tern_tune_params){.kind = TERN_TUNE_CONTINUE,
                                        .model = f->out,
                                        .shards = (const char *const[]){"none"},
                                        .n_shards = 1,
                                        .out = f->other},
                    &error),
          &error, "its heads were pruned");
    tern_pruner_free(pruner);
    snprintf(path, sizeof path, "%s/tokenizer.json", f->out);
    same_files(TOKENIZER, path);
}

/* -------------------------------------------------------------------- errors */

static void test_errors(void **state) {
    fixture *f = *state;
    tern_error error;
    tern_prune_plan plan;
    tern_pruner *pruner;
    export_model(f, TERN_EXPORT_GGUF, "I2_S");
    MUST(tern_pruner_create(f->in, 1, &pruner, err));
    fails(tern_pruner_choose(pruner, &(tern_prune_choice){.ffn = 0.1}, &plan, &error), &error, "not calibrated");
    fails(tern_pruner_write(pruner, f->out, &error), &error, "nothing was chosen");
    fails(tern_pruner_calibrate(pruner, &(tern_prune_calibration){.text = "short", .n_bytes = 5}, &error), &error,
          "too short");
    tern_pruner_free(pruner);
    pruner = calibrated(f->in, false);
    fails(tern_pruner_choose(pruner, &(tern_prune_choice){.ffn = 1}, &plan, &error), &error, "less than 100%");
    fails(tern_pruner_choose(pruner, &(tern_prune_choice){.heads = -0.1}, &plan, &error), &error, "0% or more");
    fails(tern_pruner_choose(pruner, &(tern_prune_choice){.score = TERN_PRUNE_TAYLOR}, &plan, &error), &error,
          "without gradients");
    fails(tern_pruner_choose(pruner, &(tern_prune_choice){.multiple = 96}, &plan, &error), &error, "multiples of 128");
    fails(tern_pruner_choose(pruner, &(tern_prune_choice){.multiple = 1024}, &plan, &error), &error,
          "multiples of 1024");
    MUST(tern_pruner_choose(pruner, &(tern_prune_choice){.ffn = 0.999}, &plan, err));
    assert_int_equal(plan.after.ffn_size, 128);
    fails(tern_pruner_write(pruner, f->in, &error), &error, "is the model that is to be pruned");
    fails(tern_pruner_write(pruner, f->folder, &error), &error, "is a folder");
    assert_false(tern_file_exists(f->out));
    tern_pruner_free(pruner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_useless_head, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_groups, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dead_channels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_masked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_master, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
