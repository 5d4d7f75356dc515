/*
 * The kernels that multiply ternary matrices with int8 activations, one by one in the emulator: each shape, mode and
 * number of tokens against sums written out here, bit for bit.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#include "cuda/args.h"
extern "C" {
#include "cuda/layout.h"
#include "kernels/kernels.h"
}
#include "emulator/fibers.h"
#include "emulator/kernel.h"
#include "emulator/memory.h"

using emulator::Order;

static int n_failed;
static uint64_t state = 1;

static uint32_t next_random() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

/* Device memory that goes with its scope. */
template <typename T> struct Device {
    T *at;
    size_t n;
    explicit Device(size_t n_values) : at((T *)emulator::take_memory(n_values * sizeof(T))), n(n_values) {
        if (!at)
            abort();
    }
    ~Device() { emulator::give_memory(at); }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;
};

struct Matrix {
    std::vector<int8_t> trits;
    uint32_t rows, cols;
    float scale;

    Matrix(uint32_t n_rows, uint32_t n_cols) : trits((size_t)n_rows * n_cols), rows(n_rows), cols(n_cols) {
        for (int8_t &trit : trits)
            trit = (int8_t)(next_random() % 3) - 1;
        scale = 0.01f * (float)(1 + next_random() % 100);
    }
    void pack(uint8_t *tiles) const {
        for (uint32_t row = 0; row < rows; row += TERN_CUDA_ROWS)
            tern_cuda_pack_group(trits.data() + (size_t)row * cols, rows - row < 16 ? rows - row : 16, cols,
                                 tiles + row / TERN_CUDA_ROWS * tern_cuda_group_bytes(cols));
    }
};

/* n tokens as quantize_i8 makes them; the largest values are there, so that sums are as large as they get. */
struct Tokens {
    uint32_t n, cols;
    Device<int8_t> q;
    Device<float> scale;
    Device<int32_t> sum;

    Tokens(uint32_t n_tokens, uint32_t n_cols)
        : n(n_tokens), cols(n_cols), q(n_tokens * tern_cuda_k_pad(n_cols)), scale(n_tokens), sum(n_tokens) {
        size_t pad = tern_cuda_k_pad(cols);
        for (uint32_t t = 0; t < n; t++) {
            sum.at[t] = 0;
            for (uint32_t k = 0; k < pad; k++) {
                int value = t % 5 == 4 ? 127 : (int)(next_random() % 255) - 127;
                q.at[t * pad + k] = (int8_t)(k < cols ? value : 0);
                sum.at[t] += q.at[t * pad + k];
            }
            scale.at[t] = 1.0f + 0.001f * (float)(next_random() % 100000);
        }
    }
};

static float product(const Matrix &matrix, const Tokens &tokens, uint32_t row, uint32_t token) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < matrix.cols; k++)
        sum += matrix.trits[(size_t)row * matrix.cols + k] * tokens.q.at[token * tern_cuda_k_pad(matrix.cols) + k];
    return (float)sum / tokens.scale.at[token] * matrix.scale;
}

/* What the kernels of the CPU make of it. */
static float finish(uint32_t mode, float y, float up, float before) {
    const tern_kernels *ref = tern_kernels_all()[0];
    float out;
    if (mode == TERN_CUDA_ADD)
        return before + y;
    if (mode == TERN_CUDA_STORE)
        return y;
    (mode == TERN_CUDA_RELU2 ? ref->relu2_mul : ref->silu_mul)(&y, &up, 1, &out);
    return out;
}

struct Shape {
    uint32_t rows[TERN_CUDA_MATRICES], cols;
};

struct Way {
    const char *kernel;
    uint32_t groups, tokens, threads; /* of a block */
};
static const Way ways[] = {{"tern_cuda_gemv", 1, 1, TERN_CUDA_GEMV_THREADS},
                           {"tern_cuda_gemm_few", TERN_CUDA_FEW_GROUPS, TERN_CUDA_FEW_TOKENS, TERN_CUDA_FEW_THREADS},
                           {"tern_cuda_gemm", TERN_CUDA_GEMM_GROUPS, TERN_CUDA_GEMM_TOKENS, TERN_CUDA_GEMM_THREADS}};

static uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

static void launch(const Way &way, const tern_cuda_linear_args &args, Order order) {
    const emulator::Kernel *kernel = emulator::find_kernel(way.kernel);
    bool gated = args.mode == TERN_CUDA_RELU2 || args.mode == TERN_CUDA_SILU;
    const tern_cuda_matrix &last = args.matrices[gated ? 0 : args.n_matrices - 1];
    uint32_t n_groups = last.first_group + div_up(last.rows, TERN_CUDA_ROWS);
    uint32_t per_block = gated && way.groups > 1 ? way.groups / 2 : way.groups;
    struct Body {
        const emulator::Kernel *kernel;
        const void *args;
    } body = {kernel, &args};
    emulator::run_grid(
        way.kernel, {div_up(n_groups, per_block), div_up(args.n_tokens, way.tokens), 1}, {way.threads, 1, 1}, 0, order,
        [](void *context) { ((Body *)context)->kernel->call(((Body *)context)->args); }, &body);
    emulator::check_memory();
}

static void check(const Way &way, const Shape &shape, uint32_t mode, uint32_t n_tokens, Order order) {
    bool gated = mode == TERN_CUDA_RELU2 || mode == TERN_CUDA_SILU;
    Tokens tokens(n_tokens, shape.cols);
    tern_cuda_linear_args args = {};
    std::vector<Matrix> matrices;
    std::vector<Device<uint8_t> *> tiles;
    std::vector<Device<float> *> outs;
    args.input = {tokens.q.at, tokens.scale.at, tokens.sum.at, (uint32_t)tern_cuda_k_pad(shape.cols)};
    args.n_tokens = n_tokens;
    args.mode = mode;
    uint32_t first_group = 0;
    for (uint32_t rows : shape.rows) {
        if (rows == 0)
            break;
        matrices.emplace_back(rows, shape.cols);
        tiles.push_back(new Device<uint8_t>(tern_cuda_matrix_bytes(rows, shape.cols)));
        outs.push_back(new Device<float>((size_t)rows * n_tokens));
        matrices.back().pack(tiles.back()->at);
        for (size_t i = 0; i < outs.back()->n; i++)
            outs.back()->at[i] = 0.5f * (float)(i % 1000);
        args.matrices[args.n_matrices++] = {tiles.back()->at, outs.back()->at, rows, first_group,
                                            matrices.back().scale};
        first_group += gated ? 0 : (uint32_t)tern_cuda_n_groups(rows);
    }
    launch(way, args, order);
    size_t n_wrong = 0;
    for (uint32_t m = 0; m < (gated ? 1 : args.n_matrices); m++)
        for (uint32_t t = 0; t < n_tokens; t++)
            for (uint32_t row = 0; row < matrices[m].rows; row++) {
                size_t i = (size_t)t * matrices[m].rows + row;
                float up = gated ? product(matrices[1], tokens, row, t) : 0;
                float want = finish(mode, product(matrices[m], tokens, row, t), up, 0.5f * (float)(i % 1000));
                n_wrong += memcmp(&outs[m]->at[i], &want, sizeof want) != 0;
            }
    if (n_wrong) {
        printf("%s, mode %u, %u tokens, %u x %u%s: %zu values are wrong\n", way.kernel, mode, n_tokens, shape.rows[0],
               shape.cols, order == Order::reverse ? ", reverse" : "", n_wrong);
        n_failed++;
    }
    for (size_t i = 0; i < tiles.size(); i++) {
        delete tiles[i];
        delete outs[i];
    }
}

/* Where the layout says it is: the registers of A by unpacking, and no code but 0, 1, 2. */
static void test_layout() {
    Matrix matrix(21, 150);
    std::vector<uint8_t> tiles(tern_cuda_matrix_bytes(21, 150));
    matrix.pack(tiles.data());
    for (uint32_t row = 0; row < 32; row++)
        for (uint32_t col = 0; col < 256; col++) {
            uint32_t r = row % 16, c = col % 128, word;
            uint32_t lane = r % 8 * 4 + c % 16 / 4, f = r / 8 + c % 32 / 16 * 2;
            memcpy(&word, &tiles[(row / 16 * 2 + col / 128) * 512 + lane * 16 + c / 32 * 4], 4);
            int want = row < 21 && col < 150 ? matrix.trits[row * 150 + col] : 0;
            if ((int)(word >> (8 * (c % 4) + 2 * f) & 3) - 1 != want) {
                printf("layout: row %u, column %u is wrong\n", row, col);
                n_failed++;
                return;
            }
        }
}

int main() {
    static const Shape plain[] = {{{16}, 128}, {{1}, 1}, {{40, 16, 24}, 192}, {{200, 33}, 130}, {{144}, 520}};
    static const Shape gated[] = {{{16, 16}, 128}, {{72, 72}, 144}, {{151, 151}, 300}};
    static const uint32_t n_tokens[] = {1, 8, 9, 32, 47, 65, 129};
    test_layout();
    for (const Way &way : ways) {
        for (uint32_t n : n_tokens)
            for (Order order : {Order::forward, Order::reverse}) {
                uint32_t other = order == Order::forward; /* each mode in both orders, but not with each shape */
                for (const Shape &shape : plain)
                    check(way, shape, other++ % 2 ? TERN_CUDA_STORE : TERN_CUDA_ADD, n, order);
                for (const Shape &shape : gated)
                    check(way, shape, other++ % 2 ? TERN_CUDA_RELU2 : TERN_CUDA_SILU, n, order);
            }
        printf("%s: %s\n", way.kernel, n_failed ? "FAILED" : "passed");
    }
    return n_failed != 0;
}
