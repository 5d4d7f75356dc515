/* Random tensor data, made in slabs of rows: a slab's bytes follow from the
 * seed, the tensor and the slab's number, whatever thread makes it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/synth_parts.h"

/* Values in a slab, roughly: a few milliseconds of work, a megabyte of trits. Slabs are whole multiples of 128 rows, so
 * that an I2_S slab is whole blocks of 128 whatever the row length. */
enum { SLAB_VALUES = 1 << 20, SLAB_ROWS = 128, SLABS_PER_THREAD = 2 };

typedef struct slab_job {
    const tern_synth_tensor *tensor;
    uint64_t seed, first_slab, slab_rows, n_slabs;
    uint8_t *lower, *upper; /* [cols] a random byte below `lower` gives -1, from `upper` on +1 */
    int8_t *signs;          /* [cols] EMBEDDING: the shared pattern */
    int8_t *trits;          /* [threads][slab_rows * cols] */
    float *rows;            /* [threads][cols] */
    uint8_t *bytes;         /* [slabs in a batch][slab_bytes] */
    uint64_t slab_bytes;
} slab_job;

static uint64_t mix(uint64_t seed, uint64_t stream, uint64_t part) {
    return (seed * 0x9e3779b97f4a7c15u + stream) * 0xd1342543de82ef95u + part;
}

int tern_synth_pattern(uint64_t seed, uint64_t channel) {
    tern_rng rng;
    tern_rng_seed(&rng, mix(seed, UINT32_MAX, channel));
    return tern_rng_u64(&rng) >> 63 ? 1 : -1;
}

static void fill_trits(tern_rng *rng, const slab_job *job, int8_t *trits) {
    size_t cols = (size_t)job->tensor->cols;
    for (size_t i = 0; i < cols; i += 256) {
        uint8_t random[256];
        size_t n = cols - i < 256 ? cols - i : 256;
        for (size_t j = 0; j < n; j += 8) {
            uint64_t word = tern_rng_u64(rng);
            for (size_t byte = 0; byte < 8; byte++) /* by value, not memcpy: the same on big-endian machines */
                random[j + byte] = (uint8_t)(word >> 8 * byte);
        }
        for (size_t j = 0; j < n; j++)
            trits[i + j] = (int8_t)((random[j] >= job->upper[i + j]) - (random[j] < job->lower[i + j]));
        for (size_t j = 0; job->tensor->binary && j < n; j++) /* signs as they would fall: zeros either way */
            trits[i + j] = trits[i + j] ? trits[i + j] : (int8_t)(1 - 2 * (random[j] & 1));
    }
}

/* Master weights that ternarise back to these trits with about this scale: zeros within 0.45 scale, the others 0.8
 * to 1.9 times it, with an absolute mean of 1 scale; the threshold is at 0.5. */
static void masters_of(tern_rng *rng, const int8_t *trits, size_t n, bool binary, float scale, float *values) {
    const float zero = 0.45f, low = 0.8f;
    const float nonzero_share = binary ? 1.0f : 2 * TERN_SYNTH_SIGN_CHANCES / 256.0f;
    const float high = 2 * (1 - (1 - nonzero_share) * zero / 2) / nonzero_share - low;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = tern_rng_u64(rng);
        for (size_t j = i; j < n && j < i + 8; j++, word >>= 8) {
            float u = (float)(word & 255) / 255;
            values[j] = scale * (trits[j] ? (float)trits[j] * (low + (high - low) * u) : zero * (2 * u - 1));
        }
    }
}

/* Nearly normal, unit variance: the sum of four uniform 16-bit numbers (Irwin-Hall), which is fast. */
static float quick_normal(tern_rng *rng) {
    uint64_t word = tern_rng_u64(rng);
    int sum = (int)(word & 0xffff) + (int)(word >> 16 & 0xffff) + (int)(word >> 32 & 0xffff) + (int)(word >> 48);
    return (float)(sum - 2 * 65535) * (1.0f / 37837.23f); /* sqrt(4 / 12) * 65536 */
}

static void fill_float_row(tern_rng *rng, const slab_job *job, int8_t *trits, float *row) {
    const tern_synth_tensor *tensor = job->tensor;
    size_t cols = (size_t)tensor->cols;
    if (tensor->fill == TERN_SYNTH_TRITS) {
        fill_trits(rng, job, trits);
        masters_of(rng, trits, cols, tensor->binary, tensor->scale, row);
        return;
    }
    for (size_t i = 0; i < cols; i++)
        row[i] = tensor->scale * (quick_normal(rng) + (float)job->signs[i]);
}

static void make_slab(void *context, size_t task, int worker) {
    const slab_job *job = context;
    const tern_synth_tensor *tensor = job->tensor;
    uint64_t slab = job->first_slab + task, row = slab * job->slab_rows;
    size_t n_rows = (size_t)(tensor->rows - row < job->slab_rows ? tensor->rows - row : job->slab_rows);
    size_t cols = (size_t)tensor->cols;
    int8_t *trits = job->trits + (size_t)worker * (size_t)job->slab_rows * cols;
    uint8_t *out = job->bytes + task * (size_t)job->slab_bytes;
    tern_rng rng;
    tern_rng_seed(&rng, mix(job->seed, tensor->stream, slab));
    if (tensor->codec->ternary) {
        for (size_t i = 0; i < n_rows; i++)
            fill_trits(&rng, job, trits + i * cols);
        tensor->codec->encode_trits(trits, n_rows, cols, tensor->scale, out);
        return;
    }
    float *values = job->rows + (size_t)worker * cols;
    size_t row_bytes = cols / tensor->codec->block_values * tensor->codec->block_bytes;
    for (size_t i = 0; i < n_rows; i++) {
        fill_float_row(&rng, job, trits, values);
        tensor->codec->encode_row(values, cols, out + i * row_bytes);
    }
}

/* Thresholds per column. A fractional lean is spread over the columns, so that its mean is right. */
static void set_thresholds(slab_job *job) {
    double lean = job->tensor->lean, carry = 0;
    for (uint64_t i = 0; i < job->tensor->cols; i++) {
        int sign = tern_synth_pattern(job->seed, i);
        carry += lean;
        int shift = (int)lround(carry);
        carry -= shift;
        if (abs(shift) > TERN_SYNTH_SIGN_CHANCES)
            shift = shift > 0 ? TERN_SYNTH_SIGN_CHANCES : -TERN_SYNTH_SIGN_CHANCES;
        job->lower[i] = (uint8_t)(TERN_SYNTH_SIGN_CHANCES + shift * sign);
        job->upper[i] = (uint8_t)(TERN_SYNTH_SIGN_CHANCES + TERN_SYNTH_ZERO_CHANCES + shift * sign);
        job->signs[i] = (int8_t)(job->tensor->fill == TERN_SYNTH_EMBEDDING ? sign : 0);
    }
}

static bool allocate(slab_job *job, size_t threads, size_t batch) {
    size_t cols = (size_t)job->tensor->cols, slab = (size_t)job->slab_rows * cols;
    job->lower = tern_alloc_array(cols, 1);
    job->upper = tern_alloc_array(cols, 1);
    job->signs = tern_alloc_array(cols, 1);
    job->trits = tern_alloc_array(slab, threads);
    job->rows = tern_alloc_array(cols * sizeof(float), threads);
    job->bytes = tern_alloc_array((size_t)job->slab_bytes, batch);
    return job->lower && job->upper && job->signs && job->trits && job->rows && job->bytes;
}

static void release(slab_job *job) {
    free(job->lower);
    free(job->upper);
    free(job->signs);
    free(job->trits);
    free(job->rows);
    free(job->bytes);
}

static tern_status report(tern_synth_progress *progress, uint64_t bytes, tern_error *err) {
    progress->done += bytes;
    if (progress->fn && !progress->fn(progress->user, progress->done, progress->total))
        return tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    return TERN_OK;
}

static tern_status write_slabs(slab_job *job, tern_pool *pool, size_t batch, tern_gguf_writer *writer,
                               tern_synth_progress *progress, tern_error *err) {
    const tern_synth_tensor *tensor = job->tensor;
    for (job->first_slab = 0; job->first_slab < job->n_slabs; job->first_slab += batch) {
        uint64_t left = job->n_slabs - job->first_slab;
        size_t n = left < batch ? (size_t)left : batch;
        tern_pool_run(pool, n, make_slab, job);
        for (size_t i = 0; i < n; i++) {
            uint64_t slab = job->first_slab + i, rows = job->slab_rows, bytes;
            if (slab + 1 == job->n_slabs)
                rows = tensor->rows - slab * job->slab_rows;
            tern_codec_bytes(tensor->codec, rows, tensor->cols, &bytes); /* the plan has checked the whole */
            if (slab + 1 < job->n_slabs)
                bytes -=
                    tensor->codec->tail_bytes; /* each slab was encoded with the tail; it belongs behind the last */
            tern_status status =
                tern_gguf_write_data(writer, job->bytes + i * (size_t)job->slab_bytes, (size_t)bytes, err);
            if (!status)
                status = report(progress, bytes, err);
            if (status)
                return status;
        }
    }
    return TERN_OK;
}

static void make_gains(const tern_synth_tensor *tensor, uint64_t seed, float *gains) {
    size_t n = (size_t)tensor->cols;
    double sum = 0;
    tern_rng rng;
    tern_rng_seed(&rng, mix(seed, tensor->stream, 0));
    for (size_t i = 0; i < n; i++) {
        gains[i] = tensor->fill == TERN_SYNTH_GAINS ? tensor->scale * (float)(0.8 + 0.4 * tern_rng_uniform(&rng))
                                                    : expf(tensor->scale * (float)tern_rng_normal(&rng));
        sum += (double)gains[i] * (double)gains[i];
    }
    for (size_t i = 0; tensor->fill == TERN_SYNTH_SPREAD && i < n; i++)
        gains[i] /= (float)sqrt(sum / (double)n);
}

static tern_status write_gains(const tern_synth_tensor *tensor, uint64_t seed, tern_gguf_writer *writer,
                               tern_synth_progress *progress, tern_error *err) {
    tern_status status;
    float *gains = tern_alloc_array((size_t)tensor->cols, sizeof *gains);
    uint8_t *bytes = tern_alloc_array((size_t)tensor->bytes, 1);
    if (!gains || !bytes) {
        status = tern_fail_memory(err, tensor->name);
    } else {
        make_gains(tensor, seed, gains);
        tensor->codec->encode_row(gains, (size_t)tensor->cols, bytes);
        status = tern_gguf_write_data(writer, bytes, (size_t)tensor->bytes, err);
        if (!status)
            status = report(progress, tensor->bytes, err);
    }
    free(bytes);
    free(gains);
    return status;
}

tern_status tern_synth_write_tensor(const tern_synth_tensor *tensor, uint64_t seed, tern_pool *pool,
                                    tern_gguf_writer *writer, tern_synth_progress *progress, tern_error *err) {
    if (tensor->fill == TERN_SYNTH_GAINS || tensor->fill == TERN_SYNTH_SPREAD)
        return write_gains(tensor, seed, writer, progress, err);
    slab_job job = {.tensor = tensor, .seed = seed};
    job.slab_rows = SLAB_VALUES / tensor->cols / SLAB_ROWS * SLAB_ROWS;
    if (job.slab_rows == 0)
        job.slab_rows = SLAB_ROWS;
    job.n_slabs = (tensor->rows + job.slab_rows - 1) / job.slab_rows;
    tern_codec_bytes(tensor->codec, job.slab_rows, tensor->cols, &job.slab_bytes);
    size_t threads = (size_t)tern_pool_threads(pool), batch = threads * SLABS_PER_THREAD;
    tern_status status = TERN_OK;
    if (!allocate(&job, threads, batch)) {
        status = tern_fail_memory(err, tensor->name);
    } else {
        set_thresholds(&job);
        status = write_slabs(&job, pool, batch, writer, progress, err);
    }
    release(&job);
    return status;
}
