#include "cli/estimate.h"

#include <stdio.h>

#include "cli/measure.h"

const char tern_energy_method_text[] = "operations counted, arithmetic alone";

static void scale(tern_operations *operations, double factor) {
    operations->int8_adds *= factor;
    operations->float_adds *= factor;
    operations->float_muls *= factor;
}

tern_estimate tern_estimate_of(const tern_shape *shape, bool ternary, double context, double head) {
    tern_estimate e = {.context = context,
                       .ternary = ternary,
                       .operations = tern_count_operations(shape, ternary, context),
                       .dense = tern_count_operations(shape, false, context)};
    scale(&e.operations.head, head);
    scale(&e.dense.head, head);
    return e;
}

static tern_operations sum_of(const tern_token_operations *n) {
    return (tern_operations){n->matrices.int8_adds + n->attention.int8_adds + n->head.int8_adds,
                             n->matrices.float_adds + n->attention.float_adds + n->head.float_adds,
                             n->matrices.float_muls + n->attention.float_muls + n->head.float_muls};
}

static void set_real(json_t *object, const char *key, double value) {
    json_object_set_new(object, key, json_real(value));
}

json_t *tern_estimate_json(const tern_estimate *e) {
    const tern_operations sum = sum_of(&e->operations);
    char key[64];
    json_t *object = json_object();
    set_real(object, "context_tokens", e->context);
    set_real(object, "int8_additions", sum.int8_adds);
    set_real(object, "fp16_additions", sum.float_adds);
    set_real(object, "fp16_multiplications", sum.float_muls);
    for (int i = 0; i < TERN_ENERGY_N_NODES; i++) {
        const tern_energy_node *node = &tern_energy_nodes[i];
        snprintf(key, sizeof key, "joules_per_token_%s", node->key);
        set_real(object, key, tern_token_joules(&e->operations, node));
        snprintf(key, sizeof key, "joules_per_token_%s_fp16_weights", node->key);
        set_real(object, key, tern_token_joules(&e->dense, node));
    }
    return object;
}

const char *tern_format_joules(char text[32], double joules) {
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1, "J"}, {1e-3, "mJ"}, {1e-6, "uJ"}, {1e-9, "nJ"}, {1e-12, "pJ"}};
    const size_t n = sizeof units / sizeof *units;
    const double size = joules < 0 ? -joules : joules;
    size_t i = 0;
    while (i < n && size < units[i].unit)
        i++;
    if (i == n) /* such as what rounding leaves when the idle power is taken off */
        snprintf(text, 32, "0 J");
    else
        snprintf(text, 32, "%.3g %s", joules / units[i].unit, units[i].name);
    return text;
}

void tern_print_estimate_head(void) {
    printf("\nenergy estimated, not measured: operations times the energy of each, nothing for memory\n%s\n",
           tern_energy_source_text);
}

static void print_operations(const char *name, const tern_operations *n) {
    char adds[32], float_adds[32], muls[32], joules[32];
    printf("  %-15s%12s%12s%12s", name, tern_format_count(adds, n->int8_adds),
           tern_format_count(float_adds, n->float_adds), tern_format_count(muls, n->float_muls));
    for (int i = 0; i < TERN_ENERGY_N_NODES; i++)
        printf("%10s", tern_format_joules(joules, tern_operations_joules(n, &tern_energy_nodes[i])));
    putchar('\n');
}

void tern_print_estimate(const char *title, const tern_estimate *e) {
    const tern_operations sum = sum_of(&e->operations), dense = sum_of(&e->dense);
    printf("%s\n  %-15s%12s%12s%12s", title, "", "int8 adds", "fp16 adds", "fp16 muls");
    for (int i = 0; i < TERN_ENERGY_N_NODES; i++)
        printf("%10s", tern_energy_nodes[i].name);
    putchar('\n');
    print_operations("matrices", &e->operations.matrices);
    print_operations("attention", &e->operations.attention);
    print_operations("LM head", &e->operations.head);
    print_operations("together", &sum);
    if (e->ternary)
        print_operations("16-bit weights", &dense);
}
