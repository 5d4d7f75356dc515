/* tern fit's arithmetic: the published figures, sizes against models that are really loaded, verdicts, the table of
 * devices. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* The eval room is part of the command, not of the library that tests link with. */
#include "eval/devices.c"
#include "eval/fit.c"

#define TABLE TERN_SOURCE_DIR "/data/devices.json"

static tern_device_table table;
static tern_shape page;
static char folder[] = "/tmp/tern-fit-XXXXXX";
static char model_path[64];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(model_path, sizeof model_path, "%s/m.gguf", folder);
    tern_error err;
    if (tern_devices_add_file(&table, TABLE, &err)) {
        print_error("%s\n", err.message);
        return -1;
    }
    return (int)tern_shape_named("2b4t", &page, NULL);
}

static int tear_down(void **state) {
    (void)state;
    tern_devices_free(&table);
    unlink(model_path);
    rmdir(folder);
    return 0;
}

static const tern_device *find(const char *name) {
    const tern_device *device = NULL;
    tern_error err;
    if (tern_devices_find(&table, name, &device, &err))
        fail_msg("%s", err.message);
    return device;
}

static tern_fit_form form_of(const tern_shape *shape, const char *name) {
    tern_fit_form form;
    tern_error err;
    if (tern_fit_form_of(shape, name, NULL, -1, &form, &err))
        fail_msg("%s: %s", name, err.message);
    return form;
}

/* ------------------------------------------------------------ published figures */

static void test_published_page(void **state) {
    (void)state;
    tern_fit_form form = form_of(&page, "published");
    assert_true(form.weight_bytes == 4.0e9);
    assert_true(form.rest_bytes == 0.3e9);
    tern_fit_need at_2k = tern_fit_need_of(&page, &form, 2048, 1), at_4k = tern_fit_need_of(&page, &form, 4096, 1);
    /* 4.5 and 4.6 GB */
    assert_true(lround(at_2k.total_bytes / 1e8) == 45);
    assert_true(lround(at_4k.total_bytes / 1e8) == 46);
    const struct {
        const char *name;
        double bandwidth, efficiency;
        long rate;
    } rows[] = {{"MI300X", 5300e9, 0.55, 654},
                {"RTX 4090", 1008e9, 0.65, 147},
                {"H100 SXM", 3350e9, 0.65, 489},
                {"MI250X", 3277e9, 0.55, 404}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tern_device *device = find(rows[i].name);
        assert_true(device->bandwidth == rows[i].bandwidth);
        assert_true(device->efficiency == rows[i].efficiency);
        assert_int_equal(lround(tern_fit_rate(device, &at_2k, 1)), rows[i].rate);
        assert_int_equal(tern_fit_judge(device, &at_4k), TERN_FIT_YES);
    }
    tern_shape other = page;
    other.n_layers--;
    assert_int_equal(tern_fit_form_of(&other, "published", NULL, -1, &form, NULL), TERN_ERR_ARGUMENT);
}

/* From the shape alone (docs/MODEL.md): what the page rounds to 2 G. */
static void test_real_sizes(void **state) {
    (void)state;
    const uint64_t ternary = 30ull * (2560 * 2560 * 2 + 640 * 2560 * 2 + 3ull * 6912 * 2560);
    tern_size size;
    tern_size_params params = {.weight_type = "BF16", .embedding_type = "BF16"};
    assert_int_equal(tern_size_of(&page, &params, &size, NULL), TERN_OK);
    assert_int_equal(size.n_ternary, ternary);
    assert_int_equal(size.n_params, ternary + 128256ull * 2560 + 30ull * (3 * 2560 + 6912) + 2560);
    assert_int_equal(size.weight_bytes, 2 * ternary);
    assert_int_equal(size.embedding_bytes, 2 * 128256ull * 2560);
    assert_int_equal(size.screen_bytes, 0);
    params.weight_type = "I2_S"; /* 4 weights a byte and 32 bytes behind each matrix */
    assert_int_equal(tern_size_of(&page, &params, &size, NULL), TERN_OK);
    assert_int_equal(size.weight_bytes, ternary / 4 + 30 * 7 * 32);
    params.weight_type = "t2r16";
    assert_int_equal(tern_size_of(&page, &params, &size, NULL), TERN_OK);
    assert_int_equal(size.weight_bytes, ternary / 4);
    assert_true(size.screen_bytes > 0 && size.bytes_per_token < size.weight_bytes + size.embedding_bytes);
    params.exact_head = true;
    assert_int_equal(tern_size_of(&page, &params, &size, NULL), TERN_OK);
    assert_int_equal(size.screen_bytes, 0);
    assert_int_equal(size.bytes_per_token, size.weight_bytes + size.norm_bytes + size.embedding_bytes);
    /* 5 KV heads of 128, keys and values, in 30 layers */
    assert_true(tern_shape_kv_bytes(&page, TERN_KV_F16, 2048) == 2048.0 * 30 * 5 * 128 * 2 * 2);
    assert_true(tern_shape_kv_bytes(&page, TERN_KV_F32, 1) == 30.0 * 5 * 128 * 4 * 2);
    assert_true(tern_shape_kv_bytes(&page, TERN_KV_Q8, 1) == 30.0 * 5 * (128 + 4) * 2);
}

static void test_impossible_sizes(void **state) {
    (void)state;
    tern_size size;
    tern_error err;
    tern_size_params params = {.weight_type = "Q9"};
    assert_int_equal(tern_size_of(&page, &params, &size, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "t5r16"));
    params.weight_type = "Q8_0"; /* an embedding's type */
    assert_int_equal(tern_size_of(&page, &params, &size, &err), TERN_ERR_ARGUMENT);
    params = (tern_size_params){.embedding_type = "I2_S"};
    assert_int_equal(tern_size_of(&page, &params, &size, &err), TERN_ERR_ARGUMENT);
    tern_shape narrow = page;
    narrow.hidden_size = 160, narrow.n_heads = 5, narrow.head_dim = 32, narrow.n_kv_heads = 1;
    params = (tern_size_params){.weight_type = "TQ1_0"};
    assert_int_equal(tern_size_of(&narrow, &params, &size, &err), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "256"));
    params.weight_type = "t5r16"; /* pads */
    assert_int_equal(tern_size_of(&narrow, &params, &size, &err), TERN_OK);
    for (int i = 0; i < 4; i++) {
        tern_shape wrong = page;
        wrong.n_layers = i == 0 ? 0 : wrong.n_layers;
        wrong.n_kv_heads = i == 1 ? 3 : wrong.n_kv_heads;
        wrong.head_dim = i == 2 ? 127 : wrong.head_dim;
        wrong.vocab_size = i == 3 ? UINT32_MAX : wrong.vocab_size;
        assert_int_equal(tern_size_of(&wrong, NULL, &size, &err), TERN_ERR_ARGUMENT);
    }
    tern_shape shape = {.vocab_size = 1};
    assert_int_not_equal(tern_shape_of("/nowhere/none.gguf", &shape, &err), TERN_OK);
    assert_int_equal(shape.vocab_size, 1);
    assert_int_equal(tern_shape_named("2b5t", &shape, &err), TERN_ERR_ARGUMENT);
}

/* ----------------------------------------------------------- against real models */

/* What the file holds in its ternary matrices. */
static uint64_t stored_bytes(const char *path) {
    tern_inspection *inspection;
    tern_tensor_info tensor;
    uint64_t bytes = 0;
    assert_int_equal(tern_inspect(path, &inspection, NULL), TERN_OK);
    for (size_t i = 0; i < tern_inspection_n_tensors(inspection); i++) {
        tern_inspection_tensor(inspection, i, &tensor);
        if (strncmp(tensor.name, "blk.", 4) == 0 && !strstr(tensor.name, "norm"))
            bytes += tensor.bytes;
    }
    tern_inspection_free(inspection);
    return bytes;
}

static void check_loaded(const char *path, const char *cpu, const char *packing, bool exact_head, bool screened) {
    tern_model *model;
    tern_model_info info;
    tern_shape shape;
    tern_size size;
    tern_error err;
    tern_model_params params = tern_model_defaults();
    params.n_threads = 1;
    params.cpu = cpu;
    params.packing = packing;
    params.exact_head = exact_head;
    if (tern_model_load(path, &params, &model, &err))
        fail_msg("%s", err.message);
    tern_model_get_info(model, &info);
    bool is_screened = info.screen_bytes > 0;
#ifdef __x86_64__
    assert_true(is_screened == screened);
#else /* the kernels for Arm make no screen */
    assert_true(screened || !is_screened);
#endif
    assert_int_equal(tern_shape_of(path, &shape, &err), TERN_OK);
    const tern_size_params wanted = {.weight_type = info.packing, .exact_head = !is_screened};
    assert_int_equal(tern_size_of(&shape, &wanted, &size, &err), TERN_OK);
    assert_int_equal(size.n_params, info.n_params);
    assert_int_equal(size.n_ternary, info.n_ternary);
    assert_int_equal(size.weight_bytes, info.weight_bytes);
    assert_int_equal(size.screen_bytes, info.screen_bytes);
    assert_int_equal(size.total_bytes, info.loaded_bytes);
    assert_int_equal(size.bytes_per_token, info.bytes_per_token);
    assert_string_equal(shape.weight_type, info.weight_type);
    assert_string_equal(shape.embedding_type, info.embedding_type);
    assert_string_equal(shape.head_type, info.head_type);
    assert_int_equal(shape.head_dim, info.head_dim);
    assert_true(shape.binary == (strcmp(info.packing, "b1r16") == 0));
    assert_true((shape.float_bytes > 0) == (info.n_ternary == 0));
    tern_model_free(model);
    assert_int_equal(tern_size_of(&shape, NULL, &size, &err), TERN_OK); /* as it is stored */
    assert_int_equal(size.weight_bytes, stored_bytes(path));
}

static void test_built_in_model(void **state) {
    (void)state;
    check_loaded(NULL, NULL, NULL, false, false);
    check_loaded(NULL, "ref", "t2r16", false, false);
    check_loaded(NULL, "ref", "t5r16", false, false);
}

/* A head of 10 MB, which is screened, untied from the embedding; odd sizes. */
static void test_model_with_a_screen(void **state) {
    (void)state;
    tern_synth_params params;
    tern_error err;
    assert_int_equal(tern_synth_shape("tiny", &params, &err), TERN_OK);
    params.vocab_size = 40001;
    params.hidden_size = 128;
    params.n_heads = 2, params.n_kv_heads = 1, params.n_layers = 2;
    params.ffn_size = 384;
    params.tied_embedding = false;
    if (tern_synth(model_path, &params, &err))
        fail_msg("%s", err.message);
    check_loaded(model_path, NULL, NULL, false, true);
    check_loaded(model_path, NULL, "t2r16", true, false);
}

/* tern loads a model without zeros as b1r16 by itself. */
static void test_binary_model(void **state) {
    (void)state;
    tern_synth_params params;
    tern_shape shape;
    tern_error err;
    assert_int_equal(tern_synth_shape("tiny", &params, &err), TERN_OK);
    params.binary = true;
    params.n_layers = 2;
    if (tern_synth(model_path, &params, &err))
        fail_msg("%s", err.message);
    check_loaded(model_path, NULL, NULL, false, false);
    assert_int_equal(tern_shape_of(model_path, &shape, &err), TERN_OK);
    tern_fit_form form = form_of(&shape, "B1R16"), twice = form_of(&shape, "t2r16");
    assert_int_equal(form.reader, TERN_FIT_TERN);
    assert_true(2 * form.weight_bytes == twice.weight_bytes); /* 256 and 768 columns are whole blocks */
    for (const tern_fit_row *row = tern_fit_rows; row->name; row++)
        if (row->of == TERN_FIT_BINARY)
            assert_true(tern_fit_shows(&shape, row) && !tern_fit_shows(&page, row));
}

/* LLaMA's layout: floats that stay floats, other norms; and the same layout with ternary matrices. */
static void test_llama_models(void **state) {
    (void)state;
    tern_synth_params params;
    tern_shape shape;
    tern_size size;
    tern_error err;
    assert_int_equal(tern_synth_shape("tiny", &params, &err), TERN_OK);
    params.llama = true;
    params.n_layers = 2;
    params.vocab_size = 20001;
    params.tied_embedding = false;
    params.weight_type = "BF16";
    if (tern_synth(model_path, &params, &err))
        fail_msg("%s", err.message);
    check_loaded(model_path, NULL, NULL, false, true);
    check_loaded(model_path, NULL, NULL, true, false);
    assert_int_equal(tern_shape_of(model_path, &shape, &err), TERN_OK);
    const uint64_t weights = 2ull * (256 * 256 * 2 + 128 * 256 * 2 + 3 * 256 * 768);
    assert_true(shape.no_sub_norms);
    assert_int_equal(shape.float_bytes, 2 * weights);
    tern_fit_form stored = form_of(&shape, "stored"), bf16 = form_of(&shape, "BF16"), q4_0 = form_of(&shape, "q4_0");
    assert_true(stored.weight_bytes == 2.0 * (double)weights && bf16.weight_bytes == stored.weight_bytes);
    assert_int_equal(stored.reader, TERN_FIT_TERN);
    assert_int_equal(bf16.reader, TERN_FIT_PROGRAM);
    assert_true(q4_0.weight_bytes == (double)weights * 18 / 32);
    const tern_size_params quantized = {.weight_type = "t5r16"}; /* what tern quantize would make of it */
    assert_int_equal(tern_size_of(&shape, &quantized, &size, &err), TERN_OK);
    assert_int_equal(size.n_ternary, weights);
    assert_int_equal(tern_fit_form_of(&page, "stored", NULL, -1, &stored, &err), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_fit_form_of(&page, "Q8_0", NULL, -1, &stored, &err), TERN_ERR_ARGUMENT);

    params.weight_type = "I2_S";
    if (tern_synth(model_path, &params, &err))
        fail_msg("%s", err.message);
    check_loaded(model_path, NULL, "t2r16", false, true);
    assert_int_equal(tern_shape_of(model_path, &shape, &err), TERN_OK);
    assert_true(shape.no_sub_norms && shape.float_bytes == 0);
}

/* ------------------------------------------------------------------- verdicts */

static void test_needs(void **state) {
    (void)state;
    tern_fit_form own = form_of(&page, "T5R16"), i2_s = form_of(&page, "i2_s");
    assert_string_equal(own.name, "t5r16");
    assert_int_equal(own.reader, TERN_FIT_TERN);
    assert_int_equal(own.kv_type, TERN_KV_Q8);
    assert_int_equal(i2_s.kv_type, TERN_KV_F16);
    /* tern's cache grows by blocks of 64 tokens; what is read does not */
    tern_fit_need a = tern_fit_need_of(&page, &own, 65, 1), b = tern_fit_need_of(&page, &own, 128, 1);
    assert_true(a.kv_bytes == b.kv_bytes && a.read_bytes < b.read_bytes);
    assert_true(a.read_bytes == own.step_bytes + tern_shape_kv_bytes(&page, TERN_KV_Q8, 65));
    /* streams share the weights and have their own caches */
    tern_fit_need one = tern_fit_need_of(&page, &i2_s, 1000, 1), ten = tern_fit_need_of(&page, &i2_s, 1000, 10);
    assert_true(ten.kv_bytes == 10 * one.kv_bytes);
    assert_true(ten.total_bytes - one.total_bytes == 9 * one.kv_bytes);
    assert_true(ten.read_bytes - one.read_bytes == 9 * one.kv_bytes);
    tern_device device = {.kind = "gpu", .memory = 1e9, .bandwidth = 100e9, .efficiency = 0.5, .usable = 1};
    assert_true(fabs(tern_fit_rate(&device, &ten, 10) / (10 * 50e9 / ten.read_bytes) - 1) < 1e-12);
    assert_false(tern_fit_runs(&device, &own));
    assert_true(tern_fit_runs(&device, &i2_s));
    snprintf(device.kind, sizeof device.kind, "cpu");
    assert_true(tern_fit_runs(&device, &own));
}

static void test_verdicts(void **state) {
    (void)state;
    const tern_device device = {.memory = 10e9, .usable = 0.5};
    const struct {
        double bytes;
        tern_fit_verdict verdict;
    } rows[] = {{1e9, TERN_FIT_YES},   {4.5e9, TERN_FIT_YES},  {4.5e9 + 1, TERN_FIT_TIGHT},
                {5e9, TERN_FIT_TIGHT}, {5e9 + 1, TERN_FIT_NO}, {1e12, TERN_FIT_NO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tern_fit_need need = {.total_bytes = rows[i].bytes};
        assert_int_equal(tern_fit_judge(&device, &need), rows[i].verdict);
    }
    /* the longest context is one that fits, and 64 tokens more do not */
    tern_fit_form form = form_of(&page, "BF16");
    tern_device small = {.memory = 5.3e9, .usable = 1};
    uint32_t longest = tern_fit_longest(&page, &form, &small, 1);
    tern_fit_need need = tern_fit_need_of(&page, &form, longest, 1);
    tern_fit_need more = tern_fit_need_of(&page, &form, longest + 64, 1);
    assert_true(longest > 0 && longest < page.n_ctx && longest % 64 == 0);
    assert_int_not_equal(tern_fit_judge(&small, &need), TERN_FIT_NO);
    assert_int_equal(tern_fit_judge(&small, &more), TERN_FIT_NO);
    small.memory = 1e9;
    assert_int_equal(tern_fit_longest(&page, &form, &small, 1), 0);
    small.memory = 1e12;
    assert_int_equal(tern_fit_longest(&page, &form, &small, 1), page.n_ctx);
}

/* A measurement that others disturbed. */
static void test_disturbance(void **state) {
    (void)state;
    const struct {
        tern_meter_quiet quiet;
        bool disturbed;
    } rows[] = {{{1, 1}, false},     {{0.97, 0.85}, false}, {{0.9, 0.6}, false}, {{0.89, 1}, true},
                {{0.25, 0.9}, true}, {{1, 0.59}, true},     {{0, 0}, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(tern_fit_disturbance(&rows[i].quiet) != NULL, rows[i].disturbed);
    tern_meter *meter;
    tern_error err;
    if (tern_meter_create(1, NULL, &meter, &err))
        fail_msg("%s", err.message);
    assert_true(tern_meter_memory(meter) > 0);
    const tern_meter_quiet quiet = tern_meter_how_quiet(meter);
    tern_meter_free(meter);
    assert_true(quiet.cpu_share > 0 && quiet.cpu_share < 1.1); /* other threads of this program do nothing */
    assert_true(quiet.slowest > 0 && quiet.slowest <= 1);
}

/* --------------------------------------------------------------------- devices */

static void test_the_table(void **state) {
    (void)state;
    size_t products = 0, first_hand = 0;
    assert_true(table.n_devices >= 30);
    for (size_t i = 0; i < table.n_devices; i++) {
        const tern_device *device = &table.devices[i];
        assert_true(strncmp(device->source, "https://", 8) == 0);
        assert_int_not_equal(device->origin, TERN_SOURCE_NOT_SAID);
        first_hand += device->origin == TERN_SOURCE_FIRST_HAND;
        assert_true(strlen(device->name) <= 20); /* the page has 100 columns */
        assert_ptr_equal(find(device->name), device);
        if (device->bus_bits > 0) {
            double product = device->bus_bits * device->gbit_s / 8 * 1e9;
            if (fabs(product / device->bandwidth - 1) > 0.01)
                fail_msg("%s: %g bit x %g Gbit/s is not its bandwidth", device->name, device->bus_bits, device->gbit_s);
            products++;
        }
    }
    assert_true(products >= 10);
    assert_true(first_hand >= 2);
    assert_int_equal(find("MI300X")->origin, TERN_SOURCE_FIRST_HAND);
    assert_int_equal(find("MI250X")->origin, TERN_SOURCE_FIRST_HAND);
    assert_non_null(tern_devices_class(&table, "measured"));
}

static void test_finding(void **state) {
    (void)state;
    const struct {
        const char *wanted, *name, *message;
    } rows[] = {{"RTX 4090", "RTX 4090", NULL},
                {"rtx-4090", "RTX 4090", NULL},
                {"4090", "RTX 4090", NULL},
                {"m4", "M4", NULL}, /* all of a name comes before the beginning of others */
                {"m4 m", "M4 Max", NULL},
                {"h100", "H100 SXM", NULL},
                {"spark", "DGX Spark", NULL},
                {"rtx", NULL, "RTX 5090, RTX 4090"},
                {"a100", NULL, "A100 80GB SXM, A100 40GB"},
                {"rtx 4091", NULL, "nearest names are RTX 4090,"},
                {"h100 pcie", NULL, "H100 SXM"},
                {"", NULL, "empty"},
                {" - ", NULL, "empty"},
                {"a name that is longer than any device's name in the table", NULL, "no device"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tern_device *device = NULL;
        tern_error err = {0};
        tern_status status = tern_devices_find(&table, rows[i].wanted, &device, &err);
        if (rows[i].name) {
            assert_int_equal(status, TERN_OK);
            assert_string_equal(device->name, rows[i].name);
        } else {
            assert_int_equal(status, TERN_ERR_ARGUMENT);
            assert_null(device);
            if (!strstr(err.message, rows[i].message))
                fail_msg("'%s' is not in '%s'", rows[i].message, err.message);
        }
    }
}

static void test_own_devices(void **state) {
    (void)state;
    tern_device_table mine = {0};
    tern_error err;
    const char *text = "{\"classes\": {\"me\": {\"efficiency\": 0.8}}, \"kinds\": {\"cpu\": {\"title\": \"my CPUs\", "
                       "\"usable\": 0.5}}, \"devices\": [{\"name\": \"RTX 4090\", \"memory_gb\": 48, "
                       "\"bandwidth_gb_s\": 1000, \"efficiency\": 0.7}, {\"name\": \"laptop\", \"kind\": \"cpu\", "
                       "\"class\": \"me\", \"memory_gb\": 16, \"bandwidth_gb_s\": 60}]}";
    assert_int_equal(tern_devices_add_file(&mine, TABLE, &err), TERN_OK);
    size_t n = mine.n_devices;
    if (tern_devices_add(&mine, text, strlen(text), "mine", &err))
        fail_msg("%s", err.message);
    assert_int_equal(mine.n_devices, n + 1); /* one is new, one replaced */
    assert_string_equal(mine.devices[0].name, "RTX 4090");
    assert_true(mine.devices[0].memory == 48e9 && mine.devices[0].efficiency == 0.7);
    assert_string_equal(mine.devices[0].kind, "gpu");
    assert_string_equal(mine.devices[1].name, "laptop");
    assert_true(mine.devices[1].efficiency == 0.8 && mine.devices[1].usable == 0.5);
    assert_int_equal(mine.n_kinds, table.n_kinds);
    tern_devices_free(&mine);
}

static void test_bad_tables(void **state) {
    (void)state;
#define ROW(text) "{\"devices\": [{\"name\": \"a\", " text "}]}"
#define SIZES "\"memory_gb\": 8, \"bandwidth_gb_s\": 100"
    const struct {
        const char *text, *message;
    } rows[] = {
        {"", "no JSON"},
        {"{", "line 1"},
        {"[]", "must be {"},
        {"{\"devices\": {}}", "must be {"},
        {"{\"device\": [], \"devices\": []}", "'device' is no key"},
        {"{\"devices\": [1]}", "device 1: must be an object"},
        {"{\"devices\": [{}]}", "device 1: 'name' is missing"},
        {"{\"devices\": [{\"name\": 5}]}", "'name' must be a text"},
        {"{\"devices\": [{\"name\": \"a\\nb\"}]}", "'name' must be plain text on one line"},
        {"{\"devices\": [{\"name\": \"a\\u009b2J\"}]}", "'name' must be plain text"},
        {"{\"devices\": [{\"name\": \"0123456789012345678901234567890123456789\"}]}", "'name' is too long"},
        {ROW("\"bandwidth_gb_s\": 1"), "device 1 (a): 'memory_gb' is missing"},
        {ROW("\"memory_gb\": 1"), "'bandwidth_gb_s' is missing"},
        {ROW("\"memory_gb\": 0, \"bandwidth_gb_s\": 1"), "'memory_gb' must be a number above 0"},
        {ROW("\"memory_gb\": -4, \"bandwidth_gb_s\": 1"), "'memory_gb' must be a number above 0"},
        {ROW("\"memory_gb\": \"8\", \"bandwidth_gb_s\": 1"), "'memory_gb' must be a number"},
        {ROW("\"memory_gb\": 8, \"bandwidth_gb_s\": 1e7"), "up to 1e+06"},
        {ROW(SIZES), "needs a 'class'"},
        {ROW(SIZES ", \"class\": \"voodoo\""), "'voodoo' is no class"},
        {ROW(SIZES ", \"class\": \"amd\", \"kind\": \"tpu\""), "'tpu' is no kind"},
        {ROW(SIZES ", \"efficiency\": 1.5"), "'efficiency' must be a number above 0 and up to 1"},
        {ROW(SIZES ", \"class\": \"amd\", \"usable\": 0"), "'usable' must be"},
        {ROW(SIZES ", \"class\": \"amd\", \"bandwith\": 5"), "'bandwith' is no key"},
        {"{\"devices\": [{\"name\": \"a\", " SIZES ", \"class\": \"amd\"}, {\"name\": \"a\", " SIZES
         ", \"class\": \"amd\"}]}",
         "device 2 (a): is there twice"},
        {"{\"classes\": [], \"devices\": []}", "'classes' must be an object"},
        {"{\"classes\": {\"x\": {}}, \"devices\": []}", "class 'x': 'efficiency' is missing"},
        {"{\"classes\": {\"\": {}}, \"devices\": []}", "is no name"},
        {"{\"kinds\": {\"x\": {\"usable\": 1}}, \"devices\": []}", "kind 'x': 'title' is missing"},
        {"{\"kinds\": {\"x\": {\"title\": \"t\", \"usable\": 2}}, \"devices\": []}", "'usable' must be"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tern_device_table before = table;
        tern_error err = {0};
        assert_int_equal(tern_devices_add(&table, rows[i].text, strlen(rows[i].text), "F", &err), TERN_ERR_FORMAT);
        if (strncmp(err.message, "F: ", 3) != 0 || !strstr(err.message, rows[i].message))
            fail_msg("'%s' is not in '%s'", rows[i].message, err.message);
        assert_memory_equal(&before, &table, sizeof table); /* nothing was added */
    }
    assert_int_not_equal(tern_devices_add_file(&table, "/nowhere/devices.json", NULL), TERN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_page),
        cmocka_unit_test(test_real_sizes),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_built_in_model),
        cmocka_unit_test(test_model_with_a_screen),
        cmocka_unit_test(test_binary_model),
        cmocka_unit_test(test_llama_models),
        cmocka_unit_test(test_needs),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_disturbance),
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_finding),
        cmocka_unit_test(test_own_devices),
        cmocka_unit_test(test_bad_tables),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
