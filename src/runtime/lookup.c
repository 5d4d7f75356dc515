#include "runtime/lookup.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* A match has at least GRAM tokens, which are what is hashed; further ones are compared. Matches of more than LONGEST
 * are all alike. Of equal grams the TRIES latest are looked at. */
enum { GRAM = 3, LONGEST = 16, TRIES = 16, NONE = 0 };

/* What a guess must promise; the loss, in steps, that each token allows for trying; the most steps to lose again. */
#define LEAST_GAIN 1.03
#define SURE_GAIN 1.5
#define ALLOWANCE 0.01
#define BALANCE_BOUND 2.0

struct tern_lookup {
    size_t n, max_tokens;
    int32_t *tokens; /* [max_tokens] */
    /* Places are ends: place p is behind tokens[p - 1], so that 0 is free to mean none. */
    uint32_t *latest;  /* [2^table_bits] the last place whose gram has this hash */
    uint32_t *earlier; /* [max_tokens + 1] for a place, the one before it with the same hash */
    int table_bits;

    uint32_t match, length; /* the text's end stands at this earlier place, too, with so many tokens; or NONE */

    uint32_t max_draft;
    double rate[LONGEST + 1]; /* share of right guesses, by length of match */
    double step_seconds;      /* of a step of one token, 0: not known yet */
    double jump, extra;       /* what a step costs more, as a share of that: for any guess at all, and for each token */
    uint32_t n_measured;      /* steps with guesses that jump and extra are fitted to */
    double balance;           /* plain steps that guesses have saved of late, and the allowance */
};

/* Until the text tells: from texts of a story model and their prompts, rounded. What follows a long match is mostly
 * right. */
static double first_rate(int length) { return length < 4 ? 0.4 : length < 6 ? 0.55 : length < 9 ? 0.7 : 0.85; }

tern_status tern_lookup_create(size_t max_tokens, uint32_t max_draft, bool measured, tern_lookup **out,
                               tern_error *err) {
    if (max_tokens >= UINT32_MAX / 2)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a text of %zu tokens is too long to look up; use a smaller context",
                         max_tokens);
    tern_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return tern_fail_memory(err, "speculation");
    lookup->max_tokens = max_tokens;
    lookup->max_draft = max_draft;
    /* until it is measured, only a guess that is as good as sure is made */
    lookup->jump = measured ? 1 : 0;
    lookup->extra = measured ? 0.15 : 0.05;
    for (int i = 0; i <= LONGEST; i++)
        lookup->rate[i] = first_rate(i);
    lookup->table_bits = 8;
    while ((size_t)1 << lookup->table_bits < 2 * max_tokens)
        lookup->table_bits++;
    lookup->tokens = tern_alloc_array(max_tokens, sizeof *lookup->tokens);
    lookup->latest = tern_calloc_array((size_t)1 << lookup->table_bits, sizeof *lookup->latest);
    lookup->earlier = tern_calloc_array(max_tokens + 1, sizeof *lookup->earlier);
    if (!lookup->tokens || !lookup->latest || !lookup->earlier) {
        tern_lookup_free(lookup);
        return tern_fail_memory(err, "speculation");
    }
    *out = lookup;
    return TERN_OK;
}

void tern_lookup_free(tern_lookup *lookup) {
    if (!lookup)
        return;
    free(lookup->tokens);
    free(lookup->latest);
    free(lookup->earlier);
    free(lookup);
}

/* ------------------------------------------------------------------- index */

static uint32_t hash_gram(const tern_lookup *lookup, const int32_t *gram) {
    uint64_t h = 0;
    for (int i = 0; i < GRAM; i++)
        h = (h + (uint32_t)gram[i]) *
            0x9e3779b97f4a7c15u; /* Fibonacci hashing (Knuth, volume 3): high bits are mixed */
    return (uint32_t)(h >> (64 - lookup->table_bits));
}

/* How many tokens in front of `place` are those in front of the text's end; LONGEST at most. */
static uint32_t match_length(const tern_lookup *lookup, uint32_t place) {
    uint32_t length = 0;
    while (length < place && length < LONGEST &&
           lookup->tokens[place - 1 - length] == lookup->tokens[lookup->n - 1 - length])
        length++;
    return length;
}

/* The longest match, the latest among equals. */
static void find_match(tern_lookup *lookup) {
    lookup->match = NONE;
    lookup->length = GRAM - 1;
    uint32_t place = lookup->earlier[lookup->n];
    for (int i = 0; i < TRIES && place != NONE && lookup->length < LONGEST; i++) {
        uint32_t length = match_length(lookup, place);
        if (length > lookup->length) {
            lookup->match = place;
            lookup->length = length;
        }
        place = lookup->earlier[place];
    }
}

static double within(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static void learn(tern_lookup *lookup, int32_t id) {
    double hit = lookup->tokens[lookup->match] == id;
    lookup->rate[lookup->length] += (hit - lookup->rate[lookup->length]) / 16; /* the last two dozen or so count */
}

void tern_lookup_append(tern_lookup *lookup, int32_t id, bool generated) {
    if (lookup->n == lookup->max_tokens)
        return;
    if (generated && lookup->match != NONE)
        learn(lookup, id);
    if (generated) /* with ALLOWANCE, each token is worth a step; what steps cost is taken off in tern_lookup_timed() */
        lookup->balance = fmin(lookup->balance + 1 + ALLOWANCE, BALANCE_BOUND);
    lookup->tokens[lookup->n++] = id;
    if (lookup->n < GRAM)
        return;
    uint32_t *latest = &lookup->latest[hash_gram(lookup, lookup->tokens + lookup->n - GRAM)];
    lookup->earlier[lookup->n] = *latest;
    *latest = (uint32_t)lookup->n;
    find_match(lookup);
}

/* --------------------------------------------------------------- judgement */

/* Of a step with n guessed tokens, in steps without. */
static double step_cost(const tern_lookup *lookup, uint32_t n) { return 1 + lookup->jump + lookup->extra * n; }

/* Tokens that a step brings, the one that it brings anyway included, over what it costs: largest for how many? Rates
 * and costs are only estimates, so a small gain is none; and while guesses have lost time, it must be a large one: text
 * that does not repeat itself shall not pay for trying. */
static uint32_t best_length(const tern_lookup *lookup, uint32_t most) {
    double all_right = 1, tokens = 1, best = lookup->balance < 0 ? SURE_GAIN : LEAST_GAIN;
    uint32_t best_n = 0;
    for (uint32_t n = 1; n <= most; n++) {
        uint32_t length = lookup->length + n - 1; /* each right token makes the match longer */
        all_right *= lookup->rate[length < LONGEST ? length : LONGEST];
        tokens += all_right;
        double value = tokens / step_cost(lookup, n);
        if (value > best) {
            best = value;
            best_n = n;
        }
    }
    return best_n;
}

uint32_t tern_lookup_draft(const tern_lookup *lookup, uint32_t limit, int32_t *draft) {
    if (lookup->match == NONE)
        return 0;
    uint32_t n = best_length(lookup, limit < lookup->max_draft ? limit : lookup->max_draft);
    for (uint32_t i = 0; i < n; i++) { /* past the text's end goes on in the draft: a loop is guessed on for ever */
        size_t from = lookup->match + i;
        draft[i] = from < lookup->n ? lookup->tokens[from] : draft[from - lookup->n];
    }
    return n;
}

/* So many tokens weigh as much in the fit as the jump. */
#define UNIT 4.0

/* Slow averages of what is cut to the plausible: a step that was interrupted says nothing about the next. Jump and
 * extra are fitted by normalised least mean squares (Widrow and Hoff 1960). */
void tern_lookup_timed(tern_lookup *lookup, uint32_t n, double seconds) {
    if (seconds <= 0 || n == 0)
        return;
    double known = lookup->step_seconds > 0 ? lookup->step_seconds : seconds, cost = 1;
    if (n == 1) {
        lookup->step_seconds = known + (within(seconds, known / 2, known * 2) - known) / 8;
    } else {
        double expected = step_cost(lookup, n - 1), tokens = (n - 1) / UNIT;
        double error = lookup->step_seconds > 0 ? within(seconds / known - expected, -1, 1) : 0;
        double part = error / (lookup->n_measured < 6 ? ++lookup->n_measured + 1 : 8) / (1 + tokens * tokens);
        lookup->jump = within(lookup->jump + part, 0, 2);
        lookup->extra = within(lookup->extra + part * tokens / UNIT, 0.01, 1);
        cost = expected + error;
    }
    lookup->balance -= cost; /* and each token that the step brings adds one */
}
