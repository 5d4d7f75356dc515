/* Exported models load, and compute what the network computed: through the public API, and through a network over the
 * loaded weights. Files and folders are replaced whole or not at all. */
#include <dirent.h>
#include <sys/stat.h>

#include "train_fixture.h"

#include "golden/golden.h"
#include "base/file.h"
#include "base/half.h"
#include "model/vocab.h"
#include "train/export.h"
#include "train/lora.h"

#define TOKENIZER TERN_SOURCE_DIR "/tests/data/tokenizer/small.json"
enum { LENGTH = 40 };

static const tern_dims dims = {.vocab_size = 1472,
                               .n_ctx = 64,
                               .hidden_size = 256,
                               .ffn_size = 512,
                               .n_layers = 2,
                               .n_heads = 4,
                               .n_kv_heads = 2,
                               .head_dim = 64,
                               .rms_eps = 1e-5f,
                               .rope_theta = 10000};

typedef struct fixture {
    char folder[64], path[128];
    tern_pool *pool;
    tern_params params;
    int32_t ids[LENGTH], targets[LENGTH];
    uint32_t starts[2];
    tern_batch batch;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/tern-export-XXXXXX");
    if (!mkdtemp(f->folder))
        return 1;
    snprintf(f->path, sizeof f->path, "%s/model", f->folder);
    MUST(tern_pool_create(2, &f->pool, err));
    MUST(tern_params_create(&dims, false, &f->params, err));
    fill_params(&f->params, 4);
    const tern_param *embedding = tern_param_embedding(&f->params);
    for (size_t i = 0; i < (size_t)embedding->rows * embedding->cols; i++)
        f->params.values[embedding->offset + i] /= 4; /* logits of standard deviation 1 */
    for (uint64_t i = 0; i < LENGTH; i++) {
        f->ids[i] = (int32_t)((draw(4, 2000, i) + 0.5) * dims.vocab_size);
        f->targets[i] = i + 1 < LENGTH ? (int32_t)((draw(4, 2000, i + 1) + 0.5) * dims.vocab_size) : -1;
    }
    f->starts[1] = LENGTH;
    f->batch = (tern_batch){LENGTH, f->ids, f->targets, {f->starts, 1}};
    *state = f;
    return 0;
}

/* What is left over is an error: every test removes what it made by the names it knows. */
static void remove_model(const fixture *f) {
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        unlink(path);
    }
    rmdir(f->path);
    unlink(f->path);
}

static int tear_down(void **state) {
    fixture *f = *state;
    tern_params_free(&f->params);
    tern_pool_free(f->pool);
    int failed = rmdir(f->folder); /* fails if a temporary file is left */
    free(f);
    return failed;
}

static tern_export_params gguf(tern_weight_mode mode, const char *weights, const char *embedding) {
    return (tern_export_params){.kind = TERN_EXPORT_GGUF,
                                .mode = mode,
                                .weight_type = weights,
                                .embedding_type = embedding,
                                .tokenizer_json = TOKENIZER,
                                .name = "test"};
}

/* -------------------------------------------------------- same computation */

/* The network's logits [LENGTH, vocab] and losses. */
static void net_results(const fixture *f, tern_weight_mode mode, double *logits, float *nll) {
    tern_net *net = NULL;
    const tern_net_params how = {.max_tokens = LENGTH, .weights = mode, .forward_only = true};
    MUST(tern_net_create(&f->params, &how, f->pool, &net, err));
    assert_null(tern_net_quantize(net, mode));
    tern_net_forward(net, &f->batch);
    tern_net_losses(net, &f->batch, true, nll);
    const float *embedding = f->params.values + tern_param_embedding(&f->params)->offset;
    for (size_t t = 0; t < LENGTH; t++)
        for (size_t v = 0; v < dims.vocab_size; v++) {
            double sum = 0;
            for (size_t i = 0; i < dims.hidden_size; i++)
                sum += (double)tern_net_hidden(net)[t * dims.hidden_size + i] * embedding[v * dims.hidden_size + i];
            logits[t * dims.vocab_size + v] = sum;
        }
    tern_net_free(net);
}

/* The loaded model's: largest difference of its logits, and its mean loss. */
static double model_results(const fixture *f, const double *logits, double *mean) {
    tern_model *model = golden_load(f->path, NULL, 2);
    tern_session *session = golden_session(model, TERN_KV_F32, 0);
    float *own = malloc(sizeof(float) * LENGTH * dims.vocab_size);
    assert_non_null(own);
    MUST(tern_session_eval_logits(session, f->ids, LENGTH, own, err));
    double worst = 0, sum = 0;
    for (size_t i = 0; i < (size_t)LENGTH * dims.vocab_size; i++) {
        double difference = fabs((double)own[i] - logits[i]);
        worst = difference > worst ? difference : worst; /* fmax() here is too much for gcc 12's vectoriser on ARM */
    }
    for (size_t t = 0; t + 1 < LENGTH; t++)
        sum += golden_nll(own + t * dims.vocab_size, dims.vocab_size, f->targets[t]);
    *mean = sum / (LENGTH - 1);
    free(own);
    tern_session_free(session);
    tern_model_free(model);
    return worst;
}

typedef struct form {
    tern_export_params how;
    double logits, loss; /* bounds of the differences */
} exported_form;

static void check_form(const fixture *f, const exported_form *form) {
    double *logits = malloc(sizeof *logits * LENGTH * dims.vocab_size), mean = 0, model_mean;
    float nll[LENGTH];
    assert_non_null(logits);
    net_results(f, form->how.mode, logits, nll);
    for (size_t t = 0; t + 1 < LENGTH; t++)
        mean += (double)nll[t] / (LENGTH - 1);
    assert_true(mean > 4);
    MUST(tern_export(&f->params, &form->how, f->path, err));
    double worst = model_results(f, logits, &model_mean);
    if (!(worst <= form->logits && fabs(mean - model_mean) <= form->loss))
        fail_msg("kind %d, %s, %s: logits differ by %g, the mean loss %g by %g", (int)form->how.kind,
                 form->how.weight_type, form->how.embedding_type, worst, mean, model_mean - mean);
    free(logits);
    remove_model(f);
}

/* Where nothing is rounded on the way the results are the same but for float32; else by as much as one int8 step here
 * and there makes. */
static void test_same_results(void **state) {
    const exported_form forms[] = {
        {gguf(TERN_WEIGHTS_TERNARY, NULL, "F32"), 1e-5, 1e-6},
        {gguf(TERN_WEIGHTS_BINARY, "i2_s", "F32"), 1e-5, 1e-6},
        {gguf(TERN_WEIGHTS_TERNARY, "F32", "F32"), 1e-5, 1e-6},
        {gguf(TERN_WEIGHTS_TERNARY, "TQ1_0", "F32"), 0.5, 0.02},
        {gguf(TERN_WEIGHTS_TERNARY, "TQ2_0", "F32"), 0.5, 0.02},
        {gguf(TERN_WEIGHTS_TERNARY, "F16", "BF16"), 0.5, 0.02},
        {gguf(TERN_WEIGHTS_BINARY, "BF16", NULL), 0.5, 0.02},
        {gguf(TERN_WEIGHTS_TERNARY, NULL, NULL), 0.5, 0.02},
        {gguf(TERN_WEIGHTS_TERNARY, NULL, "Q8_0"), 0.5, 0.02},
        {gguf(TERN_WEIGHTS_TERNARY, NULL, "Q6_K"), 0.6, 0.02},
        {{.kind = TERN_EXPORT_HF_PACKED, .mode = TERN_WEIGHTS_TERNARY, .tokenizer_json = TOKENIZER}, 0.6, 0.02},
        {{.kind = TERN_EXPORT_HF_PACKED, .mode = TERN_WEIGHTS_BINARY, .tokenizer_json = TOKENIZER}, 0.6, 0.02},
        {{.kind = TERN_EXPORT_HF_MASTER, .mode = TERN_WEIGHTS_BINARY, .tokenizer_json = TOKENIZER}, 0.6, 0.02},
        {{.kind = TERN_EXPORT_HF_MASTER, .mode = TERN_WEIGHTS_TERNARY, .tokenizer_json = TOKENIZER}, 1.2, 0.02},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        check_form(*state, &forms[i]);
}

/* A model loaded from f->path for a network over its packed weights. */
typedef struct loaded {
    tern_checkpoint *checkpoint;
    tern_weights weights;
} loaded;

static void load(const fixture *f, const char *cpu, loaded *l) {
    const tern_ternary *ternary;
    *l = (loaded){0};
    MUST(tern_checkpoint_open(f->path, &l->checkpoint, err));
    MUST(tern_net_ternary(cpu, &ternary, err));
    MUST(tern_weights_load(l->checkpoint, ternary, f->pool, NULL, &l->weights, err));
}

static void unload(loaded *l) {
    tern_weights_free(&l->weights);
    tern_checkpoint_close(l->checkpoint);
}

/* The network's losses. */
static void frozen_results(const fixture *f, float *nll) {
    loaded l;
    tern_net *net = NULL;
    tern_net_params how = {.max_tokens = LENGTH};
    load(f, NULL, &l);
    /* there is nothing that could be trained */
    assert_int_equal(tern_net_create_frozen(&l.weights, &how, f->pool, &net, NULL), TERN_ERR_ARGUMENT);
    how.forward_only = true;
    MUST(tern_net_create_frozen(&l.weights, &how, f->pool, &net, err));
    assert_null(tern_net_quantize(net, TERN_WEIGHTS_TERNARY));
    tern_net_forward(net, &f->batch);
    tern_net_losses(net, &f->batch, true, nll);
    tern_net_free(net);
    unload(&l);
}

/* They are inference's, whichever way the embedding is stored: the layers do the same arithmetic, the head the same to
 * float32's rounding. */
static void test_frozen(void **state) {
    const fixture *f = *state;
    static const char *const embeddings[] = {"F32", "F16", "BF16", "Q8_0", "Q6_K"};
    float *logits = malloc(sizeof *logits * LENGTH * dims.vocab_size);
    assert_non_null(logits);
    for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++) {
        float nll[LENGTH];
        const tern_export_params how = gguf(TERN_WEIGHTS_TERNARY, NULL, embeddings[i]);
        MUST(tern_export(&f->params, &how, f->path, err));
        frozen_results(f, nll);
        tern_model *model = golden_load(f->path, NULL, 2);
        tern_session *session = golden_session(model, TERN_KV_F32, 0);
        MUST(tern_session_eval_logits(session, f->ids, LENGTH, logits, err));
        for (size_t t = 0; t + 1 < LENGTH; t++) {
            double expected = golden_nll(logits + t * dims.vocab_size, dims.vocab_size, f->targets[t]);
            if (!(fabs(nll[t] - expected) < 2e-5))
                fail_msg("%s: token %zu has loss %g, not %g", embeddings[i], t, (double)nll[t], expected);
        }
        assert_true(nll[LENGTH - 1] == 0);
        tern_session_free(session);
        tern_model_free(model);
        remove_model(f);
    }
    free(logits);
}

typedef struct span_log {
    size_t begins[4], n;
    size_t end; /* of the last one */
} span_log;

static void on_ready(void *user, size_t offset, size_t n) {
    span_log *log = user;
    if (log->n > 0)
        assert_int_equal(offset + n, log->begins[log->n - 1]);
    else
        log->end = offset + n;
    log->begins[log->n++] = offset;
}

/* Gradients of the adapters [n_values] and losses of one backward pass. */
static void adapter_gradients(const fixture *f, tern_net *net, const tern_lora *lora, float *grads, float *nll) {
    float weights[LENGTH];
    span_log log = {.n = 0};
    for (size_t t = 0; t < LENGTH; t++)
        weights[t] = (float)draw(4, 3000, t) + 0.25f;
    memset(grads, 0, lora->n_values * sizeof *grads);
    tern_net_forward(net, &f->batch);
    tern_net_backward(net, &f->batch, weights, 0.01f, grads, nll, on_ready, &log);
    assert_int_equal(log.n, dims.n_layers);
    assert_int_equal(log.end, lora->n_values);
    assert_int_equal(log.begins[log.n - 1], 0);
}

/* Adapters over the packed file have the gradients that they have over the masters; with recomputation to the bit. */
static void test_frozen_adapters(void **state) {
    fixture *f = *state;
    const tern_export_params how = gguf(TERN_WEIGHTS_TERNARY, NULL, "F32");
    tern_net_params net_how = {.max_tokens = LENGTH, .cpu = "ref"};
    tern_lora lora;
    tern_net *nets[3];
    loaded l;
    for (size_t t = 0; t < LENGTH; t += 3)
        f->targets[t] = -1;
    MUST(tern_export(&f->params, &how, f->path, err));
    load(f, "ref", &l);
    MUST(tern_lora_create(&dims, 4, 8, 1 << TERN_PARAM_Q | 1 << TERN_PARAM_O | 1 << TERN_PARAM_DOWN, &lora, err));
    for (size_t i = 0; i < lora.n_values; i++)
        lora.values[i] = (float)draw(5, 1, i) / 8;
    net_how.lora = &lora;
    MUST(tern_net_create(&f->params, &net_how, f->pool, &nets[0], err));
    MUST(tern_net_create_frozen(&l.weights, &net_how, f->pool, &nets[1], err));
    net_how.recompute = true;
    MUST(tern_net_create_frozen(&l.weights, &net_how, f->pool, &nets[2], err));
    float *grads[3], nll[3][LENGTH];
    for (int i = 0; i < 3; i++) {
        grads[i] = malloc(lora.n_values * sizeof *grads[i]);
        assert_non_null(grads[i]);
        assert_null(tern_net_quantize(nets[i], TERN_WEIGHTS_TERNARY));
        adapter_gradients(f, nets[i], &lora, grads[i], nll[i]);
    }
    double errors = 0, squares = 0;
    for (size_t i = 0; i < lora.n_values; i++) {
        errors += pow((double)grads[0][i] - grads[1][i], 2);
        squares += pow((double)grads[0][i], 2);
    }
    assert_true(squares > 0 && sqrt(errors / squares) < 1e-5);
    assert_memory_equal(grads[1], grads[2], lora.n_values * sizeof **grads);
    assert_memory_equal(nll[1], nll[2], sizeof nll[1]);
    for (size_t t = 0; t < LENGTH; t++)
        assert_true(fabs((double)nll[0][t] - nll[1][t]) < 1e-5);
    for (int i = 0; i < 3; i++) {
        free(grads[i]);
        tern_net_free(nets[i]);
    }
    tern_lora_free(&lora);
    unload(&l);
    remove_model(f);
}

/* --------------------------------------------------------------- tokenizer */

static void test_tokenizer(void **state) {
    const fixture *f = *state;
    static const char text[] = "Once upon a time, there was a <|eot_id|> caf\xc3\xa9.";
    tern_tokenizer *original = NULL;
    MUST(tern_tokenizer_load(TOKENIZER, &original, err));
    for (int kind = TERN_EXPORT_GGUF; kind <= TERN_EXPORT_HF_PACKED; kind++) {
        tern_export_params how = gguf(TERN_WEIGHTS_TERNARY, NULL, NULL);
        how.kind = (tern_export_kind)kind;
        how.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}";
        MUST(tern_export(&f->params, &how, f->path, err));
        tern_tokenizer *own = NULL;
        int32_t *ids[2];
        size_t n[2], size;
        char *chat;
        const tern_message message = {"user", "hello"};
        MUST(tern_tokenizer_load(f->path, &own, err));
        MUST(tern_tokenize(original, text, strlen(text), TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, &ids[0], &n[0],
                           err));
        MUST(tern_tokenize(own, text, strlen(text), TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, &ids[1], &n[1], err));
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(ids[0], ids[1], n[0] * sizeof *ids[0]);
        assert_int_equal(tern_tokenizer_eos(own), tern_tokenizer_eos(original));
        MUST(tern_chat_render(own, &message, 1, false, &chat, &size, err));
        assert_string_equal(chat, "[user] hello");
        tern_free(chat);
        tern_free(ids[0]);
        tern_free(ids[1]);
        tern_tokenizer_free(own);
        remove_model(f);
    }
    tern_tokenizer_free(original);
}

/* ----------------------------------------------------------------- masters */

static tern_status load_params(const char *path, const tern_dims *wanted, tern_params *params, tern_error *error) {
    tern_checkpoint *checkpoint = NULL;
    MUST(tern_checkpoint_open(path, &checkpoint, err));
    MUST(tern_params_create(wanted, false, params, err));
    tern_status status = tern_params_load(checkpoint, params, error);
    tern_checkpoint_close(checkpoint);
    return status;
}

/* F32 comes back as it was, bf16 rounded once. */
static void test_masters(void **state) {
    const fixture *f = *state;
    const tern_export_params forms[] = {
        gguf(TERN_WEIGHTS_FLOAT, "F32", "F32"),
        {.kind = TERN_EXPORT_HF_MASTER, .mode = TERN_WEIGHTS_TERNARY, .tokenizer_json = TOKENIZER},
    };
    for (int i = 0; i < 2; i++) {
        tern_params params;
        MUST(tern_export(&f->params, &forms[i], f->path, err));
        MUST(load_params(f->path, &dims, &params, err));
        for (size_t j = 0; j < params.n_values; j++)
            assert_true(params.values[j] ==
                        (i ? tern_bf16_to_f32(tern_f32_to_bf16(f->params.values[j])) : f->params.values[j]));
        tern_params_free(&params);
        remove_model(f);
    }
}

static void test_no_masters(void **state) {
    const fixture *f = *state;
    const tern_export_params forms[] = {
        gguf(TERN_WEIGHTS_TERNARY, "I2_S", NULL),
        gguf(TERN_WEIGHTS_TERNARY, "F32", NULL),
        {.kind = TERN_EXPORT_HF_PACKED, .mode = TERN_WEIGHTS_TERNARY, .tokenizer_json = TOKENIZER},
    };
    for (int i = 0; i < 3; i++) {
        tern_params params;
        tern_error error;
        MUST(tern_export(&f->params, &forms[i], f->path, err));
        assert_int_equal(load_params(f->path, &dims, &params, &error), TERN_ERR_UNSUPPORTED);
        assert_non_null(strstr(error.message, "no master weight"));
        tern_params_free(&params);
        remove_model(f);
    }
}

static void test_other_dimensions(void **state) {
    const fixture *f = *state;
    tern_dims others[] = {dims, dims, dims};
    others[0].n_layers = 1;
    others[1].n_heads = 2;
    others[1].n_kv_heads = 1;
    others[1].head_dim = 128;
    others[2].rope_theta = 5e5f;
    tern_export_params how = gguf(TERN_WEIGHTS_FLOAT, "F32", NULL);
    MUST(tern_export(&f->params, &how, f->path, err));
    for (int i = 0; i < 3; i++) {
        tern_params params;
        tern_error error;
        assert_int_equal(load_params(f->path, &others[i], &params, &error), TERN_ERR_ARGUMENT);
        tern_params_free(&params);
    }
    remove_model(f);
}

/* ------------------------------------------------------------- replacement */

static size_t count_entries(const char *path) {
    DIR *folder = opendir(path);
    assert_non_null(folder);
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

static void put_file(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_folder_is_replaced(void **state) {
    fixture *f = *state;
    tern_export_params how = {.kind = TERN_EXPORT_HF_MASTER, .mode = TERN_WEIGHTS_TERNARY, .tokenizer_json = TOKENIZER};
    char slash[160], path[256];
    struct stat master, packed;
    tern_error error;
    snprintf(slash, sizeof slash, "%s/", f->path);
    snprintf(path, sizeof path, "%s/model.safetensors", f->path);
    MUST(tern_export(&f->params, &how, slash, err));
    assert_int_equal(count_entries(f->path), 5);
    assert_int_equal(stat(path, &master), 0);

    how.kind = TERN_EXPORT_HF_PACKED; /* through a link, which stays one */
    snprintf(slash, sizeof slash, "%s/link", f->folder);
    assert_int_equal(symlink("model", slash), 0);
    MUST(tern_export(&f->params, &how, slash, err));
    assert_int_equal(unlink(slash), 0);
    assert_int_equal(stat(path, &packed), 0);
    assert_true(packed.st_size < master.st_size);
    assert_int_equal(count_entries(f->folder), 1);

    /* a failure on the way leaves the old one */
    how.tokenizer_json = TERN_SOURCE_DIR "/tests/data/tokenizer";
    assert_int_not_equal(tern_export(&f->params, &how, f->path, &error), TERN_OK);
    how.tokenizer_json = TOKENIZER;
    how.mode = TERN_WEIGHTS_FLOAT;
    assert_int_equal(tern_export(&f->params, &how, f->path, &error), TERN_ERR_ARGUMENT);
    assert_int_equal(count_entries(f->path), 5);

    /* somebody's own file */
    how.mode = TERN_WEIGHTS_TERNARY;
    put_file(f->path, "notes.txt", "mine");
    assert_int_equal(tern_export(&f->params, &how, f->path, &error), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "notes.txt"));
    assert_int_equal(count_entries(f->path), 6);
    assert_int_equal(count_entries(f->folder), 1);
    snprintf(path, sizeof path, "%s/notes.txt", f->path);
    assert_int_equal(unlink(path), 0);
    remove_model(f);
}

static void test_refusals(void **state) {
    fixture *f = *state;
    const struct {
        tern_export_params how;
        const char *message;
    } cases[] = {
        {gguf(TERN_WEIGHTS_TERNARY, "Q8_0", NULL), "is not one of I2_S"},
        {gguf(TERN_WEIGHTS_FLOAT, "I2_S", NULL), "is not one of F16"},
        {gguf(TERN_WEIGHTS_TERNARY, NULL, "I2_S"), "embedding type"},
        {{.kind = TERN_EXPORT_GGUF}, "tokenizer.json"},
        {{.kind = TERN_EXPORT_GGUF, .tokenizer_json = TOKENIZER, .chat_template = "{% for"}, ""},
    };
    tern_error error;
    put_file(f->folder, "model", "old");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_not_equal(tern_export(&f->params, &cases[i].how, f->path, &error), TERN_OK);
        if (!strstr(error.message, cases[i].message))
            fail_msg("case %zu says: %s", i, error.message);
    }
    tern_dims narrow = dims;
    narrow.hidden_size = 64;
    narrow.head_dim = 16;
    narrow.vocab_size = 100;
    for (int i = 0; i < 2; i++) {
        tern_params params;
        tern_export_params how = gguf(TERN_WEIGHTS_TERNARY, NULL, NULL);
        MUST(tern_params_create(&narrow, false, &params, err));
        assert_int_equal(tern_export(&params, &how, f->path, &error), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(error.message, i ? "multiple of 128" : "vocabulary is 100"));
        narrow.vocab_size = dims.vocab_size;
        tern_params_free(&params);
    }
    f->params.values[5] = NAN;
    tern_export_params how = gguf(TERN_WEIGHTS_TERNARY, NULL, NULL);
    assert_int_equal(tern_export(&f->params, &how, f->path, &error), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "q_proj"));

    char *text;
    size_t n_bytes;
    MUST(tern_read_file(f->path, 100, &text, &n_bytes, err));
    assert_string_equal(text, "old");
    free(text);
    remove_model(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_results, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frozen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frozen_adapters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tokenizer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_masters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_masters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_dimensions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
