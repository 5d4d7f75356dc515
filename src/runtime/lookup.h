/*
 * Prompt look-up (Saxena 2023): text repeats itself, so what followed the last time these tokens stood in the text is a
 * good guess of what follows now. This is the index of a text that finds the place, and the judgement of how many
 * tokens a guess should have; checking it is the caller's (tern_generate.c).
 */
#ifndef TERN_RUNTIME_LOOKUP_H
#define TERN_RUNTIME_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct tern_lookup tern_lookup;

/* For a text of at most max_tokens, and guesses of at most max_draft tokens. `measured`: tern_lookup_timed() will tell
 * what guesses cost; else they are taken to cost next to nothing. */
tern_status tern_lookup_create(size_t max_tokens, uint32_t max_draft, bool measured, tern_lookup **lookup,
                               tern_error *err);
void tern_lookup_free(tern_lookup *lookup);

/* The text's next token, in constant time. `generated`: and it shows how good the guess was that there was for it,
 * drafted or not. More than max_tokens are ignored. */
void tern_lookup_append(tern_lookup *lookup, int32_t id, bool generated);

/* Guess what follows: draft [up to `limit`, and max_draft]. Returns how many tokens, 0 for none: as many as promise the
 * most tokens a second, from how often guesses behind matches of such a length were right, and what a step costs. */
uint32_t tern_lookup_draft(const tern_lookup *lookup, uint32_t limit, int32_t *draft);

/* What a step of n tokens took, for that judgement; before its tokens are appended. */
void tern_lookup_timed(tern_lookup *lookup, uint32_t n, double seconds);

#endif
