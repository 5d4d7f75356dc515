/* Perplexity of a model on a text, over the public API only. */
#ifndef TERN_EVAL_PERPLEXITY_H
#define TERN_EVAL_PERPLEXITY_H

#include "tern/tern.h"

typedef struct tern_perplexity_result {
    uint64_t tokens, bytes; /* of the text; BOS is not counted */
    double mean_nll;        /* natural logarithm, per token */
    double perplexity;      /* exp(mean_nll) */
    double bits_per_byte;   /* sum of nll / ln 2 / bytes: comparable between tokenizers */
} tern_perplexity_result;

/* The whole text [n_bytes] is encoded without BOS and without parsing special tokens, and cut into windows
 * of n_window - 1 tokens; each window is evaluated from an empty context behind one BOS; every token counts, the
 * shorter last window too. The session must belong to `model` and hold n_window tokens; what it held is forgotten.
 * Progress counts tokens. The logarithm of the softmax is computed in double. */
tern_status tern_perplexity(const tern_model *model, tern_session *session, const char *text, size_t n_bytes,
                            uint32_t n_window, tern_progress_fn progress, void *progress_user,
                            tern_perplexity_result *result, tern_error *err);

/* -log softmax(logits [n])[id]; NaN if the logits hold a NaN or an infinity of either sign decides it. */
double tern_negative_log_likelihood(const float *logits, size_t n, int32_t id);

/* How many tokens' logits of this vocabulary to hold at once: a modest amount of memory, yet enough tokens for an
 * efficient matrix product. At least 1, at most `most`. */
size_t tern_logits_slice(size_t vocab_size, size_t most);

#endif
