/*
 * The exact search of `tern rag ask` alone: the best 4 of N int8 vectors, all of which are compared.
 *
 *     bench_rag_search [-n VECTORS] [-d DIMS] [-r RUNS] [THREADS...]
 *
 * Medians with the best and the worst of the runs, and the bytes read by the second beside what the same threads can
 * read from memory at most (tern_meter_memory). Loading from the database is another figure: tern rag ask --stats.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "rag/search.h"

enum { MAX_RUNS = 999, HITS = 4 };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int fail(const tern_error *err) {
    fprintf(stderr, "bench_rag_search: %s\n", err->message);
    return 1;
}

static int measure(tern_index *index, const tern_kernels *kernels, const float *query, int threads, int runs) {
    double seconds[MAX_RUNS];
    tern_pool *pool;
    tern_meter *meter = NULL;
    tern_error err;
    tern_match matches[HITS];
    size_t n = 0;
    if (tern_pool_create(threads, &pool, &err))
        return fail(&err);
    tern_status status = tern_index_centre(index, kernels, pool, &err);
    for (int i = -1; i < runs && !status; i++) { /* the first is not counted */
        double start = tern_seconds();
        status = tern_index_search(index, kernels, pool, query, HITS, matches, &n, &err);
        if (i >= 0)
            seconds[i] = tern_seconds() - start;
    }
    tern_pool_free(pool);
    if (!status)
        status = tern_meter_create(threads, NULL, &meter, &err);
    if (status)
        return fail(&err);
    qsort(seconds, (size_t)runs, sizeof *seconds, by_value);
    double bytes = (double)index->n * (double)index->ld, median = seconds[runs / 2];
    printf("%3d threads  %7.2f ms (%.2f to %.2f)  %6.1f GB/s of %.1f GB/s that memory gives\n", threads, median * 1e3,
           seconds[0] * 1e3, seconds[runs - 1] * 1e3, bytes / median / 1e9, tern_meter_memory(meter) / 1e9);
    tern_meter_free(meter);
    return 0;
}

/* Random bytes: the time does not depend on what they are. */
static void fill(tern_index *index, float *query) {
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; i < index->n; i++) {
        index->scales[i] = 0.0003F;
        for (size_t d = 0; d < index->ld; d += 8) {
            uint64_t bits = tern_rng_u64(&rng) & 0x7f7f7f7f7f7f7f7f;
            memcpy(index->bytes + i * index->ld + d, &bits, 8);
        }
    }
    for (size_t d = 0; d < index->dims; d++)
        query[d] = (float)tern_rng_normal(&rng);
}

int main(int argc, char **argv) {
    long vectors = 100000, dims = 2560;
    int runs = 21, status = 0, at = 1;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        long value = strtol(argv[at + 1], NULL, 10);
        if (argv[at][1] == 'n')
            vectors = value;
        else if (argv[at][1] == 'd')
            dims = value;
        else
            runs = argv[at][1] == 'r' ? (int)value : 0;
    }
    if (vectors < 1 || dims < 1 || dims > TERN_DOT_MAX || runs < 1 || runs > MAX_RUNS) {
        fprintf(stderr, "usage: bench_rag_search [-n VECTORS] [-d DIMS] [-r RUNS] [THREADS...]\n");
        return 2;
    }
    const tern_kernels *kernels;
    tern_index index;
    tern_error err;
    float *query = malloc((size_t)dims * sizeof *query);
    if (!query || tern_kernels_choose(NULL, &kernels, &err) ||
        tern_index_create((size_t)vectors, (size_t)dims, &index, &err)) {
        status = query ? fail(&err) : 1;
        free(query);
        return status;
    }
    fill(&index, query);
    printf("%ld vectors of %ld values, %.1f MB, kernels %s\n", vectors, dims, (double)index.n * (double)index.ld / 1e6,
           kernels->name);
    if (at == argc)
        status = measure(&index, kernels, query, tern_cpu_count(), runs);
    for (; at < argc && !status; at++) {
        long threads = strtol(argv[at], NULL, 10);
        status = threads > 0 && threads < 1024 ? measure(&index, kernels, query, (int)threads, runs) : 2;
    }
    tern_index_free(&index);
    free(query);
    return status;
}
