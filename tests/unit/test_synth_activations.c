/* Activations of random models: a forward pass of its own says how large they are and how many are zero. */
#include <math.h>

#include "base/rng.h"
#include "format/codec.h"
#include "synth_fixture.h"

/* --------------------------------------------------------- a reference forward pass */

typedef struct matrix {
    int8_t *trits; /* [rows][cols] */
    size_t rows, cols;
    float scale;
} matrix;

typedef struct statistics {
    double zeros, values;             /* int8 values before `down` */
    double shut, gates;               /* gates <= 0 */
    double largest_stream;            /* rms of the residual stream */
    double logit_sum, logit_squares;  /* of the last token */
    double n_logits, first_is_repeat; /* tokens whose best next token is themselves */
    double used_range;                /* mean |q| of the int8 inputs of q, k and v */
} statistics;

static float *vector_of(const tern_checkpoint *checkpoint, int layer, const char *name) {
    const tern_tensor *tensor = find(checkpoint, layer, name);
    float *values = calloc(tensor->cols, sizeof *values);
    tern_codec_of(tensor->type)->decode_row(tensor, 0, values);
    return values;
}

static matrix matrix_of(const tern_checkpoint *checkpoint, int layer, const char *name) {
    const tern_tensor *tensor = find(checkpoint, layer, name);
    const tern_codec *codec = tern_codec_of(tensor->type);
    matrix m = {malloc(tensor->rows * tensor->cols), tensor->rows, tensor->cols, 0};
    assert_true(codec->decode_trits(tensor, 0, tensor->rows, m.trits, tensor->cols));
    assert_int_equal(codec->scale(tensor, &m.scale, NULL), TERN_OK);
    return m;
}

static void norm(const float *x, const float *gain, size_t n, float *out) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    float r = (float)(1 / sqrt(sum / (double)n + 1e-5));
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * r * gain[i];
}

static float quantize(const float *x, size_t n, int8_t *q) {
    float largest = 1e-5f;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    float s = 127 / largest;
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)lrintf(x[i] * s);
    return s;
}

static void multiply(const matrix *m, const int8_t *q, float s, float *out) {
    for (size_t row = 0; row < m->rows; row++) {
        const int8_t *trits = m->trits + row * m->cols;
        int32_t sum = 0;
        for (size_t i = 0; i < m->cols; i++)
            sum += trits[i] * q[i];
        out[row] = (float)sum / s * m->scale;
    }
}

static void rope(float *x, size_t dim, size_t position, float theta) {
    for (size_t i = 0; i < dim / 2; i++) {
        double angle = (double)position * pow((double)theta, -2.0 * (double)i / (double)dim);
        float a = x[i], b = x[i + dim / 2], c = (float)cos(angle), s = (float)sin(angle);
        x[i] = a * c - b * s;
        x[i + dim / 2] = b * c + a * s;
    }
}

enum { TOKENS = 24, MAX_WIDTH = 8192 };

static void attend(const tern_config *c, float *q, float *k, float *v, float *out) { /* [TOKENS][...] each */
    size_t dim = c->hidden_size / c->n_heads, kv = dim * c->n_kv_heads, group = c->n_heads / c->n_kv_heads;
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t h = 0; h < c->n_heads; h++)
            rope(q + t * c->hidden_size + h * dim, dim, t, c->rope_theta);
        for (size_t h = 0; h < c->n_kv_heads; h++)
            rope(k + t * kv + h * dim, dim, t, c->rope_theta);
    }
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t h = 0; h < c->n_heads; h++) {
            double scores[TOKENS], sum = 0;
            for (size_t j = 0; j <= t; j++) {
                double dot = 0;
                for (size_t d = 0; d < dim; d++)
                    dot += (double)q[t * c->hidden_size + h * dim + d] * k[j * kv + h / group * dim + d];
                sum += scores[j] = exp(dot / sqrt((double)dim));
            }
            for (size_t d = 0; d < dim; d++) {
                double value = 0;
                for (size_t j = 0; j <= t; j++)
                    value += scores[j] / sum * v[j * kv + h / group * dim + d];
                out[t * c->hidden_size + h * dim + d] = (float)value;
            }
        }
}

static void attention_block(const tern_checkpoint *checkpoint, int layer, float *stream, statistics *s) {
    const tern_config *c = &checkpoint->config;
    size_t hidden = c->hidden_size, kv = hidden / c->n_heads * c->n_kv_heads;
    static const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output"};
    float *gain = vector_of(checkpoint, layer, "attn_norm"), *sub_gain = vector_of(checkpoint, layer, "attn_sub_norm");
    float *q = malloc(TOKENS * hidden * sizeof *q), *k = malloc(TOKENS * kv * sizeof *k);
    float *v = malloc(TOKENS * kv * sizeof *v), *out = malloc(TOKENS * hidden * sizeof *out);
    float x[MAX_WIDTH] = {0};
    int8_t codes[MAX_WIDTH] = {0};
    matrix m[4];
    for (int i = 0; i < 4; i++)
        m[i] = matrix_of(checkpoint, layer, names[i]);
    for (size_t t = 0; t < TOKENS; t++) {
        norm(stream + t * hidden, gain, hidden, x);
        float scale = quantize(x, hidden, codes);
        for (size_t i = 0; i < hidden; i++)
            s->used_range += fabs((double)codes[i]) / (double)(hidden * TOKENS * c->n_layers);
        multiply(&m[0], codes, scale, q + t * hidden);
        multiply(&m[1], codes, scale, k + t * kv);
        multiply(&m[2], codes, scale, v + t * kv);
    }
    attend(c, q, k, v, out);
    for (size_t t = 0; t < TOKENS; t++) {
        norm(out + t * hidden, sub_gain, hidden, x);
        float scale = quantize(x, hidden, codes);
        multiply(&m[3], codes, scale, x);
        for (size_t i = 0; i < hidden; i++)
            stream[t * hidden + i] += x[i];
    }
    for (int i = 0; i < 4; i++)
        free(m[i].trits);
    free(q), free(k), free(v), free(out), free(gain), free(sub_gain);
}

static void ffn_block(const tern_checkpoint *checkpoint, int layer, float *stream, statistics *s) {
    const tern_config *c = &checkpoint->config;
    size_t hidden = c->hidden_size, ffn = c->ffn_size;
    float *gain = vector_of(checkpoint, layer, "ffn_norm"), *sub_gain = vector_of(checkpoint, layer, "ffn_sub_norm");
    matrix gate = matrix_of(checkpoint, layer, "ffn_gate"), up = matrix_of(checkpoint, layer, "ffn_up"),
           down = matrix_of(checkpoint, layer, "ffn_down");
    float x[MAX_WIDTH], g[MAX_WIDTH] = {0}, u[MAX_WIDTH] = {0};
    int8_t codes[MAX_WIDTH] = {0};
    for (size_t t = 0; t < TOKENS; t++) {
        norm(stream + t * hidden, gain, hidden, x);
        float scale = quantize(x, hidden, codes);
        multiply(&gate, codes, scale, g);
        multiply(&up, codes, scale, u);
        for (size_t i = 0; i < ffn; i++) {
            s->shut += g[i] <= 0;
            g[i] = g[i] > 0 ? g[i] * g[i] * u[i] : 0;
        }
        norm(g, sub_gain, ffn, g);
        scale = quantize(g, ffn, codes);
        for (size_t i = 0; i < ffn; i++)
            s->zeros += codes[i] == 0;
        s->gates += (double)ffn;
        s->values += (double)ffn;
        multiply(&down, codes, scale, x);
        double squares = 0;
        for (size_t i = 0; i < hidden; i++) {
            stream[t * hidden + i] += x[i];
            squares += (double)stream[t * hidden + i] * stream[t * hidden + i];
        }
        s->largest_stream = fmax(s->largest_stream, sqrt(squares / (double)hidden));
    }
    free(gate.trits), free(up.trits), free(down.trits), free(gain), free(sub_gain);
}

static statistics forward(const tern_checkpoint *checkpoint) {
    const tern_config *c = &checkpoint->config;
    size_t hidden = c->hidden_size;
    const tern_tensor *embedding = find(checkpoint, -1, "token_embd");
    const tern_codec *codec = tern_codec_of(embedding->type);
    float *stream = malloc(TOKENS * hidden * sizeof *stream), *gain = vector_of(checkpoint, -1, "output_norm");
    uint64_t ids[TOKENS];
    statistics s = {0};
    tern_rng rng;
    tern_rng_seed(&rng, 3);
    for (size_t t = 0; t < TOKENS; t++) {
        ids[t] = tern_rng_u64(&rng) % c->vocab_size;
        codec->decode_row(embedding, ids[t], stream + t * hidden);
    }
    for (int layer = 0; layer < (int)c->n_layers; layer++) {
        attention_block(checkpoint, layer, stream, &s);
        ffn_block(checkpoint, layer, stream, &s);
    }
    float row[MAX_WIDTH], *best = calloc(TOKENS, sizeof *best);
    uint64_t best_id[TOKENS] = {0};
    for (size_t t = 0; t < TOKENS; t++)
        norm(stream + t * hidden, gain, hidden, stream + t * hidden);
    for (uint64_t id = 0; id < c->vocab_size; id++) {
        codec->decode_row(embedding, id, row);
        for (size_t t = 0; t < TOKENS; t++) {
            double logit = 0;
            for (size_t i = 0; i < hidden; i++)
                logit += (double)row[i] * stream[t * hidden + i];
            if (id == 0 || logit > best[t])
                best[t] = (float)logit, best_id[t] = id;
            if (t + 1 == TOKENS) {
                s.logit_sum += logit, s.logit_squares += logit * logit;
                s.n_logits++;
            }
        }
    }
    for (size_t t = 0; t < TOKENS; t++)
        s.first_is_repeat += best_id[t] == ids[t];
    free(best), free(stream), free(gain);
    return s;
}

/* ---------------------------------------------------------------------- the tests */

static void check_activations(float sparsity) {
    tern_synth_params params = small();
    params.hidden_size = 512, params.ffn_size = 1536, params.n_layers = 4, params.n_heads = 4;
    params.vocab_size = 8192;
    params.ffn_sparsity = sparsity;
    tern_checkpoint *checkpoint = write_and_open(&params);
    statistics s = forward(checkpoint);
    tern_checkpoint_close(checkpoint);
    double mean = s.logit_sum / s.n_logits, deviation = sqrt(s.logit_squares / s.n_logits - mean * mean);
    double zeros = s.zeros / s.values, shut = s.shut / s.gates;
    print_message(
        "wanted %.2f: zeros %.3f, gates shut %.3f, stream %.2f, logits %.2f +- %.2f, |q| %.1f, repeats %.0f\n",
        (double)sparsity, zeros, shut, s.largest_stream, mean, deviation, s.used_range, s.first_is_repeat);
    if (sparsity > 0) {
        assert_true(fabs(zeros - (double)sparsity) <= 0.05);
        assert_true(shut > 0.4 && shut < 0.7);
    } else {
        assert_true(fabs(shut - 0.5) < 0.05);
    }
    assert_true(s.largest_stream > 3 && s.largest_stream < 20); /* by design sqrt(512 / 9) = 7.5 at the end */
    assert_true(deviation > 1.5 && deviation < 6);
    assert_true(s.used_range > 15 && s.used_range < 80);
    assert_true(s.first_is_repeat < 0.75 * TOKENS); /* all of them if the embedding outweighed the blocks */
}

static void test_activations_as_they_fall(void **state) {
    (void)state;
    check_activations(0);
}
static void test_sparsity_60(void **state) {
    (void)state;
    check_activations(0.6f);
}
static void test_sparsity_80(void **state) {
    (void)state;
    check_activations(0.8f);
}
static void test_sparsity_90(void **state) {
    (void)state;
    check_activations(0.9f);
}

/* The real FFN width, by the design's own trial and by layers: the lean stays possible to the last one. */
static void test_design_of_2b4t(void **state) {
    (void)state;
    tern_synth_params params;
    tern_synth_design design;
    tern_error err;
    assert_int_equal(tern_synth_shape("2b4t", &params, &err), TERN_OK);
    params.ffn_sparsity = 0.8f;
    assert_int_equal(tern_synth_solve(&params, &design, &err), TERN_OK);
    assert_true(design.gate_bias > 0.2 && design.gate_bias < 0.3); /* 60% of the gates */
    assert_true(design.gain_spread > 0.1 && design.gain_spread < 1.5);
    for (uint32_t layer = 0; layer < params.n_layers; layer++) {
        double lean = tern_synth_gate_lean(&params, &design, layer);
        assert_true(lean > 0 && lean < TERN_SYNTH_SIGN_CHANCES / 2.0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations_as_they_fall),
        cmocka_unit_test(test_sparsity_60),
        cmocka_unit_test(test_sparsity_80),
        cmocka_unit_test(test_sparsity_90),
        cmocka_unit_test(test_design_of_2b4t),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
