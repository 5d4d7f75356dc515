#include "server/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__linux__)
#include <fcntl.h>
#endif

#include "base/mem.h"

/* Seconds. */
static const double bounds[TERN_METRIC_BUCKETS - 1] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                       0.5,   1,      2.5,   5,    10,    30,   60};

/* What the server answers with; anything else is counted as the last one. 499: the client left before the answer. */
static const int statuses[TERN_METRIC_STATUSES] = {200, 204, 304, 400, 401, 403, 404, 405, 408,
                                                   413, 415, 417, 429, 431, 499, 500, 503, 0};

bool tern_metrics_init(tern_metrics *metrics, size_t n_routes) {
    *metrics = (tern_metrics){.n_routes = n_routes};
    metrics->requests = tern_calloc_array((n_routes + 1) * TERN_METRIC_STATUSES, sizeof *metrics->requests);
    return metrics->requests;
}

void tern_metrics_free(tern_metrics *metrics) { free(metrics->requests); }

void tern_metrics_observe(tern_histogram *histogram, double seconds) {
    size_t i = 0;
    while (i < TERN_METRIC_BUCKETS - 1 && seconds > bounds[i])
        i++;
    atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, (uint64_t)(seconds > 0 ? seconds * 1e6 : 0), memory_order_relaxed);
}

void tern_metrics_count(tern_metrics *metrics, size_t route, int status) {
    size_t i = 0;
    while (statuses[i] && statuses[i] != status)
        i++;
    atomic_fetch_add_explicit(&metrics->requests[route * TERN_METRIC_STATUSES + i], 1, memory_order_relaxed);
}

static void head(tern_buffer *out, const char *name, const char *type, const char *help) {
    tern_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_histogram(tern_buffer *out, const char *name, const char *help, const tern_histogram *histogram) {
    uint64_t count = 0;
    head(out, name, "histogram", help);
    for (size_t i = 0; i < TERN_METRIC_BUCKETS; i++) {
        count += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        if (i < TERN_METRIC_BUCKETS - 1)
            tern_buffer_printf(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)count);
    }
    uint64_t sum = atomic_load_explicit(&histogram->sum_us, memory_order_relaxed);
    tern_buffer_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name,
                       (unsigned long long)count, name, (double)sum * 1e-6, name, (unsigned long long)count);
}

static void write_value(tern_buffer *out, const char *name, const char *type, const char *help, double value) {
    head(out, name, type, help);
    tern_buffer_printf(out, "%s %.17g\n", name, value);
}

/* Bytes of the process that are in memory; -1: not known here. Without stdio, which would allocate. */
static double resident_bytes(void) {
#if defined(__linux__)
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *second = strchr(text, ' '); /* the first is of the address space */
    if (second)
        return (double)strtoll(second, NULL, 10) * (double)sysconf(_SC_PAGESIZE);
#endif
    return -1;
}

void tern_metrics_write(const tern_metrics *metrics, const char *const *paths, tern_buffer *out) {
    head(out, "tern_http_requests_total", "counter", "Requests by route and status.");
    for (size_t route = 0; route <= metrics->n_routes; route++)
        for (size_t i = 0; i < TERN_METRIC_STATUSES; i++) {
            uint64_t count = atomic_load(&metrics->requests[route * TERN_METRIC_STATUSES + i]);
            if (count)
                tern_buffer_printf(out, "tern_http_requests_total{route=\"%s\",status=\"%d\"} %llu\n",
                                   route < metrics->n_routes ? paths[route] : "none", statuses[i],
                                   (unsigned long long)count);
        }
    write_value(out, "tern_http_connections", "gauge", "Open connections.", (double)metrics->connections);
    write_value(out, "tern_http_disconnects_total", "counter", "Clients that left before their answer was complete.",
                (double)metrics->disconnects);
    write_value(out, "tern_http_slow_readers_total", "counter", "Streams cut because the client did not read.",
                (double)metrics->slow_readers);
    double resident = resident_bytes();
    if (resident >= 0) /* the name that Prometheus' own client libraries give it */
        write_value(out, "process_resident_memory_bytes", "gauge", "Memory of the process.", resident);
    write_histogram(out, "tern_request_seconds",
                    "From the arrival of a request for the model to the end of its answer.", &metrics->request_time);
    write_histogram(out, "tern_time_to_first_token_seconds", "From a request's arrival to its first token.",
                    &metrics->first_token);
    write_histogram(out, "tern_inter_token_seconds", "Between two tokens of an answer.", &metrics->inter_token);
}

void tern_metrics_write_scheduler(const tern_scheduler_stats *stats, tern_buffer *out) {
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"tern_requests_running", "gauge", "Requests in the batch.", stats->n_running},
        {"tern_requests_waiting", "gauge", "Requests in the queue.", stats->n_waiting},
        {"tern_requests_finished_total", "counter", "Requests that got their whole answer.", (double)stats->n_finished},
        {"tern_requests_cancelled_total", "counter", "Requests that were cancelled.", (double)stats->n_cancelled},
        {"tern_requests_refused_total", "counter", "Requests for which the queue was full.", (double)stats->n_refused},
        {"tern_requests_failed_total", "counter", "Requests that failed.", (double)stats->n_failed},
        {"tern_requests_preempted_total", "counter", "Times that a request gave its blocks to others, to go on later.",
         (double)stats->n_preempted},
        {"tern_steps_total", "counter", "Passes through the model.", (double)stats->n_steps},
        {"tern_step_seconds_total", "counter", "Time spent in passes.", stats->step_seconds},
        {"tern_prompt_tokens_total", "counter", "Tokens of prompts that were evaluated.", (double)stats->prompt_tokens},
        {"tern_cached_tokens_total", "counter", "Tokens of prompts that were found in the prefix cache.",
         (double)stats->cached_tokens},
        {"tern_generated_tokens_total", "counter", "Tokens generated.", (double)stats->generated_tokens},
        {"tern_kv_blocks", "gauge", "Blocks of the KV cache.", (double)stats->kv_blocks},
        {"tern_kv_blocks_used", "gauge", "Blocks that running requests hold.", (double)stats->kv_blocks_used},
        {"tern_kv_blocks_cached", "gauge", "Blocks that only kept prefixes hold.", (double)stats->kv_blocks_cached},
        {"tern_kv_block_tokens", "gauge", "Tokens in a block.", (double)stats->kv_block_tokens},
        {"tern_kv_bytes", "gauge", "Memory of the KV cache.", (double)stats->kv_bytes},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        write_value(out, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
}

/* The mean over all tokens is of no use when a source was away for a while: it would be of a part of the time. */
static void write_per_token(const tern_energy *energy, const tern_energy_reading *now,
                            const tern_scheduler_stats *stats, tern_buffer *out) {
    double joules[TERN_ENERGY_MAX_SOURCES], tokens = (double)stats->prompt_tokens + (double)stats->generated_tokens;
    tern_energy_method method;
    for (size_t i = 0; i < TERN_ENERGY_MAX_SOURCES; i++)
        joules[i] = now->gaps[i] ? -1 : now->joules[i];
    double sum = tern_energy_sum(energy, joules, &method);
    if (sum < 0 || tokens <= 0)
        return;
    head(out, "tern_energy_joules_per_token", "gauge",
         "Energy since the server's start, idle time included, for each token evaluated or generated.");
    tern_buffer_printf(out, "tern_energy_joules_per_token{method=\"%s\"} %.9g\n", tern_energy_method_name(method),
                       sum / tokens);
}

void tern_metrics_write_energy(tern_energy *energy, const tern_scheduler_stats *stats, tern_buffer *out) {
    tern_energy_reading now;
    bool begun = false;
    if (!energy)
        return;
    tern_energy_read(energy, &now);
    for (size_t i = 0; i < tern_energy_n_sources(energy); i++) {
        if (now.joules[i] < 0)
            continue;
        if (!begun)
            head(out, "tern_energy_joules_total", "counter",
                 "Energy of the machine, its processor or a card since the server's start, whatever else runs there.");
        begun = true;
        tern_buffer_printf(out, "tern_energy_joules_total{source=\"%s\"} %.6f\n",
                           tern_energy_source_at(energy, i)->name, now.joules[i]);
    }
    write_per_token(energy, &now, stats, out);
}
