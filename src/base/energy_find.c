/* Which sources of energy there are under /sys. What each file means: the kernel's Documentation/power/powercap,
 * Documentation/hwmon/sysfs-interface and Documentation/ABI/testing/sysfs-class-power. And which cards NVML knows. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/energy_parts.h"

enum { MAX_ENTRIES = 1024, NAME = 64 };

typedef struct names {
    char names[MAX_ENTRIES][NAME];
    size_t n;
} names;

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

/* The entries of FOLDER that begin with `prefix`, sorted. False: no memory; a folder that is not there is empty. */
static bool list(const char *folder, const char *prefix, names *found) {
    found->n = 0;
    DIR *directory = opendir(folder);
    if (!directory)
        return errno != ENOMEM;
    const struct dirent *entry;
    while ((entry = readdir(directory)) && found->n < MAX_ENTRIES)
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            strlen(entry->d_name) < NAME)
            snprintf(found->names[found->n++], NAME, "%s", entry->d_name);
    closedir(directory);
    qsort(found->names, found->n, NAME, compare_names);
    return true;
}

/* Only the first reason is told: the others are mostly the same. */
static void miss(tern_energy *energy, const char *format, ...) TERN_PRINTF(2, 3);
static void miss(tern_energy *energy, const char *format, ...) {
    va_list arguments;
    if (energy->missing[0])
        return;
    va_start(arguments, format);
    vsnprintf(energy->missing, sizeof energy->missing, format, arguments);
    va_end(arguments);
}

/* What may stand in a label of a metric and on a terminal. */
static void make_harmless(char *text) {
    for (; *text; text++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_-", *text))
            *text = '_';
}

/* NULL: there is no room for more. */
static tern_energy_sensor *add(tern_energy *energy, tern_energy_method method, tern_energy_kind kind,
                               const char *folder, const char *file) {
    if (energy->n == TERN_ENERGY_MAX_SOURCES) {
        miss(energy, "more than %d sources of energy: the others are not read", TERN_ENERGY_MAX_SOURCES);
        return NULL;
    }
    tern_energy_sensor *s = &energy->sensors[energy->n++];
    *s = (tern_energy_sensor){.source = {.method = method, .summed = true}, .kind = kind};
    snprintf(s->folder, sizeof s->folder, "%s", folder);
    snprintf(s->file, sizeof s->file, "%s", file);
    return s;
}

/* Its name, another one than those before it. */
static void name_sensor(tern_energy *energy, tern_energy_sensor *s, const char *format, ...) TERN_PRINTF(3, 4);
static void name_sensor(tern_energy *energy, tern_energy_sensor *s, const char *format, ...) {
    char *name = s->source.name;
    const size_t room = sizeof s->source.name - 4; /* for the number */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, room, format, arguments);
    va_end(arguments);
    make_harmless(name);
    size_t length = strlen(name);
    for (size_t i = 0, again = 2; i < energy->n; i++)
        if (&energy->sensors[i] != s && strcmp(energy->sensors[i].source.name, name) == 0) {
            snprintf(name + length, 4, ":%zu", again++);
            i = (size_t)-1; /* is that one free? */
        }
}

/* ------------------------------------------------------------------------- RAPL */

/* Why a counter cannot be read, once for all of them. */
static void explain_rapl(tern_energy *energy, const char *root, const char *zone) {
    int code = errno;
    if (code == EACCES || code == EPERM)
        miss(energy,
             "%s/class/powercap/%s/energy_uj: the kernel lets only root read it (CVE-2020-8694); until the next boot: "
             "sudo chmod a+r %s/class/powercap/intel-rapl:*/energy_uj; docs/ENERGY.md has a rule that lasts",
             root, zone, root);
    else
        miss(energy, "%s/class/powercap/%s/energy_uj: %s", root, zone, strerror(code));
}

/* intel-rapl:0 is package-0, intel-rapl:0:2 its dram, each as the file `name` says. core and uncore are parts of their
 * package, psys is the whole platform with the packages in it. intel-rapl-mmio shows the same packages again. */
static void find_rapl(tern_energy *energy, const char *root) {
    names *zones = malloc(sizeof *zones);
    char powercap[TERN_ENERGY_PATH - 2 * NAME], folder[TERN_ENERGY_PATH], name[NAME], package[NAME];
    snprintf(powercap, sizeof powercap, "%s/class/powercap", root);
    if (!zones || !list(powercap, "intel-rapl:", zones)) {
        free(zones);
        miss(energy, "out of memory");
        return;
    }
    for (size_t i = 0; i < zones->n; i++) {
        const char *zone = zones->names[i];
        double value, range = 0;
        snprintf(folder, sizeof folder, "%s/%s", powercap, zone);
        if (!tern_energy_line(folder, "name", name, sizeof name))
            continue;
        bool is_package = strncmp(name, "package", 7) == 0, is_dram = strcmp(name, "dram") == 0;
        if (!is_package && !is_dram && strcmp(name, "psys") != 0)
            continue;
        tern_energy_sensor *s = add(energy, TERN_ENERGY_RAPL, TERN_ENERGY_COUNTER, folder, "energy_uj");
        if (!s)
            break;
        s->source.summed = is_package || is_dram;
        if (is_dram) { /* of the package whose zone's name this one's begins with */
            snprintf(folder, sizeof folder, "%s/%.*s", powercap, (int)(strrchr(zone, ':') - zone), zone);
            bool known = tern_energy_line(folder, "name", package, sizeof package);
            name_sensor(energy, s, "rapl:%s:dram", known ? package : zone);
        } else
            name_sensor(energy, s, "rapl:%s", name);
        if (tern_energy_number(s->folder, "max_energy_range_uj", &range) && range > 0)
            s->range = (uint64_t)range;
        if (!tern_energy_number(s->folder, s->file, &value))
            explain_rapl(energy, root, zone);
    }
    free(zones);
}

/* ------------------------------------------------------------------------ hwmon */

/* What graphics cards take is none of a CPU's doing. */
static bool is_graphics(const char *driver) {
    static const char *const drivers[] = {"amdgpu", "radeon", "nouveau", "nvidia", "i915", "xe"};
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
        if (strcmp(driver, drivers[i]) == 0)
            return true;
    return false;
}

static void add_sensor(tern_energy *energy, tern_energy_kind kind, const char *folder, const char *driver,
                       const char *channel, const char *file) {
    char label[NAME], label_file[NAME + 16];
    double value;
    snprintf(label_file, sizeof label_file, "%s_label", channel);
    if (!tern_energy_line(folder, label_file, label, sizeof label))
        snprintf(label, sizeof label, "%s", channel);
    if (strncmp(label, "Ecore", 5) == 0) /* amd_energy: cores, which are in their socket's */
        return;
    tern_energy_sensor *s = add(energy, TERN_ENERGY_HWMON, kind, folder, file);
    if (!s)
        return;
    name_sensor(energy, s, "hwmon:%s:%s", driver, label);
    if (!tern_energy_number(folder, file, &value))
        miss(energy, "%s/%s: %s", folder, file, strerror(errno));
}

/* energy1_input and its like, where power1_average and power1_input are the same channel's. */
static void find_channels(tern_energy *energy, const char *folder, const char *driver, const names *files) {
    static const struct {
        const char *ending, *unless; /* file names' endings: the second one is the better of the same channel */
        tern_energy_kind kind;
    } rows[] = {{"_input", NULL, TERN_ENERGY_COUNTER},
                {"_average", NULL, TERN_ENERGY_POWER},
                {"_input", "_average", TERN_ENERGY_POWER}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t i = 0; i < files->n; i++) {
            const char *file = files->names[i], *begin = rows[r].kind == TERN_ENERGY_COUNTER ? "energy" : "power";
            const size_t length = strlen(begin), digits = strspn(file + length, "0123456789");
            char channel[NAME], better[2 * NAME], line[NAME];
            if (strncmp(file, begin, length) != 0 || !digits || strcmp(file + length + digits, rows[r].ending) != 0)
                continue;
            snprintf(channel, sizeof channel, "%.*s", (int)(length + digits), file);
            snprintf(better, sizeof better, "%s%s", channel, rows[r].unless ? rows[r].unless : "");
            if (!rows[r].unless || !tern_energy_line(folder, better, line, sizeof line))
                add_sensor(energy, rows[r].kind, folder, driver, channel, file);
        }
}

static void find_hwmon(tern_energy *energy, const char *root) {
    names *chips = malloc(sizeof *chips), *files = malloc(sizeof *files);
    char hwmon[TERN_ENERGY_PATH - 2 * NAME], folder[TERN_ENERGY_PATH], driver[NAME];
    snprintf(hwmon, sizeof hwmon, "%s/class/hwmon", root);
    size_t first = energy->n, sockets = 0;
    bool enough = chips && files && list(hwmon, "hwmon", chips);
    for (size_t i = 0; enough && i < chips->n; i++) {
        snprintf(folder, sizeof folder, "%s/%s", hwmon, chips->names[i]);
        if (!tern_energy_line(folder, "name", driver, sizeof driver) || is_graphics(driver))
            continue;
        enough = list(folder, "", files);
        if (enough)
            find_channels(energy, folder, driver, files);
    }
    if (!enough)
        miss(energy, "out of memory");
    /* Sockets can be added; of other sensors nobody knows whether one is behind the other. */
    for (size_t i = first; i < energy->n; i++)
        sockets += strncmp(energy->sensors[i].source.name, "hwmon:amd_energy:Esocket", 24) == 0;
    for (size_t i = first; i < energy->n; i++)
        energy->sensors[i].source.summed = energy->n - first == 1 || sockets == energy->n - first;
    free(files);
    free(chips);
}

/* ---------------------------------------------------------------------- battery */

static void find_batteries(tern_energy *energy, const char *root) {
    names *supplies = malloc(sizeof *supplies);
    char class[TERN_ENERGY_PATH - 2 * NAME], folder[TERN_ENERGY_PATH], text[NAME];
    snprintf(class, sizeof class, "%s/class/power_supply", root);
    bool enough = supplies && list(class, "", supplies);
    for (size_t i = 0; enough && i < supplies->n; i++) {
        snprintf(folder, sizeof folder, "%s/%s", class, supplies->names[i]);
        if (!tern_energy_line(folder, "type", text, sizeof text) || strcmp(text, "Battery") != 0)
            continue;
        if (tern_energy_line(folder, "scope", text, sizeof text) && strcmp(text, "Device") == 0)
            continue; /* a mouse's */
        tern_energy_sensor *s = add(energy, TERN_ENERGY_BATTERY, TERN_ENERGY_OUTFLOW, folder, "status");
        if (!s)
            break;
        name_sensor(energy, s, "battery:%s", supplies->names[i]);
        if (!tern_energy_line(folder, "status", text, sizeof text) || strcmp(text, "Discharging") != 0)
            miss(energy,
                 "%s: the battery is not discharging, so it does not show what the machine takes; unplug the mains",
                 folder);
    }
    if (!enough)
        miss(energy, "out of memory");
    free(supplies);
}

/* ------------------------------------------------------------------------- NVML */

/* A card that counts its energy, as all do since Volta, or else shows its power. */
static void find_card(tern_energy *energy, unsigned index) {
    char name[96] = "card"; /* NVML's names are shorter than that */
    tern_nvml_device card;
    double value;
    tern_nvml_result code = energy->nvml.device(index, &card);
    if (code) {
        miss(energy, "NVML: card %u: %s", index, energy->nvml.error(code));
        return;
    }
    tern_energy_sensor *s = add(energy, TERN_ENERGY_NVML, TERN_ENERGY_CARD_COUNTER, "", "");
    if (!s)
        return;
    s->card = card;
    s->source.summed = false;
    energy->nvml.name(card, name, sizeof name);
    name[sizeof name - 1] = 0;
    name_sensor(energy, s, "nvml:%u:%s", index, name);
    if (tern_energy_value(energy, s, &value))
        return;
    s->kind = TERN_ENERGY_CARD_POWER;
    if (tern_energy_value(energy, s, &value))
        return;
    miss(energy, "%s: the card shows neither its energy nor its power", s->source.name);
    energy->n--;
}

static void find_cards(tern_energy *energy, const char *library) {
    tern_error err;
    unsigned n = 0;
    const size_t first = energy->n;
    if (tern_nvml_open(library, &energy->nvml, &err)) {
        miss(energy, "%s", err.message);
        return;
    }
    if (!energy->nvml.library || energy->nvml.count(&n))
        n = 0;
    for (unsigned i = 0; i < n && energy->n < TERN_ENERGY_MAX_SOURCES; i++)
        find_card(energy, i);
    if (energy->n == first)
        tern_nvml_close(&energy->nvml);
}

void tern_energy_find(const char *root, const char *nvml, tern_energy *energy) {
    find_rapl(energy, root);
    find_hwmon(energy, root);
    find_batteries(energy, root);
    if (!energy->n)
        miss(energy,
             "%s has no counter of RAPL (class/powercap/intel-rapl:*), no sensor of power (class/hwmon) and no "
             "battery: virtual machines and containers mostly see none",
             root);
    if (nvml)
        find_cards(energy, nvml);
    tern_energy_read(energy, NULL);
}
