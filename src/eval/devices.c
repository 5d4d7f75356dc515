#include "eval/devices.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"

enum { MAX_FILE_BYTES = 4 << 20, MAX_NEAR = 3, KEY = 40 };

/* ------------------------------------------------------------------- reading */

/* Where in the text something is, for messages: "FILE: device 3 (RTX 4090)". */
typedef struct place {
    const char *where, *what;
    char name[40];
    size_t index; /* from 1; 0: none */
    tern_error *err;
} place;

static tern_status complain(const place *at, const char *problem) {
    if (at->index)
        return tern_fail(at->err, TERN_ERR_FORMAT, "%s: %s %zu%s%s%s: %s", at->where, at->what, at->index,
                         at->name[0] ? " (" : "", at->name, at->name[0] ? ")" : "", problem);
    return tern_fail(at->err, TERN_ERR_FORMAT, "%s: %s '%s': %s", at->where, at->what, at->name, problem);
}

static tern_status complain_about(const place *at, const char *key, const char *problem) {
    char text[160];
    snprintf(text, sizeof text, "'%.*s' %s", KEY, key, problem);
    return complain(at, text);
}

/* A string of less than `size` bytes on one line -> out. */
static tern_status get_text(const place *at, const json_t *object, const char *key, bool needed, char *out,
                            size_t size) {
    const json_t *value = json_object_get(object, key);
    *out = 0;
    if (!value)
        return needed ? complain_about(at, key, "is missing") : TERN_OK;
    const char *text = json_string_value(value);
    if (!text || !*text)
        return complain_about(at, key, "must be a text");
    if (json_string_length(value) >= size)
        return complain_about(at, key, "is too long");
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) /* U+0080 to U+009F drive terminals, too */
        if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0))
            return complain_about(at, key, "must be plain text on one line");
    memcpy(out, text, json_string_length(value) + 1);
    return TERN_OK;
}

/* A number above 0 and up to `most` -> *out, which keeps its value where the key is not there. */
static tern_status get_number(const place *at, const json_t *object, const char *key, bool needed, double most,
                              double *out) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return needed ? complain_about(at, key, "is missing") : TERN_OK;
    double number = json_number_value(value);
    char problem[80];
    snprintf(problem, sizeof problem, "must be a number above 0 and up to %g", most);
    if (!json_is_number(value) || !(number > 0 && number <= most))
        return complain_about(at, key, problem);
    *out = number;
    return TERN_OK;
}

/* A misspelt key would silently be no key. `keys` ends with NULL. */
static tern_status check_keys(const place *at, json_t *object, const char *const *keys) {
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return complain(at, "must be an object");
    json_object_foreach(object, key, value) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return complain_about(at, key, "is no key of it");
    }
    return TERN_OK;
}

/* ------------------------------------------------------------ classes and kinds */

const tern_device_class *tern_devices_class(const tern_device_table *table, const char *name) {
    for (size_t i = 0; i < table->n_classes; i++)
        if (strcmp(table->classes[i].name, name) == 0)
            return &table->classes[i];
    return NULL;
}

const tern_device_kind *tern_devices_kind(const tern_device_table *table, const char *name) {
    for (size_t i = 0; i < table->n_kinds; i++)
        if (strcmp(table->kinds[i].name, name) == 0)
            return &table->kinds[i];
    return NULL;
}

static tern_status add_class(tern_device_table *table, const place *at, json_t *object) {
    static const char *const keys[] = {"efficiency", "why", NULL};
    tern_device_class made = {0};
    tern_status status = check_keys(at, object, keys);
    if (!status)
        status = get_number(at, object, "efficiency", true, 1, &made.efficiency);
    if (!status)
        status = get_text(at, object, "why", false, made.why, sizeof made.why);
    if (status)
        return status;
    memcpy(made.name, at->name, sizeof made.name); /* short enough: add_members() looked */
    tern_device_class *there = (tern_device_class *)tern_devices_class(table, made.name);
    if (!there && table->n_classes == TERN_MAX_DEVICE_CLASSES)
        return complain(at, "there are too many classes");
    *(there ? there : &table->classes[table->n_classes++]) = made;
    return TERN_OK;
}

static tern_status add_kind(tern_device_table *table, const place *at, json_t *object) {
    static const char *const keys[] = {"title", "usable", "why", NULL};
    tern_device_kind made = {0};
    tern_status status = check_keys(at, object, keys);
    if (!status)
        status = get_text(at, object, "title", true, made.title, sizeof made.title);
    if (!status)
        status = get_number(at, object, "usable", true, 1, &made.usable);
    if (!status)
        status = get_text(at, object, "why", false, made.why, sizeof made.why);
    if (status)
        return status;
    memcpy(made.name, at->name, sizeof made.name); /* short enough: add_members() looked */
    tern_device_kind *there = (tern_device_kind *)tern_devices_kind(table, made.name);
    if (!there && table->n_kinds == TERN_MAX_DEVICE_CLASSES)
        return complain(at, "there are too many kinds");
    *(there ? there : &table->kinds[table->n_kinds++]) = made;
    return TERN_OK;
}

/* Each member of root[key], an object that need not be there. */
static tern_status add_members(tern_device_table *table, json_t *root, const char *key, place *at,
                               tern_status (*add)(tern_device_table *, const place *, json_t *)) {
    json_t *members = json_object_get(root, key), *value;
    const char *name;
    if (!members)
        return TERN_OK;
    at->index = 0;
    if (!json_is_object(members))
        return tern_fail(at->err, TERN_ERR_FORMAT, "%s: '%s' must be an object", at->where, key);
    json_object_foreach(members, name, value) {
        snprintf(at->name, sizeof at->name, "%s", name);
        if (!*name || strlen(name) >= sizeof table->classes[0].name)
            return complain(at, "is no name of 1 to 23 bytes");
        tern_status status = add(table, at, value);
        if (status)
            return status;
    }
    return TERN_OK;
}

/* -------------------------------------------------------------------- devices */

static tern_status place_device(const tern_device_table *table, const place *at, const json_t *object,
                                tern_device *made) {
    tern_status status = get_text(at, object, "kind", false, made->kind, sizeof made->kind);
    if (!status)
        status = get_text(at, object, "class", false, made->class_name, sizeof made->class_name);
    if (status)
        return status;
    if (!made->kind[0])
        snprintf(made->kind, sizeof made->kind, "gpu");
    const tern_device_kind *kind = tern_devices_kind(table, made->kind);
    const tern_device_class *group = tern_devices_class(table, made->class_name);
    if (!kind)
        return complain_about(at, made->kind, "is no kind that there is (gpu, unified, cpu)");
    if (made->class_name[0] && !group)
        return complain_about(at, made->class_name, "is no class that there is (nvidia, amd, intel, apple, cpu)");
    if (!made->class_name[0] && !json_object_get(object, "efficiency"))
        return complain(at, "needs a 'class' (nvidia, amd, intel, apple, cpu) or an 'efficiency'");
    made->usable = kind->usable;
    made->efficiency = group ? group->efficiency : 0;
    status = get_number(at, object, "efficiency", false, 1, &made->efficiency);
    return status ? status : get_number(at, object, "usable", false, 1, &made->usable);
}

static tern_status get_origin(const place *at, const json_t *object, tern_source_origin *origin) {
    const json_t *value = json_object_get(object, "first_hand");
    *origin = !value ? TERN_SOURCE_NOT_SAID : json_is_true(value) ? TERN_SOURCE_FIRST_HAND : TERN_SOURCE_SECOND_HAND;
    return !value || json_is_boolean(value) ? TERN_OK : complain(at, "'first_hand' must be true or false");
}

static tern_status read_device(const tern_device_table *table, place *at, json_t *object, tern_device *made) {
    static const char *const keys[] = {"name",   "kind",   "class",      "memory_gb", "bandwidth_gb_s", "bus_bits",
                                       "gbit_s", "usable", "efficiency", "source",    "first_hand",     NULL};
    *made = (tern_device){0};
    at->name[0] = 0;
    tern_status status =
        json_is_object(object) ? get_text(at, object, "name", true, made->name, sizeof made->name) : TERN_OK;
    snprintf(at->name, sizeof at->name, "%s", made->name);
    if (!status)
        status = check_keys(at, object, keys);
    if (!status)
        status = get_number(at, object, "memory_gb", true, 1e6, &made->memory);
    if (!status)
        status = get_number(at, object, "bandwidth_gb_s", true, 1e6, &made->bandwidth);
    if (!status)
        status = get_number(at, object, "bus_bits", false, 1e6, &made->bus_bits);
    if (!status)
        status = get_number(at, object, "gbit_s", false, 1e3, &made->gbit_s);
    if (!status)
        status = get_text(at, object, "source", false, made->source, sizeof made->source);
    if (!status)
        status = get_origin(at, object, &made->origin);
    if (!status)
        status = place_device(table, at, object, made);
    made->memory *= 1e9;
    made->bandwidth *= 1e9;
    return status;
}

/* In front of the devices that are there, one of the same name left out. */
static tern_status insert_device(tern_device_table *table, const place *at, size_t index, const tern_device *made) {
    for (size_t i = 0; i < index; i++)
        if (strcmp(table->devices[i].name, made->name) == 0)
            return complain(at, "is there twice");
    for (size_t i = index; i < table->n_devices; i++)
        if (strcmp(table->devices[i].name, made->name) == 0) {
            memmove(&table->devices[i], &table->devices[i + 1], (table->n_devices - i - 1) * sizeof *table->devices);
            table->n_devices--;
            break;
        }
    if (table->n_devices == TERN_MAX_DEVICES)
        return complain(at, "there are too many devices");
    if (!tern_grow_array((void **)&table->devices, &table->capacity, table->n_devices + 1, sizeof *table->devices))
        return tern_fail_memory(at->err, "the devices");
    memmove(&table->devices[index + 1], &table->devices[index], (table->n_devices - index) * sizeof *table->devices);
    table->devices[index] = *made;
    table->n_devices++;
    return TERN_OK;
}

static tern_status add_all(tern_device_table *table, json_t *root, const char *where, tern_error *err) {
    static const char *const keys[] = {"about", "classes", "kinds", "devices", NULL};
    place at = {.where = where, .what = "class", .err = err};
    const json_t *devices = json_object_get(root, "devices");
    if (!json_is_array(devices))
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: must be {\"devices\": [{\"name\": ..., \"memory_gb\": ..., \"bandwidth_gb_s\": ...}]}",
                         where);
    at.what = "the file", at.name[0] = 0;
    tern_status status = check_keys(&at, root, keys);
    at.what = "class";
    if (!status)
        status = add_members(table, root, "classes", &at, add_class);
    at.what = "kind";
    if (!status)
        status = add_members(table, root, "kinds", &at, add_kind);
    at.what = "device";
    for (size_t i = 0; !status && i < json_array_size(devices); i++) {
        tern_device made;
        at.index = i + 1;
        status = read_device(table, &at, json_array_get(devices, i), &made);
        if (!status)
            status = insert_device(table, &at, i, &made);
    }
    return status;
}

tern_status tern_devices_add(tern_device_table *table, const char *text, size_t n_bytes, const char *where,
                             tern_error *err) {
    json_error_t problem;
    json_t *root = tern_json_load(text, n_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: no JSON: line %d: %s", where, problem.line, problem.text);
    tern_device_table made = *table; /* what fails half-way is thrown away */
    made.devices = tern_alloc_array(table->n_devices + 1, sizeof *made.devices);
    made.capacity = table->n_devices + 1;
    tern_status status = made.devices ? TERN_OK : tern_fail_memory(err, "the devices");
    if (!status && table->n_devices)
        memcpy(made.devices, table->devices, table->n_devices * sizeof *made.devices);
    if (!status)
        status = add_all(&made, root, where, err);
    json_decref(root);
    if (status) {
        free(made.devices);
        return status;
    }
    free(table->devices);
    *table = made;
    return TERN_OK;
}

tern_status tern_devices_add_file(tern_device_table *table, const char *path, tern_error *err) {
    char *text;
    size_t n_bytes;
    tern_status status = tern_read_file(path, MAX_FILE_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    status = tern_devices_add(table, text, n_bytes, path, err);
    free(text);
    return status;
}

void tern_devices_free(tern_device_table *table) {
    free(table->devices);
    *table = (tern_device_table){0};
}

/* -------------------------------------------------------------------- finding */

/* Letters and digits only, in small letters. */
static void simplify(const char *name, char out[KEY]) {
    size_t n = 0;
    for (; *name && n + 1 < KEY; name++)
        if (isalnum((unsigned char)*name) || (unsigned char)*name >= 0x80)
            out[n++] = (char)tolower((unsigned char)*name);
    out[n] = 0;
}

/* How many letters are to be changed, put in or left out to make `wanted` a part of `name` (Levenshtein's distance with
 * free ends), and, between equals, to make it all of it. */
static size_t distance(const char *wanted, const char *name) {
    size_t n = strlen(name), part[KEY + 1] = {0}, whole[KEY + 1], least = SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        whole[j] = j;
    for (size_t i = 1; wanted[i - 1]; i++)
        for (size_t *row = part;; row = whole) {
            size_t diagonal = row[0];
            row[0] = i;
            for (size_t j = 1; j <= n; j++) {
                size_t best = diagonal + (wanted[i - 1] != name[j - 1]);
                diagonal = row[j];
                best = row[j] + 1 < best ? row[j] + 1 : best;
                row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            }
            if (row == whole)
                break;
        }
    for (size_t j = 0; j <= n; j++)
        least = part[j] < least ? part[j] : least;
    return least * 2 * KEY + whole[n];
}

typedef enum match { EXACT, PREFIX, PART, N_MATCHES } match;

static bool matches(const char *name, const char *wanted, match how) {
    switch (how) {
    case EXACT:
        return strcmp(name, wanted) == 0;
    case PREFIX:
        return strncmp(name, wanted, strlen(wanted)) == 0;
    default:
        return strstr(name, wanted) != NULL;
    }
}

static void append_name(char *list, size_t size, const char *name) {
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

static tern_status fail_with_nearest(const tern_device_table *table, const char *name, const char *wanted,
                                     tern_error *err) {
    char list[160] = "", simple[KEY];
    const tern_device *named[MAX_NEAR] = {0};
    for (size_t n = 0; n < MAX_NEAR && n < table->n_devices; n++) {
        size_t least = SIZE_MAX;
        for (size_t i = 0; i < table->n_devices; i++) {
            const tern_device *device = &table->devices[i];
            bool taken = false;
            for (size_t k = 0; k < n; k++)
                taken = taken || named[k] == device;
            simplify(device->name, simple);
            if (!taken && distance(wanted, simple) < least) {
                least = distance(wanted, simple);
                named[n] = device;
            }
        }
        if (named[n])
            append_name(list, sizeof list, named[n]->name);
    }
    return tern_fail(err, TERN_ERR_ARGUMENT, "no device is called '%s'; the nearest names are %s", name, list);
}

tern_status tern_devices_find(const tern_device_table *table, const char *name, const tern_device **device,
                              tern_error *err) {
    char wanted[KEY], simple[KEY], list[200] = "";
    simplify(name, wanted);
    if (!*wanted)
        return tern_fail(err, TERN_ERR_ARGUMENT, "the name of a device is empty");
    for (int how = EXACT; how < N_MATCHES; how++) {
        size_t count = 0;
        const tern_device *found = NULL;
        for (size_t i = 0; i < table->n_devices; i++) {
            simplify(table->devices[i].name, simple);
            if (!matches(simple, wanted, (match)how))
                continue;
            count++;
            found = &table->devices[i];
            append_name(list, sizeof list, table->devices[i].name);
        }
        if (count == 1) {
            *device = found;
            return TERN_OK;
        }
        if (count > 1)
            return tern_fail(err, TERN_ERR_ARGUMENT, "several devices are called '%s': %s", name, list);
        list[0] = 0;
    }
    return fail_with_nearest(table, name, wanted, err);
}
