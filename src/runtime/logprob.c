#include "runtime/logprob.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/select.h"

double tern_log_sum_exp(const float *logits, size_t n) {
    double sum = 0, max = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (logits[i] > max)
            max = logits[i];
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return max + log(sum);
}

static int higher_first(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

void tern_top_logprobs(const float *logits, size_t n, double log_sum, size_t k, uint64_t *keys,
                       tern_token_logprob *top) {
    tern_select_top(logits, n, k, keys);
    for (size_t i = 0; i < k; i++)
        keys[i] = tern_rank_key(logits[keys[i]], (uint32_t)keys[i]);
    qsort(keys, k, sizeof *keys, higher_first);
    for (size_t i = 0; i < k; i++) {
        uint32_t id = tern_rank_place(keys[i]);
        top[i] = (tern_token_logprob){(int32_t)id, (float)(logits[id] - log_sum)};
    }
}
