#include "model/screen.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "format/codec.h"

/* Below MIN_BYTES a whole head is read in a fraction of a millisecond, and the steps of screening cost as much. */
enum { MIN_BYTES = 8 << 20, TASK_GROUPS = 32, CENTRE_ROWS = 1024, RELEASE_ROWS = 32 };
enum { MAX_COLS = 1 << 17 }; /* the fine kernel's sums stay below 2^31 */
#define MAX_NORM 1e15
#define MIN_LARGEST 1e-30f
#define ROUNDING 0x1p-24 /* of a float, relative */

bool tern_screen_pays(const tern_tensor *head) { return head->bytes >= MIN_BYTES && head->cols <= MAX_COLS; }

/* ------------------------------------------------------------------ building */

typedef struct build_job {
    tern_screen *screen;
    const tern_codec *codec;
    const tern_screen_kernels *kernels;
    uint8_t *scratch; /* [threads][scratch_bytes] */
    size_t scratch_bytes;
} build_job;

/* What rows have in common, from a sample of them: without it the codes are spent on the rest. Any centre is right. */
static void find_centre(const tern_screen *screen, const tern_codec *codec, float *row, double *sums, float *centre) {
    memset(sums, 0, screen->k * sizeof *sums);
    uint64_t stride = screen->n_rows / CENTRE_ROWS + 1, n = 0;
    for (uint64_t r = 0; r < screen->n_rows; r += stride, n++) {
        codec->decode_row(screen->head, r, row);
        for (uint32_t i = 0; i < screen->k; i++)
            sums[i] += (double)row[i];
        if (n % RELEASE_ROWS == 0) /* a touch may have mapped 2 MB: a file's cached pages can be that large */
            tern_checkpoint_release(screen->checkpoint, screen->head);
    }
    for (uint32_t i = 0; i < screen->k; i++) {
        double mean = sums[i] / (double)n;
        centre[i] = fabs(mean) <= (double)TERN_SCREEN_MAX_CENTRE ? (float)mean : 0; /* NaN: 0 */
    }
}

double tern_screen_norm(const float *x, size_t n) {
    double lanes[8] = {0}, sum = 0;
    for (size_t i = 0; i < n; i++)
        lanes[i % 8] += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < 8; i++)
        sum += lanes[i];
    return sqrt(sum) * (1 + 1e-9);
}

static tern_screen_group group_of(const tern_screen *screen, size_t g) {
    size_t row = g * TERN_SCREEN_ROWS, k_pad = screen->k_pad;
    return (tern_screen_group){
        .coarse = (uint8_t *)screen->coarse + g * tern_screen_coarse_bytes(k_pad),
        .steps = (uint8_t *)screen->steps + g * tern_screen_step_bytes(k_pad),
        .fine = (uint8_t *)screen->fine + g * tern_screen_fine_bytes(k_pad),
        .row_steps = (float *)screen->row_steps + row,
        .coarse_errors = (float *)screen->coarse_errors + row,
        .fine_errors = (float *)screen->fine_errors + row,
        .norms = (float *)screen->norms + row,
    };
}

/* The file pages of rows [row, row + n_rows) have served. */
static void release_rows(const tern_screen *screen, uint64_t row, uint64_t n_rows) {
    tern_tensor part = *screen->head;
    part.data += row * screen->row_bytes;
    part.bytes = n_rows * screen->row_bytes;
    tern_checkpoint_release(screen->checkpoint, &part);
}

static void build_task(void *context, size_t task, int worker) {
    const build_job *job = context;
    const tern_screen *screen = job->screen;
    size_t end = (task + 1) * TASK_GROUPS < screen->n_groups ? (task + 1) * TASK_GROUPS : screen->n_groups;
    uint8_t *scratch = job->scratch + (size_t)worker * job->scratch_bytes;
    float *rows = (float *)(scratch + (tern_screen_scratch_bytes(screen->k_pad) + 63) / 64 * 64);
    memset(rows, 0, (size_t)TERN_SCREEN_ROWS * screen->k_pad * sizeof *rows);
    uint64_t first = (uint64_t)task * TASK_GROUPS * TERN_SCREEN_ROWS, row = first;
    for (size_t g = task * TASK_GROUPS; g < end; g++) {
        size_t n = 0;
        for (; n < TERN_SCREEN_ROWS && row < screen->n_rows; n++, row++)
            job->codec->decode_row(screen->head, row, rows + n * screen->k_pad);
        job->kernels->pack_group(rows, n, screen->k_pad, screen->centre, group_of(screen, g), scratch);
    }
    release_rows(screen, first, row - first);
}

bool tern_screen_measure(tern_screen *screen) {
    size_t k_pad = screen->k_pad, bytes;
    size_t group_bytes = tern_screen_coarse_bytes(k_pad) + tern_screen_step_bytes(k_pad) +
                         tern_screen_fine_bytes(k_pad) + TERN_SCREEN_ROWS * 4 * sizeof(float);
    if (!tern_mul_size(screen->n_groups, group_bytes, &bytes))
        return false;
    screen->bytes = bytes + k_pad * sizeof(float);
    return true;
}

/* All arrays from one block; each is a multiple of 64 bytes. */
static bool allocate(tern_screen *screen) {
    size_t groups = screen->n_groups, k_pad = screen->k_pad;
    if (!tern_screen_measure(screen))
        return false;
    screen->memory = tern_aligned_alloc(screen->bytes);
    if (!screen->memory)
        return false;
    uint8_t *at = screen->memory;
    screen->coarse = at;
    screen->steps = at += groups * tern_screen_coarse_bytes(k_pad);
    screen->fine = at += groups * tern_screen_step_bytes(k_pad);
    at += groups * tern_screen_fine_bytes(k_pad);
    const float **floats[] = {&screen->row_steps, &screen->coarse_errors, &screen->fine_errors, &screen->norms};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++, at += groups * TERN_SCREEN_ROWS * sizeof(float))
        *floats[i] = (const float *)at;
    screen->centre = (const float *)at;
    return true;
}

tern_screen tern_screen_of(const tern_checkpoint *checkpoint, const tern_tensor *head) {
    return (tern_screen){.n_rows = (uint32_t)head->rows,
                         .k = (uint32_t)head->cols,
                         .k_pad = (uint32_t)tern_screen_k_pad(head->cols),
                         .n_groups = (uint32_t)((head->rows + TERN_SCREEN_ROWS - 1) / TERN_SCREEN_ROWS),
                         .checkpoint = checkpoint,
                         .head = head,
                         .row_bytes = head->bytes / head->rows};
}

tern_status tern_screen_build(const tern_checkpoint *checkpoint, const tern_tensor *head,
                              const tern_screen_kernels *kernels, tern_pool *pool, tern_screen *screen,
                              tern_error *err) {
    tern_screen made = tern_screen_of(checkpoint, head);
    build_job job = {&made, tern_codec_of(head->type), kernels, NULL, 0};
    job.scratch_bytes =
        (tern_screen_scratch_bytes(made.k_pad) + 63) / 64 * 64 + (size_t)TERN_SCREEN_ROWS * made.k_pad * sizeof(float);
    size_t scratch_bytes;
    if (tern_mul_size((size_t)tern_pool_threads(pool), job.scratch_bytes, &scratch_bytes))
        job.scratch = tern_aligned_alloc(scratch_bytes);
    if (!job.scratch || !allocate(&made)) {
        tern_aligned_free(job.scratch);
        return tern_fail(err, TERN_ERR_MEMORY,
                         "%s: out of memory: the screen of the LM head needs %zu MB; it can be switched off",
                         checkpoint->path, made.bytes >> 20);
    }
    float *centre = (float *)made.centre;
    memset(centre, 0, made.k_pad * sizeof *centre);
    find_centre(&made, job.codec, (float *)job.scratch, (double *)(job.scratch + (size_t)made.k_pad * 8), centre);
    tern_checkpoint_release(checkpoint, head);
    made.centre_norm = tern_screen_norm(centre, made.k);
    tern_pool_run(pool, (made.n_groups + TASK_GROUPS - 1) / TASK_GROUPS, build_task, &job);
    tern_checkpoint_release(checkpoint, head); /* pages that tasks shared */
    tern_aligned_free(job.scratch);
    *screen = made;
    return TERN_OK;
}

void tern_screen_free(tern_screen *screen) {
    tern_aligned_free(screen->memory);
    *screen = (tern_screen){0};
}

size_t tern_screen_read_bytes(const tern_screen *screen) {
    size_t row_floats = 4; /* row_steps and three norms */
    return screen->n_groups * (tern_screen_coarse_bytes(screen->k_pad) + tern_screen_step_bytes(screen->k_pad) +
                               TERN_SCREEN_ROWS * row_floats * sizeof(float));
}

/* ------------------------------------------------------------- hidden states */

size_t tern_screen_state_bytes(const tern_screen *screen) {
    return (size_t)screen->k_pad * 3 + screen->k_pad / TERN_SCREEN_BLOCK * 3 * sizeof(int32_t);
}

/* The largest magnitude; infinity if any is not finite. */
static float largest_of(const float *x, size_t n) {
    float lanes[8] = {0}, largest = 0;
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        bad |= !(magnitude < INFINITY);
        lanes[i % 8] = magnitude > lanes[i % 8] ? magnitude : lanes[i % 8];
    }
    for (size_t i = 0; i < 8; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return bad ? INFINITY : largest;
}

/* To the nearest integer: the sum with 1.5 * 2^52 has no fraction bits. |value| < 2^31. */
static inline double nearest(double value) { return value + 0x1.8p52 - 0x1.8p52; }

/* Digits, block sums (coarse, fine, both) and fine values of x; squares [4]: |x|^2, |x - x^|^2, |x^|^2, |x^ - z^|^2. */
static void quantise(const tern_screen *screen, const float *x, double step, double fine_step, int8_t *digits,
                     int32_t *sums, int8_t *fine, double *squares) {
    const size_t k_pad = screen->k_pad;
    double inverse = 1 / step, fine_inverse = 1 / fine_step;
    for (size_t b = 0; b < k_pad / TERN_SCREEN_BLOCK; b++) {
        int32_t sum = 0, fine_sum = 0;
        for (size_t i = b * TERN_SCREEN_BLOCK; i < (b + 1) * TERN_SCREEN_BLOCK; i++) {
            double value = i < screen->k ? (double)x[i] : 0;
            double y = nearest(value * inverse), read = y * step;
            double z = nearest(read * fine_inverse), read_fine = z * fine_step;
            squares[0] += value * value;
            squares[1] += (value - read) * (value - read);
            squares[2] += read * read;
            squares[3] += (read - read_fine) * (read - read_fine);
            int32_t twice = 2 * (int32_t)y, low = ((twice + 128) & 255) - 128;
            int8_t *at = digits + i / 8 * 16 + i % 8 / 4 * 8 + i % 4;
            at[0] = (int8_t)((twice - low) / 256);
            at[4] = (int8_t)low;
            sum += (int32_t)y;
            fine[i] = (int8_t)z;
            fine_sum += (int32_t)z;
        }
        sums[b] = -15 * sum;
        sums[k_pad / TERN_SCREEN_BLOCK + b] = -fine_sum;
        sums[k_pad / TERN_SCREEN_BLOCK * 2 + b] = -62 * sum;
    }
}

static void set_coefficients(const tern_screen *screen, const double *squares, double offset,
                             tern_screen_state *state) {
    const double slack = 1 + 1e-9; /* for the doubles' own rounding */
    double x = sqrt(squares[0]) * slack, lost = sqrt(squares[1]) * slack, read = sqrt(squares[2]) * slack,
           fine_lost = sqrt(squares[3]) * slack;
    size_t chain_steps = screen->k_pad / TERN_SCREEN_BLOCK + 8, exact_steps = screen->k / 16 + 8;
    double chain = (double)chain_steps * ROUNDING * 1.01;
    double exact = (double)exact_steps * ROUNDING * 1.01;
    double last = 4 * ROUNDING * (read + fine_lost);
    double rest = 5 * ROUNDING * fabs(offset) + exact * screen->centre_norm * x + 1e-36;
    const double coarse[] = {read + chain * read, 0, lost + chain * read + exact * x, rest};
    const double fine[] = {fine_lost + last + chain * read, read + fine_lost + last, coarse[2], rest};
    const double both[] = {0, coarse[0], coarse[2], rest};
    for (size_t i = 0; i < 4; i++) { /* keep() rounds four times more */
        state->coarse[i] = (float)(coarse[i] * (1 + 0x1p-20));
        state->fine[i] = (float)(fine[i] * (1 + 0x1p-20));
        state->both[i] = (float)(both[i] * (1 + 0x1p-20));
    }
}

bool tern_screen_prepare(const tern_screen *screen, const float *x, tern_screen_state *state) {
    float largest = largest_of(x, screen->k);
    if (!(largest >= MIN_LARGEST && largest <= MAX_NORM))
        return false;
    const size_t k_pad = screen->k_pad;
    int8_t *digits = state->memory, *fine = digits + 2 * k_pad;
    int32_t *sums = (int32_t *)(void *)(fine + k_pad);
    float step = largest / TERN_SCREEN_X_MAX * (1 + 0x1p-20f), half_fine_step = largest / 254 * (1 + 0x1p-16f);
    double squares[4] = {0}, offset = 0;
    quantise(screen, x, (double)step, 2 * (double)half_fine_step, digits, sums, fine, squares);
    if (!(squares[0] <= MAX_NORM * MAX_NORM))
        return false;
    for (size_t i = 0; i < screen->k; i++)
        offset += (double)screen->centre[i] * (double)x[i];
    state->x = (tern_screen_x){.digits = digits,
                               .sums = sums,
                               .both_sums = sums + k_pad / TERN_SCREEN_BLOCK * 2,
                               .fine = fine,
                               .fine_sums = sums + k_pad / TERN_SCREEN_BLOCK,
                               .step = step,
                               .half_fine_step = half_fine_step,
                               .offset = (float)offset};
    set_coefficients(screen, squares, offset, state);
    return true;
}
