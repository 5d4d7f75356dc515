/* LoRA adapters at run time: PEFT folders read and written, what they add to a BitLinear, and that it has the same bits
 * for every split of the work. */
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
#include "base/half.h"
#include "base/rng.h"
#include "model/adapter.h"
#include "runtime/cpu_linear.h"
#include "tern/tern.h"

#define MODEL TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16"
/* hidden 64, FFN 64, 2 heads, 1 KV head of 32, 2 layers, 277 ids */
enum { LAYERS = 2, HIDDEN = 64, FFN = 64, KV = 32, VOCAB = 277, RANK = 5, ALL = TERN_LINEARS_PER_LAYER };

static tern_error err;
static char folder[] = "/tmp/tern-adapter-XXXXXX";

static const tern_dims dims = {.vocab_size = VOCAB,
                               .n_ctx = 128,
                               .hidden_size = HIDDEN,
                               .ffn_size = FFN,
                               .n_layers = LAYERS,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .head_dim = 32,
                               .rms_eps = 1e-5f,
                               .rope_theta = 5e5f};

static const char *path_of(const char *name) {
    static char path[4][128];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

/* An adapter for the matrices [0, n_targets) of all layers, values of this magnitude (b 0: B is zero). */
static void write_adapter(const char *name, int n_targets, uint32_t rank, float alpha, float a, float b) {
    tern_peft_tensor tensors[LAYERS * ALL * 2];
    const char *targets[ALL];
    size_t n = 0;
    tern_rng rng;
    tern_rng_seed(&rng, 7);
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (int which = 0; which < n_targets; which++)
            for (int half = 0; half < 2; half++, n++) {
                tern_peft_tensor *t = &tensors[n];
                uint32_t rows, cols;
                tern_linear_shape(&dims, which, &rows, &cols);
                t->rows = half ? rows : rank;
                t->cols = half ? rank : cols;
                snprintf(t->name, sizeof t->name, "base_model.model.model.layers.%u.%s.lora_%c.weight", layer,
                         tern_linear_hf_name(which), half ? 'B' : 'A');
                float *values = malloc((size_t)t->rows * t->cols * sizeof *values);
                assert_non_null(values);
                for (size_t i = 0; i < (size_t)t->rows * t->cols; i++)
                    values[i] = (half ? b : a) * (float)tern_rng_normal(&rng);
                t->values = values;
                targets[which] = strchr(tern_linear_hf_name(which), '.') + 1;
            }
    if (tern_peft_write(path_of(name), rank, alpha, targets, (size_t)n_targets, tensors, n, &err))
        fail_msg("%s", err.message);
    for (size_t i = 0; i < n; i++)
        free((float *)tensors[i].values);
}

static void write_text(const char *name, const char *text) {
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* ------------------------------------------------------------------ whole models */

enum { N_IDS = 40 };

/* logits [N_IDS, VOCAB] of a fixed text, `first` tokens at once and then the rest in single steps. */
static void logits_of(const char *adapter, const char *cpu, const char *packing, int threads, size_t first,
                      float *logits) {
    tern_model_params params = tern_model_defaults();
    tern_session_params session_params = tern_session_defaults();
    int32_t ids[N_IDS];
    tern_model *model;
    tern_session *session;
    params.lora = adapter;
    params.cpu = cpu;
    params.packing = packing;
    params.n_threads = threads;
    session_params.kv_type = TERN_KV_F32;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (i * 37 + 11) % 260;
    if (tern_model_load(MODEL, &params, &model, &err) || tern_session_create(model, &session_params, &session, &err) ||
        tern_session_eval_logits(session, ids, first, logits, &err))
        fail_msg("%s", err.message);
    for (size_t i = first; i < N_IDS; i++)
        assert_int_equal(tern_session_eval_logits(session, ids + i, 1, logits + i * VOCAB, &err), TERN_OK);
    tern_session_free(session);
    tern_model_free(model);
}

static float base[N_IDS * VOCAB], adapted[N_IDS * VOCAB], again[N_IDS * VOCAB];

static void zero_b_is_the_base_model(void **state) {
    (void)state;
    write_adapter("zero", ALL, RANK, 10, 1, 0);
    logits_of(NULL, NULL, NULL, 2, N_IDS, base);
    logits_of(path_of("zero"), NULL, NULL, 2, N_IDS, adapted);
    assert_memory_equal(base, adapted, sizeof base);
    logits_of(path_of("zero"), NULL, NULL, 1, 1, adapted); /* single steps, where the base skips parts of the FFN */
    assert_memory_equal(base, adapted, sizeof base);
}

static void same_bits_for_every_split(void **state) {
    (void)state;
    write_adapter("all", ALL, RANK, 10, 0.1f, 0.1f);
    logits_of(path_of("all"), NULL, NULL, 1, N_IDS, adapted);
    logits_of(NULL, NULL, NULL, 1, N_IDS, base);
    assert_memory_not_equal(base, adapted, sizeof base);
    const struct {
        const char *cpu, *packing;
        int threads;
        size_t first;
    } splits[] = {{NULL, NULL, 2, N_IDS},
                  {NULL, NULL, 3, 1},
                  {NULL, "t2r16", 2, 7},
                  {"ref", "t2r16", 2, N_IDS},
                  {"ref", "t2r16", 1, 1}};
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        logits_of(path_of("all"), splits[i].cpu, splits[i].packing, splits[i].threads, splits[i].first, again);
        assert_memory_equal(adapted, again, sizeof again);
    }
    const tern_kernels *best; /* every packing of the best rung, in single steps */
    assert_int_equal(tern_kernels_choose(NULL, &best, &err), TERN_OK);
    for (size_t i = 0; best->ternary[i]; i++) {
        logits_of(path_of("all"), NULL, best->ternary[i]->packing->name, 2, 3, again);
        assert_memory_equal(adapted, again, sizeof again);
    }
}

static void reports_itself(void **state) {
    (void)state;
    tern_model_params params = tern_model_defaults();
    tern_model_info plain, info;
    tern_model *model;
    assert_int_equal(tern_model_load(MODEL, &params, &model, &err), TERN_OK);
    tern_model_get_info(model, &plain);
    tern_model_free(model);
    params.lora = path_of("all");
    params.warm_up = true;
    assert_int_equal(tern_model_load(MODEL, &params, &model, &err), TERN_OK);
    tern_model_get_info(model, &info);
    tern_model_free(model);
    uint64_t bytes = 0;
    for (int i = 0; i < ALL; i++) {
        uint32_t rows, cols;
        tern_linear_shape(&dims, i, &rows, &cols);
        bytes += LAYERS * RANK * (uint64_t)(rows + cols) * 4;
    }
    assert_int_equal(plain.adapter_bytes, 0);
    assert_int_equal(info.adapter_bytes, bytes);
    assert_int_equal(info.loaded_bytes, plain.loaded_bytes + bytes);
    assert_int_equal(info.bytes_per_token, plain.bytes_per_token + bytes);
}

/* ------------------------------------------------------------- against the equation */

typedef struct loaded {
    tern_checkpoint *checkpoint;
    tern_pool *pool;
    const tern_kernels *kernels;
    tern_weights weights;
    tern_adapter adapter;
    tern_cpu_linear cpu;
} loaded;

static void load(loaded *m, const char *adapter, uint32_t batch) {
    *m = (loaded){0};
    assert_int_equal(tern_checkpoint_open(MODEL, &m->checkpoint, &err), TERN_OK);
    assert_int_equal(tern_pool_create(2, &m->pool, &err), TERN_OK);
    assert_int_equal(tern_kernels_choose(NULL, &m->kernels, &err), TERN_OK);
    assert_int_equal(tern_weights_load(m->checkpoint, m->kernels->ternary[0], m->pool, NULL, &m->weights, &err),
                     TERN_OK);
    if (adapter) {
        if (tern_adapter_open(adapter, &m->weights.dims, &m->adapter, &err))
            fail_msg("%s", err.message);
        tern_adapter_attach(&m->adapter, &m->weights);
    }
    tern_cpu_linear_init(&m->cpu, &m->weights, m->kernels, m->pool);
    assert_int_equal(tern_cpu_linear_reserve(&m->cpu, batch, &err), TERN_OK);
}

static void unload(loaded *m) {
    tern_cpu_linear_free(&m->cpu);
    tern_weights_free(&m->weights);
    tern_adapter_close(&m->adapter);
    tern_checkpoint_close(m->checkpoint);
    tern_pool_free(m->pool);
}

static double value_of(const tern_tensor *tensor, uint64_t row, uint64_t col) {
    float values[128];
    assert_true(tensor->cols <= 128);
    tern_codec_of(tensor->type)->decode_row(tensor, row, values);
    return values[col];
}

/* scale * B (A x~) in double */
static double added(const loaded *m, const tern_low_rank *low_rank, uint32_t cols, uint32_t token, uint32_t row) {
    const int8_t *q = m->cpu.q + token * tern_q_pad(cols);
    double sum = 0;
    for (uint32_t r = 0; r < low_rank->rank; r++) {
        double u = 0;
        for (uint32_t i = 0; i < cols; i++)
            u += value_of(low_rank->a, r, i) * q[i] / m->cpu.q_scale[token];
        sum += value_of(low_rank->b, row, r) * u;
    }
    return sum * low_rank->scale;
}

enum { TOKENS = 3 };

/* Products with and without the adapter differ by what the equation says. */
static void adds_the_equation(void **state) {
    (void)state;
    loaded plain, with;
    float x[TOKENS * HIDDEN], gain[HIDDEN], out[2][3][TOKENS * HIDDEN];
    tern_rng rng;
    load(&plain, NULL, TOKENS);
    load(&with, path_of("all"), TOKENS);
    assert_int_equal(tern_weights_low_rank(&plain.weights), 0);
    assert_int_equal(tern_weights_low_rank(&with.weights), RANK);
    tern_rng_seed(&rng, 3);
    for (size_t i = 0; i < TOKENS * HIDDEN; i++)
        x[i] = (float)tern_rng_normal(&rng);
    for (size_t i = 0; i < HIDDEN; i++)
        gain[i] = 1;
    double worst = 0, largest = 0;
    for (int first = 0; first < ALL; first += 3) { /* q, k, v; o, gate, up; down */
        for (int m = 0; m < 2; m++) {
            loaded *model = m ? &with : &plain;
            const tern_linear *linears[3];
            float *outs[3];
            uint32_t n = 0;
            for (int i = first; i < ALL && i < first + 3; i++, n++) {
                linears[n] = &model->weights.layers[1].linears[i];
                outs[n] = out[m][n];
                memset(outs[n], 0, sizeof out[m][n]);
            }
            tern_cpu_norm_quantize(&model->cpu, x, gain, HIDDEN, TOKENS, TERN_ROUND_INT8);
            if (n == 1) /* down adds to what is there */
                tern_cpu_linear_add(&model->cpu, linears[0], outs[0], TOKENS);
            else
                tern_cpu_linear_run(&model->cpu, linears, outs, n, TOKENS);
        }
        for (int i = first; i < ALL && i < first + 3; i++) {
            const tern_linear *linear = &with.weights.layers[1].linears[i];
            for (uint32_t t = 0; t < TOKENS; t++)
                for (uint32_t row = 0; row < linear->rows; row++) {
                    size_t at = (size_t)t * linear->rows + row;
                    double wanted = out[0][i - first][at] + added(&with, linear->low_rank, linear->cols, t, row);
                    double error = fabs(out[1][i - first][at] - wanted);
                    worst = error > worst ? error : worst;
                    largest = fabs(wanted) > largest ? fabs(wanted) : largest;
                }
        }
    }
    assert_true(largest > 0.1);
    assert_true(worst < 1e-5 * largest);
    unload(&plain);
    unload(&with);
}

/* ------------------------------------------------------------------------- folders */

/* bf16 matrices of one layer only, and a pattern of modules. */
static void reads_other_types(void **state) {
    (void)state;
    const char *head = "{\"base_model.model.model.layers.1.mlp.up_proj.lora_A.weight\":{\"dtype\":\"BF16\",\"shape\":["
                       "1,64],\"data_offsets\":[0,128]},\"base_model.model.model.layers.1.mlp.up_proj.lora_B.weight\":{"
                       "\"dtype\":\"F16\",\"shape\":[64,1],\"data_offsets\":[128,256]}}";
    uint16_t data[128];
    uint64_t length = strlen(head);
    for (int i = 0; i < 64; i++) {
        data[i] = tern_f32_to_bf16((float)i / 64);
        data[64 + i] = tern_f32_to_f16(1 - (float)i / 128);
    }
    write_adapter("half", 1, 1, 1, 1, 1);
    FILE *file = fopen(path_of("half/adapter_model.safetensors"), "wb");
    assert_non_null(file);
    fwrite(&length, 8, 1, file);
    fwrite(head, 1, length, file);
    fwrite(data, sizeof data, 1, file);
    assert_int_equal(fclose(file), 0);
    write_text("half/adapter_config.json",
               "{\"peft_type\":\"LORA\",\"r\":1,\"lora_alpha\":3,\"use_rslora\":true,\"target_modules\":\".*up_proj\","
               "\"layers_to_transform\":[1],\"bias\":\"none\",\"rank_pattern\":{}}");
    tern_adapter adapter;
    if (tern_adapter_open(path_of("half"), &dims, &adapter, &err))
        fail_msg("%s", err.message);
    const tern_low_rank *up = &adapter.list[ALL + 5];
    for (size_t i = 0; i < adapter.n; i++)
        assert_int_equal(adapter.list[i].rank, i == ALL + 5 ? 1 : 0);
    assert_float_equal(up->scale, 3, 0);
    assert_int_equal(up->a_type, TERN_HEAD_BF16);
    assert_int_equal(up->b_type, TERN_HEAD_F16);
    assert_float_equal(value_of(up->a, 0, 32), 0.5, 0);
    assert_float_equal(value_of(up->b, 32, 0), 0.75, 0);
    tern_adapter_close(&adapter);
    logits_of(path_of("half"), NULL, NULL, 2, N_IDS, adapted);
    logits_of(path_of("half"), NULL, NULL, 1, 1, again);
    assert_memory_equal(adapted, again, sizeof again);
    assert_memory_not_equal(adapted, base, sizeof base);
}

static void refuses(const char *name, tern_status status, const char *part) {
    tern_adapter adapter = {0};
    err = (tern_error){0};
    tern_status got = tern_adapter_open(path_of(name), &dims, &adapter, &err);
    if (got != status || !strstr(err.message, part) || strchr(err.message, '\n'))
        fail_msg("%s: status %d, '%s' does not hold '%s'", name, got, err.message, part);
    assert_null(adapter.list);
}

static void refuses_bad_configurations(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
        tern_status status;
    } bad[] = {
        {"[]", "must be a JSON object", TERN_ERR_FORMAT},
        {"{", "no valid JSON", TERN_ERR_FORMAT},
        {"{}", "peft_type is missing", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"IA3\"}", "'IA3'", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\"}", "r must be", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":0}", "r must be", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":1e9}", "r must be", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"lora_alpha\":\"x\"}", "lora_alpha", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"lora_alpha\":1e300}", "lora_alpha", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"lora_alpha\":1}", "target_modules", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"target_modules\":[1]}", "target_modules", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"target_modules\":[\"lm_head\"]}", "lm_head", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"use_dora\":true}", "use_dora", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"bias\":\"all\"}", "bias", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"rank_pattern\":{\"q_proj\":3}}", "rank_pattern", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"modules_to_save\":[\"x\"]}", "modules_to_save", TERN_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":[\"q_proj\"]}", "another base model", TERN_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":5,\"target_modules\":[\"q_proj\",\"v_proj\"]}", "v_proj are missing",
         TERN_ERR_FORMAT},
    };
    write_adapter("bad", 2, RANK, 10, 1, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text("bad/adapter_config.json", bad[i].text);
        refuses("bad", bad[i].status, bad[i].part);
    }
}

/* The file with each `from` replaced by a `to` of the same length. */
static void edit(const char *name, const char *from, const char *to) {
    char bytes[1 << 17];
    assert_int_equal(strlen(from), strlen(to));
    FILE *file = fopen(path_of(name), "r+b");
    assert_non_null(file);
    size_t n = fread(bytes, 1, sizeof bytes, file), found = 0;
    for (size_t i = 0; i + strlen(from) <= n; i++)
        if (memcmp(bytes + i, from, strlen(from)) == 0) {
            memcpy(bytes + i, to, strlen(to));
            found++;
        }
    assert_true(found > 0);
    rewind(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void refuses_wrong_tensors(void **state) {
    (void)state;
    refuses("none", TERN_ERR_IO, "adapter_config.json");
    write_adapter("w", 2, RANK, 10, 1, 1);
    assert_int_equal(unlink(path_of("w/adapter_model.safetensors")), 0);
    refuses("w", TERN_ERR_IO, "adapter_model.safetensors");
    static const struct {
        const char *from, *to, *part;
        tern_status status;
    } edits[] = {
        {"layers.1.self_attn.k_proj.lora_B", "layers.7.self_attn.k_proj.lora_B", "2 layers", TERN_ERR_FORMAT},
        {"layers.1.self_attn.k_proj.lora_B", "layers.1.self_attn.x_proj.lora_B", "x_proj", TERN_ERR_UNSUPPORTED},
        {"layers.1.self_attn.k_proj.lora_B", "layers.1.self_attn.k_proj.lora_C", "lora_C", TERN_ERR_UNSUPPORTED},
        {"layers.1.self_attn.k_proj.lora_B", "layers.1.self_attn.v_proj.lora_B", "has no lora_", TERN_ERR_FORMAT},
        {"[5,64]", "[64,5]", "another base model", TERN_ERR_FORMAT},
        {"F32", "F64", "F64", TERN_ERR_FORMAT},
        {"\"dtype\":\"F32\",\"shape\":[5,64]", "\"dtype\":\"I32\",\"shape\":[5,64]", "type I32", TERN_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        write_adapter("w", 2, RANK, 10, 1, 1);
        edit("w/adapter_model.safetensors", edits[i].from, edits[i].to);
        refuses("w", edits[i].status, edits[i].part);
    }
    write_adapter("w", 2, RANK, 10, 1, NAN);
    refuses("w", TERN_ERR_FORMAT, "not finite");
    tern_model_params params = tern_model_defaults(); /* and the same through the public call */
    tern_model *model = NULL;
    params.lora = path_of("w");
    assert_int_equal(tern_model_load(MODEL, &params, &model, &err), TERN_ERR_FORMAT);
    assert_null(model);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"zero", "all", "half", "bad", "w"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/adapter_config.json", names[i]);
        unlink(path_of(path));
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", names[i]);
        unlink(path_of(path));
        rmdir(path_of(names[i]));
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_b_is_the_base_model), cmocka_unit_test(same_bits_for_every_split),
        cmocka_unit_test(reports_itself),           cmocka_unit_test(adds_the_equation),
        cmocka_unit_test(reads_other_types),        cmocka_unit_test(refuses_bad_configurations),
        cmocka_unit_test(refuses_wrong_tensors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
