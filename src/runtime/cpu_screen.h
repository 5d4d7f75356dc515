/* Candidates of the LM head by its screen (model/screen.h) on the CPU. */
#ifndef TERN_RUNTIME_CPU_SCREEN_H
#define TERN_RUNTIME_CPU_SCREEN_H

#include "model/weights.h"
#include "runtime/head.h"

enum { TERN_SCREEN_TOKENS = 16 }; /* in one pass over the planes */

/* What screening has done so far, for tests and statistics. */
typedef struct tern_screen_counts {
    uint64_t tokens, refused; /* asked for; of them answered by the whole head instead */
    uint64_t coarse, fine;    /* rows that the coarse plane left, and the fine one of these */
    uint64_t extra_bytes;     /* read of the fine plane and of the stored head */
    uint64_t together;        /* searches that read both planes at once */
} tern_screen_counts;

/* Tokens to come that do without the screen, and how many in a row had too many rows left. */
typedef struct tern_screen_pause {
    uint32_t tokens, refusals;
} tern_screen_pause;

typedef struct tern_cpu_screen {
    const tern_weights *weights;
    const tern_kernels *kernels;
    tern_pool *pool;
    struct tern_screen_scratch *scratch; /* made on first use */
    tern_screen_counts counts;
    tern_screen_pause pauses[TERN_HEAD_GUMBEL + 1]; /* by want */
    uint32_t together;                              /* searches to come that read both planes at once */
} tern_cpu_screen;

void tern_cpu_screen_init(tern_cpu_screen *screen, const tern_weights *weights, const tern_kernels *kernels,
                          tern_pool *pool);
void tern_cpu_screen_free(tern_cpu_screen *screen);

/* Candidates for x [n, hidden], n <= TERN_SCREEN_TOKENS; weights->screen is there. Bit t of *refused: that token wants
 * the whole head (every row is asked for, its hidden state cannot be screened, or too many rows are left); its
 * candidates are not touched. */
tern_status tern_cpu_screen_candidates(tern_cpu_screen *screen, const float *x, uint32_t n,
                                       const tern_head_query *queries, tern_candidates *out, uint32_t *refused,
                                       tern_error *err);

#endif
