/* tern bench --energy: joules per token, measured where something can be read, and estimated from operations: two
 * figures that are never mixed (docs/ENERGY.md). */
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/estimate.h"
#include "cli/measure.h"

static const char *const part_names[TERN_ENERGY_N_PARTS] = {"idle", "prefill", "decode", "batch"};

/* -------------------------------------------------------------------- measuring */

void tern_bench_energy_begin(tern_energy *energy, tern_energy_reading *before) {
    if (energy)
        tern_energy_read(energy, before);
}

void tern_bench_energy_end(tern_energy *energy, const tern_energy_reading *before, tern_energy_part part, double tokens,
                           tern_bench_energy *measured) {
    tern_energy_reading after;
    tern_energy_span *span = &measured->parts[part];
    if (!energy)
        return;
    tern_energy_read(energy, &after);
    span->seconds += after.seconds - before->seconds;
    span->tokens += tokens;
    for (size_t i = 0; i < measured->n; i++) {
        double joules = tern_energy_between(before, &after, i);
        span->joules[i] = joules < 0 || span->joules[i] < 0 ? -1 : span->joules[i] + joules;
    }
}

static void wait_idle(double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left))
        continue;
}

tern_energy *tern_bench_energy_open(const tern_bench_plan *plan, tern_bench_energy *measured) {
    tern_energy *energy;
    tern_energy_reading before;
    tern_error err;
    memset(measured, 0, sizeof *measured);
    if (tern_energy_open(plan->sysfs, plan->nvml, &energy, &err)) {
        snprintf(measured->missing, sizeof measured->missing, "%s", err.message);
        return NULL;
    }
    snprintf(measured->missing, sizeof measured->missing, "%s", tern_energy_missing(energy));
    measured->n = tern_energy_n_sources(energy);
    for (size_t i = 0; i < measured->n; i++)
        measured->sources[i] = *tern_energy_source_at(energy, i);
    if (measured->n && !tern_energy_start(energy)) {
        snprintf(measured->missing, sizeof measured->missing, "no thread can be made that reads the sensors");
        measured->n = 0;
    }
    if (!measured->n) {
        tern_energy_close(energy);
        return NULL;
    }
    if (plan->idle > 0) {
        tern_bench_energy_begin(energy, &before);
        wait_idle(plan->idle);
        tern_bench_energy_end(energy, &before, TERN_ENERGY_IDLE, 0, measured);
    }
    return energy;
}

void tern_bench_energy_reset(tern_bench_energy *measured) {
    for (int part = TERN_ENERGY_IDLE + 1; part < TERN_ENERGY_N_PARTS; part++)
        memset(&measured->parts[part], 0, sizeof measured->parts[part]);
}

void tern_bench_energy_summarise(const tern_energy *energy, tern_bench_energy *measured) {
    tern_energy_method method;
    bool known = false;
    for (int part = TERN_ENERGY_N_PARTS - 1; part >= 0; part--) { /* idle last: it goes by the others' method */
        tern_energy_span *span = &measured->parts[part];
        span->sum = -1;
        if (span->seconds <= 0)
            continue;
        double sum = tern_energy_sum(energy, span->joules, &method);
        if (sum < 0 || (known && method != measured->method))
            continue;
        span->sum = sum;
        measured->method = method;
        known = true;
    }
}

/* What came out of it: of one source, or (index n) of the sum. Negative: not readable, or not to be measured. */
typedef struct figures {
    double watts, joules_per_token, above_idle; /* the last one: the idle machine's power taken off; may be below 0 */
    bool has_above_idle;
} figures;

static double joules_of(const tern_bench_energy *e, int part, size_t index) {
    const tern_energy_span *span = &e->parts[part];
    return span->seconds <= 0 ? -1 : index < e->n ? span->joules[index] : span->sum;
}

static figures figures_of(const tern_bench_energy *e, int part, size_t index) {
    const tern_energy_span *span = &e->parts[part], *idle = &e->parts[TERN_ENERGY_IDLE];
    double joules = joules_of(e, part, index), idle_joules = joules_of(e, TERN_ENERGY_IDLE, index);
    figures f = {-1, -1, 0, false};
    if (joules < 0)
        return f;
    f.watts = joules / span->seconds;
    if (span->tokens <= 0)
        return f;
    f.joules_per_token = joules / span->tokens;
    f.has_above_idle = idle_joules >= 0;
    if (f.has_above_idle)
        f.above_idle = (joules - idle_joules / idle->seconds * span->seconds) / span->tokens;
    return f;
}

static bool is_readable(const tern_bench_energy *e, size_t index) {
    for (int part = TERN_ENERGY_IDLE + 1; part < TERN_ENERGY_N_PARTS; part++)
        if (joules_of(e, part, index) >= 0)
            return true;
    return false;
}

/* How many can be read: graphics cards, or what is none. */
static size_t n_readable(const tern_bench_energy *e, bool cards) {
    size_t n = 0;
    for (size_t i = 0; i < e->n; i++)
        n += (e->sources[i].method == TERN_ENERGY_NVML) == cards && is_readable(e, i);
    return n;
}

static bool any_readable(const tern_bench_energy *e) { return n_readable(e, false) || n_readable(e, true); }

/* -------------------------------------------------------------------- estimating */

/* Of decode's tokens on average, of which the first attends to `depth` + 1 tokens, or of prefill's, of which only the
 * last one's logits are computed. */
static tern_estimate estimate_of(const tern_bench_result *r, bool decode) {
    const double n = (double)(decode ? r->plan.decode : r->plan.prompt);
    return tern_estimate_of(&r->shape, r->n_ternary > 0, (decode ? (double)r->plan.depth : 0) + (n + 1) / 2,
                            decode ? 1 : 1 / n);
}

/* ---------------------------------------------------------------------- JSON */

static void set_real(json_t *object, const char *key, double value) {
    json_object_set_new(object, key, json_real(value));
}

/* PREFIX_watts, PREFIX_joules_per_token, PREFIX_joules_per_token_above_idle */
static void add_figures(const tern_bench_energy *e, size_t index, json_t *object) {
    char key[64];
    for (int part = 0; part < TERN_ENERGY_N_PARTS; part++) {
        figures f = figures_of(e, part, index);
        if (f.watts < 0)
            continue;
        snprintf(key, sizeof key, "%s_watts", part_names[part]);
        set_real(object, key, f.watts);
        if (f.joules_per_token < 0)
            continue;
        snprintf(key, sizeof key, "%s_joules_per_token", part_names[part]);
        set_real(object, key, f.joules_per_token);
        snprintf(key, sizeof key, "%s_joules_per_token_above_idle", part_names[part]);
        if (f.has_above_idle)
            set_real(object, key, f.above_idle);
    }
}

static json_t *measured_json(const tern_bench_energy *e) {
    json_t *object = json_object(), *sources = json_array();
    if (is_readable(e, e->n)) {
        json_object_set_new(object, "method", json_string(tern_energy_method_name(e->method)));
        add_figures(e, e->n, object);
    }
    for (size_t i = 0; i < e->n; i++) {
        const tern_energy_source *source = &e->sources[i];
        if (!is_readable(e, i))
            continue;
        json_t *row =
            json_pack("{s:s, s:s, s:b}", "source", source->name, "method", tern_energy_method_name(source->method),
                      "in_sum", source->summed && source->method == e->method && is_readable(e, e->n));
        add_figures(e, i, row);
        json_array_append_new(sources, row);
    }
    json_object_set_new(object, "sources", sources);
    return object;
}

void tern_bench_add_energy(const tern_bench_result *r, json_t *object) {
    const tern_bench_energy *e = &r->energy;
    json_object_set_new(object, "energy_measured", any_readable(e) ? measured_json(e) : json_null());
    json_object_set_new(object, "energy_unavailable", e->missing[0] ? tern_json_text(e->missing) : json_null());
    json_t *estimated =
        json_pack("{s:s, s:s}", "method", "operations counted, arithmetic alone", "source", tern_energy_source_text);
    for (int decode = 0; decode < 2; decode++)
        if (decode ? r->plan.decode : r->plan.prompt) {
            const tern_estimate made = estimate_of(r, decode);
            json_object_set_new(estimated, part_names[decode ? TERN_ENERGY_DECODE : TERN_ENERGY_PREFILL],
                                tern_estimate_json(&made));
        }
    json_object_set_new(object, "energy_estimated", estimated);
}

/* ---------------------------------------------------------------------- table */

static void print_source(const tern_bench_energy *e, size_t index, const char *name) {
    char joules[32];
    printf("  %-30s", name);
    for (int part = 1; part < TERN_ENERGY_N_PARTS; part++) {
        figures f = figures_of(e, part, index);
        if (f.joules_per_token < 0)
            continue;
        printf("  %s %s/token at %.1f W", part_names[part], tern_format_joules(joules, f.joules_per_token), f.watts);
        if (f.has_above_idle)
            printf(" (%s without idle)", tern_format_joules(joules, f.above_idle));
    }
    figures idle = figures_of(e, TERN_ENERGY_IDLE, index);
    if (idle.watts >= 0)
        printf("  idle %.1f W", idle.watts);
    putchar('\n');
}

static void print_measured(const tern_bench_result *r) {
    const tern_bench_energy *e = &r->energy;
    char name[64];
    printf("\nenergy measured, %d thread%s: ", r->threads, r->threads == 1 ? "" : "s");
    if (!any_readable(e)) {
        printf("nothing can be read here; %s\n", e->missing[0] ? e->missing : "the sensors gave no figures");
        return;
    }
    puts(n_readable(e, false) ? "of the whole machine or processor, other programs included"
                              : "of graphics cards alone, nothing of the processor");
    if (is_readable(e, e->n) && e->n > 1) {
        snprintf(name, sizeof name, "%s, together", tern_energy_method_name(e->method));
        print_source(e, e->n, name);
    }
    for (size_t i = 0; i < e->n; i++)
        if (is_readable(e, i))
            print_source(e, i, e->sources[i].name);
    if (n_readable(e, true))
        printf("  %s: the whole card meanwhile, whoever uses it; tern computes on the CPU, so it is in no sum\n",
               tern_energy_method_name(TERN_ENERGY_NVML));
    if (e->missing[0])
        printf("  not read: %s\n", e->missing);
}

void tern_bench_print_energy(const tern_bench_result *results, size_t n) {
    char title[80];
    for (size_t i = 0; i < n; i++)
        print_measured(&results[i]);
    tern_print_estimate_head();
    for (int decode = 0; decode < 2; decode++) {
        if (!(decode ? results[0].plan.decode : results[0].plan.prompt))
            continue;
        const tern_estimate made = estimate_of(&results[0], decode);
        snprintf(title, sizeof title, "a token of %s, attending to %g", decode ? "decode" : "prefill", made.context);
        tern_print_estimate(title, &made);
    }
}
