#include "cli/bandwidth.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"

/* 768 MB: the largest last-level caches of servers hold 256 to 512 MB. Pieces are small enough that threads of unequal
 * speed finish together, and large enough for the prefetcher. */
#define BLOCK_BYTES ((size_t)768 << 20)
#define PIECE_BYTES ((size_t)1 << 20)
#define MIN_SECONDS 0.3
enum { MIN_PASSES = 4 };

static void fill_piece(void *context, size_t task, int worker) {
    (void)worker;
    memset((char *)context + task * PIECE_BYTES, 1, PIECE_BYTES);
}

/* Adds all words, so that none need not be read. */
static uint64_t sum_words(const uint64_t *words, size_t n) {
    uint64_t sums[8] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += words[i + j];
    for (size_t j = 0; j < 8; j++)
        sum += sums[j];
    return sum;
}

static void read_piece(void *context, size_t task, int worker) {
    (void)worker;
    volatile uint64_t sum = sum_words((const uint64_t *)context + task * (PIECE_BYTES / 8), PIECE_BYTES / 8);
    (void)sum;
}

tern_status tern_measure_bandwidth(int n_threads, double *bytes_per_second, tern_error *err) {
    tern_pool *pool = NULL;
    void *block = tern_aligned_alloc(BLOCK_BYTES);
    if (!block)
        return tern_fail_memory(err, "the block that memory bandwidth is measured on");
    tern_status status = tern_pool_create(n_threads, &pool, err);
    if (!status) {
        const size_t n_pieces = BLOCK_BYTES / PIECE_BYTES;
        double best = 0;
        tern_pool_run(pool, n_pieces, fill_piece, block);
        double start = tern_seconds(), now = start;
        for (int pass = 0; pass < MIN_PASSES || now - start < MIN_SECONDS; pass++) {
            double before = now;
            tern_pool_run(pool, n_pieces, read_piece, block);
            now = tern_seconds();
            double rate = (double)BLOCK_BYTES / (now - before);
            best = rate > best ? rate : best;
        }
        *bytes_per_second = best;
    }
    tern_pool_free(pool);
    tern_aligned_free(block);
    return status;
}
