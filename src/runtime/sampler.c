/*
 * The sampler: logits -> one token.
 *
 * Stages, in order: logit bias; penalties (repetition, then frequency and
 * presence); at temperature 0 the argmax; else top-k, temperature, top-p (Holtzman
 * et al. 2019), min-p (Nguyen et al. 2024), draw. Where logits are equal the lower id ranks higher,
 * so every stage has one right answer.
 *
 * Nothing sorts the vocabulary: each filter finds its threshold by selection
 * (select.h), in linear time, and then keeps what ranks at or above it in order of ids.
 * The draw behind a filter walks over the survivors in order of ids, so that filters which remove
 * nothing more do not change what a seed draws. Without any filter the draw is the largest of logit / temperature +
 * Gumbel noise, which is exact softmax sampling without a sum over the vocabulary.
 *
 * Few logits matter to most settings. tern_sampler_queries() says which, and the stages then run over those candidates
 * alone, with the same result: what is missing would not have survived the first filter.
 *
 * Only +, -, *, / and comparisons of IEEE floats are used (exp() too is made
 * of them, see exp_negative; the noise likewise, head.c), without contraction, so that a seed gives the same
 * tokens on every platform whose logits are the same.
 */
#include "runtime/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "grammar/matcher.h"
#include "runtime/select.h"
#include "runtime/token_history.h"

enum { LANES = 8, NOISE_BLOCK = 512, FEW_SHARE = 16 };

struct tern_sampler {
    tern_sampler_params params; /* logit_bias is our copy */
    size_t vocab_size;
    tern_rng rng;               /* of draws behind a filter */
    uint64_t n_draws;           /* counts the noise of the others */
    tern_token_history history; /* counts are NULL where no penalty is asked for */
    tern_matcher *matcher;      /* NULL: no grammar */
    bool begun;                 /* a token was drawn: what is accepted from here on is the grammar's text */
    bool strict; /* the next query is to be answered for the allowed tokens alone; see query_strictly() */

    /* what queries hold: biased, penalised and speculated ids; NULL, NULL: there never are any */
    int32_t *forced; /* [vocab_size] */
    bool *is_forced; /* [vocab_size] all false between calls */

    /* candidates, in order of ids; `logits` is indexed like ids */
    float *logits;   /* [vocab_size] */
    int32_t *ids;    /* [vocab_size] */
    double *weights; /* [vocab_size] exp((logit - max) / temperature) */
    uint64_t *keys;  /* [vocab_size] scratch of the selections */
};

/* ---------------------------------------------------------------- creation */

static bool create_history(tern_sampler *sampler) {
    const tern_sampler_params *p = &sampler->params;
    bool off = p->repeat_penalty == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0;
    if (off || p->penalty_window == 0)
        return true;
    return tern_token_history_init(&sampler->history, sampler->vocab_size, p->penalty_window);
}

static bool create_forced(tern_sampler *sampler) {
    if (!sampler->history.counts && sampler->params.n_logit_bias == 0 && !sampler->params.grammar)
        return true;
    sampler->forced = tern_alloc_array(sampler->vocab_size, sizeof *sampler->forced);
    sampler->is_forced = tern_calloc_array(sampler->vocab_size, sizeof *sampler->is_forced);
    return sampler->forced && sampler->is_forced;
}

tern_status tern_sampler_create(const tern_sampler_params *params, size_t vocab_size, tern_sampler **out,
                                tern_error *err) {
    tern_sampler_params defaults = tern_sampler_defaults();
    if (!params)
        params = &defaults;
    tern_status status = tern_sampler_check(params, vocab_size, err);
    if (status)
        return status;
    tern_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler)
        return tern_fail_memory(err, "the sampler");
    sampler->params = *params;
    sampler->vocab_size = vocab_size;
    tern_rng_seed(&sampler->rng, params->seed);
    tern_logit_bias *bias = tern_alloc_array(params->n_logit_bias, sizeof *bias);
    sampler->params.logit_bias = bias;
    sampler->logits = tern_alloc_array(vocab_size, sizeof *sampler->logits);
    sampler->ids = tern_alloc_array(vocab_size, sizeof *sampler->ids);
    sampler->weights = tern_calloc_array(vocab_size, sizeof *sampler->weights);
    sampler->keys = tern_alloc_array(vocab_size, sizeof *sampler->keys);
    if (!bias || !sampler->logits || !sampler->ids || !sampler->weights || !sampler->keys || !create_history(sampler) ||
        !create_forced(sampler)) {
        tern_sampler_free(sampler);
        return tern_fail_memory(err, "the sampler");
    }
    if (params->n_logit_bias)
        memcpy(bias, params->logit_bias, params->n_logit_bias * sizeof *bias);
    if (params->grammar)
        status = tern_matcher_create(params->grammar, vocab_size, &sampler->matcher, err);
    if (status)
        tern_sampler_free(sampler);
    else
        *out = sampler;
    return status;
}

void tern_sampler_free(tern_sampler *sampler) {
    if (!sampler)
        return;
    free((void *)sampler->params.logit_bias);
    tern_matcher_free(sampler->matcher);
    free(sampler->forced);
    free(sampler->is_forced);
    free(sampler->logits);
    free(sampler->ids);
    free(sampler->weights);
    free(sampler->keys);
    tern_token_history_free(&sampler->history);
    free(sampler);
}

size_t tern_sampler_vocab_size(const tern_sampler *sampler) { return sampler->vocab_size; }

tern_status tern_sampler_accept(tern_sampler *sampler, int32_t id, tern_error *err) {
    if (id < 0 || (size_t)id >= sampler->vocab_size)
        return tern_fail(err, TERN_ERR_ARGUMENT, "token %d: the ids are 0 to %zu", (int)id, sampler->vocab_size - 1);
    if (sampler->matcher && sampler->begun) {
        tern_status status = tern_matcher_accept(sampler->matcher, id, err);
        if (status)
            return status;
        sampler->strict = false;
    }
    if (sampler->history.counts && !tern_token_history_add(&sampler->history, id))
        return tern_fail_memory(err, "the sampler's history");
    return TERN_OK;
}

/* ------------------------------------------------- bias, penalties, argmax */

/* Back to float; too large becomes the largest, too small a ban. */
static float to_logit(double value) { return value > FLT_MAX ? FLT_MAX : value < -FLT_MAX ? -INFINITY : (float)value; }

/* The place of id among the n candidates; n if it is not there. */
static size_t place_of(const tern_sampler *sampler, size_t n, int32_t id) {
    size_t low = 0, high = n;
    if (n == sampler->vocab_size)
        return (size_t)id;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sampler->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && sampler->ids[low] == id ? low : n;
}

/* Repetition: CTRL (Keskar et al. 2019, section 4.1); frequency and presence: the OpenAI API. */
static double penalised(const tern_sampler *sampler, double x, int32_t id) {
    const tern_sampler_params *p = &sampler->params;
    x = x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty;
    return x - ((double)sampler->history.counts[id] * p->frequency_penalty + p->presence_penalty);
}

static tern_status change_logits(tern_sampler *sampler, size_t n, tern_error *err) {
    const tern_sampler_params *p = &sampler->params;
    const tern_token_history *h = &sampler->history;
    for (size_t i = 0; i < p->n_logit_bias + h->n_seen; i++) { /* all biases first */
        bool is_bias = i < p->n_logit_bias;
        int32_t id = is_bias ? p->logit_bias[i].id : h->seen[i - p->n_logit_bias];
        size_t place = place_of(sampler, n, id);
        if (place == n && sampler->matcher) /* not allowed, so it is no candidate */
            continue;
        if (place == n)
            return tern_fail(err, TERN_ERR_ARGUMENT, "the candidates lack token %d, which has a bias or a penalty",
                             (int)id);
        float *x = &sampler->logits[place];
        *x = to_logit(is_bias ? (double)*x + p->logit_bias[i].bias : penalised(sampler, *x, id));
    }
    return TERN_OK;
}

/* Copy the model's logits [n], checked. ids [n] ascend; NULL: 0, 1, 2, ... */
static tern_status prepare(tern_sampler *sampler, const float *logits, const int32_t *ids, size_t n, tern_error *err) {
    unsigned n_bad = 0, n_alive = 0;
    for (size_t i = 0; i < n; i++) {
        float x = logits[i];
        n_bad += !(x < INFINITY);
        n_alive += x > -INFINITY;
        sampler->logits[i] = x;
        sampler->ids[i] = ids ? ids[i] : (int32_t)i;
    }
    if (n_bad)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "the model gave %u NaN or infinite logits: its weights are damaged, or the file is", n_bad);
    if (!n_alive)
        return tern_fail(err, TERN_ERR_FORMAT, "the model gave -inf for every token: its weights are damaged");
    return TERN_OK;
}

/* Bias and penalties for the candidates [n]; *max is the largest. */
static tern_status change(tern_sampler *sampler, size_t n, float *max, tern_error *err) {
    tern_status status = change_logits(sampler, n, err);
    if (status)
        return status;
    *max = n ? tern_maximum(sampler->logits, n) : -INFINITY;
    if (*max == -INFINITY)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s ban every token: there is none to choose",
                         sampler->matcher ? "the grammar, logit bias and penalties together"
                                          : "logit bias and penalties");
    return TERN_OK;
}

/* ----------------------------------------------------------------- filters */

static size_t top_k(tern_sampler *sampler, size_t n) {
    size_t k = (size_t)sampler->params.top_k;
    if (k == 0 || k >= n)
        return n;
    tern_select_top(sampler->logits, n, k, sampler->keys);
    for (size_t i = 0; i < k; i++) { /* the places ascend, so none is overwritten before it is read */
        sampler->logits[i] = sampler->logits[sampler->keys[i]];
        sampler->ids[i] = sampler->ids[sampler->keys[i]];
    }
    return k;
}

/* Keep the candidates that rank at or above the one at `place`; how many. */
static size_t keep_ranked(tern_sampler *sampler, size_t n, size_t place) {
    float least = sampler->logits[place];
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        float logit = sampler->logits[i];
        sampler->logits[n_kept] = logit;
        sampler->ids[n_kept] = sampler->ids[i];
        sampler->weights[n_kept] = sampler->weights[i];
        n_kept += (logit > least) | ((logit == least) & (i <= place));
    }
    return n_kept;
}

/* ------------------------------------------------------------ distribution */

/* Stands for everything below: exp_negative of it is 0. */
static const double exp_least = -709;

/* exp(x) for exp_least <= x <= 0, within 1e-11 of it (a logit's own rounding is 1e-7).
 * x = k ln 2 + r, |r| <= ln 2 / 2, Taylor to r^9 by Estrin's scheme, whose short chains suit wide processors. Own code
 * because libm's differs between platforms and does not vectorise. */
static inline double exp_negative(double x) {
    const double to_integer = 0x1.8p52; /* adding it rounds to an integer, which then stands in the low bits */
    const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
    double shifted = x * 0x1.71547652b82fep+0 + to_integer;
    double k = shifted - to_integer;
    double r = (x - k * ln2_high) - k * ln2_low, r2 = r * r, r4 = r2 * r2;
    double low = (1 + r) + r2 * (1.0 / 2 + r * (1.0 / 6));
    double middle = (1.0 / 24 + r * (1.0 / 120)) + r2 * (1.0 / 720 + r * (1.0 / 5040));
    double sum = low + r4 * (middle + r4 * (1.0 / 40320 + r * (1.0 / 362880)));
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52; /* 2^k; for k = -1023, reached at exp_least, 0 */
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

static double sum_lanes(const double *x, size_t n) {
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += x[i + j];
    for (; i < n; i++)
        sum += x[i];
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

/* Softmax without the division: relative to the most likely token, whose weight is 1. */
static void weigh(tern_sampler *sampler, size_t n, float max) {
    const double inverse = 1 / (double)sampler->params.temperature;
    const float *logits = sampler->logits;
    double *weights = sampler->weights;
    for (size_t i = 0; i < n; i++) {
        double x = ((double)logits[i] - max) * inverse;
        weights[i] = x > exp_least ? x : exp_least;
    }
    for (size_t i = 0; i < n; i++) /* a loop of its own, or GCC makes the choice a branch and vectorises nothing */
        weights[i] = exp_negative(weights[i]);
}

/* The smallest set of most likely candidates that has probability top_p. */
static size_t top_p(tern_sampler *sampler, size_t n) {
    double p = sampler->params.top_p, total;
    if (p >= 1)
        return n;
    total = sum_lanes(sampler->weights, n);
    /* All candidates under (1 - p) total / n together weigh less than (1 - p)
     * total, so none of them is in the set; half of it leaves room for rounding. */
    double least = 0.5 * (1 - p) * total / (double)n;
    size_t n_keys = 0;
    for (size_t i = 0; i < n; i++) {
        sampler->keys[n_keys] = tern_rank_key(sampler->logits[i], (uint32_t)i);
        n_keys += sampler->weights[i] >= least;
    }
    return keep_ranked(sampler, n,
                       tern_rank_place(tern_select_threshold(sampler->keys, n_keys, sampler->weights, p * total)));
}

static size_t min_p(tern_sampler *sampler, size_t n) {
    double least = sampler->params.min_p;
    if (least <= 0)
        return n;
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        double weight = sampler->weights[i];
        sampler->ids[n_kept] = sampler->ids[i];
        sampler->weights[n_kept] = weight;
        n_kept += weight >= least;
    }
    return n_kept;
}

static int32_t draw(tern_sampler *sampler, size_t n) {
    double left = tern_rng_uniform(&sampler->rng) * sum_lanes(sampler->weights, n);
    size_t last = 0; /* rounding may leave a little over behind the last one */
    for (size_t i = 0; i < n; i++) {
        double weight = sampler->weights[i];
        if (left < weight) /* never for a weight of 0 */
            return sampler->ids[i];
        left -= weight;
        if (weight > 0)
            last = i;
    }
    return sampler->ids[last];
}

static int32_t argmax(const tern_sampler *sampler, float max) {
    size_t place = 0;
    while (sampler->logits[place] != max)
        place++;
    return sampler->ids[place];
}

/* The largest of logit / temperature + noise, the lower id among equals. */
static int32_t draw_with_noise(const tern_sampler *sampler, size_t n) {
    float noise[NOISE_BLOCK];
    double best = -INFINITY, temperature = sampler->params.temperature;
    int32_t id = sampler->ids[0];
    for (size_t i = 0; i < n; i++) {
        if (n < sampler->vocab_size)
            noise[i % NOISE_BLOCK] =
                (float)tern_gumbel(sampler->params.seed, sampler->n_draws, (uint32_t)sampler->ids[i]);
        else if (i % NOISE_BLOCK == 0)
            tern_gumbel_rows(sampler->params.seed, sampler->n_draws, (uint32_t)i,
                             n - i < NOISE_BLOCK ? n - i : NOISE_BLOCK, noise);
        double score = (double)sampler->logits[i] / temperature + (double)noise[i % NOISE_BLOCK];
        id = score > best ? sampler->ids[i] : id;
        best = score > best ? score : best;
    }
    return id;
}

/* Which of the head's wants the settings come to. */
static tern_head_want want_of(const tern_sampler *sampler) {
    const tern_sampler_params *p = &sampler->params;
    if (p->temperature == 0)
        return TERN_HEAD_TOP;
    if (p->top_k > 0 && (size_t)p->top_k < sampler->vocab_size)
        return TERN_HEAD_TOP;
    if (p->top_p < 1) /* its share is of the sum over every row, however small */
        return TERN_HEAD_ALL;
    return p->min_p > 0 ? TERN_HEAD_NEAR : TERN_HEAD_GUMBEL;
}

/* ----------------------------------------------------------------- grammar */

/* A grammar is a ban of all tokens that it does not allow: they are no candidates, before all other stages. An answer
 * to a query that did not know of the grammar still has every candidate that matters if those that decided what was
 * left out of it are allowed:
 *   TOP     the top_k best rows that are not forced: whatever is missing ranks behind them;
 *   NEAR    the best of those: what is missing is more than the margin below it, and the best allowed one is no lower;
 *   GUMBEL  the one with the best score: what is missing scores less.
 * (Rows that the query forced without need count as ranked here, which asks for more and so is as safe.) */

static tern_status is_allowed(tern_sampler *sampler, int32_t id, bool *allowed, tern_error *err) {
    return tern_matcher_allows(sampler->matcher, id, allowed, err);
}

static void mark_forced(tern_sampler *sampler, bool value) {
    for (size_t i = 0; i < sampler->params.n_logit_bias; i++)
        sampler->is_forced[sampler->params.logit_bias[i].id] = value;
    for (size_t i = 0; i < sampler->history.n_seen; i++)
        sampler->is_forced[sampler->history.seen[i]] = value;
}

/* Places, among the candidates [n], of the deciding ones -> keys; how many. */
static size_t deciding(tern_sampler *sampler, size_t n) {
    const tern_sampler_params *p = &sampler->params;
    tern_head_want want = want_of(sampler);
    size_t n_ranked = 0, k = want == TERN_HEAD_TOP && p->temperature != 0 ? (size_t)p->top_k : 1;
    double best = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (sampler->is_forced[sampler->ids[i]])
            continue;
        double score = (double)sampler->logits[i];
        if (want == TERN_HEAD_GUMBEL)
            score = score / (double)p->temperature + tern_gumbel(p->seed, sampler->n_draws, (uint32_t)sampler->ids[i]);
        if (want == TERN_HEAD_TOP)
            sampler->keys[n_ranked++] = tern_rank_key(sampler->logits[i], (uint32_t)i);
        else if (n_ranked == 0 || score > best) {
            best = score;
            sampler->keys[0] = i;
            n_ranked = 1;
        }
    }
    if (want != TERN_HEAD_TOP)
        return n_ranked;
    uint64_t least = n_ranked > k ? tern_select_threshold(sampler->keys, n_ranked, NULL, (double)k) : 0;
    size_t n_kept = 0;
    for (size_t i = 0; i < n_ranked; i++)
        if (sampler->keys[i] >= least)
            sampler->keys[n_kept++] = tern_rank_place(sampler->keys[i]);
    return n_kept;
}

/* Whether all candidates that matter are among those [n] of an answer to a query that knew no grammar. */
static tern_status is_decided(tern_sampler *sampler, size_t n, bool *decided, tern_error *err) {
    mark_forced(sampler, true);
    size_t n_deciding = deciding(sampler, n);
    mark_forced(sampler, false);
    tern_status status = TERN_OK;
    *decided = true;
    for (size_t i = 0; !status && *decided && i < n_deciding; i++)
        status = is_allowed(sampler, sampler->ids[sampler->keys[i]], decided, err);
    return status;
}

/* Drop the candidates [*n] that the grammar does not allow. *decided: the others are all that matter; else nothing was
 * dropped. */
static tern_status restrict_candidates(tern_sampler *sampler, size_t *n, bool *decided, tern_error *err) {
    tern_status status = TERN_OK;
    const uint64_t *mask = NULL;
    size_t n_allowed, n_kept = 0;
    *decided = true;
    if (!sampler->strict && *n < sampler->vocab_size && want_of(sampler) != TERN_HEAD_ALL)
        status = is_decided(sampler, *n, decided, err);
    if (!status && !*decided)
        sampler->strict = true;
    if (status || !*decided)
        return status;
    if (sampler->strict || *n == sampler->vocab_size)
        status = tern_matcher_mask(sampler->matcher, &mask, &n_allowed, err);
    for (size_t i = 0; !status && i < *n; i++) {
        int32_t id = sampler->ids[i];
        bool allowed = mask && (mask[id / 64] >> (id % 64) & 1);
        if (!mask)
            status = is_allowed(sampler, id, &allowed, err);
        sampler->ids[n_kept] = id;
        sampler->logits[n_kept] = sampler->logits[i];
        n_kept += allowed;
    }
    *n = n_kept;
    return status;
}

static tern_status sample(tern_sampler *sampler, const float *logits, const int32_t *ids, size_t n, int32_t *id,
                          tern_error *err) {
    float max;
    bool decided = true;
    tern_status status = prepare(sampler, logits, ids, n, err);
    if (!status && sampler->matcher)
        status = restrict_candidates(sampler, &n, &decided, err);
    if (!status && decided)
        status = change(sampler, n, &max, err);
    if (!status && !decided)
        *id = TERN_SAMPLE_AGAIN;
    if (status || !decided)
        return status;
    sampler->begun = true;
    if (sampler->params.temperature == 0) {
        *id = argmax(sampler, max);
    } else if (want_of(sampler) == TERN_HEAD_GUMBEL) {
        *id = draw_with_noise(sampler, n);
    } else {
        n = top_k(sampler, n);
        weigh(sampler, n, max);
        n = top_p(sampler, n);
        n = min_p(sampler, n);
        *id = draw(sampler, n);
    }
    sampler->n_draws++;
    return TERN_OK;
}

tern_status tern_sampler_sample(tern_sampler *sampler, const float *logits, int32_t *id, tern_error *err) {
    return sample(sampler, logits, NULL, sampler->vocab_size, id, err);
}

tern_status tern_sampler_sample_candidates(tern_sampler *sampler, const tern_candidates *candidates, int32_t *id,
                                           tern_error *err) {
    if (candidates->n == 0 || candidates->n > sampler->vocab_size)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%zu candidates for a sampler of %zu tokens", candidates->n,
                         sampler->vocab_size);
    return sample(sampler, candidates->logits, candidates->ids, candidates->n, id, err);
}

/* ----------------------------------------------------------------- queries */

/* How far below the best logit min-p lets a candidate be: -T ln(min_p), a little more for what weigh() rounds. */
static float margin_of(const tern_sampler_params *p) {
    double margin = (double)p->temperature * (1e-9 - log((double)p->min_p)) * (1 + 1e-9);
    return margin < FLT_MAX ? nextafterf((float)margin, INFINITY) : INFINITY;
}

static size_t force(tern_sampler *sampler, size_t n_forced, int32_t id) {
    if (sampler->is_forced[id])
        return n_forced;
    sampler->is_forced[id] = true;
    sampler->forced[n_forced] = id;
    return n_forced + 1;
}

/* Under a grammar, for the allowed tokens alone: those that are not allowed are forced, which takes them out of the
 * ranking, or, if few are allowed, these are; with neither few, all logits are asked for. */
static tern_status query_strictly(tern_sampler *sampler, tern_head_query *query, tern_error *err) {
    const uint64_t *mask;
    size_t n_allowed, n_forced = 0, few = sampler->vocab_size / FEW_SHARE;
    tern_status status = tern_matcher_mask(sampler->matcher, &mask, &n_allowed, err);
    if (status)
        return status;
    sampler->strict = true;
    bool allowed_alone = n_allowed <= few;
    if (!allowed_alone && sampler->vocab_size - n_allowed > few) {
        query->want = TERN_HEAD_ALL;
        return TERN_OK;
    }
    mark_forced(sampler, !allowed_alone);
    for (size_t id = 0; id < sampler->vocab_size; id++)
        if ((mask[id / 64] >> (id % 64) & 1) == allowed_alone || sampler->is_forced[id])
            sampler->forced[n_forced++] = (int32_t)id;
    mark_forced(sampler, false);
    query->n_forced = n_forced;
    if (allowed_alone)
        query->want = TERN_HEAD_FORCED;
    return TERN_OK;
}

/* One list serves all: draw i needs those of draw 0 and what comes in between. (What leaves the penalties' window in
 * between is forced without need.) */
tern_status tern_sampler_queries(tern_sampler *sampler, const int32_t *ahead, size_t n, tern_head_query *queries,
                                 tern_error *err) {
    const tern_sampler_params *p = &sampler->params;
    const tern_token_history *h = &sampler->history;
    size_t n_forced = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (ahead[i] < 0 || (size_t)ahead[i] >= sampler->vocab_size)
            return tern_fail(err, TERN_ERR_ARGUMENT, "token %d: the ids are 0 to %zu", (int)ahead[i],
                             sampler->vocab_size - 1);
    for (size_t i = 0; i < p->n_logit_bias; i++)
        n_forced = force(sampler, n_forced, p->logit_bias[i].id);
    for (size_t i = 0; i < h->n_seen; i++)
        n_forced = force(sampler, n_forced, h->seen[i]);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && h->counts)
            n_forced = force(sampler, n_forced, ahead[i - 1]);
        queries[i] = (tern_head_query){
            .want = want_of(sampler),
            .top_k = p->temperature == 0 ? 1 : (uint32_t)p->top_k,
            .margin = p->min_p > 0 ? margin_of(p) : 0,
            .temperature = (double)p->temperature,
            .seed = p->seed,
            .counter = sampler->n_draws + i,
            .forced = sampler->forced,
            .n_forced = n_forced,
        };
    }
    for (size_t i = 0; i < n_forced; i++)
        sampler->is_forced[sampler->forced[i]] = false;
    if (sampler->matcher && n == 1 && (sampler->strict || tern_matcher_has_mask(sampler->matcher)))
        return query_strictly(sampler, &queries[0], err);
    sampler->strict = false;
    return TERN_OK;
}
