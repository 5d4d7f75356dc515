#include "base/hash.h"

#include <string.h>

static const uint64_t prime1 = 0x9e3779b185ebca87, prime2 = 0xc2b2ae3d27d4eb4f, prime3 = 0x165667b19e3779f9,
                      prime4 = 0x85ebca77c2b2ae63, prime5 = 0x27d4eb2f165667c5;

enum { STRIPE = 32 };

static uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

/* Little-endian words, wherever they lie; compilers make one load of it. */
static uint64_t word32(const uint8_t *at) {
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
}
static uint64_t word64(const uint8_t *at) { return word32(at) | word32(at + 4) << 32; }

static uint64_t mix(uint64_t lane, uint64_t word) { return rotate(lane + word * prime2, 31) * prime1; }

static void add_stripe(uint64_t lanes[4], const uint8_t *stripe) {
    for (int i = 0; i < 4; i++)
        lanes[i] = mix(lanes[i], word64(stripe + 8 * i));
}

void tern_hash_start(tern_hash *hash) {
    *hash = (tern_hash){.lanes = {prime1 + prime2, prime2, 0, 0 - prime1}}; /* seed 0 */
}

void tern_hash_add(tern_hash *hash, const void *bytes, size_t n_bytes) {
    const uint8_t *at = bytes;
    size_t pending = hash->total % STRIPE;
    hash->total += n_bytes;
    if (pending && pending + n_bytes >= STRIPE) {
        memcpy(hash->pending + pending, at, STRIPE - pending);
        add_stripe(hash->lanes, hash->pending);
        at += STRIPE - pending;
        n_bytes -= STRIPE - pending;
        pending = 0;
    }
    if (!pending)
        for (; n_bytes >= STRIPE; n_bytes -= STRIPE, at += STRIPE)
            add_stripe(hash->lanes, at);
    if (n_bytes)
        memcpy(hash->pending + pending, at, n_bytes);
}

uint64_t tern_hash_value(const tern_hash *hash) {
    static const int turns[4] = {1, 7, 12, 18};
    uint64_t value = hash->lanes[2] + prime5; /* the seed, while there was no whole stripe */
    if (hash->total >= STRIPE) {
        value = 0;
        for (int i = 0; i < 4; i++)
            value += rotate(hash->lanes[i], turns[i]);
        for (int i = 0; i < 4; i++)
            value = (value ^ mix(0, hash->lanes[i])) * prime1 + prime4;
    }
    value += hash->total;
    const uint8_t *at = hash->pending, *end = at + hash->total % STRIPE;
    for (; end - at >= 8; at += 8)
        value = rotate(value ^ mix(0, word64(at)), 27) * prime1 + prime4;
    for (; end - at >= 4; at += 4)
        value = rotate(value ^ word32(at) * prime1, 23) * prime2 + prime3;
    for (; at < end; at++)
        value = rotate(value ^ *at * prime5, 11) * prime1;
    value = (value ^ value >> 33) * prime2;
    value = (value ^ value >> 29) * prime3;
    return value ^ value >> 32;
}

uint64_t tern_hash_bytes(const void *bytes, size_t n_bytes) {
    tern_hash hash;
    tern_hash_start(&hash);
    tern_hash_add(&hash, bytes, n_bytes);
    return tern_hash_value(&hash);
}
