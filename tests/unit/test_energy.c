/* Energy: made-up trees of /sys, wrap-around, batteries, what may not be read; and the estimate against figures that
 * were worked out by hand and published ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/energy.h"

/* The eval room is part of the command, not of the library that tests link with. */
#include "eval/energy.c"

static char root[] = "/tmp/tern-energy-XXXXXX";

/* Write a file below the root and make the folders on the way. */
static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", text);
    fclose(file);
}

static void drop(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(remove(path), 0);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/tern-energy-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static tern_energy *open_tree(void) {
    tern_energy *energy = NULL;
    tern_error err;
    if (tern_energy_open(root, NULL, &energy, &err))
        fail_msg("%s", err.message);
    return energy;
}

/* With cards, of which FAKE_NVML has a line each. */
static tern_energy *open_cards(const char *library) {
    tern_energy *energy = NULL;
    tern_error err;
    if (tern_energy_open(root, library, &energy, &err))
        fail_msg("%s", err.message);
    return energy;
}

/* cmocka's own is of float */
static void near(double got, double wanted, double by) {
    if (!(fabs(got - wanted) <= by))
        fail_msg("%.12g is not %.12g", got, wanted);
}

/* names as "a b* ", where * is not part of the sum */
static const char *names_of(const tern_energy *energy) {
    static char text[1024];
    *text = 0;
    for (size_t i = 0; i < tern_energy_n_sources(energy); i++) {
        const tern_energy_source *source = tern_energy_source_at(energy, i);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s ", source->name, source->summed ? "" : "*");
    }
    return text;
}

/* joules of source i and their sum between two readings; the method of the sum, -1: none */
typedef struct span {
    double joules[TERN_ENERGY_MAX_SOURCES], sum;
    int method;
} span;

static span between(const tern_energy *energy, const tern_energy_reading *a, const tern_energy_reading *b) {
    span s;
    tern_energy_method method;
    for (size_t i = 0; i < TERN_ENERGY_MAX_SOURCES; i++)
        s.joules[i] = tern_energy_between(a, b, i);
    s.sum = tern_energy_sum(energy, s.joules, &method);
    s.method = s.sum < 0 ? -1 : (int)method;
    return s;
}

static void put_zone(const char *zone, const char *name, const char *energy) {
    char path[128];
    snprintf(path, sizeof path, "class/powercap/%s/name", zone);
    put(path, name);
    snprintf(path, sizeof path, "class/powercap/%s/max_energy_range_uj", zone);
    put(path, "262143328850");
    snprintf(path, sizeof path, "class/powercap/%s/energy_uj", zone);
    put(path, energy);
}

/* Two packages, each with memory; core, uncore and psys are in them or around them; the same packages once more. */
static void test_rapl(void **state) {
    (void)state;
    tern_energy_reading a, b, c;
    put_zone("intel-rapl:0", "package-0", "262143000000");
    put_zone("intel-rapl:0:0", "core", "5000000");
    put_zone("intel-rapl:0:1", "uncore", "5000000");
    put_zone("intel-rapl:0:2", "dram", "1000000");
    put_zone("intel-rapl:1", "package-1", "10");
    put_zone("intel-rapl:1:0", "dram", "20");
    put_zone("intel-rapl:2", "psys", "30");
    put_zone("intel-rapl-mmio:0", "package-0", "40");
    tern_energy *energy = open_tree();
    assert_string_equal(names_of(energy),
                        "rapl:package-0 rapl:package-0:dram rapl:package-1 rapl:package-1:dram rapl:psys* ");
    assert_string_equal(tern_energy_missing(energy), "");
    tern_energy_read_at(energy, 1e9, &a);
    put("class/powercap/intel-rapl:0/energy_uj", "171150"); /* begins again behind 262143328850 */
    put("class/powercap/intel-rapl:0:2/energy_uj", "1250000");
    put("class/powercap/intel-rapl:1/energy_uj", "1000010");
    put("class/powercap/intel-rapl:2/energy_uj", "9000030");
    tern_energy_read_at(energy, 1e9 + 1, &b);
    span s = between(energy, &a, &b);
    near(s.joules[0], 0.5, 1e-9);
    near(s.joules[1], 0.25, 1e-9);
    near(s.joules[2], 1, 1e-9);
    near(s.joules[3], 0, 1e-9);
    near(s.joules[4], 9, 1e-9);
    near(s.sum, 1.75, 1e-9);
    assert_int_equal(s.method, TERN_ENERGY_RAPL);
    /* twice more around: each time somebody reads in between it counts */
    put("class/powercap/intel-rapl:0/energy_uj", "262143171150");
    tern_energy_read_at(energy, 1e9 + 2, NULL);
    put("class/powercap/intel-rapl:0/energy_uj", "171150");
    tern_energy_read_at(energy, 1e9 + 3, NULL);
    put("class/powercap/intel-rapl:0/energy_uj", "262143171150");
    tern_energy_read_at(energy, 1e9 + 4, NULL);
    put("class/powercap/intel-rapl:0/energy_uj", "71150");
    tern_energy_read_at(energy, 1e9 + 5, &c);
    s = between(energy, &b, &c);
    near(s.joules[0], 2 * 262143.328850 - 0.1, 1e-6);
    tern_energy_close(energy);
}

/* A counter that goes back without a known end, and one that cannot be read for a while, are no figures. */
static void test_gaps(void **state) {
    (void)state;
    tern_energy_reading a, b, c;
    put_zone("intel-rapl:0", "package-0", "1000000");
    put("class/powercap/intel-rapl:0/max_energy_range_uj", "nonsense");
    tern_energy *energy = open_tree();
    tern_energy_read_at(energy, 1e9, &a);
    put("class/powercap/intel-rapl:0/energy_uj", "500000");
    tern_energy_read_at(energy, 1e9 + 1, &b);
    assert_true(tern_energy_between(&a, &b, 0) < 0);
    put("class/powercap/intel-rapl:0/energy_uj", "1500000");
    tern_energy_read_at(energy, 1e9 + 2, &c);
    near(tern_energy_between(&b, &c, 0), 1, 1e-9);
    assert_true(tern_energy_between(&a, &c, 0) < 0);
    static const char *const bad[] = {"", "12 34", "-5", "99999999999999999999999", "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tern_energy_read_at(energy, 1e9 + 3, &a);
        put("class/powercap/intel-rapl:0/energy_uj", bad[i]);
        tern_energy_read_at(energy, 1e9 + 3, &b);
        assert_true(tern_energy_between(&a, &b, 0) < 0);
        assert_int_equal(between(energy, &a, &b).method, -1);
        put("class/powercap/intel-rapl:0/energy_uj", "1500000");
        tern_energy_read_at(energy, 1e9 + 4, &c);
        assert_true(tern_energy_between(&a, &c, 0) < 0);
    }
    tern_energy_close(energy);
}

/* What is not allowed is said with what helps; where a root may read everything, that a file is not there is. */
static void test_unreadable(void **state) {
    (void)state;
    char path[256];
    put_zone("intel-rapl:0", "package-0", "1");
    put_zone("intel-rapl:1", "package-1", "1");
    if (geteuid() == 0)
        drop("class/powercap/intel-rapl:0/energy_uj");
    else {
        snprintf(path, sizeof path, "%s/class/powercap/intel-rapl:0/energy_uj", root);
        chmod(path, 0);
    }
    tern_energy *energy = open_tree();
    const char *missing = tern_energy_missing(energy);
    assert_non_null(strstr(missing, "class/powercap/intel-rapl:0/energy_uj: "));
    assert_null(strchr(missing, '\n'));
    if (geteuid() != 0)
        assert_non_null(strstr(missing, "sudo chmod a+r "));
    tern_energy_reading a;
    tern_energy_read_at(energy, 1e9, &a);
    assert_true(a.joules[0] < 0);
    assert_true(a.joules[1] >= 0);
    tern_energy_close(energy);
}

static void test_nothing(void **state) {
    (void)state;
    tern_energy *energy = open_tree();
    tern_energy_reading a;
    assert_int_equal(tern_energy_n_sources(energy), 0);
    assert_non_null(strstr(tern_energy_missing(energy), root));
    assert_true(tern_energy_start(energy));
    tern_energy_read(energy, &a);
    assert_int_equal(between(energy, &a, &a).method, -1);
    tern_energy_close(energy);
    tern_energy_close(NULL);
}

/* Sockets are counted and added, cores are in them; a graphics card is left out. */
static void test_hwmon_sockets(void **state) {
    (void)state;
    put("class/hwmon/hwmon0/name", "amdgpu");
    put("class/hwmon/hwmon0/power1_average", "50000000");
    put("class/hwmon/hwmon1/name", "amd_energy");
    for (int i = 1; i <= 12; i++) {
        char path[64], text[16];
        snprintf(path, sizeof path, "class/hwmon/hwmon1/energy%d_label", i);
        snprintf(text, sizeof text, i <= 10 ? "Ecore%03d" : "Esocket%d", i <= 10 ? i - 1 : i - 11);
        put(path, text);
        snprintf(path, sizeof path, "class/hwmon/hwmon1/energy%d_input", i);
        put(path, "1000000");
    }
    tern_energy *energy = open_tree();
    tern_energy_reading a, b;
    assert_string_equal(names_of(energy), "hwmon:amd_energy:Esocket0 hwmon:amd_energy:Esocket1 ");
    tern_energy_read_at(energy, 1e9, &a);
    put("class/hwmon/hwmon1/energy11_input", "3000000");
    put("class/hwmon/hwmon1/energy12_input", "1500000");
    tern_energy_read_at(energy, 1e9 + 7, &b);
    span s = between(energy, &a, &b);
    near(s.sum, 2.5, 1e-9);
    assert_int_equal(s.method, TERN_ENERGY_HWMON);
    tern_energy_close(energy);
}

/* Power is integrated; the average of a channel is better than its moment; of several sensors no sum is made. */
static void test_hwmon_power(void **state) {
    (void)state;
    put("class/hwmon/hwmon0/name", "power_meter");
    put("class/hwmon/hwmon0/power1_average", "20000000");
    put("class/hwmon/hwmon0/power1_input", "99000000");
    tern_energy *energy = open_tree();
    tern_energy_reading a, b, c;
    assert_string_equal(names_of(energy), "hwmon:power_meter:power1 ");
    tern_energy_read_at(energy, 1e9, &a);
    put("class/hwmon/hwmon0/power1_average", "40000000");
    tern_energy_read_at(energy, 1e9 + 2, &b);
    tern_energy_read_at(energy, 1e9 + 3, &c);
    near(tern_energy_between(&a, &b, 0), 60, 1e-6); /* 20 to 40 W for 2 s */
    near(tern_energy_between(&b, &c, 0), 40, 1e-6);
    near(between(energy, &a, &c).sum, 100, 1e-6);
    tern_energy_close(energy);
    put("class/hwmon/hwmon1/name", "ina 3221\"}"); /* not to break a metric's label */
    put("class/hwmon/hwmon1/power1_input", "5000000");
    put("class/hwmon/hwmon1/power1_label", "VDD_IN");
    put("class/hwmon/hwmon1/power2_input", "2000000");
    put("class/hwmon/hwmon1/power2_label", "VDD_IN");
    energy = open_tree();
    assert_string_equal(names_of(energy),
                        "hwmon:power_meter:power1* hwmon:ina_3221__:VDD_IN* hwmon:ina_3221__:VDD_IN:2* ");
    tern_energy_read_at(energy, 1e9, &a);
    tern_energy_read_at(energy, 1e9 + 1, &b);
    near(tern_energy_between(&a, &b, 1), 5, 1e-6);
    assert_int_equal(between(energy, &a, &b).method, -1);
    tern_energy_close(energy);
}

/* Only while it discharges; beside RAPL it is another figure, never added. */
static void test_battery(void **state) {
    (void)state;
    put("class/power_supply/AC/type", "Mains");
    put("class/power_supply/hid-1/type", "Battery");
    put("class/power_supply/hid-1/scope", "Device");
    put("class/power_supply/hid-1/status", "Discharging");
    put("class/power_supply/BAT0/type", "Battery");
    put("class/power_supply/BAT0/status", "Discharging");
    put("class/power_supply/BAT0/power_now", "12000000");
    put("class/power_supply/BAT1/type", "Battery");
    put("class/power_supply/BAT1/status", "Discharging");
    put("class/power_supply/BAT1/voltage_now", "11000000");
    put("class/power_supply/BAT1/current_now", "-2000000");
    tern_energy *energy = open_tree();
    tern_energy_reading a, b, c;
    assert_string_equal(names_of(energy), "battery:BAT0 battery:BAT1 ");
    tern_energy_read_at(energy, 1e9, &a);
    tern_energy_read_at(energy, 1e9 + 10, &b);
    span s = between(energy, &a, &b);
    near(s.joules[0], 120, 1e-6);
    near(s.joules[1], 220, 1e-6);
    near(s.sum, 340, 1e-6);
    assert_int_equal(s.method, TERN_ENERGY_BATTERY);
    put("class/power_supply/BAT0/status", "Charging");
    tern_energy_read_at(energy, 1e9 + 11, &c);
    assert_true(tern_energy_between(&b, &c, 0) < 0);
    put("class/power_supply/BAT0/status", "Discharging");
    tern_energy_read_at(energy, 1e9 + 12, &a);
    tern_energy_read_at(energy, 1e9 + 13, &b);
    near(tern_energy_between(&a, &b, 0), 12, 1e-6); /* not what flowed before or in between */
    tern_energy_close(energy);

    put("class/power_supply/BAT0/status", "Full");
    put("class/power_supply/BAT1/status", "Not charging");
    energy = open_tree();
    assert_non_null(strstr(tern_energy_missing(energy), "BAT0: the battery is not discharging"));
    tern_energy_read_at(energy, 1e9, &a);
    assert_true(a.joules[0] < 0 && a.joules[1] < 0);
    tern_energy_close(energy);

    put_zone("intel-rapl:0", "package-0", "0");
    put("class/power_supply/BAT0/status", "Discharging");
    energy = open_tree();
    tern_energy_read_at(energy, 1e9, &a);
    put("class/powercap/intel-rapl:0/energy_uj", "3000000");
    tern_energy_read_at(energy, 1e9 + 1, &b);
    s = between(energy, &a, &b);
    assert_int_equal(s.method, TERN_ENERGY_RAPL);
    near(s.sum, 3, 1e-9);
    near(s.joules[1], 12, 1e-6);
    tern_energy_close(energy);
}

/* Two cards, one that counts its energy and one that only shows its power; none of them is in a sum, for tern does not
 * compute there. A card that falls off the bus gives no figure. */
static void test_cards(void **state) {
    (void)state;
    char cards[64];
    snprintf(cards, sizeof cards, "%s/cards", root);
    setenv("FAKE_NVML", cards, 1);
    put("cards", "NVIDIA_H200 1000000000 70000\nTesla_K80 - 60000\nother - -");
    put_zone("intel-rapl:0", "package-0", "0");
    tern_energy *energy = open_cards(TERN_FAKE_NVML);
    tern_energy_reading a, b, c;
    assert_string_equal(names_of(energy), "rapl:package-0 nvml:0:NVIDIA_H200* nvml:1:Tesla_K80* ");
    assert_string_equal(tern_energy_missing(energy), "nvml:2:other: the card shows neither its energy nor its power");
    assert_string_equal(tern_energy_method_name(TERN_ENERGY_NVML), "NVML");
    tern_energy_read_at(energy, 1e9, &a);
    put("cards", "NVIDIA_H200 1000250500 70000\nTesla_K80 - 80000\nother - -");
    tern_energy_read_at(energy, 1e9 + 2, &b);
    span s = between(energy, &a, &b);
    near(s.joules[0], 0, 1e-9);
    near(s.joules[1], 250.5, 1e-6);
    near(s.joules[2], 140, 1e-6); /* 60 to 80 W for 2 s */
    assert_int_equal(s.method, TERN_ENERGY_RAPL);
    near(s.sum, 0, 1e-9);
    put("cards", "NVIDIA_H200 1000250600 70000"); /* the other one is gone */
    tern_energy_read_at(energy, 1e9 + 3, &c);
    near(tern_energy_between(&b, &c, 1), 0.1, 1e-6);
    assert_true(tern_energy_between(&b, &c, 2) < 0);
    put("cards", "NVIDIA_H200 5 70000"); /* the driver was loaded anew */
    tern_energy_read_at(energy, 1e9 + 4, &b);
    assert_true(tern_energy_between(&c, &b, 1) < 0);
    tern_energy_close(energy);

    drop("class/powercap/intel-rapl:0/name"); /* cards alone: still no sum */
    energy = open_cards(TERN_FAKE_NVML);
    assert_string_equal(names_of(energy), "nvml:0:NVIDIA_H200* ");
    assert_non_null(strstr(tern_energy_missing(energy), "no counter of RAPL"));
    tern_energy_read_at(energy, 1e9, &a);
    tern_energy_read_at(energy, 1e9 + 1, &b);
    assert_int_equal(between(energy, &a, &b).method, -1);
    assert_true(tern_energy_start(energy));
    tern_energy_close(energy);
}

/* No library is as before; one that finds no driver or is another's says so where nothing else has to be said. */
static void test_no_cards(void **state) {
    (void)state;
    char path[64];
    put_zone("intel-rapl:0", "package-0", "0");
    snprintf(path, sizeof path, "%s/none", root);
    setenv("FAKE_NVML", path, 1);
    tern_energy *energy = open_cards(TERN_FAKE_NVML);
    assert_string_equal(names_of(energy), "rapl:package-0 ");
    assert_non_null(strstr(tern_energy_missing(energy), "fake_nvml.so: Driver Not Loaded"));
    tern_energy_close(energy);
    energy = open_cards("libtern-no-such-library.so.1");
    assert_string_equal(tern_energy_missing(energy), "");
    tern_energy_close(energy);
    energy = open_cards(path);
    assert_non_null(strstr(tern_energy_missing(energy), "cannot load NVML: "));
    tern_energy_close(energy);
    put("none", "");
    energy = open_cards(TERN_FAKE_NVML); /* a driver without a card */
    assert_string_equal(names_of(energy), "rapl:package-0 ");
    assert_string_equal(tern_energy_missing(energy), "");
    tern_energy_close(energy);
}

/* More than there is room for, and the thread: it ends when it is to, and changes nothing of what a counter comes to.
 */
static void test_many_and_thread(void **state) {
    (void)state;
    for (int i = 0; i < TERN_ENERGY_MAX_SOURCES + 3; i++) {
        char zone[32], name[32];
        snprintf(zone, sizeof zone, "intel-rapl:%d", i);
        snprintf(name, sizeof name, "package-%d", i);
        put_zone(zone, name, "7");
    }
    put("class/hwmon/hwmon0/name", "power_meter"); /* read ten times a second */
    put("class/hwmon/hwmon0/power1_input", "1000000");
    tern_energy *energy = open_tree();
    assert_int_equal(tern_energy_n_sources(energy), TERN_ENERGY_MAX_SOURCES);
    assert_non_null(strstr(tern_energy_missing(energy), "more than 32"));
    assert_true(tern_energy_start(energy));
    assert_true(tern_energy_start(energy));
    tern_energy_reading a, b;
    tern_energy_read(energy, &a);
    usleep(250 * 1000);
    tern_energy_read(energy, &b);
    assert_true(b.seconds > a.seconds);
    assert_true(tern_energy_between(&a, &b, 0) == 0);
    tern_energy_close(energy);
}

/* ---------------------------------------------------------------------- estimate */

/* 2 layers of hidden 8, FFN 12, 2 heads of 4 and 1 of keys, vocabulary 10, by hand:
 * q and o 8x8: 56 additions each; k and v 4x8: 28 each; gate and up 12x8: 84 each; down 8x12: 88; a layer 424.
 * Scales: q, o 16 each; k, v 12 each; gate, up 20 each; down 20; a layer 116.
 * Attention to 5 tokens, a head: 5 x 3 + 4 x 4 = 31 additions, 40 multiplications; 4 heads in 2 layers.
 * LM head 10x8: 70 additions, 80 multiplications. */
static void test_operations(void **state) {
    (void)state;
    const tern_shape shape = {.vocab_size = 10,
                              .hidden_size = 8,
                              .ffn_size = 12,
                              .n_layers = 2,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .head_dim = 4};
    tern_token_operations n = tern_count_operations(&shape, true, 5);
    near(n.matrices.int8_adds, 2 * 424, 0);
    near(n.matrices.float_muls, 2 * 116, 0);
    near(n.matrices.float_adds, 0, 0);
    near(n.attention.float_adds, 4 * 31, 0);
    near(n.attention.float_muls, 4 * 40, 0);
    near(n.head.float_adds, 70, 0);
    near(n.head.float_muls, 80, 0);
    near(tern_token_joules(&n, &tern_energy_nodes[0]) * 1e12, 848 * 0.03 + (124 + 70) * 0.4 + (232 + 160 + 80) * 1.1,
         1e-6);
    near(tern_token_joules(&n, &tern_energy_nodes[1]) * 1e12, 848 * 0.007 + (124 + 70) * 0.16 + (232 + 160 + 80) * 0.34,
         1e-6);
    n = tern_count_operations(&shape, false, 5); /* 16-bit weights */
    near(n.matrices.int8_adds, 0, 0);
    near(n.matrices.float_adds, 2 * 424, 0);
    near(n.matrices.float_muls, 2 * (64 + 64 + 32 + 32 + 96 + 96 + 96), 0);
}

/* Table 1 of the technical report, arXiv 2504.12285: 512 tokens, each attending to all, the LM head left out. */
static void check_published(const tern_shape *shape, bool ternary, double published) {
    const tern_energy_node *node = &tern_energy_nodes[1];
    tern_token_operations n = tern_count_operations(shape, ternary, 512);
    double joules = 512 * (tern_operations_joules(&n.matrices, node) + tern_operations_joules(&n.attention, node));
    near(joules, published, 0.0005); /* its last digit */
}

static void test_published(void **state) {
    (void)state;
    tern_shape bitnet;
    tern_error err;
    assert_int_equal(tern_shape_named("2b4t", &bitnet, &err), TERN_OK);
    check_published(&bitnet, true, 0.028);
    const tern_shape llama = {.vocab_size = 128256,
                              .hidden_size = 2048,
                              .ffn_size = 8192,
                              .n_layers = 16,
                              .n_heads = 32,
                              .n_kv_heads = 8,
                              .head_dim = 64};
    check_published(&llama, false, 0.258);
    /* BitNet b1.58, arXiv 2402.17764: 71.4 times less for a product of matrices at 7 nm */
    const tern_energy_node *node = &tern_energy_nodes[1];
    near((node->fp16_add + node->fp16_mul) / node->int8_add, 71.4, 0.05);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rapl, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_gaps, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_unreadable, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_nothing, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_hwmon_sockets, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_hwmon_power, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_battery, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_cards, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_no_cards, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_many_and_thread, make_root, remove_root),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
