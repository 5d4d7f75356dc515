/*
 * A text on its way through a model, layer by layer: all its windows through one layer, then through the next, so that
 * one layer's matrices are in memory at a time. The forward pass of docs/MODEL.md in plain floats, for two uses:
 * the loss of a model of floats, and the inputs of each matrix of a model that is being quantised.
 */
#ifndef TERN_QUANT_PASSAGE_H
#define TERN_QUANT_PASSAGE_H

#include "quant/layer.h"

typedef struct tern_passage {
    const tern_weights *weights; /* bound, not loaded */
    const tern_kernels *kernels;
    tern_pool *pool;
    const int32_t *ids; /* [n_tokens] of the text; the caller's */
    int32_t bos;
    size_t n_tokens;
    uint32_t window;       /* tokens of a window; the last one may have fewer */
    float *x, *attended;   /* [n_tokens, hidden] */
    float *in, *gate, *up; /* [window, widest] of one window */
    float *q, *k, *v;      /* [window, q or kv] */
    float *cos, *sin;      /* [window, head_dim / 2] */
    float *scores;         /* [threads, window] */
    int8_t *bytes;         /* [threads, widest] */
    float *memory;
    bool int8;                   /* inputs of matrices as BitLinear takes them; else as they are */
    bool (*goes_on)(void *user); /* asked now and then; false: to be ended, TERN_ERR_CANCELLED. NULL: never */
    void *user;                  /* its argument */
} tern_passage;

/* The first tokens `ids` of the text in windows of `window` tokens: token i of a window is what the model gets behind a
 * BOS and the tokens before, as tern perplexity has it. x is filled with the embeddings. */
tern_status tern_passage_create(const tern_weights *weights, const tern_kernels *kernels, tern_pool *pool,
                                const int32_t *ids, size_t n_tokens, int32_t bos, uint32_t window, bool int8,
                                tern_passage *passage, tern_error *err);
void tern_passage_free(tern_passage *passage);

/* x through a layer. */
tern_status tern_passage_layer(tern_passage *passage, const tern_quant_layer *layer, tern_error *err);

/* The same, and on the way each matrix's trits and scales by error-compensating rounding, from its inputs in the model
 * that is quantised up to there. layer->values become those of the quantised matrices. */
tern_status tern_passage_quantize(tern_passage *passage, tern_quant_layer *layer, tern_error *err);

/* Behind the last layer: the mean of -log p(token) over the text. */
tern_status tern_passage_loss(tern_passage *passage, double *mean_nll, tern_error *err);

#endif
