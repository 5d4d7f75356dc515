#include "train/gemm.h"

#include <string.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

enum { MAX_NR = 64, MAX_MR = 16, TASKS_PER_THREAD = 4, LARGEST_UNIT = 4, LINE = 64, PIECE = 32 };

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

/* Units from a group of columns of A or B to the next one. The groups' units of one k are written one after the other
 * and would fall into the same few sets of the cache if they lay a power of 2 apart: an odd number of lines spreads
 * them (8 units of 4 bytes of 6 rows are 3 lines; a unit of 64 columns is 4, which is as good). */
static size_t group_stride(size_t units) { return round_up(units, 8) | 8; }

static size_t panels_bytes(size_t n) {
    return (n < TERN_GEMM_NC ? round_up(n, MAX_NR) : TERN_GEMM_NC) * group_stride(TERN_GEMM_KC) * LARGEST_UNIT;
}

static size_t shared_bytes(size_t m) {
    size_t rows = (m < TERN_GEMM_SHARED_M ? m : TERN_GEMM_SHARED_M) + MAX_MR;
    return round_up(rows * group_stride(TERN_GEMM_KC) * LARGEST_UNIT, LINE);
}

static size_t block_bytes(void) {
    return round_up((size_t)(TERN_GEMM_MC + MAX_MR) * TERN_GEMM_KC * LARGEST_UNIT, LINE);
}

size_t tern_gemm_scratch(size_t widest, int threads) {
    size_t blocks = (size_t)threads * block_bytes(), shared = shared_bytes(widest);
    return panels_bytes(widest) + (blocks > shared ? blocks : shared);
}

/* ---------------------------------------------------------------- packing */

typedef struct gemm_job {
    const tern_gemm *gemm;
    const tern_product *p;
    uint8_t *panels, *blocks; /* of B; of A, per worker or, if it is k_major, of all */
    size_t k0, nk, units;     /* this stretch */
    size_t m0, mm, n0, nn;    /* these rows and columns of C */
    size_t n_panels, n_pieces;
    size_t rows_per_task, panels_per_task, n_splits; /* splits: tasks with the same rows */
} gemm_job;

static size_t panel_bytes(const gemm_job *job) {
    return group_stride(job->units) * job->gemm->nr * job->gemm->unit_bytes;
}

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
        gemm->pack_k_major(&part, 0, left, 0, n, gemm->nr, gemm->nr, job->units,
                           to + k / gemm->unit * gemm->nr * gemm->unit_bytes);
    }
}

static void pack_panel(const gemm_job *job, size_t panel) {
    const tern_gemm *gemm = job->gemm;
    size_t first = panel * gemm->nr, n = job->nn - first < gemm->nr ? job->nn - first : gemm->nr;
    uint8_t *to = job->panels + panel * panel_bytes(job);
    first += job->n0;
    if (job->p->b.type == TERN_OPERAND_TRITS)
        pack_trits(job, first, n, to);
    else
        gemm->pack_turned(&job->p->b, job->k0, job->nk, first, n, gemm->nr, to);
}

/* Of operands that are k_major: whole rows, as memory likes to be read, to all panels or groups. */
static bool by_pieces(const tern_operand *operand) { return operand->k_major && operand->type != TERN_OPERAND_TRITS; }

static void pack_piece(const gemm_job *job, size_t piece) {
    const tern_gemm *gemm = job->gemm;
    const tern_product *p = job->p;
    size_t k = piece * PIECE, nk = job->nk - k < PIECE ? job->nk - k : PIECE, unit = k / gemm->unit * gemm->unit_bytes;
    if (by_pieces(&p->a))
        gemm->pack_k_major(&p->a, job->k0 + k, nk, job->m0, job->mm, round_up(job->mm, gemm->mr), gemm->mr,
                           group_stride(job->units), job->blocks + unit * gemm->mr);
    if (by_pieces(&p->b))
        gemm->pack_k_major(&p->b, job->k0 + k, nk, job->n0, job->nn, job->n_panels * gemm->nr, gemm->nr,
                           group_stride(job->units), job->panels + unit * gemm->nr);
}

static void pack_task(void *context, size_t task, int worker) {
    (void)worker;
    const gemm_job *job = context;
    if (task < job->n_pieces)
        pack_piece(job, task);
    else
        pack_panel(job, task - job->n_pieces);
}

/* ---------------------------------------------------------------- products */

static void rows_task(void *context, size_t task, int worker) {
    const gemm_job *job = context;
    const tern_gemm *gemm = job->gemm;
    const tern_product *p = job->p;
    size_t row = task / job->n_splits * job->rows_per_task, first = task % job->n_splits * job->panels_per_task;
    size_t m = job->mm - row < job->rows_per_task ? job->mm - row : job->rows_per_task;
    size_t row_bytes = group_stride(job->units) * gemm->unit_bytes; /* those of a group, divided by its rows */
    size_t a_row = gemm->unit_bytes, a_step = gemm->mr * gemm->unit_bytes;
    uint8_t *block = job->blocks + row * row_bytes;
    if (!p->a.k_major) {
        a_row = row_bytes = job->units * gemm->unit_bytes, a_step = gemm->unit_bytes;
        block = job->blocks + (size_t)worker * block_bytes();
        gemm->pack_rows(&p->a, job->k0, job->nk, job->m0 + row, m, block);
        memset(block + m * row_bytes, 0, (round_up(m, gemm->mr) - m) * row_bytes);
    }
    float *c = p->c + (job->m0 + row) * p->ldc + job->n0;
    for (size_t j = first; j < first + job->panels_per_task && j < job->n_panels; j++) {
        size_t n = job->nn - j * gemm->nr < gemm->nr ? job->nn - j * gemm->nr : gemm->nr;
        for (size_t i = 0; i < m; i += gemm->mr)
            gemm->tile(job->units, block + i * row_bytes, a_row, a_step, job->panels + j * panel_bytes(job),
                       c + i * p->ldc + j * gemm->nr, p->ldc, m - i < gemm->mr ? m - i : gemm->mr, n, p->alpha,
                       p->add || job->k0);
    }
}

/* Enough tasks for all threads: first by columns, which costs nothing if A is packed already, and then by rows. */
static size_t plan(gemm_job *job, size_t wanted) {
    size_t mr = job->gemm->mr, most = TERN_GEMM_MC / mr * mr, n_rows = (job->mm + most - 1) / most;
    job->rows_per_task = most;
    job->n_splits = 1;
    while (n_rows * job->n_splits < wanted && job->n_splits < job->n_panels && job->p->a.k_major)
        job->n_splits++;
    while (n_rows * job->n_splits < wanted && job->rows_per_task > 2 * mr) {
        job->rows_per_task -= mr;
        n_rows = (job->mm + job->rows_per_task - 1) / job->rows_per_task;
    }
    while (n_rows * job->n_splits < wanted && job->n_splits < job->n_panels)
        job->n_splits++;
    job->panels_per_task = (job->n_panels + job->n_splits - 1) / job->n_splits;
    return n_rows * job->n_splits;
}

static void run_block(gemm_job *job, tern_pool *pool) {
    const tern_product *p = job->p;
    int threads = tern_pool_threads(pool);
    job->n_panels = (job->nn + job->gemm->nr - 1) / job->gemm->nr;
    size_t n_tasks = plan(job, threads > 1 ? (size_t)threads * TASKS_PER_THREAD : 1);
    for (job->k0 = 0; job->k0 < p->k; job->k0 += TERN_GEMM_KC) {
        job->nk = p->k - job->k0 < TERN_GEMM_KC ? p->k - job->k0 : TERN_GEMM_KC;
        job->units = (job->nk + job->gemm->unit - 1) / job->gemm->unit;
        job->n_pieces = by_pieces(&p->a) || by_pieces(&p->b) ? (job->nk + PIECE - 1) / PIECE : 0;
        tern_pool_run(pool, job->n_pieces + (by_pieces(&p->b) ? 0 : job->n_panels), pack_task, job);
        tern_pool_run(pool, n_tasks, rows_task, job);
    }
}

void tern_gemm_run(const tern_gemm *gemm, tern_pool *pool, const tern_product *p, void *scratch) {
    gemm_job job = {.gemm = gemm, .p = p, .panels = scratch};
    size_t rows = p->a.k_major ? TERN_GEMM_SHARED_M / gemm->mr * gemm->mr : p->m;
    job.blocks = job.panels + panels_bytes(p->n);
    for (job.n0 = 0; job.n0 < p->n; job.n0 += TERN_GEMM_NC) {
        job.nn = p->n - job.n0 < TERN_GEMM_NC ? p->n - job.n0 : TERN_GEMM_NC;
        for (job.m0 = 0; job.m0 < p->m; job.m0 += rows) {
            job.mm = p->m - job.m0 < rows ? p->m - job.m0 : rows;
            run_block(&job, pool);
        }
    }
}
