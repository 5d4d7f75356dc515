#include "eval/energy.h"

#include <string.h>

const tern_energy_node tern_energy_nodes[TERN_ENERGY_N_NODES] = {
    {"45 nm", "45nm", .int8_add = 0.03, .int8_mul = 0.2, .fp16_add = 0.4, .fp16_mul = 1.1, .fp32_add = 0.9,
     .fp32_mul = 3.7},
    {"7 nm", "7nm", .int8_add = 0.007, .int8_mul = 0.07, .fp16_add = 0.16, .fp16_mul = 0.34, .fp32_add = 0.38,
     .fp32_mul = 1.31},
};

const char tern_energy_source_text[] =
    "pJ per operation: arXiv 2310.11453, table 2, after Horowitz (ISSCC 2014) and Zhang et al. (CVPR 2022)";

/* `n` matrices of [rows, cols]. */
static void add_matrices(tern_operations *sum, bool ternary, double n, double rows, double cols) {
    if (ternary) {
        sum->int8_adds += n * rows * (cols - 1);
        sum->float_muls += n * (rows + cols);
    } else {
        sum->float_adds += n * rows * (cols - 1);
        sum->float_muls += n * rows * cols;
    }
}

tern_token_operations tern_count_operations(const tern_shape *shape, bool ternary, double context) {
    tern_token_operations result;
    memset(&result, 0, sizeof result);
    const double hidden = shape->hidden_size, ffn = shape->ffn_size, layers = shape->n_layers, head = shape->head_dim;
    const double queries = (double)shape->n_heads * head, keys = (double)shape->n_kv_heads * head;
    const double matrices[][2] = {{queries, hidden}, {keys, hidden}, {keys, hidden}, {hidden, queries},
                                  {ffn, hidden},     {ffn, hidden},  {hidden, ffn}};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        add_matrices(&result.matrices, ternary, layers, matrices[i][0], matrices[i][1]);
    /* each head: `context` scores of products of `head` long vectors, then `head` sums over `context` values */
    const double heads = layers * shape->n_heads;
    result.attention.float_adds = heads * (context * (head - 1) + head * (context - 1));
    result.attention.float_muls = heads * 2 * context * head;
    add_matrices(&result.head, false, 1, shape->vocab_size, hidden);
    return result;
}

double tern_operations_joules(const tern_operations *operations, const tern_energy_node *node) {
    return 1e-12 * (operations->int8_adds * node->int8_add + operations->float_adds * node->fp16_add +
                    operations->float_muls * node->fp16_mul);
}

double tern_token_joules(const tern_token_operations *operations, const tern_energy_node *node) {
    return tern_operations_joules(&operations->matrices, node) + tern_operations_joules(&operations->attention, node) +
           tern_operations_joules(&operations->head, node);
}
