#include "train/gemm.h"

#include <string.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

enum { MAX_NR = 64, MAX_MR = 16, TASKS_PER_THREAD = 4, LARGEST_UNIT = 4, LINE = 64 };

/* ---------------------------------------------------------------- the ladder */

extern const tern_gemm tern_gemm_ref;
#if defined(__x86_64__)
extern const tern_gemm tern_gemm_avx2, tern_gemm_avx512vnni, tern_gemm_avx512bf16;
#elif defined(__aarch64__)
extern const tern_gemm tern_gemm_neon;
#endif

static const tern_gemm *const ladder[] = {
#if defined(__x86_64__)
    &tern_gemm_avx512bf16, &tern_gemm_avx512vnni,
    &tern_gemm_avx2,
#elif defined(__aarch64__)
    &tern_gemm_neon,
#endif
    &tern_gemm_ref,        NULL,
};

const tern_gemm *const *tern_gemm_all(void) { return ladder; }

const tern_gemm *tern_gemm_choose(unsigned features) {
    size_t i = 0;
    while (ladder[i]->features & ~features)
        i++;
    return ladder[i];
}

/* ---------------------------------------------------------------- memory */

static size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

static size_t panels_bytes(size_t widest) {
    size_t columns = widest < TERN_GEMM_NC ? round_up(widest, MAX_NR) : TERN_GEMM_NC;
    return columns * TERN_GEMM_KC * LARGEST_UNIT;
}

static size_t block_bytes(void) {
    return round_up((size_t)(TERN_GEMM_MC + MAX_MR) * TERN_GEMM_KC * LARGEST_UNIT, LINE);
}

size_t tern_gemm_scratch(size_t widest, int threads) { return panels_bytes(widest) + (size_t)threads * block_bytes(); }

/* ---------------------------------------------------------------- packing */

typedef struct gemm_job {
    const tern_gemm *gemm;
    const tern_product *p;
    uint8_t *panels, *blocks;       /* of B, and of A per worker */
    size_t k0, nk, units;           /* this stretch */
    size_t n0, nn;                  /* these columns */
    size_t rows_per_task, n_splits; /* of C; its columns are split in so many */
    size_t panels_per_split;
} gemm_job;

static size_t panel_bytes(const gemm_job *job) { return job->units * job->gemm->nr * job->gemm->unit_bytes; }

/* 16 rows of a ternary matrix, columns [first, first + n): the group's fields, 4 columns of a row at a time. */
static void unpack_trits(const tern_operand *from, size_t group, size_t first, size_t n, int8_t to[16][MAX_NR]) {
    const tern_packing *packing = &tern_packing_t2r16;
    const uint8_t *at = (const uint8_t *)from->data + group * tern_group_bytes(packing, from->ld);
    for (size_t block = first / TERN_GROUP_COLS; block * TERN_GROUP_COLS < first + n; block++)
        for (size_t r = 0; r < TERN_GROUP_ROWS; r++) {
            uint32_t codes;
            memcpy(&codes, at + block * packing->block_bytes + 4 * r, sizeof codes);
            for (size_t f = 0; f < 4; f++) {
                uint32_t four = codes >> 2 * f & 0x03030303u; /* 0, 1, 2 -> -1, 0, 1, no borrow between bytes */
                four = ((four | 0x80808080u) - 0x01010101u) ^ 0x80808080u;
                memcpy(&to[r][block * TERN_GROUP_COLS - first + 4 * f], &four, sizeof four);
            }
        }
}

static void pack_trits(const gemm_job *job, size_t first, size_t n, uint8_t *to) {
    const tern_gemm *gemm = job->gemm;
    int8_t rows[TERN_GROUP_ROWS][MAX_NR];
    tern_operand part = {.type = TERN_OPERAND_I8, .k_major = true, .data = rows, .ld = MAX_NR};
    for (size_t k = 0; k < job->nk; k += TERN_GROUP_ROWS) { /* stretches begin at whole groups */
        unpack_trits(&job->p->b, (job->k0 + k) / TERN_GROUP_ROWS, first, n, rows);
        size_t left = job->nk - k < TERN_GROUP_ROWS ? job->nk - k : TERN_GROUP_ROWS;
        gemm->pack_k_major(&part, 0, left, 0, n, gemm->nr, gemm->nr, to + k / gemm->unit * gemm->nr * gemm->unit_bytes);
    }
}

static void pack_panel(void *context, size_t panel, int worker) {
    (void)worker;
    const gemm_job *job = context;
    const tern_gemm *gemm = job->gemm;
    size_t first = panel * gemm->nr, n = job->nn - first < gemm->nr ? job->nn - first : gemm->nr;
    uint8_t *to = job->panels + panel * panel_bytes(job);
    first += job->n0;
    if (job->p->b.type == TERN_OPERAND_TRITS)
        pack_trits(job, first, n, to);
    else if (job->p->b.k_major)
        gemm->pack_k_major(&job->p->b, job->k0, job->nk, first, n, gemm->nr, gemm->nr, to);
    else
        gemm->pack_turned(&job->p->b, job->k0, job->nk, first, n, gemm->nr, to);
}

/* ---------------------------------------------------------------- products */

static void rows_task(void *context, size_t task, int worker) {
    const gemm_job *job = context;
    const tern_gemm *gemm = job->gemm;
    const tern_product *p = job->p;
    size_t row = task / job->n_splits * job->rows_per_task, split = task % job->n_splits;
    size_t m = p->m - row < job->rows_per_task ? p->m - row : job->rows_per_task, width = round_up(m, gemm->mr);
    uint8_t *block = job->blocks + (size_t)worker * block_bytes();
    size_t row_bytes = job->units * gemm->unit_bytes; /* also a group's, divided by its rows */
    size_t a_row = gemm->unit_bytes, a_step = gemm->mr * gemm->unit_bytes;
    if (p->a.k_major) {
        gemm->pack_k_major(&p->a, job->k0, job->nk, row, m, width, gemm->mr, block);
    } else {
        a_row = row_bytes, a_step = gemm->unit_bytes;
        gemm->pack_rows(&p->a, job->k0, job->nk, row, m, block);
        memset(block + m * row_bytes, 0, (width - m) * row_bytes);
    }
    size_t first = split * job->panels_per_split, end = first + job->panels_per_split;
    for (size_t j = first; j < end && j * gemm->nr < job->nn; j++) {
        size_t n = job->nn - j * gemm->nr < gemm->nr ? job->nn - j * gemm->nr : gemm->nr;
        float *c = p->c + row * p->ldc + job->n0 + j * gemm->nr;
        for (size_t i = 0; i < m; i += gemm->mr)
            gemm->tile(job->units, block + i * row_bytes, a_row, a_step, job->panels + j * panel_bytes(job),
                       c + i * p->ldc, p->ldc, m - i < gemm->mr ? m - i : gemm->mr, n, p->alpha, p->add || job->k0);
    }
}

/* Enough tasks for all threads: fewer rows each, then fewer columns. */
static size_t plan(gemm_job *job, size_t wanted) {
    size_t m = job->p->m, mr = job->gemm->mr, n_panels = (job->nn + job->gemm->nr - 1) / job->gemm->nr;
    size_t rows = TERN_GEMM_MC / mr * mr;
    while (rows > 4 * mr && (m + rows - 1) / rows < wanted)
        rows -= mr;
    size_t n_rows = (m + rows - 1) / rows, splits = 1;
    while (n_rows * splits < wanted && 2 * splits <= n_panels)
        splits *= 2;
    job->rows_per_task = rows;
    job->n_splits = splits;
    job->panels_per_split = (n_panels + splits - 1) / splits;
    return n_rows * splits;
}

void tern_gemm_run(const tern_gemm *gemm, tern_pool *pool, const tern_product *p, void *scratch) {
    gemm_job job = {.gemm = gemm, .p = p, .panels = scratch};
    int threads = tern_pool_threads(pool);
    job.blocks = job.panels + panels_bytes(p->n);
    for (job.n0 = 0; job.n0 < p->n; job.n0 += TERN_GEMM_NC) {
        job.nn = p->n - job.n0 < TERN_GEMM_NC ? p->n - job.n0 : TERN_GEMM_NC;
        size_t n_tasks = plan(&job, threads > 1 ? (size_t)threads * TASKS_PER_THREAD : 1);
        for (job.k0 = 0; job.k0 < p->k; job.k0 += TERN_GEMM_KC) {
            job.nk = p->k - job.k0 < TERN_GEMM_KC ? p->k - job.k0 : TERN_GEMM_KC;
            job.units = (job.nk + gemm->unit - 1) / gemm->unit;
            tern_pool_run(pool, (job.nn + gemm->nr - 1) / gemm->nr, pack_panel, &job);
            tern_pool_run(pool, n_tasks, rows_task, &job);
        }
    }
}
