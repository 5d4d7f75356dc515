/* BitLinear: weights as a converter ternarises them, forward bit for bit as the reference kernels, backward against the
 * two formulas in double precision with the quantised operands; adapters; the float twin. */
#include "format/codec.h"
#include "ops_check.h"

static const tern_dims dims = {.vocab_size = 64,
                               .n_ctx = 16,
                               .hidden_size = 160,
                               .ffn_size = 160,
                               .n_layers = 1,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .head_dim = 8};

/* Gradients are rounded to bfloat16 (8 bits) before they are multiplied, on CPUs that do that: an error of 2^-9 of each
 * term, and far less of a sum. */
static double gradient_tolerance(const tern_ops *ops) { return ops->gemm == ops->gemm->exact ? 2e-6 : 4e-3; }

/* A quantised input, and what it stands for. */
typedef struct input {
    tern_act act;
    double *values; /* [n, k] */
} input;

static input input_new(size_t n, size_t k, bool is_float) {
    input in = {.act = {.ld = tern_q_pad(k)}, .values = check_alloc(n * k * sizeof(double))};
    float *x = normals(n * k, 1.0);
    if (is_float)
        in.act.x = x;
    in.act.q = check_alloc(n * in.act.ld);
    in.act.scale = zeros(n);
    in.act.sum = check_alloc(n * sizeof(int32_t));
    for (size_t t = 0; t < n; t++) {
        tern_kernels_all()[0]->quantize_i8(x + t * k, k, in.act.ld, in.act.q + t * in.act.ld, &in.act.scale[t],
                                           &in.act.sum[t]);
        for (size_t i = 0; i < k; i++)
            in.values[t * k + i] =
                is_float ? (double)x[t * k + i] : in.act.q[t * in.act.ld + i] / (double)in.act.scale[t];
    }
    return in;
}

/* A matrix in a mode, and what it stands for, from its definition (config.h) in double precision. */
static tern_bit bit_new(tern_weight_mode mode, const float *w, size_t rows, size_t cols, double *values) {
    tern_bit bit = {.rows = (uint32_t)rows, .cols = (uint32_t)cols, .mode = mode};
    bit.packed = check_alloc(tern_bit_bytes(bit.rows, bit.cols));
    double size = 0, mean = 0;
    for (size_t i = 0; i < rows * cols; i++) {
        size += fabs((double)w[i]) / (double)(rows * cols);
        mean += (double)w[i] / (double)(rows * cols);
    }
    for (size_t i = 0; i < rows * cols; i++)
        switch (mode) {
        case TERN_WEIGHTS_FLOAT:
            values[i] = (double)w[i];
            break;
        case TERN_WEIGHTS_BINARY:
            values[i] = (double)w[i] - mean >= 0 ? size : -size;
            break;
        case TERN_WEIGHTS_TERNARY:
            values[i] = fabs((double)w[i]) > size / 2 ? copysign(size, (double)w[i]) : 0;
            break;
        }
    return bit;
}

static void check_forward(const tern_ops *ops, const tern_bit *bit, const input *in, const double *w, size_t n) {
    size_t rows = bit->rows, cols = bit->cols;
    float *y = zeros(n * rows), *added = normals(n * rows, 1.0), *before = copy_of(added, n * rows);
    double *want = check_alloc(n * rows * sizeof *want);
    for (size_t t = 0; t < n; t++)
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < cols; i++)
                want[t * rows + r] += in->values[t * cols + i] * w[r * cols + i];
    tern_op_linear(ops, bit, &in->act, n, y, false);
    check_close("y", y, want, n * rows, 2e-6);
    tern_op_linear(ops, bit, &in->act, n, added, true);
    for (size_t i = 0; i < n * rows; i++)
        before[i] += y[i];
    if (bit->mode == TERN_WEIGHTS_FLOAT)
        check_close("y +=", added, doubles_of(before, n * rows), n * rows, 1e-6);
    else
        check_same_bits("y +=", added, before, n * rows);
    for (size_t t = 0; bit->mode != TERN_WEIGHTS_FLOAT && t < n; t++) /* inference's bits */
        for (size_t r = 0; r < rows; r++) {
            int32_t acc = 0;
            int8_t trits[160];
            tern_packing_t2r16.unpack_row(bit->packed + r / 16 * tern_group_bytes(&tern_packing_t2r16, cols), r % 16,
                                          cols, trits);
            for (size_t i = 0; i < cols; i++)
                acc += trits[i] * in->act.q[t * in->act.ld + i];
            float one;
            tern_kernels_all()[0]->dequantize(&acc, 1, in->act.scale[t], bit->scale, &one);
            check_same_bits("y", &y[t * rows + r], &one, 1);
        }
}

static void check_backward(const tern_ops *const ops[2], const tern_bit *bit, const input *in, const double *w,
                           size_t n) {
    size_t rows = bit->rows, cols = bit->cols;
    float *dy = normals(n * rows, 1.0), *dx0 = normals(n * cols, 1.0), *dw0 = normals(rows * cols, 1.0);
    double *want_dx = doubles_of(dx0, n * cols), *want_dw = doubles_of(dw0, rows * cols);
    for (size_t t = 0; t < n; t++)
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < cols; i++) {
                want_dx[t * cols + i] += (double)dy[t * rows + r] * w[r * cols + i];
                want_dw[r * cols + i] += (double)dy[t * rows + r] * in->values[t * cols + i];
            }
    float *dx[2], *dw[2], *set = normals(n * cols, 1.0);
    for (size_t c = 0; c < 2; c++) {
        dx[c] = copy_of(dx0, n * cols), dw[c] = copy_of(dw0, rows * cols);
        tern_op_linear_backward(ops[c], bit, &in->act, dy, n, dx[c], true, dw[c]);
    }
    check_same_bits("dx by threads", dx[1], dx[0], n * cols);
    check_same_bits("dw by threads", dw[1], dw[0], rows * cols);
    check_close("dx", dx[0], want_dx, n * cols, gradient_tolerance(ops[0]));
    check_close("dw", dw[0], want_dw, rows * cols, gradient_tolerance(ops[0]));
    tern_op_linear_backward(ops[0], bit, &in->act, dy, n, set, false, NULL); /* dx =, frozen weights */
    for (size_t i = 0; i < n * cols; i++)
        want_dx[i] -= (double)dx0[i];
    check_close("dx =", set, want_dx, n * cols, gradient_tolerance(ops[0]));
    tern_op_linear_backward(ops[0], bit, &in->act, dy, n, NULL, false, dw[0]);
}

static void products(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 16, 16}, {5, 33, 70}, {300, 70, 33}, {70, 160, 150}}; /* tokens, out, in */
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (tern_weight_mode mode = TERN_WEIGHTS_TERNARY; mode <= TERN_WEIGHTS_FLOAT; mode++) {
            size_t n = shapes[s][0], rows = shapes[s][1], cols = shapes[s][2];
            float *w = normals(rows * cols, 0.02);
            double *values = check_alloc(rows * cols * sizeof *values);
            tern_bit bit = bit_new(mode, w, rows, cols, values);
            input in = input_new(n, cols, mode == TERN_WEIGHTS_FLOAT);
            FOR_RUNGS(rung) {
                tern_ops one = ops_open(rung->name, &dims, n, 1), three = ops_open(rung->name, &dims, n, 3);
                tern_op_quantize_weights(&three, w, &bit);
                check_forward(&one, &bit, &in, values, n);
                check_forward(&three, &bit, &in, values, n);
                check_backward((const tern_ops *const[]){&one, &three}, &bit, &in, values, n);
                ops_close(&one);
                ops_close(&three);
            }
        }
}

/* ---------------------------------------------------------------- weights */

/* The scale and the trits are those of the codec that reads an exported model. */
static void weights_as_converted(void **state) {
    (void)state;
    enum { ROWS = 35, COLS = 150 };
    tern_ops ops = ops_open(NULL, &dims, 1, 3);
    float *w = normals(ROWS * COLS, 0.02), buffer[COLS], mean;
    w[0] = w[1] = 0.0f;
    tern_tensor tensor = {.type = TERN_TYPE_F32, .rows = ROWS, .cols = COLS, .data = (const uint8_t *)w};
    tensor.bytes = ROWS * COLS * sizeof *w;
    assert_int_equal(tern_absmean(&tensor, buffer, &mean, NULL), TERN_OK);
    tern_bit bit = {.rows = ROWS, .cols = COLS, .mode = TERN_WEIGHTS_TERNARY};
    bit.packed = check_alloc(tern_bit_bytes(ROWS, COLS));
    tern_op_quantize_weights(&ops, w, &bit);
    check_same_bits("gamma", &bit.scale, &mean, 1);
    for (size_t r = 0; r < ROWS; r++) {
        int8_t want[COLS], got[COLS];
        tern_ternarize_row(w + r * COLS, COLS, mean, want);
        tern_packing_t2r16.unpack_row(bit.packed + r / 16 * tern_group_bytes(&tern_packing_t2r16, COLS), r % 16, COLS,
                                      got);
        assert_memory_equal(got, want, COLS);
    }
    ops_close(&ops);
}

static void weights_that_are_not_finite(void **state) {
    (void)state;
    tern_ops ops = ops_open(NULL, &dims, 1, 1);
    for (int mode = TERN_WEIGHTS_TERNARY; mode <= TERN_WEIGHTS_BINARY; mode++)
        for (int infinite = 0; infinite < 2; infinite++) {
            float *w = normals(16 * 20, 1.0);
            w[77] = infinite ? -INFINITY : NAN;
            tern_bit bit = {.rows = 16, .cols = 20, .mode = (tern_weight_mode)mode};
            bit.packed = check_alloc(tern_bit_bytes(16, 20));
            tern_op_quantize_weights(&ops, w, &bit);
            assert_false(isfinite(bit.scale));
        }
    ops_close(&ops);
}

/* ---------------------------------------------------------------- adapters */

typedef struct lora_case {
    const double *x;
    double *a, *b, *moved; /* moved: what is added to x */
    const float *c;
    size_t n, rows, cols, r;
} lora_case;

static double lora_loss(void *user) {
    const lora_case *t = user;
    double loss = 0, u[16];
    for (size_t i = 0; i < t->n; i++) {
        for (size_t j = 0; j < t->r; j++) {
            double sum = 0;
            for (size_t k = 0; k < t->cols; k++)
                sum += t->a[j * t->cols + k] * (t->x[i * t->cols + k] + t->moved[i * t->cols + k]);
            u[j] = sum;
        }
        for (size_t row = 0; row < t->rows; row++) {
            double y = 0;
            for (size_t j = 0; j < t->r; j++)
                y += t->b[row * t->r + j] * u[j];
            loss += 2.0 * y * (double)t->c[i * t->rows + row];
        }
    }
    return loss;
}

static void adapters(void **state) {
    (void)state;
    enum { ROWS = 33, CELLS = 70, R = 5, TOKENS = 50 };
    float *a = normals(R * CELLS, 0.1), *b = normals(ROWS * R, 0.1), *dy = normals(TOKENS * ROWS, 1.0);
    for (int is_float = 0; is_float < 2; is_float++) {
        input in = input_new(TOKENS, CELLS, is_float);
        lora_case t = {in.values, doubles_of(a, R * CELLS), doubles_of(b, ROWS * R), NULL, dy, TOKENS, ROWS, CELLS, R};
        t.moved = check_alloc(TOKENS * CELLS * sizeof(double));
        FOR_RUNGS(rung) {
            float *results[2][5];
            double tolerance = 0;
            for (int c = 0; c < 2; c++) {
                tern_ops ops = ops_open(rung->name, &dims, TOKENS, c ? 3 : 1);
                float *u = zeros(TOKENS * R), *y = zeros(TOKENS * ROWS), *dx = zeros(TOKENS * CELLS);
                float *da = zeros(R * CELLS), *db = zeros(ROWS * R);
                tern_op_lora(&ops, a, b, ROWS, CELLS, R, 2.0f, &in.act, TOKENS, u, y);
                tern_op_lora_backward(&ops, a, b, ROWS, CELLS, R, 2.0f, &in.act, u, dy, TOKENS, dx, da, db);
                memcpy(results[c], (float *[]){u, y, dx, da, db}, sizeof results[c]);
                tolerance = gradient_tolerance(&ops);
                ops_close(&ops);
            }
            double loss = 0;
            for (size_t i = 0; i < TOKENS * ROWS; i++)
                loss += (double)dy[i] * (double)results[0][1][i];
            assert_true(fabs(loss - lora_loss(&t)) < 1e-4 * fmax(1, fabs(loss)));
            check_gradient("dx", lora_loss, &t, t.moved, TOKENS * CELLS, 97, results[0][2], tolerance);
            check_gradient("da", lora_loss, &t, t.a, R * CELLS, 13, results[0][3], tolerance);
            check_gradient("db", lora_loss, &t, t.b, ROWS * R, 7, results[0][4], tolerance);
            check_same_bits("y by threads", results[1][1], results[0][1], TOKENS * ROWS);
            check_same_bits("da by threads", results[1][3], results[0][3], R * CELLS);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(products, check_free_all),
        cmocka_unit_test_teardown(weights_as_converted, check_free_all),
        cmocka_unit_test_teardown(weights_that_are_not_finite, check_free_all),
        cmocka_unit_test_teardown(adapters, check_free_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
