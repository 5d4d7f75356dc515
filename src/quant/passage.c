#include "quant/passage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { Q, K, V, O, GATE, UP, DOWN }; /* places in tern_layer.linears */

/* ----------------------------------------------------------------- memory */

/* The parts of one block of floats, in the order of the structure. */
static tern_status alloc_parts(tern_passage *p, tern_error *err) {
    const tern_dims *dims = &p->weights->dims;
    size_t window = p->window, hidden = dims->hidden_size, q = tern_q_size(dims), widest = tern_widest(dims),
           kv = tern_kv_size(dims);
    size_t threads = (size_t)tern_pool_threads(p->pool);
    const struct {
        float **at;
        size_t rows, cols;
    } parts[] = {
        {&p->x, p->n_tokens, hidden},
        {&p->attended, p->n_tokens, q},
        {&p->in, window, widest},
        {&p->gate, window, dims->ffn_size},
        {&p->up, window, dims->ffn_size},
        {&p->q, window, q},
        {&p->k, window, kv},
        {&p->v, window, kv},
        {&p->cos, window, dims->head_dim / 2},
        {&p->sin, window, dims->head_dim / 2},
        {&p->scores, threads, window},
    };
    enum { N_PARTS = sizeof parts / sizeof *parts };
    size_t total = 0, n;
    for (size_t i = 0; i < N_PARTS; i++) {
        if (!tern_mul_size(parts[i].rows, parts[i].cols, &n) || n > SIZE_MAX / 8 - total)
            return tern_fail_memory(err, "the activations of the text");
        total += n;
    }
    p->memory = tern_alloc_array(total, sizeof *p->memory);
    p->bytes = tern_alloc_array(threads, tern_q_pad(widest));
    if (!p->memory || !p->bytes)
        return tern_fail_memory(err, "the activations of the text");
    float *next = p->memory;
    for (size_t i = 0; i < N_PARTS; i++) {
        *parts[i].at = next;
        next += parts[i].rows * parts[i].cols;
    }
    return TERN_OK;
}

/* Of one window, as inference has them (docs/MODEL.md). */
static void fill_rope(tern_passage *p) {
    const tern_dims *dims = &p->weights->dims;
    uint32_t half = dims->head_dim / 2;
    for (uint32_t position = 0; position < p->window; position++)
        for (uint32_t i = 0; i < half; i++) {
            double frequency = pow((double)dims->rope_theta, -2.0 * i / dims->head_dim);
            double divisor = dims->rope_divisors ? (double)dims->rope_divisors[i] : 1;
            double angle = (double)position * frequency / divisor;
            p->cos[position * half + i] = (float)cos(angle);
            p->sin[position * half + i] = (float)sin(angle);
        }
}

static void embed(tern_passage *p) {
    const tern_tensor *embedding = p->weights->embedding;
    const tern_codec *codec = tern_codec_of(embedding->type);
    for (size_t t = 0; t < p->n_tokens; t++) {
        int32_t id = t % p->window ? p->ids[t - 1] : p->bos;
        codec->decode_row(embedding, (uint64_t)id, p->x + t * p->weights->dims.hidden_size);
    }
}

tern_status tern_passage_create(const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool,
                                const int32_t *ids, size_t n_tokens, int32_t bos, uint32_t window, bool int8,
                                tern_passage *passage, tern_error *err) {
    *passage = (tern_passage){.weights = weights,
                              .kernels = kernels,
                              .pool = pool,
                              .ids = ids,
                              .bos = bos,
                              .n_tokens = n_tokens,
                              .window = n_tokens < window ? (uint32_t)n_tokens : window,
                              .int8 = int8};
    tern_status status = alloc_parts(passage, err);
    if (status) {
        tern_passage_free(passage);
        return status;
    }
    fill_rope(passage);
    embed(passage);
    return TERN_OK;
}

void tern_passage_free(tern_passage *passage) {
    free(passage->memory);
    free(passage->bytes);
    passage->memory = NULL;
    passage->bytes = NULL;
}

/* ------------------------------------------------------------ operations */

typedef struct input_job {
    tern_passage *p;
    const float *x, *gain;
    uint32_t size;
} input_job;

/* One task is one token. */
static void input_task(void *context, size_t token, int worker) {
    const input_job *job = context;
    tern_passage *p = job->p;
    const float *x = job->x + token * job->size;
    float *out = p->in + token * job->size, scale;
    int32_t sum;
    if (job->gain)
        p->kernels->rms_norm(x, job->gain, job->size, p->weights->dims.rms_eps, out);
    else
        memcpy(out, x, job->size * sizeof *out);
    if (!p->int8)
        return;
    size_t padded = tern_q_pad(job->size);
    int8_t *q = p->bytes + (size_t)worker * tern_q_pad(tern_widest(&p->weights->dims));
    p->kernels->quantize_i8(out, job->size, padded, q, &scale, &sum);
    for (uint32_t i = 0; i < job->size; i++)
        out[i] = (float)q[i] / scale;
}

/* p->in [n, size] = what a matrix gets of x [n, size] */
static void make_input(tern_passage *p, const float *x, const float *gain, uint32_t size, size_t n) {
    input_job job = {p, x, gain, size};
    tern_pool_run(p->pool, n, input_task, &job);
}

/* Rows of a task of a product, and tokens that it takes at a time. */
enum { PRODUCT_ROWS = 16, PRODUCT_TOKENS = 64 };

typedef struct product_job {
    const tern_passage *p;
    const tern_quant_matrix *m;
    size_t n;
    float *out;
    bool add;
} product_job;

static void product_task(void *context, size_t task, int worker) {
    const product_job *job = context;
    const tern_quant_matrix *m = job->m;
    uint32_t row = (uint32_t)task * PRODUCT_ROWS, n_rows = m->rows - row < PRODUCT_ROWS ? m->rows - row : PRODUCT_ROWS;
    const uint8_t *rows = (const uint8_t *)(m->w + (size_t)row * m->cols);
    float y[PRODUCT_TOKENS * PRODUCT_ROWS];
    (void)worker;
    for (size_t t = 0; t < job->n; t += PRODUCT_TOKENS) {
        size_t n = job->n - t < PRODUCT_TOKENS ? job->n - t : PRODUCT_TOKENS;
        job->p->kernels->head[TERN_HEAD_F32](rows, m->cols * sizeof(float), n_rows, job->p->in + t * m->cols, m->cols,
                                             n, y, PRODUCT_ROWS);
        for (size_t i = 0; i < n; i++)
            for (uint32_t r = 0; r < n_rows; r++) {
                float *out = job->out + (t + i) * m->rows + row + r;
                *out = job->add ? *out + y[i * PRODUCT_ROWS + r] : y[i * PRODUCT_ROWS + r];
            }
    }
}

/* out [n, rows] = or += m . p->in */
static void multiply(tern_passage *p, const tern_quant_matrix *m, size_t n, float *out, bool add) {
    product_job job = {p, m, n, out, add};
    tern_pool_run(p->pool, (m->rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS, product_task, &job);
}

typedef struct window_job {
    tern_passage *p;
    size_t n;
    float *out; /* [n, q size] */
} window_job;

static void rope_task(void *context, size_t token, int worker) {
    const window_job *job = context;
    tern_passage *p = job->p;
    const tern_dims *dims = &p->weights->dims;
    size_t half = dims->head_dim / 2;
    const float *cos = p->cos + token * half, *sin = p->sin + token * half;
    (void)worker;
    p->kernels->rope(p->q + token * tern_q_size(dims), dims->n_heads, dims->head_dim, cos, sin);
    p->kernels->rope(p->k + token * tern_kv_size(dims), dims->n_kv_heads, dims->head_dim, cos, sin);
}

static float dot(const float *a, const float *b, uint32_t n) {
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One task is one head of one token: softmax(q k^T / sqrt(d)) v over the positions up to it. */
static void attend_task(void *context, size_t task, int worker) {
    const window_job *job = context;
    tern_passage *p = job->p;
    const tern_dims *dims = &p->weights->dims;
    size_t t = task / dims->n_heads, head = task % dims->n_heads, kv = tern_kv_size(dims);
    uint32_t d = dims->head_dim;
    size_t kv_head = head / (dims->n_heads / dims->n_kv_heads);
    const float *q = p->q + t * tern_q_size(dims) + head * d, *k = p->k + kv_head * d, *v = p->v + kv_head * d;
    float *scores = p->scores + (size_t)worker * p->window, *out = job->out + t * tern_q_size(dims) + head * d;
    float largest = -INFINITY, root = sqrtf((float)d), sum = 0;
    for (size_t i = 0; i <= t; i++) {
        scores[i] = dot(q, k + i * kv, d) / root;
        largest = scores[i] > largest ? scores[i] : largest;
    }
    memset(out, 0, d * sizeof *out);
    for (size_t i = 0; i <= t; i++) {
        float weight = expf(scores[i] - largest);
        sum += weight;
        for (uint32_t j = 0; j < d; j++)
            out[j] += weight * v[i * kv + j];
    }
    for (uint32_t j = 0; j < d; j++)
        out[j] /= sum;
}

typedef struct gate_job {
    tern_passage *p;
} gate_job;

static void gate_task(void *context, size_t token, int worker) {
    tern_passage *p = ((const gate_job *)context)->p;
    uint32_t ffn = p->weights->dims.ffn_size;
    float *gate = p->gate + token * ffn;
    (void)worker;
    if (p->weights->dims.activation == TERN_SILU)
        p->kernels->silu_mul(gate, p->up + token * ffn, ffn, gate);
    else
        p->kernels->relu2_mul(gate, p->up + token * ffn, ffn, gate);
}

/* ------------------------------------------------ the parts of a layer, a window at a time */

typedef void (*part_fn)(tern_passage *p, const tern_quant_layer *layer, size_t first, size_t n);

/* Inputs of q, k and v. */
static void to_attention(tern_passage *p, const tern_quant_layer *layer, size_t first, size_t n) {
    uint32_t hidden = p->weights->dims.hidden_size;
    make_input(p, p->x + first * hidden, layer->norms[TERN_NORM_ATTN], hidden, n);
}

/* Inputs of o; p->attended is kept. */
static void to_output(tern_passage *p, const tern_quant_layer *layer, size_t first, size_t n) {
    const tern_dims *dims = &p->weights->dims;
    uint32_t q = tern_q_size(dims);
    window_job job = {p, n, p->attended + first * q};
    to_attention(p, layer, first, n);
    multiply(p, &layer->matrices[Q], n, p->q, false);
    multiply(p, &layer->matrices[K], n, p->k, false);
    multiply(p, &layer->matrices[V], n, p->v, false);
    tern_pool_run(p->pool, n, rope_task, &job);
    tern_pool_run(p->pool, n * dims->n_heads, attend_task, &job);
    make_input(p, job.out, layer->norms[TERN_NORM_ATTN_SUB], q, n);
}

/* x += o; inputs of gate and up. */
static void to_ffn(tern_passage *p, const tern_quant_layer *layer, size_t first, size_t n) {
    uint32_t hidden = p->weights->dims.hidden_size, q = tern_q_size(&p->weights->dims);
    float *x = p->x + first * hidden;
    make_input(p, p->attended + first * q, layer->norms[TERN_NORM_ATTN_SUB], q, n);
    multiply(p, &layer->matrices[O], n, x, true);
    make_input(p, x, layer->norms[TERN_NORM_FFN], hidden, n);
}

/* Inputs of down, with x behind the attention. */
static void to_down(tern_passage *p, const tern_quant_layer *layer, size_t first, size_t n) {
    uint32_t hidden = p->weights->dims.hidden_size;
    gate_job job = {p};
    make_input(p, p->x + first * hidden, layer->norms[TERN_NORM_FFN], hidden, n);
    multiply(p, &layer->matrices[GATE], n, p->gate, false);
    multiply(p, &layer->matrices[UP], n, p->up, false);
    tern_pool_run(p->pool, n, gate_task, &job);
    make_input(p, p->gate, layer->norms[TERN_NORM_FFN_SUB], p->weights->dims.ffn_size, n);
}

/* x += down */
static void to_end(tern_passage *p, const tern_quant_layer *layer, size_t first, size_t n) {
    to_down(p, layer, first, n);
    multiply(p, &layer->matrices[DOWN], n, p->x + first * p->weights->dims.hidden_size, true);
}

/* Before each piece of work that may take a while. */
static tern_status ask(const tern_passage *p, tern_error *err) {
    return !p->goes_on || p->goes_on(p->user) ? TERN_OK : tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
}

tern_status tern_passage_layer(tern_passage *p, const tern_quant_layer *layer, tern_error *err) {
    tern_status status = TERN_OK;
    for (size_t first = 0; !status && first < p->n_tokens; first += p->window) {
        size_t n = p->n_tokens - first < p->window ? p->n_tokens - first : p->window;
        to_output(p, layer, first, n);
        to_ffn(p, layer, first, n);
        to_end(p, layer, first, n);
        status = ask(p, err);
    }
    return status;
}

/* ------------------------------------------------------------- quantising */

/* Which matrices share an input, in order. */
static const struct {
    part_fn inputs;
    int begin, end; /* places of the matrices */
} steps[] = {{to_attention, Q, V + 1}, {to_output, O, O + 1}, {to_ffn, GATE, UP + 1}, {to_down, DOWN, DOWN + 1}};

tern_status tern_passage_quantize(tern_passage *p, tern_quant_layer *layer, tern_error *err) {
    tern_status status = TERN_OK;
    size_t widest = tern_widest(&p->weights->dims), h_size;
    float *h = tern_mul_size(widest, widest, &h_size) ? tern_alloc_array(h_size, sizeof *h) : NULL;
    if (!h)
        return tern_fail_memory(err, "the products of a layer's inputs");
    for (size_t i = 0; !status && i < sizeof steps / sizeof *steps; i++) {
        uint32_t size = layer->matrices[steps[i].begin].cols;
        memset(h, 0, (size_t)size * size * sizeof *h);
        for (size_t first = 0; !status && first < p->n_tokens; first += p->window) {
            size_t n = p->n_tokens - first < p->window ? p->n_tokens - first : p->window;
            status = ask(p, err);
            steps[i].inputs(p, layer, first, n);
            tern_quant_add_inputs(p->pool, p->in, n, size, h);
        }
        if (!status)
            status = tern_quant_factor(p->pool, h, size, err);
        for (int j = steps[i].begin; !status && j < steps[i].end; j++) {
            status = ask(p, err);
            if (!status)
                status = tern_quant_compensate(p->pool, h, &layer->matrices[j], err);
            if (!status)
                tern_quant_layer_settle(p->pool, layer, j);
        }
    }
    for (size_t first = 0; !status && first < p->n_tokens; first += p->window) {
        size_t n = p->n_tokens - first < p->window ? p->n_tokens - first : p->window;
        to_end(p, layer, first, n);
    }
    free(h);
    return status;
}

/* ------------------------------------------------------------------- loss */

typedef struct loss_job {
    tern_passage *p;
    const float *gain;
    float *logits;  /* [threads, vocab] */
    double *losses; /* [n_tokens] */
} loss_job;

static void loss_task(void *context, size_t token, int worker) {
    const loss_job *job = context;
    const tern_passage *p = job->p;
    const tern_dims *dims = &p->weights->dims;
    const tern_tensor *head = p->weights->head;
    float *x = p->x + token * dims->hidden_size, *logits = job->logits + (size_t)worker * dims->vocab_size;
    p->kernels->rms_norm(x, job->gain, dims->hidden_size, dims->rms_eps, x);
    p->kernels->head[p->weights->head_type](head->data, (size_t)(head->bytes / head->rows), dims->vocab_size, x,
                                            dims->hidden_size, 1, logits, dims->vocab_size);
    float largest = logits[0];
    double sum = 0;
    for (uint32_t i = 1; i < dims->vocab_size; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    for (uint32_t i = 0; i < dims->vocab_size; i++)
        sum += exp((double)logits[i] - (double)largest);
    job->losses[token] = log(sum) + ((double)largest - (double)logits[p->ids[token]]);
}

tern_status tern_passage_loss(tern_passage *p, double *mean_nll, tern_error *err) {
    const tern_dims *dims = &p->weights->dims;
    size_t threads = (size_t)tern_pool_threads(p->pool);
    float *gain = tern_alloc_array(dims->hidden_size, sizeof *gain);
    loss_job job = {.p = p,
                    .gain = gain,
                    .logits = tern_alloc_array(threads * dims->vocab_size, sizeof *job.logits),
                    .losses = tern_alloc_array(p->n_tokens, sizeof *job.losses)};
    tern_status status = gain && job.logits && job.losses ? TERN_OK : tern_fail_memory(err, "the logits");
    if (!status)
        status = tern_norm_load(p->weights->checkpoint, 0, TERN_NORM_OUTPUT, dims->hidden_size, gain, err);
    if (!status) {
        double sum = 0;
        tern_pool_run(p->pool, p->n_tokens, loss_task, &job);
        for (size_t t = 0; t < p->n_tokens; t++)
            sum += job.losses[t];
        *mean_nll = sum / (double)p->n_tokens;
        if (!isfinite(sum))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: gives NaN or infinite logits; its weights are damaged",
                               p->weights->checkpoint->path);
    }
    free(gain);
    free(job.logits);
    free(job.losses);
    return status;
}
