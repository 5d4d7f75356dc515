/* The public meter: what memory and the dot-product units of this machine give, with threads like a model's. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/limits.h"
#include "tern/tern.h"

/* The block is to miss every cache: 8 times the last level, where the system tells its size, within these bounds. The
 * largest last levels of servers hold 256 to 512 MB. Pieces are small enough that threads of unequal speed finish
 * together, and large enough for the prefetcher. */
#define MIN_BLOCK_BYTES ((size_t)256 << 20)
#define MAX_BLOCK_BYTES ((size_t)768 << 20)
#define PIECE_BYTES ((size_t)1 << 20)
#define MIN_PASS_SECONDS 5e-3
enum { MAX_PIECES = MAX_BLOCK_BYTES / PIECE_BYTES, N_READS = 8, N_DOT_PASSES = 4, DOTS_PER_THREAD = 16 };

struct tern_meter {
    tern_pool *pool;
    const tern_limits *limits;
    char *block; /* [n_pieces * PIECE_BYTES] */
    size_t n_pieces;
    uint64_t sums[MAX_PIECES]; /* for nobody, but so that the reading is not left out */
    uint64_t *dots;            /* [n_threads * DOTS_PER_THREAD] multiply-adds done in each task */
    uint64_t macs;             /* wanted in each task */
    tern_meter_quiet quiet;    /* of the last reading */
};

static size_t block_bytes(void) {
    long cache = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    if (cache <= 0 || (size_t)cache > MAX_BLOCK_BYTES / 8)
        return MAX_BLOCK_BYTES;
    size_t bytes = 8 * (size_t)cache / PIECE_BYTES * PIECE_BYTES;
    return bytes < MIN_BLOCK_BYTES ? MIN_BLOCK_BYTES : bytes;
}

static void fill_piece(void *context, size_t task, int worker) {
    (void)worker;
    tern_meter *meter = context;
    memset(meter->block + task * PIECE_BYTES, 1, PIECE_BYTES);
}

static void read_piece(void *context, size_t task, int worker) {
    (void)worker;
    tern_meter *meter = context;
    meter->sums[task] = meter->limits->read_memory(meter->block + task * PIECE_BYTES, PIECE_BYTES);
}

static void run_dots(void *context, size_t task, int worker) {
    (void)worker;
    tern_meter *meter = context;
    meter->dots[task] = meter->limits->dot(meter->macs);
}

tern_status tern_meter_create(int n_threads, const char *cpu, tern_meter **out, tern_error *err) {
    const tern_kernels *kernels;
    if (n_threads < 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a meter cannot have %d threads", n_threads);
    tern_status status = tern_kernels_choose(cpu, &kernels, err);
    if (status)
        return status;
    n_threads = n_threads ? n_threads : tern_cpu_count();
    tern_meter *meter = calloc(1, sizeof *meter);
    if (!meter)
        return tern_fail_memory(err, "the meter");
    meter->limits = tern_limits_of(kernels);
    meter->macs = 1 << 20;
    meter->n_pieces = block_bytes() / PIECE_BYTES;
    meter->block = tern_aligned_alloc(meter->n_pieces * PIECE_BYTES);
    meter->dots = tern_calloc_array((size_t)n_threads, DOTS_PER_THREAD * sizeof *meter->dots);
    if (!meter->block || !meter->dots)
        status = tern_fail_memory(err, "the block that memory bandwidth is measured on");
    else
        status = tern_pool_create(n_threads, &meter->pool, err);
    if (status) {
        tern_meter_free(meter);
        return status;
    }
    tern_pool_run(meter->pool, meter->n_pieces, fill_piece, meter);
    *out = meter;
    return TERN_OK;
}

void tern_meter_free(tern_meter *meter) {
    if (!meter)
        return;
    tern_pool_free(meter->pool);
    tern_aligned_free(meter->block);
    free(meter->dots);
    free(meter);
}

uint64_t tern_meter_bytes(const tern_meter *meter) { return (uint64_t)(meter->n_pieces * PIECE_BYTES); }

const char *tern_meter_instruction(const tern_meter *meter) { return meter->limits->instruction; }

double tern_meter_memory(tern_meter *meter) {
    double best = 0, slowest = 0, begin = tern_seconds(), cpu = tern_cpu_seconds();
    for (int pass = 0; pass < N_READS; pass++) {
        double start = tern_seconds();
        tern_pool_run(meter->pool, meter->n_pieces, read_piece, meter);
        double rate = (double)tern_meter_bytes(meter) / (tern_seconds() - start);
        best = rate > best ? rate : best;
        slowest = pass == 0 || rate < slowest ? rate : slowest;
    }
    double seconds = (tern_seconds() - begin) * tern_pool_threads(meter->pool);
    meter->quiet = (tern_meter_quiet){(tern_cpu_seconds() - cpu) / seconds, slowest / best};
    return best;
}

tern_meter_quiet tern_meter_how_quiet(const tern_meter *meter) { return meter->quiet; }

/* One pass; *seconds is what it took. */
static double dot_rate(tern_meter *meter, double *seconds) {
    size_t n = (size_t)tern_pool_threads(meter->pool) * DOTS_PER_THREAD;
    uint64_t macs = 0;
    double start = tern_seconds();
    tern_pool_run(meter->pool, n, run_dots, meter);
    *seconds = tern_seconds() - start;
    for (size_t i = 0; i < n; i++)
        macs += meter->dots[i];
    return (double)macs / *seconds;
}

double tern_meter_macs(tern_meter *meter) {
    double best = 0, seconds;
    dot_rate(meter, &seconds);
    while (seconds < MIN_PASS_SECONDS && meter->macs < (uint64_t)1 << 40) { /* the next pass takes long enough */
        meter->macs *= 2;
        dot_rate(meter, &seconds);
    }
    for (int pass = 0; pass < N_DOT_PASSES; pass++) {
        double rate = dot_rate(meter, &seconds);
        best = rate > best ? rate : best;
    }
    return best;
}
