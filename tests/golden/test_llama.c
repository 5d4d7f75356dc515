/*
 * LLaMA models (docs/MODEL.md): tests/data/llama has two that tools/make_llama_golden.py made, with what transformers
 * computes for them. From a Hugging Face folder and from GGUF files that are written here as llama.cpp's converter
 * does, its order of the rows of Q and K included; with matrices of floats, and ternary.
 */
#include "golden/golden.h"

#include <unistd.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "format/gguf_write.h"
#include "model/weights.h"
#include "runtime/session.h"

#define FOLDERS TERN_SOURCE_DIR "/tests/data/llama/"

enum { TOKENS = 24, VOCAB = 277 };

static const int32_t prompt[TOKENS] = {1,   39,  91,  157, 237, 54, 162, 7,  143, 16,  180, 81,
                                       273, 202, 145, 102, 73,  58, 57,  70, 97,  138, 193, 262};

typedef struct run_params {
    const tern_kernels *kernels; /* NULL: the best */
    int n_threads;
    uint32_t chunk;
    bool copy; /* nothing is used where it is mapped */
} run_params;

static const run_params usual = {NULL, 1, 0, false};

static tern_status eval(const tern_weights *weights, const run_params *p, tern_pool *pool, float *logits,
                        tern_error *err) {
    tern_backend *backend = NULL;
    tern_engine *engine = NULL;
    tern_session *session = NULL;
    tern_session_params params = tern_session_defaults();
    params.chunk = p->chunk;
    params.kv_type = TERN_KV_F32;
    tern_status status = tern_cpu_backend_create(weights, p->kernels, pool, false, &backend, err);
    if (!status)
        status = tern_engine_create(weights, backend, &engine, err);
    if (!status)
        status = tern_session_open(engine, NULL, &params, &session, err);
    if (!status)
        status = tern_session_eval_logits(session, prompt, TOKENS, logits, err);
    tern_session_free(session);
    tern_engine_free(engine);
    return status;
}

/* Logits [TOKENS][VOCAB] of the prompt. */
static tern_status run(const char *path, run_params p, float *logits, tern_error *err) {
    tern_pool *pool = NULL;
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights;
    const tern_load_params load = {.numa = p.copy ? TERN_NUMA_INTERLEAVE : TERN_NUMA_NONE};
    tern_status status = tern_pool_create(p.n_threads, &pool, err);
    if (!status && !p.kernels)
        status = tern_kernels_choose(NULL, &p.kernels, err);
    if (!status)
        status = tern_checkpoint_open(path, &checkpoint, err);
    if (!status)
        status = tern_weights_load(checkpoint, p.kernels->ternary[0], pool, &load, &weights, err);
    if (!status) {
        status = eval(&weights, &p, pool, logits, err);
        tern_weights_free(&weights);
    }
    tern_checkpoint_close(checkpoint);
    tern_pool_free(pool);
    return status;
}

static float *logits_of(const char *path, run_params p) {
    float *logits = calloc(TOKENS * VOCAB, sizeof *logits);
    assert_non_null(logits);
    OK(run(path, p, logits, err));
    return logits;
}

static bool same_bits(const float *a, const float *b) { return memcmp(a, b, TOKENS * VOCAB * sizeof *a) == 0; }

/* ---- against transformers ---- */

static void check_golden(const char *folder, float most) {
    char path[512];
    static float want[TOKENS * VOCAB];
    snprintf(path, sizeof path, "%s/logits.f32", folder);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(want, sizeof *want, TOKENS * VOCAB, file), TOKENS * VOCAB);
    fclose(file);
    float *got = logits_of(folder, usual), largest = 0, spread = 0;
    for (size_t i = 0; i < TOKENS * VOCAB; i++) {
        largest = fmaxf(largest, fabsf(got[i] - want[i]));
        spread = fmaxf(spread, fabsf(want[i]));
    }
    print_message("%s: largest difference %g, largest logit %g\n", folder, (double)largest, (double)spread);
    assert_true(spread > 1);
    assert_true(largest < most);
    free(got);
}

static void test_plain(void **state) {
    (void)state;
    check_golden(FOLDERS "plain", 1e-4f);
}

static void test_ternary(void **state) {
    (void)state;
    check_golden(FOLDERS "packed", 1e-4f);
}

/* ---- the same bits for every ISA, number of threads and split, in place or copied ---- */

static void check_bits(const char *folder) {
    float *want = logits_of(folder, usual);
    const run_params others[] = {{NULL, 3, 0, false}, {NULL, 1, 1, false}, {NULL, 2, 7, true}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        float *got = logits_of(folder, others[i]);
        if (!same_bits(got, want))
            fail_msg("%s: other bits with %d threads in steps of %u", folder, others[i].n_threads, others[i].chunk);
        free(got);
    }
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        if ((*rung)->features & ~tern_cpu_features())
            continue;
        float *got = logits_of(folder, (run_params){*rung, 2, 0, false});
        if (!same_bits(got, want))
            fail_msg("%s: other bits with the kernels %s", folder, (*rung)->name);
        free(got);
    }
    free(want);
}

static void test_bits(void **state) {
    (void)state;
    check_bits(FOLDERS "plain");
    check_bits(FOLDERS "packed");
}

/* ---- GGUF as llama.cpp's converter writes it ---- */

/* What a file is to be, and what is to be wrong with it. */
typedef struct gguf_form {
    const char *matrices, *gate; /* types; gate NULL: the same */
    const char *extra_key, *extra_tensor;
    const char *rope_scaling;
} gguf_form;

/* weight.reshape(heads, 2, rows / heads / 2, cols).swapaxes(1, 2): row (head, half, i) goes to (head, i, half). */
static uint32_t converter_row(const tern_dims *dims, int which, uint32_t row) {
    uint32_t half = dims->head_dim / 2, head = row / dims->head_dim, part = row / half % 2, i = row % half;
    return which > 1 ? row : head * dims->head_dim + 2 * i + part;
}

static void put_keys(tern_gguf_writer *writer, const tern_dims *dims, const gguf_form *form) {
    tern_gguf_put_string(writer, "general.architecture", "llama");
    tern_gguf_put_u32(writer, "llama.vocab_size", dims->vocab_size);
    tern_gguf_put_u32(writer, "llama.context_length", dims->n_ctx);
    tern_gguf_put_u32(writer, "llama.embedding_length", dims->hidden_size);
    tern_gguf_put_u32(writer, "llama.block_count", dims->n_layers);
    tern_gguf_put_u32(writer, "llama.feed_forward_length", dims->ffn_size);
    tern_gguf_put_u32(writer, "llama.rope.dimension_count", dims->head_dim);
    tern_gguf_put_u32(writer, "llama.attention.head_count", dims->n_heads);
    tern_gguf_put_u32(writer, "llama.attention.head_count_kv", dims->n_kv_heads);
    tern_gguf_put_f32(writer, "llama.attention.layer_norm_rms_epsilon", dims->rms_eps);
    if (form->extra_key)
        tern_gguf_put_u32(writer, form->extra_key, 4);
    if (form->rope_scaling)
        tern_gguf_put_string(writer, "llama.rope.scaling.type", form->rope_scaling);
}

/* The data of one matrix in `codec`. */
static uint8_t *encode(const tern_checkpoint *checkpoint, tern_linear *linear, const tern_dims *dims,
                       const tern_codec *codec, uint64_t n_bytes) {
    const tern_codec *source = tern_codec_of(linear->source->type);
    int which = (int)(linear->index % TERN_LINEARS_PER_LAYER);
    size_t cols = linear->cols, row_bytes = cols / codec->block_values * codec->block_bytes;
    uint8_t *bytes = malloc(n_bytes);
    int8_t *trits = malloc(linear->rows * cols);
    float *values = malloc(cols * sizeof *values), scale;
    assert_true(bytes && trits && values && checkpoint);
    for (uint32_t row = 0; row < linear->rows; row++) {
        uint32_t to = converter_row(dims, which, row);
        if (codec->ternary) {
            assert_true(source->decode_trits(linear->source, row, 1, trits + to * cols, cols));
            continue;
        }
        source->decode_row(linear->source, row, values);
        codec->encode_row(values, cols, bytes + to * row_bytes);
    }
    if (codec->ternary) {
        OK(source->scale(linear->source, &scale, err));
        codec->encode_trits(trits, linear->rows, cols, scale, bytes);
    }
    free(values);
    free(trits);
    return bytes;
}

static const tern_codec *codec_of(const gguf_form *form, int which) {
    const char *name = which == 4 && form->gate ? form->gate : form->matrices;
    return tern_codec_named(name);
}

static void put_tensor(tern_gguf_writer *writer, const tern_tensor *tensor, const char *name) {
    tern_gguf_put_tensor(writer, name, tern_codec_of(tensor->type)->gguf_type, tensor->rows, tensor->cols,
                         tensor->n_dims == 1, tensor->bytes);
}

/* The tensors but for the matrices: ends, norms. Calls with data false put them into the list. */
static void put_floats(tern_gguf_writer *writer, const tern_weights *weights, bool data) {
    static const tern_norm kinds[] = {TERN_NORM_ATTN, TERN_NORM_FFN};
    const tern_checkpoint gguf = {.kind = TERN_CHECKPOINT_GGUF};
    const tern_tensor *list[64] = {weights->embedding, weights->tied ? NULL : weights->head};
    char names[64][128] = {"token_embd.weight", "output.weight"}, name[128];
    size_t n = 2;
    for (uint32_t i = 0; i < weights->dims.n_layers; i++)
        for (size_t j = 0; j < 2; j++) {
            list[n] = tern_checkpoint_find(weights->checkpoint, tern_norm_name(weights->checkpoint, name, i, kinds[j]));
            strcpy(names[n++], tern_norm_name(&gguf, name, i, kinds[j]));
        }
    list[n] = tern_checkpoint_find(weights->checkpoint, tern_norm_name(weights->checkpoint, name, 0, TERN_NORM_OUTPUT));
    strcpy(names[n++], "output_norm.weight");
    for (size_t i = 0; i < n; i++) {
        if (list[i] && data)
            OK(tern_gguf_write_data(writer, list[i]->data, list[i]->bytes, err));
        else if (list[i])
            put_tensor(writer, list[i], names[i]);
    }
}

static void write_gguf(const char *folder, const gguf_form *form, const char *path) {
    tern_checkpoint *checkpoint;
    tern_weights weights;
    tern_gguf_writer *writer;
    char name[128];
    uint64_t n_bytes;
    OK(tern_checkpoint_open(folder, &checkpoint, err));
    OK(tern_weights_bind(checkpoint, &weights, err));
    const tern_dims *dims = &weights.dims;
    size_t n = (size_t)dims->n_layers * TERN_LINEARS_PER_LAYER;
    OK(tern_gguf_writer_create(path, &writer, err));
    put_keys(writer, dims, form);
    put_floats(writer, &weights, false);
    if (dims->rope_divisors)
        tern_gguf_put_tensor(writer, "rope_freqs.weight", 0, 1, dims->head_dim / 2, true, 2 * dims->head_dim);
    if (form->extra_tensor)
        tern_gguf_put_tensor(writer, form->extra_tensor, 0, 1, 1, true, 4);
    for (size_t i = 0; i < n; i++) {
        const tern_linear *linear = &weights.layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        const tern_codec *codec = codec_of(form, (int)(i % TERN_LINEARS_PER_LAYER));
        assert_true(tern_codec_bytes(codec, linear->rows, linear->cols, &n_bytes));
        tern_linear_gguf_name(name, (uint32_t)(i / TERN_LINEARS_PER_LAYER), (int)(i % TERN_LINEARS_PER_LAYER));
        tern_gguf_put_tensor(writer, name, codec->gguf_type, linear->rows, linear->cols, false, n_bytes);
    }
    OK(tern_gguf_begin_data(writer, err));
    put_floats(writer, &weights, true);
    if (dims->rope_divisors)
        OK(tern_gguf_write_data(writer, dims->rope_divisors, 2 * dims->head_dim, err));
    if (form->extra_tensor)
        OK(tern_gguf_write_data(writer, "\0\0\0\0", 4, err));
    for (size_t i = 0; i < n; i++) {
        tern_linear *linear = &weights.layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        const tern_codec *codec = codec_of(form, (int)(i % TERN_LINEARS_PER_LAYER));
        assert_true(tern_codec_bytes(codec, linear->rows, linear->cols, &n_bytes));
        uint8_t *bytes = encode(checkpoint, linear, dims, codec, n_bytes);
        OK(tern_gguf_write_data(writer, bytes, n_bytes, err));
        free(bytes);
    }
    OK(tern_gguf_writer_finish(writer, err));
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
}

static void name_file(char path[static 64]) {
    strcpy(path, "/tmp/tern-llama-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void test_gguf(void **state) {
    (void)state;
    static const struct {
        const char *folder;
        gguf_form form;
    } rows[] = {
        {FOLDERS "plain", {.matrices = "F16"}},   {FOLDERS "plain", {.matrices = "BF16"}},
        {FOLDERS "plain", {.matrices = "F32"}},   {FOLDERS "plain", {.matrices = "F16", .gate = "BF16"}},
        {FOLDERS "packed", {.matrices = "I2_S"}},
    };
    char path[64];
    name_file(path);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_gguf(rows[i].folder, &rows[i].form, path);
        float *want = logits_of(rows[i].folder, usual), *got = logits_of(path, usual);
        float *copied = logits_of(path, (run_params){NULL, 2, 0, true});
        if (!same_bits(got, want) || !same_bits(copied, want))
            fail_msg("%s as %s: the GGUF gives other bits than the folder", rows[i].folder, rows[i].form.matrices);
        free(want);
        free(got);
        free(copied);
    }
    unlink(path);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        gguf_form form;
        const char *message;
    } rows[] = {
        {{.matrices = "F16", .extra_key = "llama.expert_count"}, "mixture of experts"},
        {{.matrices = "F16", .extra_key = "llama.attention.sliding_window"}, "sliding window"},
        {{.matrices = "F16", .extra_tensor = "blk.0.attn_q.bias"}, "biases"},
        {{.matrices = "F16", .extra_tensor = "blk.0.attn_sub_norm.weight"}, "SubLN"},
        {{.matrices = "F16", .extra_tensor = "blk.0.ffn_up.scale"}, "scales of their own"},
        {{.matrices = "F16", .rope_scaling = "yarn"}, "RoPE scaling 'yarn'"},
    };
    static float logits[TOKENS * VOCAB];
    char path[64];
    name_file(path);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tern_error err = {0};
        write_gguf(FOLDERS "plain", &rows[i].form, path);
        tern_status status = run(path, usual, logits, &err);
        if (status != TERN_ERR_UNSUPPORTED || !strstr(err.message, rows[i].message) || !strstr(err.message, path))
            fail_msg("%s: status %d, '%s'", rows[i].message, status, err.message);
    }
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain), cmocka_unit_test(test_ternary), cmocka_unit_test(test_bits),
        cmocka_unit_test(test_gguf),  cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
