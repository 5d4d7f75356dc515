/* What the server counts, as text for Prometheus (exposition format 0.0.4). Written from any thread. */
#ifndef TERN_SERVER_METRICS_H
#define TERN_SERVER_METRICS_H

#include <stdatomic.h>

#include "base/energy.h"
#include "base/str.h"

enum { TERN_METRIC_BUCKETS = 16, TERN_METRIC_STATUSES = 20 };

typedef struct tern_histogram {
    _Atomic uint64_t buckets[TERN_METRIC_BUCKETS]; /* the last one: longer than all bounds */
    _Atomic uint64_t sum_us;
} tern_histogram;

typedef struct tern_metrics {
    _Atomic uint64_t *requests; /* [n_routes + 1, TERN_METRIC_STATUSES]; the last row: no route */
    size_t n_routes;
    _Atomic uint64_t connections, disconnects, slow_readers;
    tern_histogram first_token, inter_token, request_time;
} tern_metrics;

bool tern_metrics_init(tern_metrics *metrics, size_t n_routes);
void tern_metrics_free(tern_metrics *metrics);
void tern_metrics_observe(tern_histogram *histogram, double seconds);
/* `route`: its index, n_routes for none. */
void tern_metrics_count(tern_metrics *metrics, size_t route, int status);
/* All of it but what the scheduler knows. `paths` [n_routes]. */
void tern_metrics_write(const tern_metrics *metrics, const char *const *paths, tern_buffer *out);
void tern_metrics_write_scheduler(const tern_scheduler_stats *stats, tern_buffer *out);
/* Nothing of what cannot be read. `energy` may be NULL. */
void tern_metrics_write_energy(tern_energy *energy, const tern_scheduler_stats *stats, tern_buffer *out);

#endif
