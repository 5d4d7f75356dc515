/* The configuration file of a run: one table of keys reads it, writes it, compares two of them and explains them. */
#include "train/config.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "train/config_keys.h"

enum { MAX_BYTES = 1 << 20 };

static void *field_of(const config_key *key, const tern_train_config *config) { return (char *)config + key->offset; }

/* ------------------------------------------------------------------ values */

static bool in_range(const config_key *key, double value) { return value >= key->min && value <= key->max; }

static bool set_number(const config_key *key, const json_t *value, void *field) {
    double real = json_number_value(value);
    if (!json_is_number(value) || !in_range(key, real) || (key->kind <= KEY_U64 && !json_is_integer(value)))
        return false;
    json_int_t whole = json_integer_value(value);
    switch (key->kind) {
    case KEY_U32:
        *(uint32_t *)field = (uint32_t)whole;
        return true;
    case KEY_U64:
        *(uint64_t *)field = (uint64_t)whole;
        return true;
    case KEY_F32:
        *(float *)field = (float)real;
        return true;
    default:
        *(double *)field = real;
        return true;
    }
}

static bool set_choice(const config_key *key, const json_t *value, void *field) {
    const char *text = json_string_value(value);
    for (int i = 0; text && key->choices[i]; i++)
        if (strcmp(text, key->choices[i]) == 0) {
            *(int *)field = i;
            return true;
        }
    return false;
}

/* A path is relative to the file that names it: `folder` [folder_length] ends with a slash or is empty. */
static char *joined(const char *folder, size_t folder_length, const char *path) {
    if (*path == '/')
        folder_length = 0;
    size_t length = strlen(path);
    char *whole = malloc(folder_length + length + 1);
    if (whole) {
        memcpy(whole, folder, folder_length);
        memcpy(whole + folder_length, path, length + 1);
    }
    return whole;
}

bool tern_paths_add(tern_paths *paths, const char *path) {
    char **longer = realloc(paths->list, (paths->n + 1) * sizeof *longer), *copy = strdup(path);
    if (longer)
        paths->list = longer;
    if (!longer || !copy) {
        free(copy);
        return false;
    }
    paths->list[paths->n++] = copy;
    return true;
}

static void free_paths(tern_paths *paths) {
    for (size_t i = 0; i < paths->n; i++)
        free(paths->list[i]);
    free(paths->list);
    *paths = (tern_paths){0};
}

/* One path or a list of them. */
static bool are_paths(const json_t *value) {
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
        if (!text || !*text)
            return false;
    }
    return true;
}

static bool set_paths(const json_t *value, const char *folder, size_t folder_length, tern_paths *paths) {
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    bool good = true;
    free_paths(paths);
    for (size_t i = 0; good && i < n; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        char *path = joined(folder, folder_length, json_string_value(one));
        good = path && tern_paths_add(paths, path);
        free(path);
    }
    return good;
}

/* What stands where a value was not what is allowed. */
static void describe_allowed(const config_key *key, char text[64]) {
    *text = 0;
    switch (key->kind) {
    case KEY_U32:
    case KEY_U64:
        snprintf(text, 64, "%.0f to %.0f", key->min, key->max);
        break;
    case KEY_F32:
    case KEY_F64:
        snprintf(text, 64, "%.9g to %.9g", key->min, key->max);
        break;
    case KEY_BOOL:
        snprintf(text, 64, "true or false");
        break;
    case KEY_CHOICE:
        for (int i = 0; key->choices[i]; i++)
            snprintf(text + strlen(text), 64 - strlen(text), "%s%s", i ? ", " : "", key->choices[i]);
        break;
    case KEY_TEXT:
        snprintf(text, 64, "a text");
        break;
    case KEY_PATH:
        snprintf(text, 64, "a path");
        break;
    case KEY_PATHS:
        snprintf(text, 64, "a path or a list of paths");
    }
}

static tern_status set_value(const config_key *key, const json_t *value, const char *path, tern_train_config *config,
                             tern_error *err) {
    void *field = field_of(key, config);
    const char *text = json_string_value(value), *slash = strrchr(path, '/');
    size_t folder_length = slash ? (size_t)(slash - path) + 1 : 0;
    bool good = false;
    switch (key->kind) {
    case KEY_BOOL:
        good = json_is_boolean(value);
        *(bool *)field = json_is_true(value);
        break;
    case KEY_CHOICE:
        good = set_choice(key, value, field);
        break;
    case KEY_TEXT:
    case KEY_PATH:
        good = text && (*text || key->kind == KEY_TEXT);
        if (!good)
            break;
        free(*(char **)field);
        *(char **)field = key->kind == KEY_PATH ? joined(path, folder_length, text) : strdup(text);
        if (!*(char **)field)
            return tern_fail_memory(err, path);
        break;
    case KEY_PATHS:
        good = are_paths(value);
        if (good && !set_paths(value, path, folder_length, field))
            return tern_fail_memory(err, path);
        break;
    default:
        good = set_number(key, value, field);
    }
    if (good)
        return TERN_OK;
    char allowed[64], *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    describe_allowed(key, allowed);
    tern_fail(err, TERN_ERR_FORMAT, "%s: \"%s\" is %.60s, but must be %s%s", path, key->name, shown ? shown : "wrong",
              key->kind <= KEY_U64 ? "a whole number, " : "", allowed);
    free(shown);
    return TERN_ERR_FORMAT;
}

static void print_text(const char *value, tern_buffer *buffer) {
    json_t *text = json_string_nocheck(value);
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    buffer->failed |= !quoted;
    tern_buffer_text(buffer, quoted ? quoted : "");
    free(quoted);
    json_decref(text);
}

static void print_paths(const tern_paths *paths, tern_buffer *buffer) {
    tern_buffer_text(buffer, paths->n == 1 ? "" : "[");
    for (size_t i = 0; i < paths->n; i++) {
        tern_buffer_text(buffer, i ? ", " : "");
        print_text(paths->list[i], buffer);
    }
    tern_buffer_text(buffer, paths->n == 1 ? "" : "]");
}

/* The value as JSON; floats as short as they can be and still be read back as the same. */
static void print_value(const config_key *key, const tern_train_config *config, tern_buffer *buffer) {
    const void *field = field_of(key, config);
    char number[40];
    switch (key->kind) {
    case KEY_U32:
        tern_buffer_printf(buffer, "%" PRIu32, *(const uint32_t *)field);
        break;
    case KEY_U64:
        tern_buffer_printf(buffer, "%" PRIu64, *(const uint64_t *)field);
        break;
    case KEY_F32:
        for (int digits = 6; digits <= 9; digits++) {
            snprintf(number, sizeof number, "%.*g", digits, (double)*(const float *)field);
            if (strtof(number, NULL) == *(const float *)field)
                break;
        }
        tern_buffer_text(buffer, number);
        break;
    case KEY_F64:
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(number, sizeof number, "%.*g", digits, *(const double *)field);
            if (strtod(number, NULL) == *(const double *)field)
                break;
        }
        tern_buffer_text(buffer, number);
        break;
    case KEY_BOOL:
        tern_buffer_text(buffer, *(const bool *)field ? "true" : "false");
        break;
    case KEY_CHOICE:
        tern_buffer_printf(buffer, "\"%s\"", key->choices[*(const int *)field]);
        break;
    case KEY_TEXT:
    case KEY_PATH:
        print_text(*(char *const *)field ? *(char *const *)field : "", buffer);
        break;
    case KEY_PATHS:
        print_paths(field, buffer);
    }
}

/* -------------------------------------------------------------------- keys */

/* Levenshtein's distance, of names up to 31 bytes; a longer one is far from all. */
static size_t distance(const char *a, const char *b) {
    enum { MOST = 32 };
    size_t row[MOST], n = strlen(b);
    if (n >= MOST || strlen(a) >= MOST)
        return MOST;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t substituted = diagonal + (a[i - 1] != b[j - 1]),
                   shifted = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = substituted < shifted ? substituted : shifted;
        }
    }
    return row[n];
}

static tern_status unknown_key(const char *path, const char *name, tern_error *err) {
    const char *nearest = tern_config_keys[0].name;
    for (const config_key *key = tern_config_keys; key->name; key++)
        if (distance(name, key->name) < distance(name, nearest))
            nearest = key->name;
    return tern_fail(err, TERN_ERR_FORMAT, "%s: unknown key \"%.60s\"; the nearest known one is \"%s\"", path, name,
                     nearest);
}

static tern_status set_shape(const json_t *value, const char *path, tern_dims *dims, tern_error *err) {
    char known[128] = "";
    for (const config_shape *shape = tern_config_shapes; shape->name; shape++) {
        if (json_is_string(value) && strcmp(json_string_value(value), shape->name) == 0) {
            *dims = shape->dims;
            /* clang-tidy 14 takes the copy for one over the whole configuration, its texts included */
            return TERN_OK; // NOLINT(clang-analyzer-unix.Malloc)
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", *known ? ", " : "", shape->name);
    }
    return tern_fail(err, TERN_ERR_FORMAT, "%s: \"shape\" is none of %s", path, known);
}

/* All members of the object; `shape` comes first, whatever its place, so that other keys can change its sizes. */
static tern_status set_members(json_t *object, const char *path, tern_train_config *config, tern_error *err) {
    const char *name;
    json_t *value, *shape = json_object_get(object, "shape");
    tern_status status = shape ? set_shape(shape, path, &config->dims, err) : TERN_OK;
    json_object_foreach(object, name, value) {
        const config_key *key = tern_config_keys;
        if (status)
            return status;
        if (strcmp(name, "shape") == 0)
            continue;
        while (key->name && strcmp(name, key->name) != 0)
            key++;
        status = key->name ? set_value(key, value, path, config, err) : unknown_key(path, name, err);
    }
    return status;
}

/* ------------------------------------------------------------------- whole */

tern_status tern_train_config_check_steps(const tern_train_config *config, const char *where, tern_error *err) {
    uint64_t tokens;
    if (!tern_mul_u64(config->schedule.n_steps, (uint64_t)config->batch * config->dims.n_ctx, &tokens))
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: %" PRIu64 " \"steps\" of %" PRIu32 " rows (\"batch\") of %" PRIu32
                         " tokens (\"context\") are more tokens than can be counted",
                         where, config->schedule.n_steps, config->batch, config->dims.n_ctx);
    uint64_t begins = tern_schedule_switch(&config->schedule);
    if (config->data_stage2.n && (begins == 0 || begins >= config->schedule.n_steps))
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: \"%s\" would never be used: by \"stage2_at\" %.9g all %" PRIu64
                         " \"steps\" are stage %d's; change that, or leave out \"data_stage2\"",
                         where, begins ? "data_stage2" : "data", config->schedule.switch_at, config->schedule.n_steps,
                         begins ? 1 : 2);
    if (config->weights == TERN_WEIGHTS_FLOAT || !config->fp_steps || config->fp_steps < config->schedule.n_steps)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_FORMAT,
                     "%s: with %" PRIu64 " \"fp_steps\" none of the %" PRIu64 " \"steps\" has the weights that the "
                     "model is stored with; take fewer of the former, or \"weights\": \"float\"",
                     where, config->fp_steps, config->schedule.n_steps);
}

/* What one key alone cannot tell. */
static tern_status check(const char *path, tern_train_config *config, tern_error *err) {
    tern_dims *dims = &config->dims;
    if (dims->hidden_size % dims->n_heads || dims->hidden_size / dims->n_heads % 2)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: \"hidden\" %" PRIu32 " cannot be cut into %" PRIu32 " \"heads\" of an even size", path,
                         dims->hidden_size, dims->n_heads);
    dims->head_dim = dims->hidden_size / dims->n_heads;
    if (dims->n_heads % dims->n_kv_heads)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: %" PRIu32 " \"heads\" cannot share %" PRIu32 " \"kv_heads\" evenly",
                         path, dims->n_heads, dims->n_kv_heads);
    /* the packed formats store 128 weights of a row together (docs/FORMAT.md) */
    if (dims->hidden_size % 128 || dims->ffn_size % 128)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: \"hidden\" %" PRIu32 " and \"ffn\" %" PRIu32 " must be multiples of 128", path,
                         dims->hidden_size, dims->ffn_size);
    /* rows of the key and value matrices; the queries' are a multiple of 128 */
    if (tern_kv_size(dims) % 4)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: %" PRIu32 " \"kv_heads\" of %" PRIu32
                         " values (\"hidden\" over \"heads\") make a matrix whose rows are no multiple of 4, as the "
                         "packed files want it",
                         path, dims->n_kv_heads, dims->head_dim);
    if (config->schedule.warmup_steps > config->schedule.n_steps)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: \"warmup_steps\" %" PRIu64 " are more than all \"steps\", %" PRIu64,
                         path, config->schedule.warmup_steps, config->schedule.n_steps);
    tern_status status = tern_train_config_check_steps(config, path, err);
    if (status)
        return status;
    if (config->micro > config->batch)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: \"micro_batch\" %" PRIu32 " is more than \"batch\" %" PRIu32, path,
                         config->micro, config->batch);
    if (!config
             ->micro) { /* enough tokens to keep the matrix products busy, few enough for the activations to be small */
        config->micro = 4096 / dims->n_ctx ? 4096 / dims->n_ctx : 1;
        config->micro = config->micro < config->batch ? config->micro : config->batch;
    }
    return TERN_OK;
}

tern_status tern_train_config_defaults(tern_train_config *config, tern_error *err) {
    *config = (tern_train_config){
        .dims = tern_config_shapes[0].dims,
        .batch = 32,
        .seed = 1,
        .schedule =
            {.n_steps = 1500, .warmup_steps = 50, .switch_at = 0.5, .lr = {3e-3f, 2e-3f}, .weight_decay = {0.1f, 0}},
        .adam = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .clip = 1},
        .eval_every = 100,
        .eval_tokens = 65536,
        .save_every = 100,
        .sample_prompt = strdup("Once upon a time"),
    };
    return config->sample_prompt ? TERN_OK : tern_fail_memory(err, "the configuration");
}

/* JSON text -> config, which has the defaults. `path` stands in errors, and its folder in front of relative paths. */
static tern_status parse(const char *text, size_t n_bytes, const char *path, tern_train_config *config,
                         tern_error *err) {
    json_error_t where;
    json_t *object = tern_json_load(text, n_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!object)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: not JSON: line %d: %s", path, where.line, where.text);
    tern_status status = json_is_object(object)
                             ? set_members(object, path, config, err)
                             : tern_fail(err, TERN_ERR_FORMAT, "%s: holds no object of keys, { ... }", path);
    json_decref(object);
    return status ? status : check(path, config, err);
}

tern_status tern_train_config_read(const char *path, tern_train_config *config, tern_error *err) {
    char *text = NULL;
    size_t n_bytes;
    *config = (tern_train_config){0};
    tern_status status = tern_read_file(path, MAX_BYTES, &text, &n_bytes, err);
    if (!status)
        status = tern_train_config_defaults(config, err);
    if (!status)
        status = parse(text, n_bytes, path, config, err);
    free(text);
    if (status)
        tern_train_config_free(config);
    return status;
}

tern_status tern_train_config_parse(const char *text, const char *where, tern_train_config *config, tern_error *err) {
    tern_status status = tern_train_config_defaults(config, err);
    if (status)
        return status;
    status = parse(text, strlen(text), "", config, err);
    if (status) {
        tern_error_prefix(err, "%s", where);
        tern_train_config_free(config);
    }
    return status;
}

void tern_train_config_free(tern_train_config *config) {
    free_paths(&config->data);
    free_paths(&config->data_stage2);
    free(config->tokenizer);
    free(config->out);
    free(config->sample_prompt);
    *config = (tern_train_config){0};
}

char *tern_train_config_text(const tern_train_config *config) {
    tern_buffer buffer = {0};
    tern_buffer_text(&buffer, "{");
    for (const config_key *key = tern_config_keys; key->name; key++) {
        if (key->kind == KEY_PATH && !*(char *const *)field_of(key, config))
            continue; /* not given: no path is a path that could be read back */
        tern_buffer_printf(&buffer, "%s\n  \"%s\": ", buffer.size > 1 ? "," : "", key->name);
        print_value(key, config, &buffer);
    }
    tern_buffer_text(&buffer, "\n}\n");
    return tern_buffer_take(&buffer, NULL);
}

/* What the arrays of a state are laid out by. */
static bool is_shape(const config_key *key) {
    static const char *const names[] = {"layers", "hidden", "ffn", "heads", "kv_heads", "vocab"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(key->name, names[i]) == 0)
            return true;
    return false;
}

static tern_status compare(const tern_train_config *config, const char *text, const char *where, bool shape_only,
                           tern_error *err) {
    tern_train_config old = {0};
    tern_buffer was = {0}, is = {0};
    tern_status status = tern_train_config_defaults(&old, err);
    if (!status)
        status = parse(text, strlen(text), where, &old, err);
    for (const config_key *key = tern_config_keys; !status && key->name; key++) {
        if (key->free || (shape_only && !is_shape(key)))
            continue;
        was.size = is.size = 0;
        print_value(key, &old, &was);
        print_value(key, config, &is);
        if (was.failed || is.failed)
            status = tern_fail_memory(err, where);
        else if (strcmp(was.bytes, is.bytes) != 0)
            status = tern_fail(err, TERN_ERR_ARGUMENT,
                               "%s: this run has \"%s\": %.60s, the configuration %.60s; %sset it back, name another "
                               "\"out\" for a new run, or begin this one anew with --restart",
                               where, key->name, was.bytes, is.bytes,
                               shape_only ? "its weights cannot change their shape: " : "");
    }
    tern_buffer_free(&was);
    tern_buffer_free(&is);
    tern_train_config_free(&old);
    return status;
}

tern_status tern_train_config_check_same(const tern_train_config *config, const char *text, const char *where,
                                         tern_error *err) {
    return compare(config, text, where, false, err);
}

tern_status tern_train_config_check_shape(const tern_train_config *config, const char *text, const char *where,
                                          tern_error *err) {
    return compare(config, text, where, true, err);
}

bool tern_train_config_key(size_t index, tern_config_key *out) {
    for (size_t i = 0; i <= index; i++)
        if (!tern_config_keys[i].name)
            return false;
    const config_key *key = &tern_config_keys[index];
    tern_train_config config;
    tern_buffer preset = {0};
    *out = (tern_config_key){.name = key->name, .help = key->help};
    describe_allowed(key, out->allowed);
    if (tern_train_config_defaults(&config, NULL))
        return false;
    if (key->kind < KEY_PATH) /* no path is one by itself */
        print_value(key, &config, &preset);
    snprintf(out->preset, sizeof out->preset, "%s", preset.bytes && !preset.failed ? preset.bytes : "");
    tern_buffer_free(&preset);
    tern_train_config_free(&config);
    return true;
}
